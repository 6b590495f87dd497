"""Errors of predicted heights near steps of the true height, such as roof edges, and away from them.

Soft edges raise the first. So do towers whose height is wrong as a whole, because they have the highest steps.

`python -m geopose bench --probe edges RUN` renders the places of the probe lean, predicts their heights with a run, and
prints the figures as JSON.
"""

from pathlib import Path

import cv2
import numpy as np

from geopose.bench.lean import TILES, load_run, places_of_test_half, predict_heights, see_twice
from geopose.cli import progress

STEP_M = 3.0  # a step is a larger difference of true heights within 3 x 3 pixels
NEAR_PX = 3  # pixels at most this far from a step are near it


def near_step(agl_m: np.ndarray) -> np.ndarray:
    """Pixels [H,W] within NEAR_PX of a step of heights [H,W] in metres. Unknown heights make no step."""
    known = np.where(np.isnan(agl_m), -np.inf, agl_m).astype(np.float32)
    highest = cv2.dilate(known, np.ones((3, 3)))
    lowest = cv2.erode(np.where(np.isnan(agl_m), np.inf, agl_m).astype(np.float32), np.ones((3, 3)))
    step = np.isfinite(highest) & np.isfinite(lowest) & (highest - lowest > STEP_M)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * NEAR_PX + 1, 2 * NEAR_PX + 1))
    return cv2.dilate(step.astype(np.uint8), disc) > 0


def probe_edges(run: Path) -> dict[str, float]:
    """RMSE of heights in metres near steps and elsewhere, and the share of the known pixels that is near steps."""
    ensemble = load_run(run)
    sums = np.zeros((2, 2))  # near, elsewhere: squared errors, pixels
    for place in progress(places_of_test_half(TILES), "places", unit="place"):
        seen = see_twice(place, TILES)
        error_m2 = (predict_heights(ensemble, seen) - seen.agl_m) ** 2
        near, known = near_step(seen.agl_m), ~np.isnan(seen.agl_m)
        for row, chosen in zip(sums, (near & known, ~near & known), strict=True):
            row += error_m2[chosen].sum(dtype=np.float64), chosen.sum()
    rmse_m = np.sqrt(sums[:, 0] / sums[:, 1])
    figures = {"near_rmse_m": rmse_m[0], "far_rmse_m": rmse_m[1], "near_share": sums[0, 1] / sums[:, 1].sum()}
    return {name: round(float(value), 3) for name, value in figures.items()}
