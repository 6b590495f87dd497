"""Colours for maps of values."""

import numpy as np
from matplotlib import colormaps

HEIGHT_COLORMAP = "viridis"


def colour_plane(values: np.ndarray, low: float, high: float, colormap: str, unknown: int) -> np.ndarray:
    """Values [H,W] as colours uint8 [H,W,3], from the first colour of a Matplotlib colormap at low to the last at high.

    Values outside this range get the nearer end's colour. NaN becomes grey of the brightness unknown, from 0 (black) to
    255 (white).
    """
    shares = np.clip((values - low) / (high - low), 0, 1)
    colours = colormaps[colormap](np.nan_to_num(shares), bytes=True)[..., :3]
    colours[np.isnan(values)] = unknown
    return colours
