"""Run folders, and commands that work on whole runs.

folder.py     settings, manifest, checkpoints and fingerprints of a run; models, training and inference import it
verify.py     the command `verify`: can a run be reproduced?
precision.py  the command `precision`: what half precision costs
release.py    the command `release`: a run shrunk to one checkpoint
compare.py    the command `compare`: variants of a training; plan.py: its lists, compare_table.py: its table
blending.py   the command `blend`: ways to combine runs
origin.py     the line that says where the figures of a table come from
"""
