"""Heights and lean of any image, of any size: read by window, predicted in overlapping tiles, blended without seams.

Used by `predict.py IMAGE ...`. Tiles overlap by half their side and count less towards their edges, where a network
sees least, so the weights of a pixel change smoothly from tile to tile. Rows of tiles are finished one after the
other, so memory holds a strip of the scene, whatever its height. Heights are a map; scale and direction are one pair
for the whole scene, as one sensor looked at it from one place.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
import torch
from rasterio.windows import Window

from geopose.cli import UserError, progress
from geopose.geometry import angle_error_rad, direction_angle, flow_direction, metres_per_degree
from geopose.inference.ensemble import Ensemble
from geopose.inference.rectify import rectify_files
from geopose.io.files import write_bytes, writing
from geopose.io.poses import read_vflow
from geopose.io.rasters import one_line_errors
from geopose.io.tables import find_gsd_m

STRETCH_PERCENT = (2.0, 98.0)
OVERVIEW_PX = 1024  # side of the shrunken image that the stretch is measured on
NEAR_RAD = math.radians(60)  # tiles whose directions differ by more from the most agreed on tell nothing of a scene's
CACHE_MB = 200  # of GDAL's blocks, which take a twentieth of all memory otherwise; rows of a wide scene need 60


@dataclass(frozen=True)
class SceneOptions:
    """How a scene is read and cut. bands: 1-based red, green, blue; none: the first three, or one band thrice."""

    gsd_m: float | None = None
    bands: tuple[int, ...] = ()
    tile_px: int = 512


@dataclass(frozen=True)
class ScenePose:
    """What holds for the whole scene."""

    scale_px_per_m: float
    angle_rad: float
    gsd_m: float


def predict_scene(path: Path, out: Path, ensemble: Ensemble, options: SceneOptions) -> ScenePose:
    """Write <stem>_AGL.tif on the image's own grid and <stem>_VFLOW.json into the folder out. Returns the pose.

    The TIFF has two float32 bands in metres, the height and its spread over views and checkpoints, NaN where the image
    has no data. Raises UserError when the image cannot be read, its bands do not do, or nothing tells its gsd.
    """
    if not path.exists():
        raise UserError(f"{path} missing; give an image file")
    with one_line_errors(str(path)), rasterio.Env(GDAL_CACHEMAX=CACHE_MB), rasterio.open(path) as image:
        gsd_m = options.gsd_m or find_gsd_m(path) or read_gsd(image, path)
        reader = SceneReader(image, path, options.bands)
        profile = {
            "driver": "GTiff",
            "dtype": "float32",
            "count": 2,
            "height": image.height,
            "width": image.width,
            "crs": image.crs,
            "transform": image.transform,
            "nodata": np.nan,
            "tiled": True,
            "compress": "deflate",
            "predictor": 3,
            "BIGTIFF": "IF_SAFER",
        }
        poses: list[tuple[float, float, float]] = []
        with writing(out / f"{path.stem}_AGL.tif") as temporary, rasterio.open(temporary, "w", **profile) as raster:
            raster.descriptions = ("height above ground", "spread over views and checkpoints")
            raster.units = ("metre", "metre")
            for first_row, planes in predict_strips(reader, ensemble, gsd_m, options.tile_px, poses):
                raster.write(planes, window=Window(0, first_row, image.width, planes.shape[1]))
    pose = ScenePose(*combine_poses(np.array(poses)), gsd_m)
    content = {"scale_px_per_m": pose.scale_px_per_m, "angle_rad": pose.angle_rad, "gsd_m": pose.gsd_m}
    write_bytes(out / f"{path.stem}_VFLOW.json", (json.dumps(content) + "\n").encode())
    return pose


def rectify_scene(path: Path, out: Path, bands: tuple[int, ...], fill: bool) -> float:
    """Write <stem>_RECT.tif, _RECT_AGL.tif and _RECT_HIDDEN.tif from what predict_scene wrote into the folder out.

    Returns the share of the ground that was hidden.
    """
    agl = out / f"{path.stem}_AGL.tif"
    pose = read_vflow(out / f"{path.stem}_VFLOW.json", agl)
    with one_line_errors(str(path)), rasterio.Env(GDAL_CACHEMAX=CACHE_MB), rasterio.open(path) as image:
        reader = SceneReader(image, path, bands)

        def read_image(rows: Window) -> np.ndarray:
            return np.ascontiguousarray(reader.read(rows)[0].transpose(1, 2, 0))

        return rectify_files(read_image, agl, out, path.stem, path, pose, fill)


def read_gsd(image: rasterio.DatasetReader, path: Path) -> float:
    """Metres per pixel by the image's georeference."""
    if image.crs is None or image.transform.is_identity:
        raise UserError(f"{path}: has no georeference, so nothing tells its metres per pixel; give --gsd M_PER_PX")
    pixel = math.sqrt(abs(image.transform.determinant))
    if image.crs.is_geographic:
        _, latitude = image.xy(image.height / 2, image.width / 2)
        return pixel * metres_per_degree(latitude)
    return pixel * image.crs.linear_units_factor[1]


