"""Views of a scene: a camera pose, an image size, and the ground point in the middle of the image.

The projection is orthographic and oblique, so all rays of an image are parallel. A few numbers (`Rays`) describe them.
A ray's foot is where it meets flat ground. A point of height h above ground g belongs to the ray with its foot at
g - h * s * d. The convention of s and d is the one of geopose/geometry.py.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from geopose import geometry
from geopose.geometry import Pose
from geopose.synthetic.ground import Scene


@dataclass(frozen=True)
class View:
    """A pose and an image size in pixels; the image's middle looks at ground cell (centre_x, centre_y) of the scene."""

    pose: Pose
    height_px: int
    width_px: int
    centre_x: float
    centre_y: float


class Rays(NamedTuple):
    """The parallel rays of a view, in scene cells. Numba kernels take this tuple as it is.

    The foot of pixel (px, py) is at (x0 + px * cells_per_px, y0 + py * cells_per_px). The ray's point of height h is
    above the cell that is h * cells_per_m cells away from the foot in direction (dx, dy).
    """

    x0: float
    y0: float
    cells_per_px: float
    dx: float
    dy: float
    cells_per_m: float
    inverse_dx: float  # 1 / dx, or 1e9 where dx is 0
    inverse_dy: float


def whole_scene_view(scene: Scene, pose: Pose, height_px: int, width_px: int) -> View:
    """View of the given size whose middle is the scene's middle."""
    rows, cols = scene.height_m.shape
    return View(pose, height_px, width_px, (cols - 1) / 2, (rows - 1) / 2)


def rays_of(view: View, gsd_m: float) -> Rays:
    """Rays of a view over a scene with cells of gsd_m metres."""
    cells_per_px = view.pose.gsd_m / gsd_m
    dx, dy = (float(part) for part in geometry.flow_direction(view.pose.angle_rad))
    return Rays(
        x0=view.centre_x - (view.width_px - 1) / 2 * cells_per_px,
        y0=view.centre_y - (view.height_px - 1) / 2 * cells_per_px,
        cells_per_px=cells_per_px,
        dx=dx,
        dy=dy,
        cells_per_m=float(view.pose.scale_px_per_m * cells_per_px),
        inverse_dx=1.0 / dx if abs(dx) > 1e-9 else 1e9,
        inverse_dy=1.0 / dy if abs(dy) > 1e-9 else 1e9,
    )


def ground_cells(agl_m: np.ndarray, gsd_m: float, view: View) -> tuple[np.ndarray, np.ndarray]:
    """Scene cells (x, y), each [H, W], below the visible points of heights agl_m [H, W]; a cell has gsd_m metres."""
    rays = rays_of(view, gsd_m)
    shift = agl_m * rays.cells_per_m
    x = rays.x0 + np.arange(view.width_px)[None, :] * rays.cells_per_px + shift * rays.dx
    y = rays.y0 + np.arange(view.height_px)[:, None] * rays.cells_per_px + shift * rays.dy
    return x, y
