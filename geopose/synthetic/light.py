"""Sunlight and skylight, and where shadows fall.

Shadows need no rays. One sweep over the scene, from the sun's side to the other, carries along the height below which
points are in shadow. The resulting raster serves ground, roofs and walls: a point is in shadow if it is lower.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from geopose.synthetic.kernels import kernel


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

    height_m float32 [rows, cols] metres over cells of gsd_m metres.
    """
    sun_x, sun_y = light.sun_direction
    flip_y, flip_x, transpose = sun_y < 0, sun_x < 0, abs(sun_x) > abs(sun_y)
    # Flip and transpose the scene so that the sun is towards larger row numbers, at most 45 degrees off the columns.
    turned = _flipped(height_m, flip_x, flip_y)
    turned = cv2.transpose(turned) if transpose else turned
    major, minor = (abs(sun_x), abs(sun_y)) if transpose else (abs(sun_y), abs(sun_x))
    slope = minor / major
    drop_m = gsd_m / major * light.sun_tan_elevation
    shadow = np.empty_like(turned)
    carried = np.zeros(turned.shape[1] + 2, dtype=np.float32)
    _sweep_shadow(turned, np.float32(slope), np.float32(drop_m), carried, shadow)
    return _flipped(cv2.transpose(shadow) if transpose else shadow, flip_x, flip_y)


def _flipped(raster: np.ndarray, flip_x: bool, flip_y: bool) -> np.ndarray:
    """The raster [rows, cols], mirrored along x, y or both. OpenCV does it several times as fast as NumPy."""
    if not (flip_x or flip_y):
        return raster
    return cv2.flip(raster, -1 if flip_x and flip_y else int(flip_x))


@kernel
def _sweep_shadow(height_m, slope, drop_m, carried, shadow_m):
    """Fill shadow_m from the last row to the first; each row follows from the next one, which is nearer to the sun.

    On the way from row to row the shadow moves by slope columns and sinks by drop_m. carried [cols + 2], zeros: room
    for the row on its way.
    """
    rows, cols = height_m.shape
    for x in range(cols):
        shadow_m[rows - 1, x] = -drop_m
    for y in range(rows - 2, -1, -1):
        for x in range(cols):
            carried[x] = max(height_m[y + 1, x], shadow_m[y + 1, x])
        for x in range(cols):
            shadow_m[y, x] = carried[x] + slope * (carried[x + 1] - carried[x]) - drop_m
