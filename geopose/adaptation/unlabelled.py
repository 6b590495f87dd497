"""Crops of images without labels, for self-training: each as the student and the halves of its teacher see it."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from rasterio.io import DatasetReader
from torch.utils.data import Dataset

from geopose.cli import UserError
from geopose.config import AugmentConfig, Config
from geopose.data.dataset import DrawSampler, make_sample, random_window
from geopose.data.loader import OneThreadLoader
from geopose.data.store import prefer_prepared
from geopose.data.transforms import PoseD4, PoseResize, compose, create_recolouring, seed_transform
from geopose.geometry import Pose
from geopose.inference.ground_size import GroundPixel, ground_pixel
from geopose.inference.known_pose import find_pose
from geopose.inference.pose_flags import AUTO
from geopose.io.image_folder import list_unlabelled
from geopose.io.names import tile_id_of
from geopose.io.rasters import open_raster, read_rgb
from geopose.io.tables import check_gsd, is_competition, read_csv


def read_unlabelled(config: Config) -> pd.DataFrame:
    """The images of train.unlabelled: columns id, city, gsd_m, rgb, shape_px, angle_rad, scale_px_per_m, pose_fault.

    Angle and scale come from the metadata of the image (RPCs, STAC, IMD) and are NaN without. They are NaN, too, where
    the metadata cannot be used; pose_fault then says why, and otherwise it is empty. Labels are never read. Raises
    UserError for the first image that cannot be used: other bands, smaller than a crop, or of unknown gsd.
    """
    images = list_unlabelled(config.train.unlabelled, config.data.root)
    root = images[0].parent.parent
    are_tiles = images[0].stem.endswith("_RGB") and is_competition(root)
    tiles = read_csv(root / "metadata.csv").set_index("id") if are_tiles else None
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        table = pd.DataFrame(pool.map(lambda image: describe_image(image, tiles, config), images))
    return prefer_prepared(table, root) if are_tiles else table


def describe_image(image: Path, tiles: pd.DataFrame | None, config: Config) -> dict:
    """One row of read_unlabelled, from the header. tiles: city and gsd by id, for images of a competition folder."""
    least_px = config.augment.crop_px / config.model.input_zoom
    with open_raster(image) as raster:
        if raster.count != 3 or set(raster.dtypes) != {"uint8"}:
            raise UserError(f"{image}: {raster.count} bands of {raster.dtypes[0]}; convert it to 3 bands of uint8")
        if min(raster.shape) < least_px:
            size = f"{raster.height}x{raster.width}"
            raise UserError(f"{image}: {size} is smaller than a crop of {least_px:.0f} px; lower augment.crop_px")
        given_m, tile_id = config.train.unlabelled_gsd_m, tile_id_of(image)
        if tiles is None:
            city, (pose, fault) = "", read_pose(raster, image, given_m)
        else:
            city, gsd_m = find_tile(tiles, tile_id, image)
            pose, fault = Pose(np.nan, np.nan, given_m or gsd_m), ""
        row = {"id": tile_id, "city": city, "rgb": str(image), "shape_px": raster.shape}
        return {**row, **vars(pose), "pose_fault": fault}


def find_tile(tiles: pd.DataFrame, tile_id: str, image: Path) -> tuple[str, float]:
    """City and gsd of a tile in metadata.csv."""
    if tile_id not in tiles.index:
        raise UserError(f"{image}: metadata.csv has no row of {tile_id}; add it, or remove the image")
    row = tiles.loc[tile_id]
    return row.city, check_gsd(float(pd.to_numeric(row.gsd, errors="coerce")), f"{image}: its gsd in metadata.csv is")


def read_pose(raster: DatasetReader, image: Path, given_m: float | None) -> tuple[Pose, str]:
    """Gsd of an image from given_m or its georeference, angle and scale from its metadata or NaN, and pose_fault."""
    try:
        pixel = GroundPixel(given_m, given_m) if given_m else ground_pixel(raster, image)
    except UserError as error:
        raise UserError(str(error).replace("--gsd M_PER_PX", "train.unlabelled_gsd_m")) from None
    if not pixel.is_square:
        raise UserError(f"{image}: its pixels are not square on the ground; warp it, or give train.unlabelled_gsd_m")
    try:
        known, fault = find_pose(raster, image, pixel, AUTO), ""
    except UserError as error:
        known, fault = None, str(error).rpartition("; ")[0]  # without the advice, which names a flag of predict.py
    return known.to_pose(pixel.mean_m) if known else Pose(np.nan, np.nan, pixel.mean_m), fault


def warn_of_unknown_poses(table: pd.DataFrame) -> None:
    """Print one line on standard error if images of read_unlabelled have metadata that give no pose."""
    faults = table.pose_fault[table.pose_fault != ""].tolist()
    if faults:
        print(f"warning: the pose of {len(faults)} unlabelled images counts as unknown: {faults[0]}", file=sys.stderr)


class UnlabelledCrops(Dataset):
    """Random crops of images without labels. dataset[d] is a pure function of the seed and the draw number d.

    Draws visit the images as those of CropDataset do. A sample has the keys of make_sample, where "image" is the
    student's, with strongly changed colours. "plain" is the same crop unchanged, and "recoloured" is changed a little:
    these are the teacher's. angle_rad and scale_px_per_m are NaN where the pose is unknown.
    """

    def __init__(self, table: pd.DataFrame, cfg: AugmentConfig, input_zoom: float, seed: int):
        self.table, self.cfg, self.seed = table, cfg, seed
        self.native_crop_px = cfg.crop_px / input_zoom
        self.place = compose([PoseResize(cfg.crop_px), PoseD4(p=1.0)])
        self.colours = {"image": create_recolouring(strong=True), "recoloured": create_recolouring(strong=False)}

    def __getitem__(self, draw: int) -> dict:
        visit, position = divmod(draw, len(self.table))
        row = self.table.iloc[np.random.default_rng([self.seed, visit]).permutation(len(self.table))[position]]
        rng = np.random.default_rng([self.seed, visit, position])
        window = random_window(rng, row.shape_px, self.native_crop_px, self.cfg, row.rgb)
        seed_transform(self.place, int(rng.integers(2**31)))
        pose = Pose(row.angle_rad, row.scale_px_per_m, float(row.gsd_m))
        plain = self.place(image=read_rgb(row.rgb, window), pose=pose)
        sample = make_sample(row, plain["image"], None, plain["pose"])
        sample["plain"] = sample["image"]
        for key, recolour in self.colours.items():
            seed_transform(recolour, int(rng.integers(2**31)))
            sample[key] = torch.from_numpy(recolour(image=plain["image"])["image"].transpose(2, 0, 1).copy())
        for key in ("angle_rad", "scale_px_per_m"):
            sample[key] = torch.tensor(getattr(plain["pose"], key), dtype=torch.float32)
        return sample


def create_unlabelled_loader(
    table: pd.DataFrame, config: Config, steps: int, rank: int, world_size: int
) -> OneThreadLoader:
    """Crops for the batches of an epoch; each rank gets its own. Set loader.sampler.epoch before each epoch."""
    cfg = config.data
    return OneThreadLoader(
        UnlabelledCrops(table, config.augment, config.model.input_zoom, config.seed),
        batch_size=cfg.batch_size,
        sampler=DrawSampler(steps * cfg.batch_size * world_size, rank, world_size),
        num_workers=cfg.workers,
        persistent_workers=cfg.workers > 0,
        pin_memory=torch.cuda.is_available(),
    )
