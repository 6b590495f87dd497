"""Test-time augmentation: predict flipped, rotated and resized views of an image, and combine the predictions.

pytorch-toolbelt turns the images and turns the predicted planes back. Scale and direction follow the laws of
geopose/geometry.py: toolbelt's d4_labels_deaugment averages one of the eight views twice and drops another, and its
multi-scale functions leave scale and gsd as they are.
"""

import math
from collections.abc import Sequence

import torch
from pytorch_toolbelt.inference import functional as toolbelt
from torch import nn

from geopose.geometry import D4_MATRICES, d4_inverse, fit_scale, magnitude, transform_direction
from geopose.inference.blend import Blend
from geopose.models.zoom import forward_zoomed, resize

# Elements of geometry.D4_MATRICES, as functions of tensors [B,C,H,W].
TURNS = {
    "e": toolbelt.torch_none,
    "r90": toolbelt.torch_rot90_ccw,
    "r180": toolbelt.torch_rot180,
    "r270": toolbelt.torch_rot90_cw,
    "v": toolbelt.torch_flipud,
    "hvt": toolbelt.torch_transpose_rot180,
    "h": toolbelt.torch_fliplr,
    "t": toolbelt.torch_transpose,
}
VIEWS = {
    "none": ("e",),
    "flips": ("e", "h", "v"),
    "d2": ("e", "h", "v", "r180"),
    "d4": tuple(TURNS),
}


class TTAModel(nn.Module):
    """A PoseModel that predicts several views of each image and combines them. It is called like a PoseModel.

    views: elements of TURNS, for example VIEWS["d4"]. sizes: zoom -> positive weight, see predict_sizes. combine and
    spread: see Blend. Views are predicted one after the other, so memory stays close to that of a single prediction.
    """

    def __init__(
        self,
        model: nn.Module,
        views: Sequence[str] = VIEWS["d4"],
        sizes: dict[float, float] | None = None,
        combine: str = "mean",
        spread: bool = False,
    ):
        super().__init__()
        self.model, self.views, self.sizes = model, tuple(views), sizes or {1.0: 1.0}
        self.combine, self.spread = combine, spread

    def forward(self, image, gsd_m, city: list[str]) -> dict:
        """Combined prediction of all views, in the image's own frame, float32.

        image uint8 or float [B,3,H,W] in 0..255, gsd_m [B], city: B names. Returns agl_m and mag_px [B,1,H,W],
        direction [B,2] as Blend.compute gives it, scale_px_per_m [B], and with spread=True spread_m [B,1,H,W]. mag_px
        is agl_m times the combined scale, so geometry.fit_scale(mag_px, agl_m) is that scale.
        """
        blend = Blend(self.combine, self.spread)
        self.add_views(blend, {"image": image, "gsd_m": gsd_m, "city": city})
        pose = blend.compute()
        return pose | {"mag_px": magnitude(pose["agl_m"], pose["scale_px_per_m"][:, None])}

    def add_views(self, blend: Blend, batch: dict, weight: float = 1.0) -> None:
        """Add the prediction of each view to a blend, which may also hold predictions of other models.

        batch: image, gsd_m and city, as forward takes them.
        """
        for view in self.views:
            blend.add(predict_sizes(self.model, batch, view, self.sizes), weight)


def predict_view(model: nn.Module, batch: dict, view: str = "e", zoom: float = 1.0) -> dict:
    """A PoseModel's prediction of one view at one size, in the image's own frame, float32.

    batch: image [B,3,H,W], gsd_m [B], city (B names). Returns agl_m [B,1,H,W] metres, direction [B,2], whose length
    says how certain the network is, and scale_px_per_m [B], fitted to the view's own magnitudes and heights. Turning an
    image does not change its scale. Enlarging it by zoom multiplies magnitudes by zoom, so forward_zoomed divides them
    again.
    """
    image = TURNS[view](batch["image"]).contiguous(memory_format=torch.channels_last)
    zoom = zoom * model.cfg.input_zoom
    outputs = forward_zoomed(model, image, batch["gsd_m"], batch["city"], zoom)
    back = d4_inverse(view)
    agl_m, mag_px = (TURNS[back](outputs[key].float()) for key in ("agl_m", "mag_px"))
    with torch.autocast(image.device.type, enabled=False):  # autocast would turn directions in half precision
        direction = transform_direction(outputs["direction"].float(), D4_MATRICES[back])
    return {
        "agl_m": agl_m,
        "direction": direction,
        "scale_px_per_m": fit_scale(mag_px, agl_m)[:, 0],
    }


def predict_sizes(model: nn.Module, batch: dict, view: str, sizes: dict[float, float]) -> dict:
    """A PoseModel's prediction of one view, combined from several image sizes. Returns what predict_view returns.

    sizes: zoom -> positive weight. The size nearest to 1 decides the scale alone. Directions are summed with their
    lengths: a thin wall shows the lean at full size only, a high one at a smaller size, and the network is more certain
    where it sees a wall. Heights are the weighted mean of all sizes, with negative heights as 0. Before that, a smaller
    size gets the detail of the nearest size that it cannot resolve itself: it then moves whole roofs and leaves edges
    sharp.
    """
    nearest = min(sizes, key=lambda zoom: abs(math.log(zoom)))
    pose = predict_view(model, batch, view, nearest)
    if len(sizes) == 1:
        return pose
    agl_m = pose["agl_m"].clamp(min=0) * sizes[nearest]
    direction = pose["direction"] * sizes[nearest]
    for zoom, weight in sizes.items():
        if zoom == nearest:
            continue
        other = predict_view(model, batch, view, zoom)
        other_m, direction = other["agl_m"], direction + weight * other["direction"]
        if zoom < nearest:
            resolution = zoom * model.cfg.input_zoom / model.cfg.dense_stride
            other_m = other_m + detail_beyond(pose["agl_m"], resolution)
        agl_m.add_(other_m.clamp(min=0), alpha=weight)
    total = sum(sizes.values())
    return pose | {"agl_m": agl_m / total, "direction": direction / total}


def detail_beyond(values, resolution: float):
    """The part of values [B,1,H,W] that is lost when they shrink to resolution (below 1) times their size."""
    size = tuple(max(1, round(side * resolution)) for side in values.shape[-2:])
    return values - resize(resize(values, size), values.shape[-2:])
