"""Datasets, samplers and loaders: the tiles of a competition folder as batches.

Training draws random augmented crops (CropDataset). Validation and prediction read whole tiles (TileDataset).
A batch has the keys image, agl_m, scale_px_per_m, angle_rad, gsd_m, native_gsd_m, id and city. gsd_m is the gsd of the
pixels in the batch. native_gsd_m is the gsd of the file they come from, before any resizing.
"""

import os
from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from rasterio.windows import Window
from torch.utils.data import Dataset, Sampler

from geopose.cli import UserError
from geopose.config import AugmentConfig, Config, ModelConfig
from geopose.data.loader import OneThreadLoader
from geopose.data.store import prefer_prepared
from geopose.data.transforms import create_transform, seed_transform
from geopose.geometry import Pose
from geopose.io.poses import read_vflow
from geopose.io.rasters import image_size, read_agl, read_rgb
from geopose.io.tables import check_labels, find_bad_tiles, read_folds, read_train_table

TALL_CANDIDATES = 4


class CropDataset(Dataset):
    """Random augmented crops. dataset[d] is a pure function of the seed and the draw number d.

    Draws 0 to n - 1 visit each of the n tiles once, in a random order. Draws n to 2n - 1 visit them again in another
    order, and so on without end. A draw does not depend on workers, ranks or earlier draws, so a run can stop and
    resume anywhere. With balanced, each visit repeats the tiles of small cities, see balance_cities. cache_mb limits
    the memory for decoded tiles.
    """

    def __init__(
        self,
        table: pd.DataFrame,
        cfg: AugmentConfig,
        model_cfg: ModelConfig,
        seed: int,
        balanced: bool = False,
        cache_mb: int = 0,
    ):
        self.table, self.cfg, self.seed = table.reset_index(drop=True), cfg, seed
        self.kept: dict[str, np.ndarray] = {}
        self.room_bytes = cache_mb * 1_000_000
        self.sizes: dict[str, tuple[int, int]] = {}
        self.rows = balance_cities(self.table.city) if balanced else np.arange(len(self.table))
        self.native_crop_px = cfg.crop_px / model_cfg.input_zoom
        self.transform = create_transform(cfg)
        self.labels = [read_vflow(row.vflow, row.agl) for row in self.table.itertuples()]

    def __len__(self) -> int:
        """Number of draws that visit all tiles once. Draw numbers may be larger."""
        return len(self.rows)

    def __getitem__(self, draw: int) -> dict:
        visit, position = divmod(draw, len(self.rows))
        index = np.random.default_rng([self.seed, visit]).permutation(self.rows)[position]
        rng = np.random.default_rng([self.seed, visit, position])
        window = self.draw_window(rng, index)
        if self.cfg.tall_probability and rng.random() < self.cfg.tall_probability:
            index, window = self.draw_tall(rng, index, window)
        row, label = self.table.iloc[index], self.labels[index]
        seed_transform(self.transform, int(rng.integers(2**31)))
        crop = self.transform(
            image=self.read(read_rgb, row.rgb, window),
            mask=self.read(read_agl, row.agl, window),
            pose=Pose(label.angle_rad, label.scale_px_per_m, float(row.gsd_m)),
        )
        return make_sample(row, crop["image"], crop["mask"], crop["pose"])

    def draw_window(self, rng: np.random.Generator, index: int) -> Window:
        """A random window of the tile in row `index` of the table."""
        path = self.table.rgb.iat[index]
        if path not in self.sizes:
            self.sizes[path] = image_size(path)
        return random_window(rng, self.sizes[path], self.native_crop_px, self.cfg, path)

    def draw_tall(self, rng: np.random.Generator, index: int, window: Window) -> tuple[int, Window]:
        """Row and window with the highest mean height, among the given one and others of the same city.

        Towers stand on a small share of the tiles. With uniform draws a network hardly sees them, but they decide the
        score of a downtown.
        """
        rows_of_city = np.flatnonzero(self.table.city == self.table.city.iat[index])
        others = rng.choice(rows_of_city, TALL_CANDIDATES - 1)
        candidates = [(index, window), *((int(other), self.draw_window(rng, other)) for other in others)]
        return max(candidates, key=lambda candidate: self.mean_height_m(*candidate))

    def mean_height_m(self, index: int, window: Window) -> float:
        """Mean of the known heights of a window in metres; 0 without any."""
        agl_m = self.read(read_agl, self.table.agl.iat[index], window)
        known = agl_m[np.isfinite(agl_m)]
        return float(known.mean()) if known.size else 0.0

    def read(self, read_raster: Callable, path: str, window: Window) -> np.ndarray:
        """A window of a tile, from memory if the whole tile is there."""
        if path not in self.kept:
            if self.room_bytes <= 0:
                return read_raster(path, window)
            self.kept[path] = read_raster(path)
            self.room_bytes -= self.kept[path].nbytes
        return self.kept[path][window.toslices()].copy()


class TileDataset(Dataset):
    """Whole tiles in table order. They have labels if the table has the columns agl and vflow."""

    def __init__(self, table: pd.DataFrame):
        self.table = table.reset_index(drop=True)

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: int) -> dict:
        row = self.table.iloc[index]
        rgb = read_rgb(row.rgb)
        if "agl" not in self.table:
            return make_sample(row, rgb, None, Pose(np.nan, np.nan, float(row.gsd_m)))
        label = read_vflow(row.vflow, row.agl)
        return make_sample(row, rgb, read_agl(row.agl), Pose(label.angle_rad, label.scale_px_per_m, float(row.gsd_m)))


