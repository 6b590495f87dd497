"""Test-time augmentation: views of an image under symmetries of the square and zooms, and how their answers join."""

import math
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn import functional as F

from geopose.geometry import D4_MATRICES, apply_d4, d4_inverse, fit_scale, transform_direction
from geopose.models.zoom import forward_zoomed, input_zoom

VIEWS = {
    "none": ("e",),
    "flips": ("e", "h", "v"),
    "d2": ("e", "h", "v", "r180"),
    "d4": tuple(D4_MATRICES),
}


def predict_view(model: nn.Module, batch: dict, view: str = "e", zoom: float = 1.0) -> dict:
    """One view's prediction in the image's own frame, float32.

    batch: image [B,3,H,W], gsd_m [B], city (B names); all of one gsd where the model resamples to a reference gsd.
    Returns agl_m [B,1,H,W] metres, direction [B,2] of length 1 and scale_px_per_m [B], fitted to the view's own
    magnitude and height. A turned view's direction turns back by the law of its matrix; its scale needs no change. A
    view enlarged by zoom has its magnitudes, and so its scale, divided by zoom.
    """
    image = apply_d4(batch["image"], view).contiguous(memory_format=torch.channels_last)
    zoom = zoom * input_zoom(model.cfg, float(batch["gsd_m"][0]))
    outputs = forward_zoomed(model, image, batch["gsd_m"], batch["city"], zoom)
    back = d4_inverse(view)
    agl_m, mag_px = (apply_d4(outputs[key].float(), back) for key in ("agl_m", "mag_px"))
    with torch.autocast(image.device.type, enabled=False):  # it would turn directions in half precision
        direction = transform_direction(outputs["direction"].float(), D4_MATRICES[back])
    return {
        "agl_m": agl_m,
        "direction": nn.functional.normalize(direction, dim=-1),
        "scale_px_per_m": fit_scale(mag_px, agl_m)[:, 0],
    }


def predict_sizes(model: nn.Module, batch: dict, view: str, sizes: dict[float, float]) -> dict:
    """One view's prediction, as predict_view's, at several sizes: zoom -> positive weight.

    Scale and direction are those of the size nearest to the image's own, for lean shows in thin walls. To the heights
    of smaller ones is added what that one shows beyond their resolution, so that they move whole roofs and leave edges
    sharp. The heights are the weighted mean of all, each taken as 0 where it is below ground.
    """
    own = min(sizes, key=lambda zoom: abs(math.log(zoom)))
    pose = predict_view(model, batch, view, own)
    if len(sizes) == 1:
        return pose
    agl_m = pose["agl_m"].clamp(min=0) * sizes[own]
    for zoom, weight in sizes.items():
        if zoom == own:
            continue
        other_m = predict_view(model, batch, view, zoom)["agl_m"]
        if zoom < own:
            resolution = zoom * input_zoom(model.cfg, float(batch["gsd_m"][0])) / model.cfg.head_stride
            other_m = other_m + detail_beyond(pose["agl_m"], resolution)
        agl_m.add_(other_m.clamp(min=0), alpha=weight)
    return pose | {"agl_m": agl_m / sum(sizes.values())}


def detail_beyond(values, resolution: float):
    """What of values [B,1,H,W] gets lost when they shrink to a share (resolution) of their size and grow back."""
    shape = values.shape[-2:]
    size = [max(1, round(side * resolution)) for side in shape]
    shrunken = F.interpolate(values, size=size, mode="bilinear", align_corners=False, antialias=True)
    return values - F.interpolate(shrunken, size=shape, mode="bilinear", align_corners=False)


@dataclass
class Blend:
    """Predictions of one batch joined: heights and scales averaged, directions of length 1 summed and normalised.

    combine="median" takes the weighted median of the heights instead; it alone has to hold every prediction. spread
    asks for the heights' standard deviation as well.
    """

    combine: str = "mean"
    spread: bool = False
    weight: float = 0.0
    sums: dict[str, torch.Tensor] = field(default_factory=dict)
    pivot_m: torch.Tensor | None = None
    heights: list[torch.Tensor] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)

    def add(self, prediction: dict, weight: float = 1.0) -> None:
        """Take in one prediction of predict_view or predict_sizes with a positive weight."""
        self.weight += weight
        summed = ("direction", "scale_px_per_m")
        if self.spread:
            self._add_deviation(prediction["agl_m"], weight)
        if self.combine == "median":
            self.heights.append(prediction["agl_m"])
            self.weights.append(weight)
        else:
            summed = ("agl_m", *summed)
        for key in summed:
            if key in self.sums:
                self.sums[key].add_(prediction[key], alpha=weight)
            else:
                self.sums[key] = prediction[key] * weight

    def compute(self) -> dict:
        """agl_m [B,1,H,W], scale_px_per_m [B], direction [B,2] of length 1; spread_m [B,1,H,W] where asked for."""
        agl_m = self.sums["agl_m"] / self.weight if self.combine == "mean" else self._median_height()
        pose = {
            "agl_m": agl_m,
            "scale_px_per_m": self.sums["scale_px_per_m"] / self.weight,
            "direction": nn.functional.normalize(self.sums["direction"], dim=-1),
        }
        if self.spread:
            mean = self.sums["deviation"] / self.weight
            pose["spread_m"] = (self.sums["squared_deviation"] / self.weight - mean.square()).clamp(min=0).sqrt()
        return pose

    def _add_deviation(self, agl_m, weight: float) -> None:
        """Sums of deviations from the first prediction, which lie near 0, so that their squares lose no precision."""
        if self.pivot_m is None:
            self.pivot_m = agl_m.clone()
            self.sums |= {name: torch.zeros_like(agl_m) for name in ("deviation", "squared_deviation")}
        deviation = agl_m - self.pivot_m
        self.sums["deviation"].add_(deviation, alpha=weight)
        self.sums["squared_deviation"].addcmul_(deviation, deviation, value=weight)

    def _median_height(self):
        """The middle of the sorted heights, each counted by its weight; the mean of two that share the middle."""
        heights, order = torch.stack(self.heights).sort(dim=0)
        weights = torch.tensor(self.weights, device=heights.device)[order]
        passed, half = weights.cumsum(0), self.weight / 2
        # The first to pass half the weight from either end; they differ when the half falls between two heights.
        lower = (passed < half - 1e-6 * self.weight).sum(0, keepdim=True)
        upper = (passed <= half + 1e-6 * self.weight).sum(0, keepdim=True).clamp(max=len(heights) - 1)
        return ((heights.gather(0, lower) + heights.gather(0, upper)) / 2)[0]
