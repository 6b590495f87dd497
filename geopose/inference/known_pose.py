"""The pose of an image where it need not be guessed: from flags, RPCs, a STAC item, or the metadata of Maxar (.IMD).

A satellite image usually says how it was taken, and this is exact where a network guesses. RPCs say for every height
which pixel shows a point. The others give the satellite's azimuth and an angle. The angle that counts is the one at the
ground (incidence), because tan(incidence) = scale * gsd. The angle at the satellite (off-nadir) is smaller, since the
earth is round, and is converted. The grid turns the azimuth, wherever its rows and columns point.
"""

import math
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rasterio.io import DatasetReader

from geopose.cli import UserError
from geopose.geometry import (
    Pose,
    angle_error_rad,
    direction_angle,
    flow_direction,
    ground_flow,
    incidence_rad,
    scale_for_off_nadir,
)
from geopose.inference.ground_axes import (
    NoPlaceError,
    PixelAxes,
    east_north_axes,
    has_grid,
    pixel_axes,
    rpc_axes,
    rpc_shift,
)
from geopose.inference.ground_size import GroundPixel
from geopose.inference.pose_flags import PoseOptions
from geopose.inference.view_files import SatelliteView, read_imd_view, read_stac_view

# WorldView-3's. Other satellites that see buildings fly 450 to 770 km high. Their lean differs by 3 % at 30 degrees.
ALTITUDE_M = 617_000.0
SAME_GRID = 0.1  # RPCs whose steps differ by a larger part from those of the grid belong to another grid
FAR_M = 10_000.0  # and so do RPCs that place the image's centre so far from where the grid places it
SURPRISE_RAD = math.radians(30)
GIVE_NETWORK = "give --pose-from network"


@dataclass(frozen=True)
class KnownPose:
    """Flow of one metre of height in an image's own pixels, flow_px [2] (dx, dy), and where it comes from."""

    flow_px: np.ndarray
    source: str

    def to_pose(self, gsd_m: float) -> Pose:
        """As angle and scale. A view straight down has scale 0 and angle 0."""
        return Pose(float(direction_angle(self.flow_px)), float(np.linalg.norm(self.flow_px)), gsd_m)


def find_pose(image: DatasetReader, path: Path, pixel: GroundPixel, options: PoseOptions) -> KnownPose | None:
    """The pose of an image from the first source that knows it; None if only the network can guess it.

    pixel: size of the image's pixels on the ground. Raises UserError for a source that is faulty, or that options name
    and the image does not have.
    """
    if options.is_given:
        return KnownPose(given_flow(image, path, pixel, options), "flags")
    if options.source == "network":
        return None
    sources = {
        "rpc": lambda: rpc_flow(image, path),
        "stac": lambda: view_flow(image, path, pixel, read_stac_view(path)),
        "imd": lambda: view_flow(image, path, pixel, read_imd_view(image, path)),
    }
    for name in sources if options.source == "auto" else (options.source,):
        flow_px = sources[name]()
        if flow_px is not None:
            return KnownPose(flow_px, name)
    if options.source != "auto":
        raise UserError(f"{path}: has no pose of the source {options.source}; leave out --pose-from {options.source}")
    return None


def given_flow(image: DatasetReader, path: Path, pixel: GroundPixel, options: PoseOptions) -> np.ndarray:
    """Flow [2] px per metre of the pose that flags give."""
    if options.angle_deg is None:
        incidence = math.radians(45) if options.scale_px_per_m is not None else _given_incidence_rad(options)
        flow_px = azimuth_flow(image, path, pixel, options.satellite_azimuth_deg, incidence)
        return flow_px if options.scale_px_per_m is None else _unit(flow_px) * options.scale_px_per_m
    direction = flow_direction(math.radians(options.angle_deg))
    if options.scale_px_per_m is not None:
        return direction * options.scale_px_per_m
    return direction * scale_for_off_nadir(_given_incidence_rad(options), gsd_along(direction, image, pixel))


