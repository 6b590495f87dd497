"""Heights and pose of an image of any size, predicted in overlapping tiles without seams. Used by `predict.py IMAGE`.

Tiles overlap by half of their side. A network sees least near the edge of its image, so a tile's weight falls linearly
towards its edges, and the mean over tiles changes smoothly. Rows of tiles are finished one after the other, so memory
holds one strip of the scene, independent of the scene's height.

Heights differ from pixel to pixel. Scale and angle are one pair for the whole scene, because one sensor took it from
one position. They are predicted only where known_pose.py does not find them.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from rasterio.windows import Window

from geopose.cli import UserError, progress
from geopose.geometry import Pose, angle_error_rad, direction_angle, flow_direction
from geopose.inference.ensemble import Ensemble
from geopose.inference.ground_size import GroundPixel, ground_pixel
from geopose.inference.gsd_range import warn_of_gsd
from geopose.inference.known_pose import find_pose, warn_of_surprise
from geopose.inference.pose_flags import AUTO, PoseOptions
from geopose.inference.rectify import rectify_files
from geopose.inference.scene_reader import SceneReader, warn_of_wide_rows
from geopose.inference.square import SquareReader
from geopose.inference.tags import scene_tags
from geopose.io.files import write_bytes
from geopose.io.poses import read_vflow
from geopose.io.rasters import open_scene, raster_like
from geopose.io.tables import find_gsd_m
from geopose.models.zoom import WHOLE_STRIDES_PX

NEAR_RAD = math.radians(60)  # a tile whose direction is further from the one most tiles agree on is ignored


@dataclass(frozen=True)
class SceneOptions:
    """How a scene is read and cut. gsd_m: metres per pixel, None for the georeference's. bands: see SceneReader."""

    gsd_m: float | None = None
    bands: tuple[int, ...] = ()
    tile_px: int = 1024
    pose: PoseOptions = AUTO


@dataclass(frozen=True)
class ScenePose(Pose):
    """Pose of a scene in its own pixels, what the network guessed, and where the pose comes from.

    gsd_m is the side of a square of the same area as a pixel. source: "flags", "rpc", "stac", "imd" or "network".
    """

    guess: Pose
    source: str

    def describe_source(self) -> str:
        """Where the pose comes from, and how far the network's guess was from it."""
        if self.source == "network":
            return "pose from network"
        away_deg = math.degrees(angle_error_rad(self.angle_rad, self.guess.angle_rad))
        guess = f"scale {self.guess.scale_px_per_m:.3f} px/m, angle {self.guess.angle_rad:.3f} rad"
        return f"pose from {self.source}; the network guessed {guess}, {away_deg:.0f} degrees away"


class TilePose(NamedTuple):
    """Scale and angle of one tile, and its weight.

    The weight is the sum of the tile's squared heights, because flat tiles show no lean, times the length of its
    predicted direction, which says how certain the network is.
    """

    scale_px_per_m: float
    angle_rad: float
    weight: float


class Strip(NamedTuple):
    """Finished rows of a scene, and the poses of the row of tiles that finished them.

    planes: float32 [2,rows,W], heights and spread in metres, NaN without data. The next strip overwrites them.
    """

    first_row: int
    planes: np.ndarray
    poses: list[TilePose]


