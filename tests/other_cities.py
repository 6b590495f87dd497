"""A second, independent generator of competition folders. It shows whether the recipe depends on the first generator.

`python -m tests.other_cities --out data/other` draws blocks of boxes, gable roofs and dome-shaped trees. It shares no
drawing code, no colours and no statistics with geopose.synthetic, only the functions that write files. Here gsd is
independent of the off-nadir angle, the sun can be in any direction, and every tile shows a different place. The
building lean follows directly from its definition (a point of height h above ground g is imaged at g - h s d), one
height level after the other and without geopose.geometry. So this program also checks the convention independently.
"""

import argparse
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from geopose.geometry import Pose
from geopose.io.names import city_of
from geopose.synthetic.dataset import write_tables, write_tile

# Median height of a house in metres, share of towers, tallest tower in metres.
CITIES = {"ARG": (5, 0.03, 45), "ATL": (9, 0.12, 75), "JAX": (6, 0.06, 60), "OMA": (7, 0.05, 50)}
STEP_PX = 0.5  # flow between two height levels
SUN_STEP_M = 1.0
STOREY_M = 3.3
GAP_PX = 2  # smallest gap between buildings


@dataclass
class Block:
    """A square of ground from above: heights [N, N] metres, colours [N, N, 3] in [0, 1], cells of gsd_m metres."""

    height_m: np.ndarray
    colour: np.ndarray
    gsd_m: float


def draw_block(city: str, size_px: int, gsd_m: float, rng: np.random.Generator) -> Block:
    """Streets, buildings and trees, all at one angle. No two footprints overlap."""
    median_m, tower_share, tallest_m = CITIES[city]
    base = rng.uniform(0.15, 0.6, 3)
    colour = (base + 0.12 * noise(size_px, rng, (4, 16, 64))[..., None] * rng.uniform(0.5, 1.0, 3)).astype(np.float32)
    block = Block(np.zeros((size_px, size_px), np.float32), colour, gsd_m)
    turn_rad, pitch_m = rng.uniform(0, np.pi), rng.uniform(60, 120)
    free = np.ones((size_px, size_px), np.uint8)
    pave(block, free, turn_rad, pitch_m, rng)
    for _ in range(int(3 * (size_px * gsd_m / 25) ** 2)):
        tower = rng.random() < tower_share
        sides_m = rng.uniform(15, 45, 2) if tower else rng.lognormal(np.log(14), 0.4, 2).clip(6, 60)
        eaves_m = rng.uniform(0.3, 1) * tallest_m if tower else median_m * rng.lognormal(0, 0.35)
        build(block, free, turn_rad, sides_m, eaves_m, 0.0 if tower or rng.random() < 0.5 else rng.uniform(1, 4), rng)
    for _ in range(rng.integers(20, 400)):
        plant(block, free, rng.uniform(1.5, 4.5), rng.uniform(3, 13), rng)
    return block


def pave(block: Block, free: np.ndarray, turn_rad: float, pitch_m: float, rng: np.random.Generator) -> None:
    """Draw two sets of streets that cross each other, and remove them from the mask of free cells."""
    axis = np.arange(len(free)) * block.gsd_m
    x, y = np.meshgrid(axis, axis)
    along = x * np.cos(turn_rad) + y * np.sin(turn_rad)
    across = y * np.cos(turn_rad) - x * np.sin(turn_rad)
    streets = (along % pitch_m < 9) | (across % (1.4 * pitch_m) < 9)
    free[streets] = 0
    block.colour[streets] = rng.uniform(0.2, 0.45) + 0.02 * noise(len(free), rng, (4,))[streets, None]


