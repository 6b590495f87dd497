"""Test-time augmentation over symmetries of the square: the image by array operations, the direction by its law."""

import torch
from torch import nn

from geopose.cli import UserError
from geopose.geometry import D4_MATRICES, apply_d4, d4_inverse, fit_scale, transform_direction

VIEWS = {
    "none": ("e",),
    "flips": ("e", "h", "v"),
    "d2": ("e", "h", "v", "r180"),
    "d4": tuple(D4_MATRICES),
}


def views_of(name: str) -> tuple[str, ...]:
    """D4 elements of a named set of views."""
    if name not in VIEWS:
        raise UserError(f"--tta {name} is unknown; there are {', '.join(VIEWS)}")
    return VIEWS[name]


def predict_view(model: nn.Module, image, gsd_m, view: str) -> dict:
    """One view's prediction, turned back to the image's own frame.

    image [B,3,H,W], gsd_m [B]. Returns float32 agl_m and mag_px [B,1,H,W], direction [B,2] of length 1 and
    scale_px_per_m [B], fitted to this view's magnitude and height. Scale and gsd are the same in every view.
    """
    outputs = model(apply_d4(image, view).contiguous(), gsd_m)
    back = d4_inverse(view)
    agl_m, mag_px = (apply_d4(outputs[key].float(), back) for key in ("agl_m", "mag_px"))
    direction = transform_direction(outputs["direction"].float(), D4_MATRICES[back])
    return {
        "agl_m": agl_m,
        "mag_px": mag_px,
        "direction": nn.functional.normalize(direction, dim=-1),
        "scale_px_per_m": fit_scale(mag_px, agl_m)[:, 0],
    }


class PoseMean:
    """Running mean of predictions of one batch: heights and scales averaged, unit directions summed."""

    def __init__(self):
        self.count = 0
        self.sums: dict[str, torch.Tensor] = {}

    def add(self, prediction: dict) -> None:
        """Take in one prediction of predict_view."""
        self.count += 1
        for key in ("agl_m", "direction", "scale_px_per_m"):
            if key in self.sums:
                self.sums[key] += prediction[key]
            else:
                self.sums[key] = prediction[key].clone()

    def compute(self) -> dict:
        """The mean: agl_m [B,1,H,W], scale_px_per_m [B], direction [B,2] of length 1."""
        mean = {key: total / self.count for key, total in self.sums.items()}
        return mean | {"direction": nn.functional.normalize(mean["direction"], dim=-1)}
