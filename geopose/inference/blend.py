"""Combining predictions of one image: from several views, several image sizes and several checkpoints."""

from dataclasses import dataclass, field

import torch
from torch.nn import functional as F


@dataclass
class Blend:
    """Running combination of predictions of one batch.

    Heights, scales and directions are averaged. Directions count with their length, which says how certain the network
    is; normalise=True gives each prediction's direction the length 1 first. Predictions are added in place, one after
    the other, so that memory holds one prediction and the sums.

    combine="median" takes the weighted median of the heights instead of their mean. It has to keep all heights in
    memory. spread=True also computes the standard deviation of the heights.
    """

    combine: str = "mean"
    spread: bool = False
    normalise: bool = False
    weight: float = 0.0
    sums: dict[str, torch.Tensor] = field(default_factory=dict)
    pivot_m: torch.Tensor | None = None
    heights: list[torch.Tensor] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)

    def add(self, prediction: dict, weight: float = 1.0) -> None:
        """Add one prediction with a positive weight.

        prediction: agl_m [B,1,H,W] metres, direction [B,2], scale_px_per_m [B]. A long direction counts more than a
        short one, unless normalise is set.
        """
        if self.normalise:
            prediction = prediction | {"direction": F.normalize(prediction["direction"], dim=1)}
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
        """The combined prediction.

        agl_m [B,1,H,W] metres, scale_px_per_m [B], direction [B,2], which is short where the predictions disagree or
        are uncertain, and with spread=True spread_m [B,1,H,W] metres.
        """
        agl_m = self.sums["agl_m"] / self.weight if self.combine == "mean" else self._median_height()
        pose = {
            "agl_m": agl_m,
            "scale_px_per_m": self.sums["scale_px_per_m"] / self.weight,
            "direction": self.sums["direction"] / self.weight,
        }
        if self.spread:
            mean = self.sums["deviation"] / self.weight
            pose["spread_m"] = (self.sums["squared_deviation"] / self.weight - mean.square()).clamp(min=0).sqrt()
        return pose

    def _add_deviation(self, agl_m, weight: float) -> None:
        """Sum deviations from the first prediction. They are near 0, so their squares keep their precision."""
        if self.pivot_m is None:
            self.pivot_m = agl_m.clone()
            self.sums |= {name: torch.zeros_like(agl_m) for name in ("deviation", "squared_deviation")}
        deviation = agl_m - self.pivot_m
        self.sums["deviation"].add_(deviation, alpha=weight)
        self.sums["squared_deviation"].addcmul_(deviation, deviation, value=weight)

    def _median_height(self):
        """The middle of the sorted heights, each counted with its weight. Two heights in the middle are averaged."""
        heights, order = torch.stack(self.heights).sort(dim=0)
        weights = torch.tensor(self.weights, device=heights.device)[order]
        passed, half = weights.cumsum(0), self.weight / 2
        # The first height past half of the weight, counted from either end. The two differ when half of the weight
        # falls exactly between two heights.
        lower = (passed < half - 1e-6 * self.weight).sum(0, keepdim=True)
        upper = (passed <= half + 1e-6 * self.weight).sum(0, keepdim=True).clamp(max=len(heights) - 1)
        return ((heights.gather(0, lower) + heights.gather(0, upper)) / 2)[0]
