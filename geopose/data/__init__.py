"""Tiles for training and prediction: prepared copies, folds, datasets, augmentation."""
