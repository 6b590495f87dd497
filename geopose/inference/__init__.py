"""Prediction: views, blending, scenes, lean removed."""