def predict_scene(path: Path, out: Path, ensemble: Ensemble, options: SceneOptions) -> ScenePose:
    """Write <stem>_AGL.tif on the image's own grid and <stem>_VFLOW.json into the folder out. Returns the pose.

    The TIFF has two float32 bands in metres: height, and its spread over views and checkpoints. Both are NaN where the
    image has no data. Its tags hold the pose and name the runs. The pose is in the image's own pixels. If these are not
    square on the ground, its gsd is the side of a square of the same area. Raises UserError if the image cannot be
    read, lacks a band, or its gsd is unknown, and for a source of its pose that cannot be used.
    """
    if not path.exists():
        raise UserError(f"{path} missing; give an image file")
    with open_scene(path) as image:
        gsd_m = options.gsd_m or find_gsd_m(path)
        pixel = GroundPixel(gsd_m, gsd_m) if gsd_m else ground_pixel(image, path)
        own = SceneReader(image, path, options.bands)
        warn_of_wide_rows(image, path, options.tile_px)
        square = None if pixel.is_square else SquareReader(own, pixel)
        if square:
            size = f"{pixel.x_m:.3f} m wide and {pixel.y_m:.3f} m high on the ground"
            print(f"{path}: pixels are {size}; predicted on pixels of {square.gsd_m:.3f} m and brought back")
        gsd_m = pixel.mean_m if square is None else square.gsd_m
        known = find_pose(image, path, pixel, options.pose)
        warn_of_gsd(ensemble.runs, str(path), gsd_m)
        poses: list[TilePose] = []
        with raster_like(out / f"{path.stem}_AGL.tif", path, 2, np.float32) as raster:
            raster.descriptions = ("height above ground", "spread over views and checkpoints")
            raster.units = ("metre", "metre")
            reader = square or own
            for first_row, planes, tile_poses in predict_strips(reader, ensemble, gsd_m, options.tile_px, str(path)):
                if square:
                    first_row, planes = square.restore(first_row, planes)
                raster.write(planes, window=Window(0, first_row, image.width, planes.shape[1]))
                poses += tile_poses
            if not poses:
                raise UserError(f"{path}: no pixel has data; give another image")
            scale_px_per_m, angle_rad = combine_poses(np.array(poses))
            guess = Pose(angle_rad, scale_px_per_m, gsd_m)
            if square:
                guess = square.restore_pose(guess)
            if known:
                warn_of_surprise(path, known, guess)
            own_pose = known.to_pose(pixel.mean_m) if known else guess
            source = known.source if known else "network"
            pose = ScenePose(own_pose.angle_rad, own_pose.scale_px_per_m, pixel.mean_m, guess, source)
            raster.update_tags(**scene_tags(describe_pose(pose), ensemble.runs))
    write_bytes(out / f"{path.stem}_VFLOW.json", (json.dumps(describe_pose(pose)) + "\n").encode())
    return pose


def describe_pose(pose: ScenePose) -> dict[str, float | str]:
    """The entries of a scene's <stem>_VFLOW.json. Their keys name their units."""
    return {
        "scale_px_per_m": pose.scale_px_per_m,
        "angle_rad": pose.angle_rad,
        "gsd_m": pose.gsd_m,
        "pose_from": pose.source,
        "network_scale_px_per_m": pose.guess.scale_px_per_m,
        "network_angle_rad": pose.guess.angle_rad,
    }


def rectify_scene(path: Path, out: Path, bands: tuple[int, ...], fill: bool) -> float:
    """Write <stem>_RECT.tif, _RECT_AGL.tif and _RECT_HIDDEN.tif into the folder out, where predict_scene wrote before.

    Returns the share of hidden ground.
    """
    agl = out / f"{path.stem}_AGL.tif"
    pose = read_vflow(out / f"{path.stem}_VFLOW.json", agl)
    with open_scene(path) as image:
        return rectify_files(SceneReader(image, path, bands), agl, out, path.stem, pose, fill)


def predict_strips(
    reader: SceneReader | SquareReader, ensemble: Ensemble, gsd_m: float, tile_px: int, name: str
) -> Iterator[Strip]:
    """Predict a scene from top to bottom, one row of tiles after the other. name is the scene's in errors."""
    height, width = reader.shape
    tile_height, tile_width = tile_side(height, tile_px), tile_side(width, tile_px)
    rows, columns = tile_starts(height, tile_px), tile_starts(width, tile_px)
    weight = pyramid(tile_height, tile_width)
    # For every row of tiles the same two arrays: new ones of their size would fragment memory more and more.
    sums = np.zeros((3, tile_height, width), np.float32)  # weighted heights, weighted spreads, weights
    has_data = np.empty((tile_height, width), bool)
    bar = progress(None, "predict", total=len(rows) * len(columns), unit="tile")
    for row, next_row in zip(rows, [*rows[1:], height], strict=True):
        poses = []
        for column in columns:
            window = Window(column, row, tile_width, tile_height)
            image, data = reader.read(window)
            part = np.s_[:, column : column + tile_width]
            has_data[part] = data
            if data.any():
                heights, spread, pose = predict_tile(ensemble, image, gsd_m, data, name)
                poses.append(pose)
                sums[:, :, column : column + tile_width] += np.stack([heights, spread, np.ones_like(heights)]) * weight
            bar.update()
        done = next_row - row  # the next tiles do not reach these rows
        planes, weights = sums[:2, :done], sums[2, :done]
        with np.errstate(invalid="ignore"):
            np.divide(planes, weights, out=planes)
        for plane in planes:
            plane[~has_data[:done]] = np.nan
        yield Strip(row, planes, poses)
        drop_rows(sums, done)
    bar.close()


