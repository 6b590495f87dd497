"""Pictures of a training at work: what the network makes of a tile, beside the truth."""

import cv2
import numpy as np
from matplotlib import colormaps

MAX_SIDE_PX = 256
ERROR_LIMIT_M = 10.0


def snapshot(rgb: np.ndarray, true_agl_m: np.ndarray, agl_m: np.ndarray) -> np.ndarray:
    """Image, true height, predicted height and error (red too high, blue too low) side by side.

    rgb uint8 [H,W,3], heights float [H,W] in metres, NaN unknown (black). Both heights share a scale from 0 to the
    truth's tallest; errors are coloured up to ERROR_LIMIT_M. Returns uint8 [h,4w,3], its parts no larger than
    MAX_SIDE_PX.
    """
    tallest_m = max(1.0, float(np.nanmax(true_agl_m, initial=0)))
    error = (agl_m - true_agl_m) / (2 * ERROR_LIMIT_M) + 0.5
    planes = (
        ("viridis", true_agl_m / tallest_m),
        ("viridis", agl_m / tallest_m),
        ("coolwarm", error),
    )
    parts = [rgb, *(_colour(name, values) for name, values in planes)]
    height, width = rgb.shape[:2]
    shrink = min(1.0, MAX_SIDE_PX / max(height, width))
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    return np.hstack([cv2.resize(part, size, interpolation=cv2.INTER_AREA) for part in parts])


def _colour(name: str, values: np.ndarray) -> np.ndarray:
    coloured = colormaps[name](np.nan_to_num(values), bytes=True)[..., :3]
    coloured[np.isnan(values)] = 0
    return coloured
