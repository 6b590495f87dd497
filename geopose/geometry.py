"""The geometry convention and its transformation laws. No other module uses sin, cos or atan2.

Image x points right and y points down. An angle a in [0, 2 pi) means the direction d = (sin a, cos a) = (dx, dy).
A point of height h above the ground pixel g appears at p = g - h * scale * d, so vertical flow points from roof to
ground. Zoom does not change scale_px_per_m * gsd_m, which equals tan(off-nadir angle).

All laws follow from one rule. Let an image operation move pixel offsets by a 2x2 similarity matrix M, and let
z = sqrt(|det M|) be its zoom (z > 1 enlarges). Then the direction d becomes M d / z, scale and magnitude are
multiplied by z, gsd is divided by z, and heights do not change. The matrices of the named operations are below.
All angles are in radians. Functions accept floats, NumPy arrays and torch tensors.
"""

from dataclasses import dataclass

import numpy as np
import torch

TWO_PI = 2.0 * np.pi
EARTH_RADIUS_M = 6_371_000.0

IDENTITY = np.array([[1.0, 0.0], [0.0, 1.0]])
FLIP_X = np.array([[-1.0, 0.0], [0.0, 1.0]])  # left-right: angle -> -a
FLIP_Y = np.array([[1.0, 0.0], [0.0, -1.0]])  # up-down: angle -> pi - a
TRANSPOSE = np.array([[0.0, 1.0], [1.0, 0.0]])  # angle -> pi/2 - a
ANTI_TRANSPOSE = np.array([[0.0, -1.0], [-1.0, 0.0]])  # angle -> -pi/2 - a


def rot90_matrix(k: int) -> np.ndarray:
    """Matrix [2,2] of rot90 (NumPy, torch) by k counter-clockwise quarter turns: angle -> a + k pi/2."""
    return np.linalg.matrix_power(np.array([[0.0, 1.0], [-1.0, 0.0]]), k % 4)


def rotation_matrix(theta_rad: float) -> np.ndarray:
    """Matrix [2,2] of a rotation that looks counter-clockwise (positive angle in OpenCV): angle -> a + theta."""
    sin, cos = np.sin(theta_rad), np.cos(theta_rad)
    return np.array([[cos, sin], [-sin, cos]])


def zoom_matrix(zoom: float) -> np.ndarray:
    """Matrix [2,2] of an enlargement by zoom. Resizing a crop c to D has zoom D / c, downsampling by n has 1 / n."""
    return np.array([[zoom, 0.0], [0.0, zoom]])


# The eight symmetries of the square, with the names that Albumentations uses.
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
    """Angle, scale and gsd of a whole image. Each field is a float, or an array or tensor [B]."""

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
    """The same angle in [0, 2 pi). Float rounding of a tiny negative angle does not give 2 pi itself."""
    wrapped = angle_rad % TWO_PI
    return _library(angle_rad).where(wrapped >= TWO_PI, wrapped * 0, wrapped)[()]  # [()]: a scalar, not a 0-d array


def angle_error_rad(angle_rad, other_rad):
    """Smallest absolute difference of two angles, in [0, pi]."""
    return np.pi - abs(np.pi - wrap_angle(angle_rad - other_rad))


def vertical_flow(agl_m, scale_px_per_m, angle_rad):
    """Vertical flow of each pixel, from roof to ground.

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
    """Ground position of a point of height agl_m that appears at (x, y) px: p + h * scale * d. Returns (x, y)."""
    direction = flow_direction(pose.angle_rad)
    shift_px = agl_m * pose.scale_px_per_m
    return x_px + shift_px * direction[..., 0], y_px + shift_px * direction[..., 1]


def image_position(x_px, y_px, agl_m, pose: Pose):
    """Image position of a point of height agl_m above the ground pixel (x, y): g - h * scale * d. Returns (x, y)."""
    return ground_position(x_px, y_px, -agl_m, pose)


def fit_scale(mag_px, agl_m):
    """Least-squares scale in px/m: sum(m * h) / sum(h * h) over the last two axes, in float32 or better.

    mag_px and agl_m are [..., H, W]. Pixels where one of them is NaN are ignored. Returns [...], which is 0
    where all heights are 0.
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
    """Pose of an image after an operation that moves pixel offsets by the similarity matrix [2,2].

    Raises ValueError for a matrix that shears or stretches, because no single angle and scale describes the result.
    """
    direction = transform_direction(flow_direction(pose.angle_rad), matrix)
    zoom = zoom_of(matrix)
    return Pose(direction_angle(direction), pose.scale_px_per_m * zoom, pose.gsd_m / zoom)


