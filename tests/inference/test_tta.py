"""Test-time augmentation: a model that is equivariant by construction comes out of every set of views unchanged."""

import numpy as np
import pytest
import torch
from torch import nn

from geopose.config import TTA, ModelConfig
from geopose.inference.tta import VIEWS, Blend, predict_sizes, predict_view


class ReadsTheAnswer(nn.Module):
    """Height and lean in metres stand in the first two bands; the mean gradient of the third is the direction."""

    def __init__(self, **cfg):
        super().__init__()
        self.cfg = ModelConfig(**cfg)
        self.seen = []

    def forward(self, image, gsd_m, city, native_gsd_m=None):
        assert native_gsd_m is None or torch.equal(native_gsd_m, torch.full_like(gsd_m, GSD_M))
        self.seen.append((image, gsd_m))
        image = image.float()
        band = image[:, 2]
        dx = (band[:, :, 1:] - band[:, :, :-1]).mean((1, 2))
        dy = (band[:, 1:] - band[:, :-1]).mean((1, 2))
        lean_px = image[:, 1:2] / gsd_m.view(-1, 1, 1, 1)
        return {"agl_m": image[:, :1], "mag_px": lean_px, "direction": torch.stack([dx, dy], dim=-1)}


GSD_M = 0.4


def make_scene(smooth: bool):
    """A batch of 2 images of 48 x 48 px that hold their answer, and the height, scale and direction in it."""
    y, x = torch.meshgrid(torch.arange(48.0), torch.arange(48.0), indexing="ij")
    noise = torch.rand(2, 48, 48, generator=torch.Generator().manual_seed(0)) * 30
    height = torch.stack([20 + 0.1 * x, 30 + 0.2 * y]) if smooth else noise
    scale, angle = torch.tensor([0.7, 1.9]), torch.tensor([0.4, 3.7])
    direction = torch.stack([torch.sin(angle), torch.cos(angle)], dim=-1)
    ramp = x * direction[:, 0].view(2, 1, 1) + y * direction[:, 1].view(2, 1, 1)
    image = torch.stack([height, height * scale.view(2, 1, 1) * GSD_M, ramp], dim=1)
    batch = {"image": image, "gsd_m": torch.full((2,), GSD_M), "city": ["ARG", "JAX"]}
    return batch, height, scale, direction


@pytest.mark.parametrize("combine", ["mean", "median"])
@pytest.mark.parametrize("name", VIEWS)
def test_every_set_of_views_leaves_an_equivariant_model_unchanged(name, combine):
    batch, height, scale, direction = make_scene(smooth=False)
    blend = Blend(combine)
    for number, view in enumerate(VIEWS[name]):
        blend.add(predict_view(ReadsTheAnswer(), batch, view), weight=1.0 + number)
    pose = blend.compute()
    torch.testing.assert_close(pose["agl_m"][:, 0], height)
    torch.testing.assert_close(pose["scale_px_per_m"], scale)
    torch.testing.assert_close(pose["direction"], direction, atol=1e-4, rtol=0)


@pytest.mark.parametrize("zoom", [0.5, 0.8, 1.25, 2.0])
@pytest.mark.parametrize("view", ["e", "h", "r90", "hvt"])
def test_zoomed_views_come_back_in_the_images_own_frame(view, zoom):
    """Heights, scale and direction are those of the image, whatever size the network saw it at."""
    batch, height, scale, direction = make_scene(smooth=True)
    model = ReadsTheAnswer()
    prediction = predict_view(model, batch, view, zoom)
    image, gsd_m = model.seen[0]
    assert image.shape[-2:] == (round(48 * zoom), round(48 * zoom))
    torch.testing.assert_close(gsd_m, torch.full((2,), GSD_M / zoom))
    inside = (slice(None), slice(4, -4), slice(4, -4))
    torch.testing.assert_close(prediction["agl_m"][:, 0][inside], height[inside], atol=0.05, rtol=0)
    torch.testing.assert_close(prediction["scale_px_per_m"], scale, rtol=1e-4, atol=0)
    torch.testing.assert_close(prediction["direction"], direction, atol=5e-3, rtol=0)


@pytest.mark.parametrize("cfg", [{"input_zoom": 0.5}, {"reference_gsd_m": 0.8}, {"reference_gsd_m": 0.3}])
def test_models_of_another_resolution_answer_in_the_images_frame(cfg):
    batch, height, scale, _ = make_scene(smooth=True)
    model = ReadsTheAnswer(**cfg)
    prediction = predict_view(model, batch)
    seen_gsd_m = float(model.seen[0][1][0])
    assert seen_gsd_m == pytest.approx(cfg.get("reference_gsd_m", GSD_M / 0.5))
    torch.testing.assert_close(prediction["scale_px_per_m"], scale, rtol=1e-4, atol=0)
    torch.testing.assert_close(prediction["agl_m"][:, 0, 4:-4, 4:-4], height[:, 4:-4, 4:-4], atol=0.05, rtol=0)


