"""Test-time augmentation: a model that is equivariant by construction comes out of every set of views unchanged."""

import pytest
import torch
from torch import nn

from geopose.cli import UserError
from geopose.tta import VIEWS, PoseMean, predict_view, views_of


class ReadsTheAnswer(nn.Module):
    """Height and magnitude stand in the first two bands; the mean gradient of the third band is the direction."""

    def forward(self, image, gsd_m):
        image = image.float()
        band = image[:, 2]
        dx = (band[:, :, 1:] - band[:, :, :-1]).mean((1, 2))
        dy = (band[:, 1:] - band[:, :-1]).mean((1, 2))
        return {"agl_m": image[:, :1], "mag_px": image[:, 1:2], "direction": torch.stack([dx, dy], dim=-1)}


@pytest.fixture
def scene():
    """Images float [2,3,48,48] of known height, magnitude = scale * height, and a ramp along the direction."""
    height = torch.rand(2, 48, 48, generator=torch.Generator().manual_seed(0)) * 30
    scale, angle = torch.tensor([0.7, 1.9]), torch.tensor([0.4, 3.7])
    y, x = torch.meshgrid(torch.arange(48.0), torch.arange(48.0), indexing="ij")
    ramp = x * torch.sin(angle).view(2, 1, 1) + y * torch.cos(angle).view(2, 1, 1)
    image = torch.stack([height, height * scale.view(2, 1, 1), ramp], dim=1)
    return image, height, scale, angle


@pytest.mark.parametrize("name", VIEWS)
def test_every_set_of_views_leaves_an_equivariant_model_unchanged(scene, name):
    image, height, scale, angle = scene
    mean = PoseMean()
    for view in views_of(name):
        mean.add(predict_view(ReadsTheAnswer(), image, torch.tensor([0.4, 0.5]), view))
    pose = mean.compute()
    torch.testing.assert_close(pose["agl_m"][:, 0], height)
    torch.testing.assert_close(pose["scale_px_per_m"], scale)
    expected = torch.stack([torch.sin(angle), torch.cos(angle)], dim=-1)
    torch.testing.assert_close(pose["direction"], expected, atol=1e-4, rtol=0)


def test_d4_is_eight_different_views(scene):
    image, *_ = scene
    seen = []

    class Recorder(ReadsTheAnswer):
        def forward(self, image, gsd_m):
            seen.append(image)
            return super().forward(image, gsd_m)

    for view in views_of("d4"):
        predict_view(Recorder(), image, torch.tensor([0.4, 0.5]), view)
    assert len(seen) == 8
    assert not any(torch.equal(a, b) for i, a in enumerate(seen) for b in seen[:i])


def test_views_may_be_any_shape(scene):
    image, height, _, _ = scene
    for view in views_of("d4"):
        prediction = predict_view(ReadsTheAnswer(), image[..., :31], torch.tensor([0.4, 0.5]), view)
        torch.testing.assert_close(prediction["agl_m"][:, 0], height[..., :31])


def test_directions_are_normalised_before_they_are_averaged():
    mean = PoseMean()
    plane = torch.ones(1, 1, 2, 2)
    for direction in ([1.0, 0.0], [0.0, 1.0]):
        unit = {
            "agl_m": plane,
            "mag_px": plane,
            "direction": torch.tensor([direction]),
            "scale_px_per_m": torch.ones(1),
        }
        mean.add(unit)
    torch.testing.assert_close(mean.compute()["direction"], torch.full((1, 2), 0.5**0.5))


def test_an_unknown_set_lists_the_known_ones():
    with pytest.raises(UserError, match="none, flips, d2, d4"):
        views_of("d5")
