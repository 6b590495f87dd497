"""Test-time augmentation: no set of views changes the prediction of a model that is equivariant by construction."""

import pytest
import torch
from torch import nn

from geopose.config import TTA, ModelConfig
from geopose.geometry import D4_MATRICES, fit_scale
from geopose.inference.blend import Blend
from geopose.inference.tta import TURNS, VIEWS, TTAModel, predict_sizes, predict_view


class ReadsTheAnswer(nn.Module):
    """The first two bands hold height and lean in metres; the mean gradient of the third is the direction."""

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


def make_scene(smooth: bool, side: int = 64):
    """A batch of 2 square images that contain their answer: a height, a scale and a direction each."""
    y, x = torch.meshgrid(torch.arange(float(side)), torch.arange(float(side)), indexing="ij")
    noise = torch.rand(2, side, side, generator=torch.Generator().manual_seed(0)) * 30
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
    weighted = Blend(combine)
    for number, view in enumerate(VIEWS[name]):
        TTAModel(ReadsTheAnswer(), (view,)).add_views(weighted, batch, weight=1.0 + number)
    for pose in (TTAModel(ReadsTheAnswer(), VIEWS[name], combine=combine)(**batch), weighted.compute()):
        torch.testing.assert_close(pose["agl_m"][:, 0], height)
        torch.testing.assert_close(pose["scale_px_per_m"], scale)
        torch.testing.assert_close(pose["direction"], direction, atol=1e-4, rtol=0)


def test_one_view_gives_what_the_model_gives():
    """TTAModel takes a model's place: the same inputs, and outputs of the same names."""
    batch, _, scale, _ = make_scene(smooth=False)
    outputs, pose = ReadsTheAnswer()(**batch), TTAModel(ReadsTheAnswer(), ("e",))(**batch)
    assert set(pose) == {*outputs, "scale_px_per_m"}  # no spread unless it is asked for
    torch.testing.assert_close(pose["agl_m"], outputs["agl_m"], rtol=0, atol=0)
    torch.testing.assert_close(pose["mag_px"], outputs["mag_px"])
    torch.testing.assert_close(fit_scale(pose["mag_px"], pose["agl_m"])[:, 0], scale)
    torch.testing.assert_close(pose["direction"], outputs["direction"])


@pytest.mark.parametrize("zoom", [0.4, 0.8, 1.25, 2.0])
@pytest.mark.parametrize("view", ["e", "h", "r90", "hvt"])
def test_zoomed_views_come_back_in_the_images_own_frame(view, zoom):
    """Heights, scale and direction are those of the image at every size that the network sees."""
    batch, height, scale, direction = make_scene(smooth=True, side=160)
    model = ReadsTheAnswer()
    prediction = predict_view(model, batch, view, zoom)
    image, gsd_m = model.seen[0]
    seen_px = {0.4: 64, 0.8: 128, 1.25: 192, 2.0: 320}[zoom]  # whole strides of 32 px
    assert image.shape[-2:] == (seen_px, seen_px)
    torch.testing.assert_close(gsd_m, torch.full((2,), GSD_M * 160 / seen_px))
    inside = (slice(None), slice(8, -8), slice(8, -8))
    torch.testing.assert_close(prediction["agl_m"][:, 0][inside], height[inside], atol=0.05, rtol=0)
    torch.testing.assert_close(prediction["scale_px_per_m"], scale, rtol=1e-4, atol=0)
    torch.testing.assert_close(nn.functional.normalize(prediction["direction"]), direction, atol=5e-3, rtol=0)