def stretch_pose(pose: Pose, x_factor: float, y_factor: float) -> Pose:
    """Pose in the pixels of a grid whose columns and rows are stretched by two factors.

    The flow of one metre stays one vector, with another angle and length. gsd_m of the result is the gsd along this
    vector, so scale_px_per_m * gsd_m is unchanged. Along other directions the pixels have other sizes.
    """
    direction, factor = stretch_direction(flow_direction(pose.angle_rad), x_factor, y_factor)
    return Pose(float(direction_angle(direction)), pose.scale_px_per_m * float(factor), pose.gsd_m / float(factor))


def stretch_direction(direction, x_factor: float, y_factor: float):
    """Directions [..., 2] (dx, dy) in a grid whose columns and rows are stretched by two factors; lengths are kept.

    Also returns the factors [...] by which flow along these directions grows in px.
    """
    lib = _library(direction)
    stretched = lib.stack([direction[..., 0] * x_factor, direction[..., 1] * y_factor], -1)
    before, after = (lib.hypot(xy[..., 0], xy[..., 1]) + 1e-12 for xy in (direction, stretched))
    factor = after / before
    return stretched / factor[..., None], factor


def transform_direction(direction, matrix):
    """Directions [..., 2] (dx, dy) after an operation with the similarity matrix [2,2]. Lengths do not change."""
    matrix = np.asarray(matrix, dtype=np.float64) / zoom_of(matrix)
    if isinstance(direction, torch.Tensor):
        return direction @ torch.as_tensor(matrix.T, dtype=direction.dtype, device=direction.device)
    return direction @ matrix.T


def zoom_of(matrix) -> float:
    """Zoom z = sqrt(|det|) of a similarity matrix [2,2]. It multiplies flow magnitudes in px."""
    matrix = np.asarray(matrix, dtype=np.float64)
    zoom = np.sqrt(abs(np.linalg.det(matrix)))
    if zoom == 0 or not np.allclose(matrix @ matrix.T, zoom**2 * np.eye(2), atol=1e-4 * zoom**2):
        raise ValueError(f"{matrix.tolist()} is no similarity: one angle and scale cannot describe its result")
    return float(zoom)


def apply_d4(image, element: str):
    """Image [..., H, W] (array or tensor) after an element of D4_MATRICES. Quarter turns and transposes swap H, W."""
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
    """The D4 element that undoes another. r90 and r270 undo each other, and all others undo themselves."""
    return {"r90": "r270", "r270": "r90"}.get(element, element)


def off_nadir_rad(scale_px_per_m, gsd_m):
    """Off-nadir angle of the view, seen from the ground (its incidence angle): atan(scale * gsd)."""
    return _library(scale_px_per_m).arctan(scale_px_per_m * gsd_m)


def scale_for_off_nadir(view_rad, gsd_m):
    """Scale in px/m of a view that is view_rad from the vertical, seen from the ground: tan(off-nadir) / gsd."""
    return _library(view_rad).tan(view_rad) / gsd_m


def incidence_rad(off_nadir_at_satellite_rad, altitude_m):
    """Angle between the vertical at the ground and the line of sight, from the angle at the satellite.

    The earth is round, so the first is larger: sin(incidence) = (R + altitude) / R * sin(off-nadir at the satellite).
    NaN where the line of sight misses the earth.
    """
    ratio = (EARTH_RADIUS_M + altitude_m) / EARTH_RADIUS_M * np.sin(off_nadir_at_satellite_rad)
    return float(np.arcsin(ratio)) if abs(ratio) <= 1 else np.nan


def ground_flow(azimuth_rad, incidence_rad):
    """Flow per metre of height on the ground (east, north) in metres: towards the satellite, tan(incidence) long.

    azimuth_rad: the satellite's, seen from the ground, clockwise from true north.
    """
    return scale_for_off_nadir(incidence_rad, 1.0) * flow_direction(azimuth_rad)


def _library(values):
    return torch if isinstance(values, torch.Tensor) else np
