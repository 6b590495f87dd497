"""Hidden ground in pictures: filled, and hatched so that nobody takes it for something that was seen."""

import numpy as np

LINES = 80  # hatching lines across the longer side of a picture
INK = np.array([255, 150, 30])


def hatch(rgb: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """A picture uint8 [H,W,3] with thin slanted lines over the pixels of hidden [H,W]."""
    apart_px = max(4, max(hidden.shape) // LINES)
    rows, columns = np.indices(hidden.shape)
    lines = hidden & ((rows + columns) % apart_px < max(1, apart_px // 5))
    picture = rgb.copy()
    picture[lines] = (rgb[lines] * 0.3 + INK * 0.7).astype(np.uint8)
    return picture
