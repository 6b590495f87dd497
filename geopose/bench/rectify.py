"""Rectification: removing the building lean, compared with sorting pixels by height in NumPy."""

import numpy as np
from numba import set_num_threads

from geopose.bench.inputs import Inputs
from geopose.bench.table import Row, format_seconds
from geopose.bench.timing import alternate
from geopose.geometry import flow_direction
from geopose.inference.rectify import Rectified, rectify
from geopose.io.poses import read_vflow
from geopose.io.rasters import read_agl, read_rgb
from geopose.io.tables import read_train_table


def bench_rectify(inputs: Inputs) -> list[Row]:
    """Rectification of a large tile on one core."""
    row = next(read_train_table(inputs.large).itertuples())
    rgb, agl_m, label = read_rgb(row.rgb), read_agl(row.agl), read_vflow(row.vflow, row.agl)
    pose = (label.scale_px_per_m, label.angle_rad)
    set_num_threads(1)
    rectify(rgb, agl_m, *pose)
    ours, common = alternate(
        lambda: rectify(rgb, agl_m, *pose), lambda: rectify_by_sorting(rgb, agl_m, *pose), repeats=5
    )
    item = "rectify 2048 px, against a sort in NumPy"
    return [Row(item, format_seconds(ours), format_seconds(common), common / ours, "ours 250 ms or less")]


def rectify_by_sorting(rgb: np.ndarray, agl_m: np.ndarray, scale_px_per_m: float, angle_rad: float) -> Rectified:
    """The usual way in plain NumPy: write each pixel where it lands, from the lowest to the tallest.

    rgb [H,W,3]; agl_m [H,W] metres; NaN counts as 0. Pixels on which none lands are hidden.
    """
    height, width = agl_m.shape
    heights = np.nan_to_num(agl_m).ravel()
    dx, dy = flow_direction(angle_rad) * scale_px_per_m
    y, x = np.divmod(np.arange(height * width), width)
    ground_x = np.floor(x + heights * dx + 0.5).astype(np.int64)
    ground_y = np.floor(y + heights * dy + 0.5).astype(np.int64)
    inside = (ground_x >= 0) & (ground_x < width) & (ground_y >= 0) & (ground_y < height)
    order = np.argsort(heights, kind="stable")
    order = order[inside[order]]
    landing = ground_y[order], ground_x[order]
    ground = Rectified(np.zeros_like(rgb), np.full(agl_m.shape, np.nan, np.float32), np.ones(agl_m.shape, bool))
    ground.rgb[landing] = rgb.reshape(-1, 3)[order]
    ground.agl_m[landing] = heights[order]
    ground.hidden[landing] = False
    return ground
