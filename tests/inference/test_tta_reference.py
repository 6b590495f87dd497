"""TTAModel and Ensemble predict exactly what a plain loop over views predicts, which is written out here."""

from itertools import product

import pytest
import torch
from torch import nn

from geopose.config import BlendConfig, ModelConfig
from geopose.geometry import D4_MATRICES, d4_inverse, fit_scale, transform_direction
from geopose.inference.blend import Blend
from geopose.inference.calibration import Calibration
from geopose.inference.ensemble import Ensemble, Member
from geopose.inference.tta import VIEWS, TTAModel
from geopose.models.model import create_model
from geopose.models.zoom import forward_zoomed, resize

VIEW_SETS = {
    "none": ("e",),
    "flips": ("e", "h", "v"),
    "d2": ("e", "h", "v", "r180"),
    "d4": ("e", "r90", "r180", "r270", "v", "hvt", "h", "t"),
}
SIZES = ({1.0: 1.0}, {0.5: 2.0}, {0.5: 1.0, 1.0: 3.0}, {0.8: 1.0, 1.0: 1.0, 1.25: 2.0})


# --- the reference: rot90, flip and swapaxes of torch, one view after the other -----------------------------------


def turn(image, view):
    """Image [...,H,W] under an element of the square's symmetry group."""
    if view in ("r90", "r180", "r270"):
        return torch.rot90(image, int(view[1:]) // 90, (-2, -1))
    return {
        "e": lambda: image,
        "h": lambda: torch.flip(image, (-1,)),
        "v": lambda: torch.flip(image, (-2,)),
        "t": lambda: torch.swapaxes(image, -1, -2),
        "hvt": lambda: torch.rot90(torch.swapaxes(image, -1, -2), 2, (-2, -1)),
    }[view]()


def expected_view(model, batch, view, zoom):
    image = turn(batch["image"], view).contiguous(memory_format=torch.channels_last)
    zoom = zoom * model.cfg.input_zoom
    outputs = forward_zoomed(model, image, batch["gsd_m"], batch["city"], zoom)
    back = d4_inverse(view)
    agl_m, mag_px = (turn(outputs[key].float(), back) for key in ("agl_m", "mag_px"))
    direction = transform_direction(outputs["direction"].float(), D4_MATRICES[back])
    return {
        "agl_m": agl_m,
        "direction": direction,
        "scale_px_per_m": fit_scale(mag_px, agl_m)[:, 0],
    }


def expected_sizes(model, batch, view, sizes):
    """The scale of the size nearest to 1, and the weighted means of the heights and directions of all."""
    own = min(sizes, key=lambda zoom: max(zoom, 1 / zoom))
    pose = expected_view(model, batch, view, own)
    if len(sizes) == 1:
        return pose
    agl_m, direction = pose["agl_m"].clamp(min=0) * sizes[own], pose["direction"] * sizes[own]
    for zoom, weight in sizes.items():
        if zoom == own:
            continue
        other = expected_view(model, batch, view, zoom)
        other_m, direction = other["agl_m"], direction + weight * other["direction"]
        if zoom < own:
            share = zoom * model.cfg.input_zoom / (1 if model.cfg.refiner_channels else model.cfg.head_stride)
            height, width = pose["agl_m"].shape[-2:]
            coarse = resize(pose["agl_m"], (max(1, round(height * share)), max(1, round(width * share))))
            other_m = other_m + (pose["agl_m"] - resize(coarse, (height, width)))
        agl_m.add_(other_m.clamp(min=0), alpha=weight)
    total = sum(sizes.values())
    return pose | {"agl_m": agl_m / total, "direction": direction / total}


def expected_blend(predictions, weights, combine):
    """Sums in the order of the predictions; the median by repeating each height as often as it weighs."""
    sums = {}
    for prediction, weight in zip(predictions, weights, strict=True):
        for key, value in prediction.items():
            sums[key] = sums[key].add_(value, alpha=weight) if key in sums else value * weight
    total = sum(weights)
    pose = {"scale_px_per_m": sums["scale_px_per_m"] / total, "direction": sums["direction"] / total}
    heights = [p["agl_m"] for p, weight in zip(predictions, weights, strict=True) for _ in range(round(weight))]
    if combine == "mean":
        pose["agl_m"] = sums["agl_m"] / total
    else:
        ordered = torch.stack(heights).sort(dim=0).values
        pose["agl_m"] = (ordered[(len(heights) - 1) // 2] + ordered[len(heights) // 2]) / 2
    return pose | {"spread_m": torch.stack(heights).double().std(dim=0, correction=0).float()}


# --- comparisons --------------------------------------------------------------------------------------------------


def make_model(seed: int, **cfg) -> nn.Module:
    """A small PoseModel with random weights. Its heights are scaled to a mean of 2 m and a deviation of 5 m."""
    small = {"encoder_layers": [0, 1, 2], "decoder_channels": [8, 8], "head_channels": 8, "encoder_weights": "none"}
    torch.manual_seed(seed)
    model = create_model(ModelConfig(**small, **cfg), load_weights=False).eval()
    model.agl_head.register_forward_hook(lambda head, inputs, agl: (agl - agl.mean()) / agl.std() * 5 + 2)
    return model.to(memory_format=torch.channels_last)


MODELS = {
    "plain": {},
    "cities": {"cities": ["ARG", "JAX"]},
    "half resolution": {"input_zoom": 0.5, "head_stride": 2},
    "refined": {"head_stride": 2, "refiner_channels": 4},
    "larger": {"input_zoom": 1.3, "scale_head": True, "cities": ["JAX"]},
}


@pytest.fixture(scope="module")
def models():
    return {name: [make_model(seed, **cfg) for seed in (0, 1)] for name, cfg in MODELS.items()}


@pytest.fixture(scope="module")
def batch():
    """Two images that are neither square nor a multiple of the encoder's stride."""
    image = torch.randint(0, 256, (2, 3, 37, 54), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return {"image": image, "gsd_m": torch.full((2,), 0.4), "city": ["ARG", "JAX"]}


def assert_same(pose: dict, expected: dict, combine: str) -> None:
    """Bitwise, except for the spread, which the blend sums in another way."""
    for key in ("agl_m", "scale_px_per_m", "direction"):
        torch.testing.assert_close(pose[key], expected[key], rtol=0, atol=0, msg=f"{key}, {combine}")
    torch.testing.assert_close(pose["spread_m"], expected["spread_m"], rtol=1e-3, atol=1e-4)


CASES = [("cities", views, sizes) for views in VIEW_SETS for sizes in SIZES]
CASES += [(name, "d4", sizes) for name in MODELS if name != "cities" for sizes in (SIZES[0], SIZES[2])]


@pytest.mark.parametrize(("name", "views", "sizes"), CASES, ids=str)
@torch.inference_mode()
def test_a_model_in_several_views_predicts_what_the_plain_loop_does(models, batch, name, views, sizes):
    model = models[name][0]
    assert VIEWS[views] == VIEW_SETS[views]
    predictions = [expected_sizes(model, batch, view, sizes) for view in VIEW_SETS[views]]
    for combine in ("mean", "median"):
        expected = expected_blend(predictions, [1.0] * len(predictions), combine)
        pose = TTAModel(model, VIEWS[views], sizes, combine, spread=True)(**batch)
        assert_same(pose, expected, combine)
        assert expected["agl_m"].std() > 0.01


@pytest.mark.parametrize("combine", ["mean", "median"])
@pytest.mark.parametrize(("views", "sizes"), [("d4", SIZES[0]), ("flips", SIZES[2])])
@torch.inference_mode()
def test_an_ensemble_counts_each_view_of_each_model(models, batch, views, sizes, combine):
    """Two models with weights 3 and 1: as if all their views were predictions of one model."""
    pair, weights = models["cities"], (3.0, 1.0)
    every = list(product(zip(pair, weights, strict=True), VIEW_SETS[views]))
    predictions = [expected_sizes(model, batch, view, sizes) for (model, _), view in every]
    expected = expected_blend(predictions, [weight for (_, weight), _ in every], combine)

    cfg = BlendConfig(tta=views, zooms=tuple(sizes), zoom_weights=tuple(sizes.values()), combine=combine)
    ensemble = Ensemble([], cfg, torch.device("cpu"), Calibration(), spread=True)
    ensemble.members = [Member(lambda model=model: model, w, 0.0) for model, w in zip(pair, weights, strict=True)]
    assert_same(ensemble.predict(batch | {"id": ["a", "b"]}), expected, combine)

    blend = Blend(combine, spread=True)
    for model, weight in zip(pair, weights, strict=True):
        TTAModel(model, VIEWS[views], sizes).add_views(blend, batch, weight)
    assert_same(blend.compute(), expected, combine)
