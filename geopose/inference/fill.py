"""Hidden ground painted with the ground around it, so that an image without lean has no holes.

What is hidden is low: something taller stood in front of it. So only the lowest of the visible pixels around a hidden
region are its sources, and not the roof beside it. The colours between the sources are found by natural neighbours:
every pixel gets the colour of its nearest source, and a hidden pixel gets the mean of these colours around it, over an
area that grows with its distance from its own source. Its sources thus count by the area in which they are the nearest.

Source: Park et al., Discrete Sibson Interpolation, IEEE TVCG 12(2), 2006. There the areas are circles as wide as the
distance; here they are squares, and wider.
"""

import cv2
import numpy as np

FILL_PX = 100  # largest distance of filled ground from its sources
WIDTH = 1.5  # half of the side of a hidden pixel's area, in units of its distance from its nearest source
WIDEST_PX = 24  # and at most
LOW_PX = 40  # a source is low compared with all heights this close to it
LOW_M = 2.0  # and it is less than this above the lowest of them
FRACTIONS = 1024  # of a metre. Sums of such heights are exact, so that blocks give what the whole gives


def reach_px() -> int:
    """Pixels further away than this have no influence on a filled pixel.

    The corner of its area is sqrt(2) * WIDEST_PX away, and the nearest source of this corner is further from it than
    FILL_PX by at most the same.
    """
    return FILL_PX + 3 * WIDEST_PX + LOW_PX


def paint_hidden(rgb: np.ndarray, agl_m: np.ndarray, hidden: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Colours uint8 [H,W,C] and heights float32 [H,W] (metres, NaN unknown) with the pixels of hidden [H,W] filled.

    A hidden pixel gets the colours and heights of low visible pixels around it, or of any if none of them is within
    FILL_PX. If no pixel at all is that near, it does not change. If there is a fourth band, its pixels of 0 have no
    data and are not copied.
    """
    rgb, agl_m, missing = rgb.copy(), agl_m.copy(), hidden
    seen = ~hidden & (rgb[..., 3:] > 0).all(axis=2)
    known = seen & ~np.isnan(agl_m)
    planes = np.dstack([rgb, np.rint(np.where(known, agl_m, 0) * FRACTIONS) / FRACTIONS]).astype(np.float32)
    for source in (_low(agl_m, known), known, seen):
        if not missing.any():
            break
        found, means = _interpolate(planes, source, missing)
        rgb[found] = np.rint(means[:, :-1])
        if source is not seen:
            agl_m[found] = means[:, -1]
        missing = missing & ~found
    return rgb, agl_m


def _low(agl_m: np.ndarray, known: np.ndarray) -> np.ndarray:
    """bool [H,W]: pixels of known height that do not stand above what is around them."""
    heights_m = np.where(known, agl_m, np.float32(np.inf))
    lowest_m = cv2.erode(heights_m, np.ones((2 * LOW_PX + 1, 2 * LOW_PX + 1), np.uint8))
    return known & (heights_m < lowest_m + LOW_M)


def _interpolate(planes: np.ndarray, source: np.ndarray, missing: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values of planes float32 [H,W,C] between the pixels of source [H,W].

    Returns which of the pixels missing [H,W] have a source within FILL_PX, bool [H,W], and their N values [N,C].
    """
    no_source = (~source).astype(np.uint8)
    away_px, labels = cv2.distanceTransformWithLabels(no_source, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    pixel_of_label = np.zeros(labels.max() + 1, np.int64)
    pixel_of_label[labels[source]] = np.flatnonzero(source)
    nearest = planes.reshape(-1, planes.shape[2])[pixel_of_label[labels]]
    found = missing & (away_px <= FILL_PX) & source.any()
    half_px = np.clip(WIDTH * away_px[found], 1, WIDEST_PX).astype(np.int64)
    (top, bottom), (left, right) = (
        (np.maximum(at - half_px, 0), np.minimum(at + half_px + 1, length))
        for at, length in zip(np.nonzero(found), found.shape, strict=True)
    )
    sums = cv2.integral(nearest)
    areas = (bottom - top) * (right - left)
    totals = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
    return found, totals / areas[:, None]
