"""Labels of a teacher for crops without labels, each with a weight that says how well its views agree.

The recipe is that of SynRS3D (Song et al., NeurIPS 2024, arXiv 2406.18151): a height counts where two predictions of
one pixel, of which one sees changed colours, have a ratio below 1.55. Two things differ here. The weight belongs to the
pixel and falls to 0 at that ratio, where SynRS3D gives the share of such pixels to all pixels of the crop. And heights
below GROUND_M count as GROUND_M in the ratio, because near 0 a ratio says nothing: ground agrees with ground, and a
height up to 1.55 m still agrees with it.
"""

import math
from dataclasses import dataclass, replace

import torch

from geopose.geometry import D4_MATRICES, apply_d4, d4_inverse, fit_scale, flow_direction, transform_direction

VIEWS = ("e", "r90", "h", "t", "r180", "r270", "v", "hvt")  # two neighbours see lean and shadows differently
GROUND_M = 1.0
FLAT_PX_PER_M = 0.01  # scales below count as this one: a view straight down shows no lean
LEAST_LENGTH = 0.9  # of a mean direction that counts; two directions 52 degrees apart have it


@dataclass(frozen=True)
class Targets:
    """Labels of a batch of crops and their weights from 0 to 1. No gradient flows into them.

    agl_m, agl_weight [B,1,H,W]; scale_px_per_m, scale_weight [B]; direction [B,2] of length 1, direction_weight [B].
    """

    agl_m: torch.Tensor
    agl_weight: torch.Tensor
    scale_px_per_m: torch.Tensor
    scale_weight: torch.Tensor
    direction: torch.Tensor
    direction_weight: torch.Tensor


@torch.no_grad()
def predict_targets(teacher, batch: dict, views: int, limit: float) -> Targets:
    """What a PoseModel says about a batch of UnlabelledCrops.

    The first, third, ... of VIEWS shows the plain crops and the second, fourth, ... the recoloured ones. The means of
    these halves are compared, and their mean is the label. A pose that is known replaces that of the teacher.
    """
    crops = (batch["plain"], batch["recoloured"])
    seen = [predict_view(teacher, crops[number % 2], batch, view) for number, view in enumerate(VIEWS[:views])]
    one, other = (mean_of(seen[half::2]) for half in (0, 1))
    both = mean_of([one, other])
    targets = Targets(
        both["agl_m"],
        agreement(one["agl_m"], other["agl_m"], limit, GROUND_M),
        both["scale_px_per_m"],
        agreement(one["scale_px_per_m"], other["scale_px_per_m"], limit, FLAT_PX_PER_M),
        *direction_agreement(both["direction"]),
    )
    return with_known_pose(targets, batch["scale_px_per_m"], batch["angle_rad"])


def predict_view(teacher, image, batch: dict, view: str) -> dict:
    """A prediction of turned crops [B,3,H,W], turned back: agl_m [B,1,H,W] at least 0, direction [B,2], scale [B].

    Directions are at most 1 long. A short one means that the teacher is not certain.
    """
    turned = apply_d4(image, view).contiguous(memory_format=torch.channels_last)
    outputs = teacher(turned, batch["gsd_m"], batch["city"], batch["native_gsd_m"])
    back = d4_inverse(view)
    with torch.autocast(image.device.type, enabled=False):  # autocast would turn directions in half precision
        direction = transform_direction(outputs["direction"].float(), D4_MATRICES[back])
        return {
            "agl_m": apply_d4(outputs["agl_m"].float(), back).clamp(min=0),
            "direction": direction / direction.norm(dim=-1, keepdim=True).clamp(min=1),
            "scale_px_per_m": fit_scale(outputs["mag_px"], outputs["agl_m"])[:, 0].clamp(min=0),
        }


def mean_of(predictions: list[dict]) -> dict:
    """The mean of each part of predictions."""
    return {key: torch.stack([prediction[key] for prediction in predictions]).mean(0) for key in predictions[0]}


def agreement(one, other, limit: float, least: float):
    """Weights of two tensors of values of one shape: 1 where they are equal, 0 where one is limit times the other.

    Between, the weight is linear in the logarithm of their ratio. Values below least count as least.
    """
    ratio = (one.clamp(min=least) / other.clamp(min=least)).log().abs()
    return (1 - ratio / math.log(limit)).clamp(min=0)


def direction_agreement(mean):
    """Direction [B,2] of length 1, and its weight [B]: the length of mean [B,2], or 0 if it is below LEAST_LENGTH."""
    length = mean.norm(dim=-1)
    return mean / length.clamp(min=1e-6)[:, None], length * (length >= LEAST_LENGTH)


def with_known_pose(targets: Targets, scale_px_per_m, angle_rad) -> Targets:
    """Targets with the scale and angle [B] of those crops whose pose is known, which count fully. NaN is unknown.

    A view straight down has no direction.
    """
    known = ~torch.isnan(scale_px_per_m)
    return replace(
        targets,
        scale_px_per_m=torch.where(known, scale_px_per_m, targets.scale_px_per_m),
        scale_weight=torch.where(known, 1.0, targets.scale_weight),
        direction=torch.where(known[:, None], flow_direction(angle_rad), targets.direction),
        direction_weight=torch.where(known, (scale_px_per_m > 0).float(), targets.direction_weight),
    )
