"""The geometry convention and its transformation laws: the only home of sin, cos and atan2.

Image x points right, y down. An angle a in [0, 2 pi) means the direction d = (sin a, cos a) = (dx, dy).
A point of height h over the ground pixel g is imaged at p = g - h * scale * d: vertical flow points from
roof to ground. scale_px_per_m * gsd_m is unchanged by zoom and equals tan(off-nadir angle).

Every law follows from one rule. An image operation that moves pixel offsets by a 2x2 similarity matrix M
turns the direction d into M d / z, multiplies scale and magnitude by z and divides gsd by z, where
z = sqrt(|det M|) is its zoom (z > 1 enlarges); heights stay. The matrices of the named operations stand below;
all angles are radians, all functions take floats, numpy arrays or torch tensors alike.
"""

from dataclasses import dataclass

import numpy as np
import torch

METRES_PER_DEGREE = 111_320.0  # of latitude
TWO_PI = 2.0 * np.pi

IDENTITY = np.array([[1.0, 0.0], [0.0, 1.0]])
FLIP_X = np.array([[-1.0, 0.0], [0.0, 1.0]])  # left-right: angle -> -a
FLIP_Y = np.array([[1.0, 0.0], [0.0, -1.0]])  # up-down: angle -> pi - a
TRANSPOSE = np.array([[0.0, 1.0], [1.0, 0.0]])  # angle -> pi/2 - a
ANTI_TRANSPOSE = np.array([[0.0, -1.0], [-1.0, 0.0]])  # angle -> -pi/2 - a


def rot90_matrix(k: int) -> np.ndarray:
    """Matrix [2,2] of numpy's and torch's rot90 by k quarter turns counter-clockwise: angle -> a + k pi/2."""
    return np.linalg.matrix_power(np.array([[0.0, 1.0], [-1.0, 0.0]]), k % 4)


def rotation_matrix(theta_rad: float) -> np.ndarray:
    """Matrix [2,2] of a rotation counter-clockwise as seen (OpenCV's positive angle): angle -> a + theta."""
    sin, cos = np.sin(theta_rad), np.cos(theta_rad)
    return np.array([[cos, sin], [-sin, cos]])


def zoom_matrix(zoom: float) -> np.ndarray:
    """Matrix [2,2] of an enlargement by zoom; a crop c resized to D has zoom D / c, a downsample by n has 1 / n."""
    return np.array([[zoom, 0.0], [0.0, zoom]])


# The eight symmetries of the square by the names Albumentations gives them.
D4_MATRICES = {
    "e": IDENTITY,
    "r90": rot90_matrix(1),
    "r180": rot90_matrix(2),
    "r270": rot90_matrix(3),
    "v": FLIP_Y,
    "hvt": ANTI_TRANSPOSE,
    "h": FLIP_X,
    "t": TRANSPOSE,
}


@dataclass(frozen=True)
class Pose:
    """The image-wide part of geocentric pose. Each field is a float, or an array or tensor [B]."""

    angle_rad: float
    scale_px_per_m: float
    gsd_m: float


def flow_direction(angle_rad):
    """Unit direction (dx, dy) = (sin a, cos a) of vertical flow. angle_rad [...]; returns [..., 2]."""
    lib = _library(angle_rad)
    return lib.stack([lib.sin(angle_rad), lib.cos(angle_rad)], -1)


def direction_angle(direction):
    """Angle in [0, 2 pi) of a direction (dx, dy) of any length. direction [..., 2]; returns [...] radians."""
    return wrap_angle(_library(direction).arctan2(direction[..., 0], direction[..., 1]))


def wrap_angle(angle_rad):
    """The same angle in [0, 2 pi); float rounding of a tiny negative angle cannot yield 2 pi itself."""
    wrapped = angle_rad % TWO_PI
    return _library(angle_rad).where(wrapped >= TWO_PI, wrapped * 0, wrapped)[()]  # [()]: a scalar, no 0-d array


def angle_error_rad(angle_rad, other_rad):
    """Smallest absolute difference of two angles, in [0, pi]."""
    return np.pi - abs(np.pi - wrap_angle(angle_rad - other_rad))


def metres_per_degree(latitude_deg: float) -> float:
    """Side in metres of a square as large as one degree by one degree at a latitude; good to half a percent.

    A degree of longitude shrinks with the latitude; the side is the geometric mean of both.
    """
    return METRES_PER_DEGREE * float(np.sqrt(np.cos(np.radians(latitude_deg))))


def vertical_flow(agl_m, scale_px_per_m, angle_rad):
    """Flow per pixel, roof to ground.

    agl_m [..., H, W] metres, NaN unknown; scale_px_per_m and angle_rad [...]. Returns [..., 2, H, W] (dx, dy) px.
    """
    if isinstance(agl_m, torch.Tensor):
        angle_rad = torch.as_tensor(angle_rad, dtype=agl_m.dtype, device=agl_m.device)
    direction = flow_direction(angle_rad)[..., :, None, None]
    mag_px = magnitude(agl_m, scale_px_per_m)
    return mag_px[..., None, :, :] * direction


