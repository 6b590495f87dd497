"""Tiles for training and prediction.

The modules, from a folder of tiles to batches:

folds.py            the command `folds`: cross-validation folds; near_duplicates.py: places found from the images
store.py            the command `prepare`: copies from which crops are read in milliseconds
processes.py        jobs in parallel processes
dataset.py          random crops for training, whole tiles for validation and prediction
loader.py           loaders whose workers use one thread each
transforms.py       augmentation of crops and of their pose; stretch.py: scenes with taller or lower heights
"""