@pytest.mark.parametrize("view", ["e", "r90"])
def test_small_sizes_get_the_detail_they_cannot_resolve(view):
    """What is known exactly at the image's own size comes out unchanged: all that a smaller one loses is put back."""
    batch, height, scale, direction = make_scene(smooth=False)
    alone = predict_view(ReadsTheAnswer(), batch, view, 0.5)["agl_m"][:, 0]
    assert (alone - height).abs().mean() > 3
    pose = predict_sizes(ReadsTheAnswer(), batch, view, {0.5: 1.0, 1.0: 2.0})
    torch.testing.assert_close(pose["agl_m"][:, 0], height, atol=2e-2, rtol=0)
    torch.testing.assert_close(pose["scale_px_per_m"], scale)
    torch.testing.assert_close(pose["direction"], direction, atol=1e-4, rtol=0)


class KnowsOneSize(ReadsTheAnswer):
    """Sees an image of GSD_M as ReadsTheAnswer does; at other sizes, flat ground that leans elsewhere."""

    def forward(self, image, gsd_m, city, native_gsd_m=None):
        outputs = super().forward(image, gsd_m, city, native_gsd_m)
        if native_gsd_m is None:
            return outputs
        return outputs | {"agl_m": outputs["agl_m"] * 0, "direction": -outputs["direction"]}


def test_sizes_join_by_their_weights_and_the_own_tells_the_pose():
    """A roof that a small view takes for ground sinks by its share, and its edges stay sharp."""
    batch, _, scale, direction = make_scene(smooth=False)
    roof = torch.zeros(2, 1, 48, 48)
    roof[..., 8:40, 8:40] = 10.0
    batch["image"][:, :2] = torch.cat([roof, roof * scale.view(2, 1, 1, 1) * GSD_M], dim=1)
    pose = predict_sizes(KnowsOneSize(), batch, "e", {0.25: 1.0, 1.0: 3.0})
    heights = pose["agl_m"][:, 0]
    torch.testing.assert_close(heights[:, 20:28, 20:28], torch.full((2, 8, 8), 7.5), atol=0.05, rtol=0)
    assert (heights[:, 24, 8] > 8.5).all() and (heights[:, 24, 7] == 0).all()  # the step at the edge
    torch.testing.assert_close(pose["scale_px_per_m"], scale)
    torch.testing.assert_close(pose["direction"], direction, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("sizes", "own"), [((0.5, 1.0, 2.0), 1.0), ((0.5, 1.6), 1.6)])
def test_scale_and_direction_come_from_the_size_nearest_the_images_own(sizes, own):
    class LeansBySize(ReadsTheAnswer):
        def forward(self, image, gsd_m, city, native_gsd_m=None):
            outputs = super().forward(image, gsd_m, city, native_gsd_m)
            turn = torch.stack([gsd_m, torch.ones_like(gsd_m)], dim=-1)
            return outputs | {"direction": turn, "mag_px": outputs["mag_px"] * gsd_m.view(-1, 1, 1, 1)}

    batch, *_ = make_scene(smooth=True)
    expected = {zoom: predict_view(LeansBySize(), batch, "e", zoom) for zoom in sizes}
    pose = predict_sizes(LeansBySize(), batch, "e", dict.fromkeys(sizes, 1.0))
    for key in ("direction", "scale_px_per_m"):
        torch.testing.assert_close(pose[key], expected[own][key])
        assert not any(torch.allclose(expected[z][key], expected[own][key], rtol=0.05) for z in sizes if z != own)


def test_d4_is_eight_different_views():
    batch, *_ = make_scene(smooth=False)
    model = ReadsTheAnswer()
    for view in VIEWS["d4"]:
        predict_view(model, batch, view)
    seen = [image for image, _ in model.seen]
    assert len(seen) == 8
    assert not any(torch.equal(a, b) for i, a in enumerate(seen) for b in seen[:i])


def test_views_may_be_any_shape():
    batch, height, _, _ = make_scene(smooth=False)
    cut = batch | {"image": batch["image"][..., :31]}
    for view in VIEWS["d4"]:
        torch.testing.assert_close(predict_view(ReadsTheAnswer(), cut, view)["agl_m"][:, 0], height[..., :31])


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
    expected = np.radians(5.0)
    torch.testing.assert_close(
        blend.compute()["direction"], torch.tensor([[np.sin(expected), np.cos(expected)]]).float()
    )


def test_weights_count():
    blend = Blend()
    blend.add(prediction_of(10, scale=1), weight=3.0)
    blend.add(prediction_of(20, scale=2), weight=1.0)
    pose = blend.compute()
    torch.testing.assert_close(pose["agl_m"], torch.full((1, 1, 2, 2), 12.5))
    torch.testing.assert_close(pose["scale_px_per_m"], torch.tensor([1.25]))


def test_directions_are_turned_in_float32_inside_autocast():
    batch, *_ = make_scene(smooth=False)
    exact = predict_view(ReadsTheAnswer(), batch, "r90")["direction"]
    with torch.autocast("cpu", torch.bfloat16):
        inside = predict_view(ReadsTheAnswer(), batch, "r90")["direction"]
    assert inside.dtype == torch.float32
    torch.testing.assert_close(inside, exact)


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
def test_weighted_median(heights, weights, expected):
    blend = Blend("median")
    for height, weight in zip(heights, weights, strict=True):
        blend.add(prediction_of(height), weight=float(weight))
    torch.testing.assert_close(blend.compute()["agl_m"], torch.full((1, 1, 2, 2), float(expected)))


def test_every_name_of_the_config_has_views():
    assert tuple(VIEWS) == TTA