def drop_rows(sums: np.ndarray, count: int) -> None:
    """Remove the first rows of sums [C,H,W] in place, move the others up, and fill the end with zeros."""
    height = sums.shape[1]
    for first in range(0, height, count):
        rest = sums[:, first + count : first + 2 * count]
        sums[:, first : first + rest.shape[1]] = rest
        sums[:, first + rest.shape[1] : first + count] = 0


def predict_tile(
    ensemble: Ensemble, image: np.ndarray, gsd_m: float, data: np.ndarray, name: str
) -> tuple[np.ndarray, np.ndarray, TilePose]:
    """Heights and spread [H,W] of one tile in metres, and its pose.

    image uint8 [3,H,W]; data bool [H,W], True where the image has data. The network sees black elsewhere, whatever the
    file holds there. name is the scene's in errors.
    """
    image = np.where(data, image, np.uint8(0))
    batch = {"image": torch.from_numpy(image)[None], "gsd_m": torch.tensor([gsd_m]), "city": [""], "id": [name]}
    result = ensemble.predict(batch)
    heights = result["agl_m"][0, 0].clamp(min=0).cpu().numpy()
    direction = result["direction"]
    certainty = float(torch.linalg.vector_norm(direction[0]))
    weight = certainty * float(np.square(heights * data, dtype=np.float64).sum())
    angle_rad = float(direction_angle(direction)[0])
    pose = TilePose(float(result["scale_px_per_m"][0]), angle_rad, weight)
    return heights, result["spread_m"][0, 0].cpu().numpy(), pose


def tile_side(length: int, tile_px: int) -> int:
    """Side of the tiles that cover a length: at most tile_px, and whole strides, so that the network pads nothing."""
    side = min(length, tile_px)
    return max(side // WHOLE_STRIDES_PX * WHOLE_STRIDES_PX, min(side, WHOLE_STRIDES_PX))


def tile_starts(length: int, tile_px: int) -> list[int]:
    """First pixels of tiles that cover a length, overlap by at least about half, and do not cross its end."""
    rest = length - (side := tile_side(length, tile_px))
    if not rest:
        return [0]
    count = math.ceil(rest / (side / 2)) + 1
    return [round(index * rest / (count - 1)) for index in range(count)]


def pyramid(height: int, width: int) -> np.ndarray:
    """Weights [H,W] above 0 that fall linearly towards the edges."""
    sides = [np.minimum(np.arange(n) + 1, n - np.arange(n)).astype(np.float32) for n in (height, width)]
    return np.minimum.outer(*sides) / max(height, width)


def combine_poses(poses: np.ndarray) -> tuple[float, float]:
    """Scale and angle of a scene from its tiles' poses [N,3] (fields of TilePose). A few bad tiles hardly change them.

    The scale is the weighted median, and at least 0. The angle is the weighted mean of the tiles within NEAR_RAD of one
    tile: the tile with the smallest weighted sum of differences from all others.
    """
    scales, angles, weights = poses.T
    weights = weights + 1e-9 * weights.sum() + 1e-12
    order = np.argsort(scales)
    half = np.searchsorted(np.cumsum(weights[order]), weights.sum() / 2)
    # One row of the table of differences at a time: a scene of 100,000 x 100,000 px has 38,000 tiles.
    central = np.argmin([angle_error_rad(angle, angles) @ weights for angle in angles])
    near = angle_error_rad(angles[central], angles) <= NEAR_RAD
    direction = weights[near] @ flow_direction(angles[near])
    return max(float(scales[order[half]]), 0.0), float(direction_angle(direction))
