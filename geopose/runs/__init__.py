"""Run folders, and commands that work on whole runs.

folder.py reads and writes run folders. models, training and inference import it. The other modules are commands on top
of training and inference: verify, release, precision and compare.
"""
