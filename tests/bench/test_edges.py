"""The probe of edges: which pixels are near a step, and what it says of heights that are wrong there."""

import numpy as np
import pytest
from helpers import RELEASED

from geopose.bench import edges
from geopose.synthetic.dataset import Options


def brute_force_near(agl_m: np.ndarray) -> np.ndarray:
    height, width = agl_m.shape
    steps = []
    for row in range(height):
        for column in range(width):
            window = agl_m[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
            window = window[~np.isnan(window)]
            if window.size and window.max() - window.min() > edges.STEP_M:
                steps.append((row, column))
    rows, columns = np.indices(agl_m.shape)
    near = np.zeros(agl_m.shape, bool)
    for row, column in steps:
        near |= np.hypot(rows - row, columns - column) <= edges.NEAR_PX
    return near


def test_near_a_step():
    rng = np.random.default_rng(0)
    agl_m = rng.integers(0, 2, (6, 8)).repeat(9, 0).repeat(9, 1) * 2.0 + rng.uniform(0, 0.9, (54, 72))
    agl_m[20:40, 30:50] += 10
    agl_m[rng.random(agl_m.shape) < 0.1] = np.nan
    near = edges.near_step(agl_m)
    assert np.mean(near == brute_force_near(agl_m)) > 0.99  # the discs of OpenCV differ from circles in single pixels
    assert 0.1 < near.mean() < 0.9


@pytest.mark.parametrize(("blurred_px", "factor"), [(9, 3.0), (1, 0.0)])
def test_blurred_heights_are_wrong_near_steps(monkeypatch, blurred_px, factor):
    monkeypatch.setattr(edges, "TILES", Options(train=0, test=4, size=128, seed=12))
    monkeypatch.setattr(edges, "load_run", lambda run: None)
    blurred = lambda ensemble, seen: edges.cv2.blur(np.nan_to_num(seen.agl_m), (blurred_px, blurred_px))  # noqa: E731
    monkeypatch.setattr(edges, "predict_heights", blurred)
    figures = edges.probe_edges(RELEASED)
    assert figures["near_rmse_m"] >= factor * figures["far_rmse_m"]
    assert (figures["near_rmse_m"] > 0.3) == (blurred_px > 1)
    assert 0.05 < figures["near_share"] < 0.9