class KnowsTheScene(nn.Module):
    """Answers for a scene of one height and flow, whatever the sides of the image that it is shown."""

    cfg = ModelConfig()

    def __init__(self, sides: tuple[int, int], height_m: float, flow_px_per_m: tuple[float, float]):
        super().__init__()
        self.sides, self.height_m, self.flow_px_per_m = sides, height_m, flow_px_per_m

    def forward(self, image, gsd_m, city, native_gsd_m=None):
        y_zoom, x_zoom = (seen / own for seen, own in zip(image.shape[-2:], self.sides, strict=True))
        self.zoom = (x_zoom * y_zoom) ** 0.5
        torch.testing.assert_close(gsd_m * self.zoom, torch.full_like(gsd_m, GSD_M))
        flow = torch.tensor([[self.flow_px_per_m[0] * x_zoom, self.flow_px_per_m[1] * y_zoom]])
        agl_m = torch.full((1, 1, *image.shape[-2:]), self.height_m)
        return {"agl_m": agl_m, "mag_px": agl_m * flow.norm(), "direction": 0.3 * flow / flow.norm()}


@pytest.mark.parametrize("sides", [(64, 96), (489, 526), (75, 200)])
@pytest.mark.parametrize("zoom", [0.35, 0.7, 1.3])
def test_sides_that_are_rounded_differently_leave_the_pose_as_it_is(sides, zoom):
    flow = (0.6, -0.8)
    model = KnowsTheScene(sides, 12.0, flow)
    batch = {"image": torch.zeros(1, 3, *sides), "gsd_m": torch.tensor([GSD_M]), "city": ["ARG"]}
    pose = predict_view(model, batch, "e", zoom)
    assert model.zoom == pytest.approx(zoom, rel=0.35) and model.zoom != 1
    torch.testing.assert_close(pose["agl_m"], torch.full((1, 1, *sides), 12.0))
    torch.testing.assert_close(pose["scale_px_per_m"], torch.ones(1))
    torch.testing.assert_close(pose["direction"], 0.3 * torch.tensor([flow]))  # its length says how certain it is


@pytest.mark.parametrize("input_zoom", [0.5, 1.5])
def test_models_of_another_resolution_answer_in_the_images_frame(input_zoom):
    batch, height, scale, _ = make_scene(smooth=True)
    model = ReadsTheAnswer(input_zoom=input_zoom)
    prediction = predict_view(model, batch)
    seen_gsd_m = float(model.seen[0][1][0])
    assert seen_gsd_m == pytest.approx(GSD_M / input_zoom)
    torch.testing.assert_close(prediction["scale_px_per_m"], scale, rtol=1e-4, atol=0)
    torch.testing.assert_close(prediction["agl_m"][:, 0, 4:-4, 4:-4], height[:, 4:-4, 4:-4], atol=0.05, rtol=0)


@pytest.mark.parametrize("view", ["e", "r90"])
def test_small_sizes_get_the_detail_they_cannot_resolve(view):
    """Heights that are exact at the image's own size do not change: all that a smaller size loses is added again."""
    batch, height, scale, direction = make_scene(smooth=False)
    alone = predict_view(ReadsTheAnswer(), batch, view, 0.5)["agl_m"][:, 0]
    assert (alone - height).abs().mean() > 3
    pose = predict_sizes(ReadsTheAnswer(), batch, view, {0.5: 1.0, 1.0: 2.0})
    torch.testing.assert_close(pose["agl_m"][:, 0], height, atol=2e-2, rtol=0)
    torch.testing.assert_close(pose["scale_px_per_m"], scale)
    torch.testing.assert_close(nn.functional.normalize(pose["direction"]), direction, atol=1e-4, rtol=0)


class KnowsOneSize(ReadsTheAnswer):
    """Like ReadsTheAnswer for an image of GSD_M. At other sizes: flat ground and a short opposite direction."""

    def forward(self, image, gsd_m, city, native_gsd_m=None):
        outputs = super().forward(image, gsd_m, city, native_gsd_m)
        if native_gsd_m is None:
            return outputs
        return outputs | {"agl_m": outputs["agl_m"] * 0, "direction": -0.1 * outputs["direction"]}