def magnitude(agl_m, scale_px_per_m):
    """Length of vertical flow, px. agl_m [..., H, W] metres; scale_px_per_m [...]. Returns [..., H, W]."""
    if isinstance(agl_m, torch.Tensor):
        scale_px_per_m = torch.as_tensor(scale_px_per_m, dtype=agl_m.dtype, device=agl_m.device)
    else:
        scale_px_per_m = np.asarray(scale_px_per_m, dtype=np.result_type(agl_m.dtype, np.float32))
    return agl_m * scale_px_per_m[..., None, None]


def ground_position(x_px, y_px, agl_m, pose: Pose):
    """Where a point seen at (x, y) px with height agl_m stands on the ground: p + h * scale * d."""
    direction = flow_direction(pose.angle_rad)
    shift_px = agl_m * pose.scale_px_per_m
    return x_px + shift_px * direction[..., 0], y_px + shift_px * direction[..., 1]


def image_position(x_px, y_px, agl_m, pose: Pose):
    """Where a point of height agl_m over the ground pixel (x, y) is imaged: g - h * scale * d."""
    return ground_position(x_px, y_px, -agl_m, pose)


def fit_scale(mag_px, agl_m):
    """Least-squares scale in px/m: sum(m * h) / sum(h * h) over the last two axes, in float32 or better.

    mag_px, agl_m [..., H, W]; pixels where either is NaN are left out. Returns [...]; 0 where all heights are 0.
    Source: the second-place write-up of the Overhead Geopose Challenge.
    """
    lib = _library(agl_m)
    if lib is torch:
        mag_px, agl_m = (x.to(torch.promote_types(x.dtype, torch.float32)) for x in (mag_px, agl_m))
    else:
        mag_px, agl_m = (x.astype(np.result_type(x.dtype, np.float32)) for x in (mag_px, agl_m))
    known = ~(lib.isnan(mag_px) | lib.isnan(agl_m))
    zero = lib.zeros_like(agl_m)
    mag_px, agl_m = lib.where(known, mag_px, zero), lib.where(known, agl_m, zero)
    squares = (agl_m * agl_m).sum((-2, -1))
    products = (mag_px * agl_m).sum((-2, -1))
    return products / lib.where(squares > 0, squares, lib.ones_like(squares))


def transform_pose(pose: Pose, matrix) -> Pose:
    """Pose of an image after an operation that moves pixel offsets by matrix [2,2] (a similarity).

    Raises ValueError for a matrix that shears or stretches: no single angle and scale would describe the result.
    """
    direction = transform_direction(flow_direction(pose.angle_rad), matrix)
    zoom = zoom_of(matrix)
    return Pose(direction_angle(direction), pose.scale_px_per_m * zoom, pose.gsd_m / zoom)


def transform_direction(direction, matrix):
    """Directions [..., 2] (dx, dy) after an operation with the similarity matrix [2,2]; lengths are kept."""
    matrix = np.asarray(matrix, dtype=np.float64) / zoom_of(matrix)
    if isinstance(direction, torch.Tensor):
        return direction @ torch.as_tensor(matrix.T, dtype=direction.dtype, device=direction.device)
    return direction @ matrix.T


def zoom_of(matrix) -> float:
    """Zoom z = sqrt(|det|) of a similarity matrix [2,2]; flow magnitudes in px are multiplied by it."""
    matrix = np.asarray(matrix, dtype=np.float64)
    zoom = np.sqrt(abs(np.linalg.det(matrix)))
    if zoom == 0 or not np.allclose(matrix @ matrix.T, zoom**2 * np.eye(2), atol=1e-4 * zoom**2):
        raise ValueError(f"{matrix.tolist()} is no similarity: one angle and scale cannot describe its result")
    return float(zoom)


def apply_d4(image, element: str):
    """Image [..., H, W] (array or tensor) under a D4 element of D4_MATRICES; H and W swap for odd turns."""
    lib = _library(image)
    if element in ("r90", "r180", "r270"):
        return lib.rot90(image, int(element[1:]) // 90, (-2, -1))
    if element == "h":
        return lib.flip(image, (-1,))
    if element == "v":
        return lib.flip(image, (-2,))
    if element == "t":
        return lib.swapaxes(image, -1, -2)
    if element == "hvt":
        return lib.rot90(lib.swapaxes(image, -1, -2), 2, (-2, -1))
    if element == "e":
        return image
    raise ValueError(f"no D4 element '{element}'; there are {', '.join(D4_MATRICES)}")


def d4_inverse(element: str) -> str:
    """The D4 element that undoes another: quarter turns swap, all others undo themselves."""
    return {"r90": "r270", "r270": "r90"}.get(element, element)


def off_nadir_rad(scale_px_per_m, gsd_m):
    """Off-nadir angle of the view: atan(scale * gsd)."""
    return _library(scale_px_per_m).arctan(scale_px_per_m * gsd_m)


def scale_for_off_nadir(off_nadir, gsd_m):
    """Scale in px/m of a view off_nadir radians from the vertical: tan(off-nadir) / gsd."""
    return _library(off_nadir).tan(off_nadir) / gsd_m


def _library(values):
    return torch if isinstance(values, torch.Tensor) else np
