"""By how many pixels a translation moved an image. Labels belong to pixels, so it must not."""

import cv2
import numpy as np

PATCH_PX = 64


def moved_px(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Distances [N] in px by which patches of an image moved. before and after: uint8 [H,W,3].

    Phase correlation compares the strengths of edges, because colours change and light and dark may swap. Half of the
    patches count, those with the strongest edges, because smooth ground shows no motion. Images smaller than a patch
    are one patch. An image of one colour has not moved.
    """
    edges = [edge_strength(rgb) for rgb in (before, after)]
    height, width = edges[0].shape
    side = min(PATCH_PX, height, width)
    corners = [(y, x) for y in range(0, height - side + 1, side) for x in range(0, width - side + 1, side)]
    windows = [(slice(y, y + side), slice(x, x + side)) for y, x in corners]
    strength = np.array([edges[0][window].std() for window in windows])
    fade = cv2.createHanningWindow((side, side), cv2.CV_32F)
    if not strength.any():
        return np.zeros(1)
    least = np.median(strength[strength > 0])  # a patch of one colour, such as one without data, shows no motion
    chosen = [window for window, own in zip(windows, strength, strict=True) if own >= least]
    return np.array([np.hypot(*cv2.phaseCorrelate(edges[0][w].copy(), edges[1][w].copy(), fade)[0]) for w in chosen])


def edge_strength(rgb: np.ndarray) -> np.ndarray:
    """Root of the length of the brightness gradient float32 [H,W] of an image uint8 [H,W,3].

    Without the root a few strong edges decide, and a shift of 0.3 px was measured as 0.22 px.
    """
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    return np.sqrt(np.hypot(*(cv2.Sobel(grey, cv2.CV_32F, *order) for order in ((1, 0), (0, 1)))))