class SceneReader:
    """Windows of an image as uint8 [3,H,W], whatever its bands and depth, and where it holds data."""

    def __init__(self, image: rasterio.DatasetReader, path: Path, bands: tuple[int, ...]):
        self.image = image
        self.bands = bands or ((1, 2, 3) if image.count >= 3 else (1, 1, 1))
        if len(self.bands) == 1:
            self.bands *= 3
        if len(self.bands) != 3 or not all(1 <= band <= image.count for band in self.bands):
            given = " ".join(map(str, bands))
            raise UserError(f"{path}: --bands {given}; it has bands 1 to {image.count}, give 1 or 3 of them")
        self.limits = None if image.dtypes[0] == "uint8" else self._measure_limits(path)

    def _measure_limits(self, path: Path) -> np.ndarray:
        """Low and high value of each band [3,2], between which it is stretched to 0..255."""
        side = [min(OVERVIEW_PX, n) for n in self.image.shape]
        overview = self.image.read(self.bands, out_shape=(3, *side)).astype(np.float64)
        holds = self.image.dataset_mask(out_shape=tuple(side)) > 0
        values = [band[holds & np.isfinite(band)] for band in overview]
        if min(map(len, values)) == 0:
            raise UserError(f"{path}: holds no data at all; give another image")
        return np.array([np.percentile(band, STRETCH_PERCENT) for band in values])

    def read(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """uint8 [3,H,W] and bool [H,W], True where the image holds data."""
        values = self.image.read(self.bands, window=window)
        if self.limits is not None:
            low, high = self.limits[:, 0, None, None], self.limits[:, 1, None, None]
            scaled = (np.nan_to_num(values.astype(np.float32)) - low) / np.maximum(high - low, 1e-9)
            values = np.rint(scaled.clip(0, 1) * 255).astype(np.uint8)
        return values, self.image.dataset_mask(window=window) > 0


def predict_strips(
    reader: SceneReader, ensemble: Ensemble, gsd_m: float, tile_px: int, poses: list[tuple[float, float, float]]
) -> Iterator[tuple[int, np.ndarray]]:
    """First row and planes [2,rows,W] of one finished strip after the other: height and spread, NaN without data.

    Appends scale, angle and weight (the sum of squared heights) of each tile to poses.
    """
    height, width = reader.image.shape
    rows, columns = tile_starts(height, tile_px), tile_starts(width, tile_px)
    tile_height, tile_width = min(tile_px, height), min(tile_px, width)
    weight = pyramid(tile_height, tile_width)
    sums = np.zeros((3, tile_height, width), np.float32)  # weighted heights, weighted spreads, weights
    bar = progress(None, "predict", total=len(rows) * len(columns), unit="tile")
    for number, row in enumerate(rows):
        holds = np.zeros((tile_height, width), bool)
        for column in columns:
            window = Window(column, row, tile_width, tile_height)
            image, data = reader.read(window)
            part = np.s_[:, column : column + tile_width]
            holds[part] = data
            if data.any():
                heights, spread, pose = predict_tile(ensemble, image, gsd_m, data)
                poses.append(pose)
                sums[:, :, column : column + tile_width] += np.stack([heights, spread, np.ones_like(heights)]) * weight
            bar.update()
        # Rows above the next tiles' first are done; the rest moves up and waits for them.
        done = (rows[number + 1] - row) if number + 1 < len(rows) else tile_height
        with np.errstate(invalid="ignore"):
            planes = sums[:2, :done] / sums[2, :done]
        planes[:, ~holds[:done]] = np.nan
        yield row, planes
        # In place and piece by piece: a new array for every row of tiles would leave holes in memory that add up.
        for first in range(0, tile_height, done):
            rest = sums[:, first + done : first + 2 * done]
            sums[:, first : first + rest.shape[1]] = rest
            sums[:, first + rest.shape[1] : first + done] = 0
    bar.close()


def predict_tile(ensemble: Ensemble, image: np.ndarray, gsd_m: float, data: np.ndarray) -> tuple:
    """Heights and spread [H,W] of one tile, and its scale, angle and weight."""
    batch = {"image": torch.from_numpy(image)[None], "gsd_m": torch.tensor([gsd_m]), "city": [""], "id": ["scene"]}
    result = ensemble.predict(batch)
    heights = result["agl_m"][0, 0].clamp(min=0).cpu().numpy()
    weight = float(np.square(heights * data, dtype=np.float64).sum())
    angle_rad = float(direction_angle(result["direction"])[0])
    return heights, result["spread_m"][0, 0].cpu().numpy(), (float(result["scale_px_per_m"][0]), angle_rad, weight)


def tile_starts(length: int, tile_px: int) -> list[int]:
    """Where tiles begin so that they cover a length, overlap by about half, and none is cut off."""
    if length <= tile_px:
        return [0]
    count = math.ceil((length - tile_px) / (tile_px / 2)) + 1
    return [round(index * (length - tile_px) / (count - 1)) for index in range(count)]


def pyramid(height: int, width: int) -> np.ndarray:
    """Weights [H,W] that fall linearly towards the edges and stay above 0."""
    sides = [np.minimum(np.arange(n) + 1, n - np.arange(n)).astype(np.float32) for n in (height, width)]
    return np.minimum.outer(*sides) / max(height, width)


def combine_poses(poses: np.ndarray) -> tuple[float, float]:
    """One scale and angle of tiles [N,3] (scale, angle, weight), robust against tiles that are wrong by far.

    The weighted median of the scales; of the angles the weighted mean of those within NEAR_RAD of the one that has the
    least weighted sum of differences. Flat tiles, which show no lean, weigh next to nothing.
    """
    if not len(poses):
        raise UserError("the image holds no data at all; give another")
    scales, angles, weights = poses.T
    weights = weights + 1e-9 * weights.sum() + 1e-12
    order = np.argsort(scales)
    half = np.searchsorted(np.cumsum(weights[order]), weights.sum() / 2)
    differences = angle_error_rad(angles[:, None], angles)
    near = differences[np.argmin(differences @ weights)] <= NEAR_RAD
    direction = weights[near] @ flow_direction(angles[near])
    return float(scales[order[half]]), float(direction_angle(direction))
