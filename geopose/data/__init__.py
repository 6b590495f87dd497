"""Tiles: reading, folds, augmentation, prepared copies."""
