"""Unlabelled images of the target: translation of labelled tiles and self-training."""
