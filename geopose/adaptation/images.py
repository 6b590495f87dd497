"""The unlabelled images of the target: which there are, their resolution, and crops of them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import rasterio
import torch
from rasterio.windows import Window
from torch.utils.data import Dataset

from geopose.cli import UserError, progress
from geopose.data.store import prefer_prepared
from geopose.inference.ground_size import ground_pixel
from geopose.inference.scene_reader import SceneReader
from geopose.io.image_folder import list_images
from geopose.io.rasters import image_size, one_line_errors, open_raster, read_rgb
from geopose.io.tables import find_gsd_m, is_competition, read_halves

NEAR = 1.1  # a gsd that is off by less is not corrected, because resampling blurs
FULL = 0.99  # share of a window's pixels that must have data
DRAWS = 64  # windows that are tried until one is full


@dataclass(frozen=True)
class TargetImage:
    """An unlabelled image. zoom: its windows are enlarged by this factor, so that they have a gsd of labelled tiles."""

    path: Path
    height: int
    width: int
    zoom: float


def read_tables(root: str | Path) -> pd.DataFrame:
    """The tiles of read_halves in one table: columns id, gsd_m and rgb. Labels are not read."""
    return pd.concat([table[["id", "gsd_m", "rgb"]] for table in read_halves(root)], ignore_index=True)


def gsd_of_images(root: str | Path) -> dict[Path, float | None]:
    """The images of a competition folder with their gsd in metres, or those directly in any other folder with None."""
    if is_competition(root):
        table = read_tables(root)  # without prepared copies: they come and go, and hide which tiles are labelled
        return dict(zip(map(Path, table.rgb), table.gsd_m, strict=True))
    return dict.fromkeys(list_images(root))


def find_targets(
    root: str | Path, source: pd.DataFrame, crop_px: int, gsd_m: float | None, bands: tuple[int, ...]
) -> list[TargetImage]:
    """The unlabelled images of a folder, checked.

    source: the labelled tiles, see read_tables. gsd_m: of all images; None: each one's own, where it is known. bands:
    see SceneReader. Raises UserError for fewer than two images, for one that is also a labelled tile, that cannot be
    read as RGB, or that has no crop of crop_px.
    """
    images = gsd_of_images(root)
    paths = list(images)
    if len(paths) == 1:
        raise UserError(f"{root}: holds one image only, {paths[0].name}; give two or more, or cut it into tiles")
    labelled = {Path(path).resolve() for path in source.rgb}
    shared = [path for path in paths if path.resolve() in labelled]
    if shared:
        raise UserError(f"{shared[0]}: is also a labelled tile; give --to a folder with other images than --from")
    gsds_m = (source.gsd_m.min(), source.gsd_m.max())
    shown = progress(images.items(), "target", unit="image")
    targets = [describe(path, gsds_m, gsd_m or own_m, bands) for path, own_m in shown]
    open_reader.cache_clear()  # loader processes must not share open files
    for target in targets:
        if min(target.height, target.width) * target.zoom < crop_px:
            size = f"{target.height}x{target.width}" + (f", zoomed by {target.zoom:.2f}" if target.zoom != 1 else "")
            raise UserError(f"{target.path}: {size}, smaller than data.crop_px={crop_px}; lower it, or leave it out")
    return targets


def prefer_copies(targets: list[TargetImage], root: str | Path) -> list[TargetImage]:
    """Images of a folder with the paths of their prepared copies where they exist."""
    table = prefer_prepared(pd.DataFrame({"rgb": [str(target.path) for target in targets]}), root)
    return [replace(target, path=Path(path)) for target, path in zip(targets, table.rgb, strict=True)]


def describe(
    path: Path, source_gsds_m: tuple[float, float], gsd_m: float | None, bands: tuple[int, ...]
) -> TargetImage:
    """Size and zoom of an image. Its zoom is 1 where its gsd is unknown or near one that labelled tiles have.

    source_gsds_m: the smallest and the largest gsd of these tiles. gsd_m: the image's, or None to look for it.
    """
    reader = open_reader(path, bands)
    gsd_m = gsd_m or find_gsd_m(path)
    if gsd_m is None:
        try:
            gsd_m = ground_pixel(reader.image, path).mean_m
        except UserError:  # most images of a challenge have no georeference
            return TargetImage(path, *reader.shape, 1.0)
    zoom = float(gsd_m / np.clip(gsd_m, *source_gsds_m))
    return TargetImage(path, *reader.shape, 1.0 if 1 / NEAR < zoom < NEAR else zoom)


@lru_cache(maxsize=128)
def open_reader(path: Path, bands: tuple[int, ...]) -> SceneReader:
    """An image that stays open, so that GDAL keeps its decoded blocks."""
    with open_raster(path):  # raises UserError for a damaged file
        return SceneReader(rasterio.open(path), path, bands)


def read_window(
    targets: list[TargetImage], bands: tuple[int, ...], size: tuple[int, int], rng: np.random.Generator
) -> np.ndarray:
    """A random window uint8 [H,W,3] with data everywhere, of a random image, zoomed. size is (H, W).

    An image that is smaller is shown whole in its height or width. Raises UserError when DRAWS windows have holes.
    """
    for _ in range(DRAWS):
        target = targets[rng.integers(len(targets))]
        whole = (target.height, target.width)
        shown = [min(side, round(own * target.zoom)) for side, own in zip(size, whole, strict=True)]
        height, width = (min(round(side / target.zoom), own) for side, own in zip(shown, whole, strict=True))
        top, left = (int(rng.integers(n + 1)) for n in (target.height - height, target.width - width))
        with one_line_errors(str(target.path)):
            rgb, data = open_reader(target.path, bands).read(Window(left, top, width, height))
        if data.mean() >= FULL:
            rgb = np.ascontiguousarray(rgb.transpose(1, 2, 0))
            interpolation = cv2.INTER_AREA if target.zoom < 1 else cv2.INTER_LINEAR
            return rgb if target.zoom == 1 else cv2.resize(rgb, shown[::-1], interpolation=interpolation)
    folder, (height, width) = targets[0].path.parent, size
    raise UserError(f"{folder}: {DRAWS} random windows of {height}x{width} px have holes; crop images to their data")


def refuse_small(rgb_paths: Sequence[str], crop_px: int) -> None:
    """Raise UserError when a labelled image has no crop of crop_px. Only headers are read."""
    for path in rgb_paths:
        height, width = image_size(path)
        if min(height, width) < crop_px:
            raise UserError(f"{path}: {height}x{width} is smaller than data.crop_px={crop_px}; lower it")


class PairDataset(Dataset):
    """Random crops of labelled and of unlabelled images, flipped and turned, as uint8 [3,crop_px,crop_px].

    dataset[d] is {"source": .., "target": ..}, a pure function of the seed and the draw number d. Every image has room
    for a crop: see find_targets and refuse_small.
    """

    def __init__(self, rgb_paths: Sequence[str], targets: list[TargetImage], bands, crop_px: int, seed: int):
        self.rgb_paths, self.targets, self.bands = list(rgb_paths), targets, bands
        self.crop_px, self.seed = crop_px, seed

    def __len__(self) -> int:
        return len(self.rgb_paths)

    def __getitem__(self, draw: int) -> dict[str, torch.Tensor]:
        rng = np.random.default_rng([self.seed, draw])
        path = self.rgb_paths[rng.integers(len(self.rgb_paths))]
        height, width = image_size(path)
        top, left = (int(rng.integers(side - self.crop_px + 1)) for side in (height, width))
        source = read_rgb(path, Window(left, top, self.crop_px, self.crop_px))
        target = read_window(self.targets, self.bands, (self.crop_px, self.crop_px), rng)
        return {"source": turn(source, rng), "target": turn(target, rng)}


def turn(rgb: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
    """A random one of the eight symmetries of a square crop uint8 [N,N,3], as uint8 [3,N,N]."""
    rgb = np.rot90(rgb, rng.integers(4))
    rgb = rgb[:, ::-1] if rng.random() < 0.5 else rgb
    return torch.from_numpy(np.ascontiguousarray(rgb.transpose(2, 0, 1)))


def fingerprint(targets: list[TargetImage]) -> str:
    """SHA-256 of the list of unlabelled images: their names, sizes in bytes and zooms."""
    lines = (f"{target.path.name} {target.path.stat().st_size} {target.zoom:.6g}\n" for target in targets)
    return hashlib.sha256("".join(lines).encode()).hexdigest()
