"""A place as rasters in the ground frame: the scene that all views of the place show.

`build_scene` paints the objects of a Layout in this order: ground, water, bridges,
buildings with everything on them, trees.
"""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from geopose.synthetic.appearance import NOISE_CELLS, TEXTURE_TABLE, Material, noise_fields
from geopose.synthetic.kernels import kernel
from geopose.synthetic.layout import Layout
from geopose.synthetic.paint import Rasters, empty_rasters, paint_boxes, paint_trees
from geopose.synthetic.water import BANK, WATER, Water


@dataclass(frozen=True)
class Scene:
    """Rasters [rows, cols] over flat ground, x right and y down, cells of gsd_m metres.

    height_m float32 [rows, cols]: what images show, metres above ground.
    label_height_m float32 [rows, cols]: what the lidar measured on another day. It has no cars, and some objects are
        missing from it or exist only in it.
    albedo uint8 [rows, cols, 3]: colours; material uint8 [rows, cols]: values of Material.
    solid int32 [rows, cols]: 0 = no building, otherwise the row in solids of the box that the cell shows, plus 1.
    solids: array of dtype BOX, with positions in cells; buildings: array of dtype WALLS, the walls of these boxes.
    crown uint8 [rows, cols]: how dense a tree's crown is, 1 to 255, less towards its outline; 0 = no tree.
    open_sky float32 [rows, cols]: share of the sky that the cell sees, in (0, 1].
    below_trees uint8 [rows, cols, 3]: the colours without trees, which gaps in crowns show.
    """

    gsd_m: float
    height_m: np.ndarray
    label_height_m: np.ndarray
    albedo: np.ndarray
    material: np.ndarray
    solid: np.ndarray
    crown: np.ndarray
    solids: np.ndarray
    buildings: np.ndarray
    open_sky: np.ndarray
    below_trees: np.ndarray

    @cached_property
    def lowered_m(self) -> np.ndarray:
        """The lower of the image's and the label's heights, float32 [rows, cols] metres."""
        return np.minimum(self.label_height_m, self.height_m)

    @cached_property
    def sunk(self) -> np.ndarray:
        """uint8 [rows, cols], 1 in and around the cells where the label is lower than the image."""
        return cv2.dilate((self.lowered_m < self.height_m).view(np.uint8), np.ones((3, 3), np.uint8))

    @cached_property
    def raised_m(self) -> np.ndarray | None:
        """The label's heights where they exceed the image's, elsewhere 0. None if they do so nowhere."""
        raised = self.label_height_m > self.height_m
        return np.where(raised, self.label_height_m, np.float32(0.0)) if raised.any() else None


def build_scene(layout: Layout) -> Scene:
    """Paint the objects of a Layout into the rasters of a Scene."""
    shape = (layout.size_cells, layout.size_cells)
    rasters = empty_rasters(shape)
    noise = np.roll(noise_fields(), layout.noise_shift, axis=(1, 2))
    paint_boxes(layout.ground, TEXTURE_TABLE, noise, layout.gsd_m, rasters)
    if layout.water is not None:
        _flood(layout.water, noise, rasters)
    paint_boxes(layout.solids, TEXTURE_TABLE, noise, layout.gsd_m, rasters)
    below_trees = rasters.albedo.copy()
    paint_trees(layout.trees, noise, layout.gsd_m, rasters)
    return Scene(
        gsd_m=layout.gsd_m,
        solids=layout.solids,
        buildings=layout.buildings,
        open_sky=_open_sky(rasters.height_m, layout.gsd_m),
        below_trees=below_trees,
        **rasters._asdict(),
    )


def _flood(water: Water, noise: np.ndarray, rasters: Rasters) -> None:
    """Paint banks and water over the ground."""
    banks = (BANK, water.bank_colour, water.bank_material)
    for value, colour, material in banks, (WATER, water.colour, Material.WATER):
        row, col = np.nonzero(water.mask == value)
        fine, middle, broad = noise[:, row % NOISE_CELLS, col % NOISE_CELLS]
        ripple = 1.0 + water.ripple * fine + 0.03 * middle + 0.03 * broad
        rasters.albedo[row, col] = np.clip(ripple[:, None] * np.asarray(colour), 0, 255)
        rasters.material[row, col] = material


def _open_sky(height_m: np.ndarray, gsd_m: float) -> np.ndarray:
    """Approximate share of the sky that each cell sees, float32 [rows, cols]: small where the surroundings are high."""
    small = cv2.resize(np.minimum(height_m, 40.0), None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    around = cv2.GaussianBlur(small, (0, 0), 1.2 / gsd_m)
    sky = cv2.resize(around, height_m.shape[::-1], interpolation=cv2.INTER_LINEAR)
    _fill_open_sky(height_m, sky)
    return sky


@kernel
def _fill_open_sky(height_m, sky):
    """Turn sky [rows, cols], the height of the surroundings, into the share of the sky that each cell sees."""
    one, per_m = np.float32(1.0), np.float32(0.1)
    rows, cols = sky.shape
    for y in range(rows):
        for x in range(cols):
            sky[y, x] = one / (one + per_m * max(sky[y, x] - height_m[y, x], np.float32(0.0)))
