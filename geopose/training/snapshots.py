"""Pictures of a training run: what the network predicts for a tile, next to the truth."""

import cv2
import numpy as np

from geopose.pictures import HEIGHT_COLORMAP, colour_plane

MAX_SIDE_PX = 256
ERROR_LIMIT_M = 10.0
BLACK = 0  # unknown pixels


def snapshot(rgb: np.ndarray, true_agl_m: np.ndarray, agl_m: np.ndarray) -> np.ndarray:
    """Image, true height, predicted height and error (red too high, blue too low) side by side.

    rgb uint8 [H,W,3]; heights float [H,W] in metres, NaN unknown (black). Both heights have one scale, from 0 to the
    tallest true height. Errors beyond ERROR_LIMIT_M get the colour of that error. Returns uint8 [h,4w,3], whose four
    parts have sides of at most MAX_SIDE_PX.
    """
    tallest_m = max(1.0, float(np.nanmax(true_agl_m, initial=0)))
    error_share = (agl_m - true_agl_m) / (2 * ERROR_LIMIT_M) + 0.5
    parts = [
        rgb,
        colour_plane(true_agl_m, 0, tallest_m, HEIGHT_COLORMAP, BLACK),
        colour_plane(agl_m, 0, tallest_m, HEIGHT_COLORMAP, BLACK),
        colour_plane(error_share, 0, 1, "coolwarm", BLACK),
    ]
    height, width = rgb.shape[:2]
    shrink = min(1.0, MAX_SIDE_PX / max(height, width))
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    return np.hstack([cv2.resize(part, size, interpolation=cv2.INTER_AREA) for part in parts])
