"""Prediction of tiles and of images of any size, and what follows from it: lean removal, out-of-fold predictions.

The modules, from one prediction to whole jobs:

blend.py             predictions of one image, combined: heights, scale, direction, spread
tta.py               one model, several views and sizes of an image (test-time augmentation)
ensemble.py          the models of several runs on whole tiles, and the score of their predictions
predictions.py       a folder of predictions that can be resumed; ranks.py: processes that share a job
calibration.py       height factors per city; oof.py: the command that predicts every training tile out of fold
scene_reader.py      windows of an image of any bands and depth, as a model needs them
ground_axes.py       where the pixels of an image are on the earth; ground_size.py: how large they are
square.py            images whose pixels are not square on the ground
pose_flags.py        the flags that give a pose; view_files.py: what files beside an image say about it
known_pose.py        the pose from these, where the network need not guess it
scene.py             heights and pose of an image of any size, in overlapping tiles
gsd_range.py         a warning about resolutions that a run never saw; tags.py: the tags of written heights
outputs.py           the names of written files, and what they must not replace
surface.py           heights moved to the ground; fill.py: hidden ground painted
rectify.py           the command that removes the lean
image_list.py        the images of a job with many; scene_records.py: what is known about each
many.py              such a job, shared by several processes
command.py           the command `predict`
"""
