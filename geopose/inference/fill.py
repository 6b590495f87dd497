"""Hidden ground painted with the ground around it, so that an image without lean has no holes.

What is hidden is low: something taller stood in front of it. So only the lowest of the visible pixels around a hidden
region are its sources, and not the roof beside it. GDAL's fillnodata gives each hidden pixel their mean, weighted by
distance, and smooths the result.
"""

import cv2
import numpy as np
from rasterio.fill import fillnodata

FILL_PX = 100  # largest distance of filled ground from its sources
LOW_PX = 40  # a source is low compared with all heights this close to it
LOW_M = 2.0  # and it is less than this above the lowest of them
SMOOTHINGS = 8  # means over 3x3 pixels


def reach_px() -> int:
    """Pixels further away than this have no influence on a filled pixel."""
    return FILL_PX + LOW_PX + SMOOTHINGS


def paint_hidden(rgb: np.ndarray, agl_m: np.ndarray, hidden: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Colours uint8 [H,W,C] and heights float32 [H,W] (metres, NaN unknown) with the pixels of hidden [H,W] filled.

    A hidden pixel gets the colours and heights of low visible pixels around it, or of any if none of them is within
    FILL_PX. If no pixel at all is that near, it does not change. If there is a fourth band, its pixels of 0 have no
    data and are not copied.
    """
    rgb, agl_m = rgb.copy(), agl_m.copy()
    seen = ~hidden & (rgb[..., 3:] > 0).all(axis=2)
    known = seen & ~np.isnan(agl_m)
    for source in (_low(agl_m, known), known, seen):
        missing = hidden & np.isnan(agl_m) if source is not seen else hidden & (rgb == 0).all(axis=2)
        if not missing.any() or not source.any():
            continue
        for band in range(rgb.shape[2]):
            rgb[..., band][missing] = _interpolate(rgb[..., band], source)[missing]
        if source is not seen:
            agl_m[missing] = _interpolate(np.where(source, agl_m, np.float32(np.nan)), source)[missing]
    return rgb, agl_m


def _low(agl_m: np.ndarray, known: np.ndarray) -> np.ndarray:
    """bool [H,W]: pixels of known height that do not stand above what is around them."""
    heights_m = np.where(known, agl_m, np.float32(np.inf))
    lowest_m = cv2.erode(heights_m, np.ones((2 * LOW_PX + 1, 2 * LOW_PX + 1), np.uint8))
    return known & (heights_m < lowest_m + LOW_M)


def _interpolate(plane: np.ndarray, source: np.ndarray) -> np.ndarray:
    """A plane [H,W] with values for the pixels near source [H,W]; fillnodata would write into what it is given."""
    return fillnodata(plane.copy(), source, FILL_PX, SMOOTHINGS)
