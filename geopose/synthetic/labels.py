"""AGL labels as lidar gives them: heights in the image's geometry, with the faults that real labels have.

The lidar data are from another day than the image. They contain no cars. In training places they also contain a few
trees and buildings that are not in the image, and some objects of the image are missing from them. Training labels get
noise and gaps. The truth of the test half has none of these faults: only water without a lidar return is unknown there.
"""

import cv2
import numpy as np

from geopose.synthetic.appearance import NOISE_CELLS, Material, noise_fields
from geopose.synthetic.ground import Scene
from geopose.synthetic.view import View, ground_cells
from geopose.synthetic.visibility import label_agl

WATER_SHARE = 0.35  # share of the places with water whose water gave no lidar return


def clean_label(scene: Scene, image_agl_m: np.ndarray, view: View, water_returns: bool) -> np.ndarray:
    """AGL float32 [H, W] metres of what the lidar measured; NaN on patches of water unless water_returns.

    image_agl_m float32 [H, W]: AGL of what the image shows, in metres.
    """
    agl_m = label_agl(scene, image_agl_m, view)
    if water_returns or not (scene.material == Material.WATER).any():
        return agl_m
    rows, cols = scene.material.shape
    cell_x, cell_y = ground_cells(agl_m, scene.gsd_m, view)
    col = np.clip(np.rint(cell_x), 0, cols - 1).astype(np.int32)
    row = np.clip(np.rint(cell_y), 0, rows - 1).astype(np.int32)
    water = scene.material[row, col] == Material.WATER
    broad = noise_fields()[2]
    silent = broad[row % NOISE_CELLS, col % NOISE_CELLS] > -0.6
    agl_m[water & silent] = np.nan
    return agl_m


def add_faults(agl_m: np.ndarray, severity: float, rng: np.random.Generator) -> np.ndarray:
    """A training label made from a clean one: with height noise, speckle, holes, and gaps along occlusion edges.

    agl_m float32 [H, W] metres; severity from just above 0 (nearly clean) to about 2. Returns a new array.
    """
    shape = agl_m.shape
    fine, middle = _shifted_noise(rng, shape)
    faulty = np.maximum(agl_m + 0.06 * severity * fine, 0.0)
    # Holes: groups of pixels without a lidar return.
    faulty[middle > 3.1 - 0.35 * severity] = np.nan
    # Occlusion and facade edges: some of the pixels at steep changes of height are unknown.
    known_m = np.where(np.isnan(agl_m), np.float32(0.0), agl_m)
    steps = cv2.morphologyEx(known_m, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 2.5
    faulty[steps & (fine > 1.9 - 0.7 * severity)] = np.nan
    # Speckle: single wrong returns from birds, wires and noise.
    count = rng.poisson(4e-4 * severity * agl_m.size)
    row, col = rng.integers(shape[0], size=count), rng.integers(shape[1], size=count)
    faulty[row, col] = rng.exponential(9.0, count).clip(0, 120)
    return faulty


def _shifted_noise(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Fine and middle noise, each [H, W], cut from the periodic noise fields at a random position."""
    corner = rng.integers(NOISE_CELLS, size=2)
    rows = (corner[0] + np.arange(shape[0])) % NOISE_CELLS
    cols = (corner[1] + np.arange(shape[1])) % NOISE_CELLS
    fine, middle, _ = noise_fields()
    return fine.take(rows, 0).take(cols, 1), middle.take(rows, 0).take(cols, 1)
