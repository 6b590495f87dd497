"""Sunlight and skylight, and where shadows fall.

Shadows need no rays. One sweep over the scene, from the sun's side to the other, carries along the height below which
points are in shadow. The resulting raster serves ground, roofs and walls: a point is in shadow if it is lower.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from geopose.synthetic.kernels import kernel

STEP_CELLS = 2.0  # a step between neighbouring cells that is no roof slope, in cells


@dataclass(frozen=True)
class Light:
    """Direction and strength of the light on a scene.

    sun_direction is the horizontal unit vector (dx, dy) towards the sun in image axes, sun_tan_elevation the tangent
    of the sun's elevation. A wall that faces away from the sun is brighter than the ground in its shadow: the brighter
    half of the sky and the sunlit surroundings shine on the wall.
    """

    sun_direction: tuple[float, float]
    sun_tan_elevation: float
    sky: float = 0.30  # share of the light on open flat ground that comes from the sky and remains in shadow
    wall: float = 0.30  # light on walls from sky and surroundings, as a share of all light on open flat ground


def shadow_height(height_m: np.ndarray, gsd_m: float, light: Light) -> np.ndarray:
    """Height below which the points over a cell are in shadow, float32 [rows, cols] metres.

    height_m float32 [rows, cols] metres over cells of gsd_m metres. It is overwritten, often with the result.
    """
    sun_x, sun_y = light.sun_direction
    transpose = abs(sun_x) > abs(sun_y)
    # Transpose the scene so that the shadow moves along the rows by less than a column from row to row.
    turned = cv2.transpose(height_m) if transpose else height_m
    minor, major = (sun_y, sun_x) if transpose else (sun_x, sun_y)
    slope, drop_m = abs(minor) / abs(major), gsd_m / abs(major) * light.sun_tan_elevation
    carried = np.zeros((2, turned.shape[1] + 2), dtype=np.float32)
    step_m = np.float32(STEP_CELLS * gsd_m)
    _sweep_shadow(turned, np.float32(slope), np.float32(drop_m), step_m, major >= 0, minor >= 0, carried)
    return cv2.transpose(turned) if transpose else turned


@kernel
def _sweep_shadow(height_m, slope, drop_m, step_m, sun_down, sun_right, carried):
    """Turn height_m into the shadow's height, row by row from the sun's side. Each row follows from the one before.

    On the way from row to row the shadow moves by slope columns and sinks by drop_m. Between two columns that differ by
    less than step_m it is interpolated, so that roof slopes are evenly lit. At larger steps the whole column counts
    that is nearest to the way since the first row: interpolating there would blur the sides of a shadow more and more.
    sun_down and sun_right say whether the sun is towards larger rows and columns. carried [2, cols + 2], zeros: room
    for the higher of surface and shadow in the row before and in this row, with a margin at both ends.
    """
    rows, cols = height_m.shape
    for step in range(rows):
        y = rows - 1 - step if sun_down else step
        before, here = carried[step % 2], carried[1 - step % 2]
        aside = int(slope * step + np.float32(0.5)) - int(slope * (step - 1) + np.float32(0.5)) if step > 0 else 0
        beside = 2 if sun_right else 0
        for x in range(cols):
            shadow_m = -drop_m
            if step > 0:
                ahead_m, beside_m = before[x + 1], before[x + beside]
                if abs(beside_m - ahead_m) < step_m:
                    shadow_m = ahead_m + slope * (beside_m - ahead_m) - drop_m
                else:
                    shadow_m = (beside_m if aside else ahead_m) - drop_m
            here[x + 1] = max(height_m[y, x], shadow_m)
            height_m[y, x] = shadow_m
