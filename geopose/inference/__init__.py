"""Prediction of tiles and scenes, out-of-fold predictions, height calibration, and removal of building lean."""