def build(block: Block, free: np.ndarray, turn_rad: float, sides_m, eaves_m: float, rise_m: float, rng) -> None:
    """Draw one building with a flat roof, or with a ridge that rises by rise_m. Do nothing if its place is not free."""
    x, y = rng.uniform(0, len(free), 2)
    box = ((x, y), tuple(sides_m / block.gsd_m), np.degrees(turn_rad + rng.choice([0, 0, 0, 0.3])))
    corners = np.rint(cv2.boxPoints(box)).astype(np.int32)
    left, top = corners.min(axis=0) - GAP_PX
    right, bottom = corners.max(axis=0) + GAP_PX + 1
    if min(left, top) < 0 or max(right, bottom) > len(free):
        return
    around = free[top:bottom, left:right]
    footprint = np.zeros(around.shape, np.uint8)
    cv2.fillPoly(footprint, [corners - (left, top)], 1)
    if (around[footprint > 0] == 0).any():
        return
    around[cv2.dilate(footprint, np.ones((GAP_PX * 2 + 1,) * 2, np.uint8)) > 0] = 0
    rows, cols = np.nonzero(footprint) + np.array([[top], [left]])
    angle_rad = np.radians(box[2])
    off_ridge_m = np.abs((rows - y) * np.cos(angle_rad) - (cols - x) * np.sin(angle_rad)) * block.gsd_m
    block.height_m[rows, cols] = eaves_m + rise_m * np.clip(1 - off_ridge_m / (sides_m[1] / 2), 0, 1)
    block.colour[rows, cols] = rng.uniform(0.15, 0.95) * rng.uniform(0.75, 1.0, 3) + rng.normal(0, 0.02, (len(rows), 1))


def plant(block: Block, free: np.ndarray, radius_m: float, top_m: float, rng: np.random.Generator) -> None:
    """Draw one tree, a dome, on the free cells."""
    radius_px = radius_m / block.gsd_m
    x, y = rng.uniform(radius_px, len(free) - radius_px - 1, 2)
    left, top, side = int(x - radius_px), int(y - radius_px), int(2 * radius_px) + 1
    rows, cols = np.mgrid[top : top + side, left : left + side]
    share = 1 - ((rows - y) ** 2 + (cols - x) ** 2) / radius_px**2
    inside = (share > 0) & (free[rows, cols] > 0)
    rows, cols, share = rows[inside], cols[inside], share[inside]
    block.height_m[rows, cols] = top_m * np.sqrt(share)
    green = rng.uniform((0.08, 0.26, 0.06), (0.18, 0.36, 0.16))
    block.colour[rows, cols] = green + rng.normal(0, 0.04, (len(rows), 1))