def test_sizes_are_combined_by_weight():
    """A roof that a small view predicts as ground gets lower by that view's share, and its edges stay sharp."""
    batch, _, scale, direction = make_scene(smooth=False)
    roof = torch.zeros(2, 1, 64, 64)
    roof[..., 8:56, 8:56] = 10.0
    batch["image"][:, :2] = torch.cat([roof, roof * scale.view(2, 1, 1, 1) * GSD_M], dim=1)
    pose = predict_sizes(KnowsOneSize(), batch, "e", {0.5: 1.0, 1.0: 3.0})
    heights = pose["agl_m"][:, 0]
    torch.testing.assert_close(heights[:, 28:36, 28:36], torch.full((2, 8, 8), 7.5), atol=0.05, rtol=0)
    assert (heights[:, 32, 8] > 8).all() and (heights[:, 32, 7] == 0).all()  # the step at the edge
    torch.testing.assert_close(pose["scale_px_per_m"], scale)
    torch.testing.assert_close(nn.functional.normalize(pose["direction"]), direction, atol=1e-4, rtol=0)


def test_a_certain_direction_counts_more_than_an_uncertain_one():
    """The length of a direction is its weight, over sizes, turned views and models."""

    class CertainInSmallViews(ReadsTheAnswer):
        def forward(self, image, gsd_m, city, native_gsd_m=None):
            outputs = super().forward(image, gsd_m, city, native_gsd_m)
            certain, doubtful = torch.tensor([0.0, 0.9]), torch.tensor([0.3, 0.0])
            direction = doubtful if native_gsd_m is None else certain
            return outputs | {"direction": direction.expand(len(image), 2)}

    batch, *_ = make_scene(smooth=True)
    pose = TTAModel(CertainInSmallViews(), ("e",), {1.0: 1.0, 0.5: 1.0})(**batch)
    expected = torch.tensor([[0.15, 0.45]])
    torch.testing.assert_close(pose["direction"], expected.expand(2, 2))


@pytest.mark.parametrize(("sizes", "own"), [((0.5, 1.0, 2.0), 1.0), ((0.5, 1.6), 1.6)])
def test_the_scale_comes_from_the_size_nearest_the_images_own(sizes, own):
    class LeansBySize(ReadsTheAnswer):
        def forward(self, image, gsd_m, city, native_gsd_m=None):
            outputs = super().forward(image, gsd_m, city, native_gsd_m)
            return outputs | {"mag_px": outputs["mag_px"] * gsd_m.view(-1, 1, 1, 1)}

    batch, *_ = make_scene(smooth=True)
    expected = {zoom: predict_view(LeansBySize(), batch, "e", zoom) for zoom in sizes}
    pose = predict_sizes(LeansBySize(), batch, "e", dict.fromkeys(sizes, 1.0))
    scale = {zoom: prediction["scale_px_per_m"] for zoom, prediction in expected.items()}
    torch.testing.assert_close(pose["scale_px_per_m"], scale[own])
    assert not any(torch.allclose(scale[zoom], scale[own], rtol=0.05) for zoom in sizes if zoom != own)


def test_d4_is_eight_different_views_predicted_one_after_the_other():
    batch, *_ = make_scene(smooth=False)
    model = ReadsTheAnswer()
    TTAModel(model, VIEWS["d4"])(**batch)
    seen = [image for image, _ in model.seen]
    assert [len(image) for image in seen] == [len(batch["image"])] * 8  # never stacked in one batch
    assert not any(torch.equal(a, b) for i, a in enumerate(seen) for b in seen[:i])


def test_views_may_be_any_shape():
    batch, height, _, _ = make_scene(smooth=False)
    cut = batch | {"image": batch["image"][..., :31]}
    for view in VIEWS["d4"]:
        torch.testing.assert_close(predict_view(ReadsTheAnswer(), cut, view)["agl_m"][:, 0], height[..., :31])


def test_directions_are_turned_in_float32_inside_autocast():
    batch, *_ = make_scene(smooth=False)
    exact = predict_view(ReadsTheAnswer(), batch, "r90")["direction"]
    with torch.autocast("cpu", torch.bfloat16):
        inside = predict_view(ReadsTheAnswer(), batch, "r90")["direction"]
    assert inside.dtype == torch.float32
    torch.testing.assert_close(inside, exact)


def test_every_name_of_the_config_has_views():
    assert {name: len(views) for name, views in VIEWS.items()} == TTA
    assert tuple(TURNS) == tuple(D4_MATRICES) == VIEWS["d4"]
