"""Running a network at a resolution other than the image's own: a fixed input zoom, or views at several sizes."""

import math

import torch
from torch.nn import functional as F

from geopose.geometry import stretch_direction

# The coarsest stride of every encoder divides this. Images with such sides are not padded.
WHOLE_STRIDES_PX = 32


def forward_zoomed(model, image, gsd_m, city: list[str], zoom: float) -> dict:
    """Outputs of a PoseModel for the image enlarged by zoom, resized back to the image's own frame.

    image [B,3,H,W], gsd_m [B], city: B names. The enlarged sides are rounded to whole strides, because padding looks
    like walls to the network. So rows and columns may get slightly different zooms. By the law of zoom the network gets
    gsd / zoom, and its flow is divided by zoom. Heights do not change. Returns the same keys as PoseModel.forward.
    """
    sides = tuple(image.shape[-2:])
    strides = (max(1, round(side * zoom / WHOLE_STRIDES_PX)) for side in sides)
    size = sides if zoom == 1 else tuple(count * WHOLE_STRIDES_PX for count in strides)
    if size == sides:
        return model(image, gsd_m, city)
    y_zoom, x_zoom = (new / old for new, old in zip(size, sides, strict=True))
    outputs = model(resize(image.float(), size), gsd_m / math.sqrt(x_zoom * y_zoom), city, native_gsd_m=gsd_m)
    agl_m, mag_px = (resize(outputs[key].float(), sides) for key in ("agl_m", "mag_px"))
    direction, factor = stretch_direction(outputs["direction"].float(), 1 / x_zoom, 1 / y_zoom)
    return outputs | {"agl_m": agl_m, "mag_px": mag_px * factor[:, None, None, None], "direction": direction}


def resize(values, size: tuple[int, int]):
    """Values [B,C,H,W] at another size: bilinear if enlarged, else means over areas, as those of crops in training."""
    if size[0] * size[1] >= values.shape[-2] * values.shape[-1]:
        return F.interpolate(values, size=size, mode="bilinear", align_corners=False)
    sides = tuple(values.shape[-2:])
    if all(old % new == 0 for new, old in zip(size, sides, strict=True)):
        return F.interpolate(values, size=size, mode="area")  # faster, and exact for whole factors only
    rows, columns = (area_weights(new, old).to(values) for new, old in zip(size, sides, strict=True))
    with torch.autocast(values.device.type, enabled=False):  # half precision would round the pixels
        return (rows @ values @ columns.T).contiguous(memory_format=torch.channels_last)


def area_weights(new: int, old: int):
    """Shares [new,old] of the old pixels in each new pixel of a line. OpenCV's INTER_AREA has the same."""
    edges, pixels = torch.linspace(0, old, new + 1, dtype=torch.float64), torch.arange(old)
    covered = torch.minimum(edges[1:, None], pixels + 1) - torch.maximum(edges[:-1, None], pixels)
    return covered.clamp(min=0) * (new / old)
