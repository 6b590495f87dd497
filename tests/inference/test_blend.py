"""Combining predictions: means, directions on the circle, weighted medians, spread."""

import numpy as np
import pytest
import torch

from geopose.inference.blend import Blend


def prediction_of(height, direction=(1.0, 0.0), scale=1.0):
    return {
        "agl_m": torch.full((1, 1, 2, 2), float(height)),
        "direction": torch.tensor([direction]),
        "scale_px_per_m": torch.tensor([float(scale)]),
    }


def test_directions_are_averaged_on_the_circle():
    blend = Blend()
    for degrees in (350.0, 20.0):
        radians = np.radians(degrees)
        blend.add(prediction_of(1, (float(np.sin(radians)), float(np.cos(radians)))))
    mean, agreement = np.radians(5.0), np.cos(np.radians(15.0))  # a short mean: the two differ by 30 degrees
    expected = torch.tensor([[np.sin(mean), np.cos(mean)]]).float() * float(agreement)
    torch.testing.assert_close(blend.compute()["direction"], expected)


def test_predictions_count_by_their_weights():
    blend = Blend()
    blend.add(prediction_of(10, scale=1), weight=3.0)
    blend.add(prediction_of(20, scale=2), weight=1.0)
    pose = blend.compute()
    torch.testing.assert_close(pose["agl_m"], torch.full((1, 1, 2, 2), 12.5))
    torch.testing.assert_close(pose["scale_px_per_m"], torch.tensor([1.25]))
    assert "spread_m" not in pose


def test_the_spread_is_the_weighted_standard_deviation():
    """Also around a large height, where a plain sum of squares loses its precision."""
    heights, weights = np.array([300.01, 300.03, 300.0]), np.array([1.0, 2.0, 3.0])
    blend = Blend(spread=True)
    for height, weight in zip(heights, weights, strict=True):
        blend.add(prediction_of(height), weight=float(weight))
    expected = np.sqrt(np.cov(heights, aweights=weights, ddof=0))
    torch.testing.assert_close(
        blend.compute()["spread_m"], torch.full((1, 1, 2, 2), float(expected)), rtol=5e-3, atol=0
    )


@pytest.mark.parametrize(
    ("heights", "weights", "expected"),
    [
        ([5, 1, 9], [1, 1, 1], 5),
        ([5, 1, 9, 100], [1, 1, 1, 1], 7),
        ([1, 9], [3, 1], 1),
        ([1, 9], [1, 1], 5),
        ([1, 2, 3, 50], [1, 1, 1, 10], 50),
        ([4], [2], 4),
    ],
)
def test_the_median_of_heights_counts_each_by_its_weight(heights, weights, expected):
    blend = Blend("median")
    for height, weight in zip(heights, weights, strict=True):
        blend.add(prediction_of(height), weight=float(weight))
    torch.testing.assert_close(blend.compute()["agl_m"], torch.full((1, 1, 2, 2), float(expected)))


def test_a_normalised_direction_counts_as_much_as_any_other():
    """A long and a short direction at a right angle: their sum points near the long one, or halfway."""
    for normalise, expected in ((False, (0.4, 0.1)), (True, (0.5, 0.5))):
        blend = Blend(normalise=normalise)
        blend.add(prediction_of(1, (0.8, 0.0)))
        blend.add(prediction_of(1, (0.0, 0.2)))
        torch.testing.assert_close(blend.compute()["direction"], torch.tensor([expected]))