def gsd_along(direction: np.ndarray, image: DatasetReader, pixel: GroundPixel) -> float:
    """Metres on the ground per pixel in a direction [2] (dx, dy) of an image, whose pixels measure pixel."""
    try:
        steps_m = pixel_axes(image).steps_m
    except NoPlaceError:
        return float(np.linalg.norm(direction * pixel))
    return float(np.linalg.norm(direction * pixel / np.linalg.norm(steps_m, axis=1) @ steps_m))


def view_flow(image: DatasetReader, path: Path, pixel: GroundPixel, view: SatelliteView | None) -> np.ndarray | None:
    """Flow [2] px per metre of what a file says about the satellite. None without a view."""
    if view is None:
        return None
    incidence = _incidence_rad(view.incidence_deg, view.off_nadir_deg, str(path))
    return azimuth_flow(image, path, pixel, view.azimuth_deg, incidence)


def azimuth_flow(
    image: DatasetReader, path: Path, pixel: GroundPixel, azimuth_deg: float, incidence: float
) -> np.ndarray:
    """Flow [2] px per metre of a satellite at an azimuth, on the image's grid, whose pixels measure pixel."""
    try:
        axes = east_north_axes(image)
    except NoPlaceError as error:
        remedy = f"give --angle-deg, or {GIVE_NETWORK}"
        raise UserError(f"{path}: {error}, so the satellite's azimuth gives no direction in it; {remedy}") from None
    axes = axes * (np.array(pixel) / np.linalg.norm(axes, axis=0))  # --gsd may replace the size of the pixels
    return np.linalg.solve(axes, ground_flow(math.radians(azimuth_deg), incidence))


def rpc_flow(image: DatasetReader, path: Path) -> np.ndarray | None:
    """Flow [2] px per metre of an image's RPCs. None without RPCs.

    Raises UserError if they give no numbers, or belong to another grid than the image's: an image that was warped to a
    map may still have the RPCs of the original.
    """
    if image.rpcs is None:
        return None
    try:
        shift_px = rpc_shift(image)
        if has_grid(image) and not agree(rpc_axes(image), pixel_axes(image)):
            raise NoPlaceError("they belong to another grid than its georeference")
    except NoPlaceError as error:
        raise UserError(f"{path}: its RPCs give no pose: {error}; remove them, or {GIVE_NETWORK}") from None
    return -shift_px


def agree(rpcs: PixelAxes, grid: PixelAxes) -> bool:
    """Whether RPCs and the grid of an image show the same ground. A building site's own grid cannot tell."""
    if len(grid.centre_m) == 2:
        return True
    near = np.linalg.norm(rpcs.centre_m - grid.centre_m) <= FAR_M
    return near and np.linalg.norm(rpcs.steps_m - grid.steps_m) <= SAME_GRID * np.linalg.norm(grid.steps_m)


def warn_of_surprise(path: Path, known: KnownPose, guess: Pose) -> None:
    """Print one line on standard error if the network's angle is far from the known one: one of the two is wrong.

    A view straight down has no angle.
    """
    away_rad = float(angle_error_rad(direction_angle(known.flow_px), guess.angle_rad))
    if away_rad > SURPRISE_RAD and known.flow_px.any():
        print(
            f"warning: {path}: the network's angle is {math.degrees(away_rad):.0f} degrees from that of the pose's "
            f"source ({known.source}), which was taken; check that it belongs to this image",
            file=sys.stderr,
        )


def _given_incidence_rad(options: PoseOptions) -> float:
    return _incidence_rad(options.incidence_deg, options.off_nadir_deg, "--off-nadir-deg")


def _incidence_rad(incidence_deg: float | None, off_nadir_deg: float | None, where: str) -> float:
    """The angle at the ground, from itself or from the angle at the satellite."""
    if incidence_deg is not None:
        return math.radians(incidence_deg)
    incidence = incidence_rad(math.radians(off_nadir_deg), ALTITUDE_M)
    if math.isnan(incidence):
        fault = f"a satellite that looks {off_nadir_deg:g} degrees off nadir does not see the ground"
        raise UserError(f"{where}: {fault}; correct the angle, or {GIVE_NETWORK}")
    return incidence


def _unit(flow_px: np.ndarray) -> np.ndarray:
    return flow_px / np.linalg.norm(flow_px)