def balance_cities(cities: pd.Series) -> np.ndarray:
    """Row numbers int [M], repeated for small cities: each city occurs about as often as the one with most tiles."""
    tiles_of_city = cities.map(cities.value_counts())
    return np.repeat(np.arange(len(cities)), (tiles_of_city.max() / tiles_of_city).round().astype(int))


def make_sample(row, rgb: np.ndarray, agl_m: np.ndarray | None, pose: Pose) -> dict:
    """One sample: image uint8 [3,H,W], agl_m float32 [1,H,W], float32 scalars, id and city.

    Without labels (agl_m is None) it lacks agl_m, scale_px_per_m and angle_rad.
    """
    sample = {"image": torch.from_numpy(np.ascontiguousarray(rgb.transpose(2, 0, 1)))}
    if agl_m is not None:
        sample |= {
            "agl_m": torch.from_numpy(np.ascontiguousarray(agl_m[None])),
            "scale_px_per_m": torch.tensor(pose.scale_px_per_m, dtype=torch.float32),
            "angle_rad": torch.tensor(pose.angle_rad, dtype=torch.float32),
        }
    gsds_m = {"gsd_m": pose.gsd_m, "native_gsd_m": float(row.gsd_m)}
    sample |= {key: torch.tensor(gsd_m, dtype=torch.float32) for key, gsd_m in gsds_m.items()}
    return sample | {"id": row.id, "city": row.city}


def random_window(
    rng: np.random.Generator, size: tuple[int, int], crop_px: float, cfg: AugmentConfig, where: str
) -> Window:
    """A random square window inside an image of size (height, width).

    The side is drawn uniformly from crop_px * [crop_jitter, 1 / crop_jitter]. With wide_probability it is multiplied
    by a factor from 1 to wide_factor, drawn uniformly in its logarithm. The image's shorter side limits the result.
    where names the image in errors.
    """
    height, width = size
    if min(size) < crop_px:
        raise UserError(f"{where}: {height}x{width} is smaller than a crop of {crop_px:.0f} px; lower augment.crop_px")
    side_px = rng.uniform(crop_px * cfg.crop_jitter, crop_px / cfg.crop_jitter)
    if cfg.wide_probability and rng.random() < cfg.wide_probability:
        side_px *= cfg.wide_factor ** rng.random()
    side = min(round(side_px), height, width)
    return Window(int(rng.integers(width - side + 1)), int(rng.integers(height - side + 1)), side, side)


class DrawSampler(Sampler):
    """The draw numbers of one epoch for one rank: rank r of w takes draws r, r + w, ... of the epoch's range.

    Set epoch, which counts from 1, before each epoch.
    """

    def __init__(self, draws_per_epoch: int, rank: int, world_size: int):
        self.draws_per_epoch, self.rank, self.world_size = draws_per_epoch, rank, world_size
        self.epoch = 1

    def __len__(self) -> int:
        return self.draws_per_epoch // self.world_size

    def __iter__(self):
        first = (self.epoch - 1) * self.draws_per_epoch
        return iter(range(first + self.rank, first + self.draws_per_epoch, self.world_size))


def split_fold(config: Config) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, str]]:
    """Training tiles and validation tiles of the configured fold, and the faults of excluded tiles by id.

    The tables name prepared copies where they exist. With data.on_bad_tile=skip, all tiles are read first and damaged
    ones are excluded. With data.on_bad_tile=fail, no tile is excluded: a fault in a header raises UserError here, and
    any other fault raises it when the tile is read.
    """
    everything = read_train_table(config.data.root)
    table = prefer_prepared(everything, config.data.root)
    bad = find_bad_tiles(table, os.cpu_count()) if config.data.on_bad_tile == "skip" else {}
    table = table[~table.id.isin(bad)]
    check_labels(table)
    folds = read_folds(config.data.folds, everything).reindex(table.id).to_numpy()
    train, valid = table[folds != config.data.fold], table[folds == config.data.fold]
    if valid.empty or train.empty:
        raise UserError(
            f"{config.data.folds}: data.fold={config.data.fold} leaves no tile for "
            f"{'validation' if valid.empty else 'training'}; there are folds {sorted(set(folds.tolist()))}"
        )
    return train, valid, bad


def create_train_loader(table: pd.DataFrame, config: Config, rank: int = 0, world_size: int = 1) -> OneThreadLoader:
    """Training crops, steps_per_epoch batches per epoch. Set loader.sampler.epoch before each epoch."""
    cfg = config.data
    dataset = CropDataset(table, config.augment, config.model, config.seed, cfg.balance_cities, cfg.cache_mb)
    steps = config.train.steps_per_epoch or max(1, round(len(dataset) / (cfg.batch_size * world_size)))
    return OneThreadLoader(
        dataset,
        batch_size=cfg.batch_size,
        sampler=DrawSampler(steps * cfg.batch_size * world_size, rank, world_size),
        num_workers=cfg.workers,
        persistent_workers=cfg.workers > 0,
        pin_memory=torch.cuda.is_available(),
    )


def create_valid_loader(table: pd.DataFrame, config: Config, rank: int = 0, world_size: int = 1) -> OneThreadLoader:
    """Whole tiles in batches of one, because sizes may differ. Each tile is on one rank only."""
    tiles, workers = TileDataset(table.iloc[rank::world_size]), min(config.data.workers, 2)
    return OneThreadLoader(tiles, batch_size=1, num_workers=workers)