def noise(size_px: int, rng: np.random.Generator, cells_px: tuple[int, ...]) -> np.ndarray:
    """Sum of smooth noise fields [N, N], one per cell size, with a standard deviation of about 1."""
    total = np.zeros((size_px, size_px), np.float32)
    for cell_px in cells_px:
        coarse = rng.standard_normal((size_px // cell_px + 2,) * 2).astype(np.float32)
        total += cv2.resize(coarse, (size_px, size_px), interpolation=cv2.INTER_CUBIC)
    return total / len(cells_px) ** 0.5


def lit(block: Block, sun: np.ndarray, slope: float) -> np.ndarray:
    """Sunlight [N, N]: 0 in cast shadows, else 1. sun (x, y) points to the sun; slope: tangent of its elevation."""
    light = np.ones_like(block.height_m)
    for distance_m in np.arange(SUN_STEP_M, block.height_m.max() / slope, SUN_STEP_M):
        x, y = sun * distance_m / block.gsd_m
        shift = np.float32([[1, 0, -x], [0, 1, -y]])
        towards = cv2.warpAffine(block.height_m, shift, light.shape[::-1], flags=cv2.INTER_NEAREST)
        light[towards > block.height_m + slope * distance_m + 0.3] = 0
    return light


def photograph(block: Block, size_px: int, scale_px_per_m: float, angle_rad: float, rng: np.random.Generator):
    """Oblique image uint8 [H, W, 3] of the block's middle, and its heights float32 [H, W] in metres."""
    direction = np.array([np.sin(angle_rad), np.cos(angle_rad)])
    sun_rad, slope = rng.uniform(0, 2 * np.pi), rng.uniform(0.6, 2.0)
    sun = np.array([np.cos(sun_rad), np.sin(sun_rad)])
    shadow_light = lit(block, sun, slope)
    facing = [cv2.Sobel(cv2.GaussianBlur(block.height_m, (0, 0), 2), cv2.CV_32F, *order) for order in ((1, 0), (0, 1))]
    towards_sun = -(facing[0] * sun[0] + facing[1] * sun[1]) / (np.hypot(*facing) + 1e-3)
    roof_light, ambient = np.where(block.height_m > 0, 1.0, 0.95) * shadow_light, rng.uniform(0.25, 0.5)

    margin = (len(block.height_m) - size_px) // 2
    rows, cols = np.mgrid[margin : margin + size_px, margin : margin + size_px].astype(np.float32)
    agl_m = np.zeros((size_px, size_px), np.float32)
    colour = np.zeros((size_px, size_px, 3), np.float32)
    waiting = np.ones((size_px, size_px), bool)
    step_m = STEP_PX / scale_px_per_m
    for level_m in np.arange(np.ceil(block.height_m.max() / step_m), -1, -1) * step_m:
        x, y = direction * level_m * scale_px_per_m
        ground = np.rint(rows + y).astype(np.int32), np.rint(cols + x).astype(np.int32)
        hit = waiting & (block.height_m[ground] >= level_m)
        ground = ground[0][hit], ground[1][hit]
        wall = block.height_m[ground] > level_m + 2 * step_m
        light = np.where(wall, 0.8 * np.clip(towards_sun[ground], 0, 1), roof_light[ground]) * (1 - ambient) + ambient
        window = wall & (level_m % STOREY_M > 1.6)
        agl_m[hit] = np.where(wall, level_m, np.minimum(block.height_m[ground], level_m + step_m))
        colour[hit] = block.colour[ground] * (light * np.where(window, 0.6, 1.0))[:, None]
        waiting &= ~hit
    return expose(colour, rng), agl_m


def expose(colour: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Apply a sensor's blur, tone curve and noise to colours [H, W, 3] in [0, 1]. Returns uint8."""
    colour = cv2.GaussianBlur(colour.clip(0, 1), (0, 0), rng.uniform(0.4, 0.8)) ** rng.uniform(0.7, 1.1)
    grain = rng.normal(0, rng.uniform(0.005, 0.02), colour.shape)
    return ((0.9 * colour + 0.05 + grain).clip(0, 1) * 255).astype(np.uint8)


def make_tile(root: Path, half: str, tile_id: str, size_px: int, seed: tuple[int, ...]) -> float:
    """Draw one tile and write its files. Returns its gsd in metres."""
    rng = np.random.default_rng(seed)
    gsd_m, off_nadir_rad, angle_rad = rng.uniform(0.31, 0.59), np.radians(rng.uniform(5, 36)), rng.uniform(0, 2 * np.pi)
    scale_px_per_m = np.tan(off_nadir_rad) / gsd_m
    tallest_m = CITIES[city_of(tile_id)][2]
    margin = int(np.ceil(1.2 * tallest_m * scale_px_per_m)) + 8
    block = draw_block(city_of(tile_id), size_px + 2 * margin, gsd_m, rng)
    block.height_m = block.height_m.clip(0, tallest_m)
    rgb, agl_m = photograph(block, size_px, scale_px_per_m, angle_rad, rng)
    agl_m[noise(size_px, rng, (6,)) > 3] = np.nan
    write_tile(root, half, tile_id, rgb, agl_m, Pose(angle_rad, scale_px_per_m, gsd_m), "tif")
    return gsd_m


def make_folder(root: Path, train: int, test: int, size_px: int, seed: int) -> None:
    """Fill a folder with tiles of all cities in equal shares."""
    names, halves = list(CITIES), {"train": train, "test": test}
    plan = [(half, f"{names[i % len(names)]}_{half[:2]}{i:04d}", i) for half, n in halves.items() for i in range(n)]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        jobs = [pool.submit(make_tile, root, half, i, size_px, (seed, half == "test", n)) for half, i, n in plan]
        gsds_m = [job.result() for job in jobs]
    tiles = pd.DataFrame([(half, i) for half, i, _ in plan], columns=["half", "id"]).assign(gsd=gsds_m)
    write_tables(root, tiles.assign(city=tiles.id.map(city_of)), "tif")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder to fill")
    parser.add_argument("--train", type=int, default=600, metavar="N", help="training tiles")
    parser.add_argument("--test", type=int, default=40, metavar="N", help="test tiles")
    parser.add_argument("--size", type=int, default=512, metavar="PX", help="width and height of a tile")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="seed of all random choices")
    args = parser.parse_args()
    make_folder(args.out, args.train, args.test, args.size, args.seed)
