"""Training with Catalyst.

The modules, in the order of a training:

command.py        the command `train`
runner.py         `train`, and the Catalyst runner that builds all parts from a config
engine.py         what this runner shares with that of geopose.adaptation; processes.py: several processes
losses.py         the loss
schedule.py       the learning rate; budget.py: how many steps fit a time budget
steps.py          the optimizer step; start_share.py: the mean of starting and trained weights
self_training.py  the loss on images without labels
callbacks.py      scores, checkpoints, records; progress.py: bars and lines; snapshots.py: pictures of predictions
manifest.py       code, packages and machine of a run
resume.py         the state of an unfinished training
"""
