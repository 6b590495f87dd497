"""The plan of a place: which objects it has and where they are.

`plan_place` draws the streets of a straight grid, fills the blocks between them, and adds water. Then placement.py
bends and turns the grid and cuts it to the scene. The result, a Layout, is a list of objects; ground.py makes rasters
of it.
"""

import itertools
from dataclasses import dataclass

import numpy as np

from geopose import geometry
from geopose.synthetic import blocks_business, blocks_downtown, blocks_homes, blocks_open
from geopose.synthetic.appearance import NOISE_CELLS, Material, Texture
from geopose.synthetic.blocks import Block
from geopose.synthetic.cities import DISTRICTS, City, pick, pick_weighted, vary
from geopose.synthetic.objects import Footprint, Sketch, Surface
from geopose.synthetic.placement import Placement, cut_to_scene
from geopose.synthetic.streets import StreetGrid, draw_streets, plan_streets
from geopose.synthetic.water import Water, draw_water

# The function that fills a block, by the kinds of block that DISTRICTS names.
FILLERS = {
    "houses": blocks_homes.houses,
    "apartments": blocks_homes.apartments,
    "commercial": blocks_business.commercial,
    "industrial": blocks_business.industrial,
    "downtown": blocks_downtown.downtown,
    "plaza": blocks_downtown.plaza,
    "office": blocks_business.office,
    "school": blocks_business.school,
    "park": blocks_open.park,
    "woods": blocks_open.woods,
    "field": blocks_open.field,
    "car_park": blocks_open.open_car_park,
}
# Ranges of block width and depth in metres, by district.
BLOCK_SIZES_M = {
    "suburb": ((110, 200), (58, 76)),
    "dense_suburb": ((90, 160), (48, 64)),
    "commercial": ((110, 170), (85, 140)),
    "industrial": ((120, 200), (100, 160)),
    "downtown": ((80, 115), (80, 110)),
    "midtown": ((90, 140), (75, 110)),
    "rural": ((150, 260), (90, 180)),
}


@dataclass(frozen=True)
class Layout:
    """Objects of a place in scene cells: arrays of BOX, TREE and WALLS, and its water."""

    size_cells: int
    gsd_m: float
    ground: np.ndarray
    solids: np.ndarray
    trees: np.ndarray
    buildings: np.ndarray
    water: Water | None
    noise_shift: tuple[int, int]  # where in the noise fields the textures of this place start


def plan_place(
    city: City, district: str, size_cells: int, gsd_m: float, change: float, rng: np.random.Generator
) -> Layout:
    """A random place in a district of the city: a square of size_cells cells of gsd_m metres.

    change: share of the objects that exist in the image only or in the lidar data only.
    """
    reach_m = 0.72 * size_cells * gsd_m + 20.0  # half the diagonal of the turned square
    turn_rad = _grid_turn(city, rng)
    bend_m = 0.0 if district in ("downtown", "industrial") else city.bend_m * rng.uniform(0.3, 1.5)
    sketch = Sketch(geometry.rotation_matrix(turn_rad), size_cells * gsd_m / 2 + 3.0 * bend_m)
    size_x, size_y = BLOCK_SIZES_M[district]
    grid = StreetGrid(
        plan_streets(rng, reach_m, size_x, district), plan_streets(rng, reach_m, size_y, district), reach_m
    )
    ground = pick(rng, city.lawns) if rng.random() < 0.75 else pick(rng, city.soils)
    sketch.site(0.0, 0.0)
    everywhere = Footprint(0, 0, 3 * reach_m, 3 * reach_m)
    sketch.paint(everywhere, Surface(vary(rng, ground, 0.06), Texture.LAWN, Material.LAWN))
    _fill_blocks(sketch, rng, city, district, grid, change)
    draw_streets(sketch, rng, city, grid, district)
    placement = Placement(size_cells, gsd_m, turn_rad, bend_m, rng)
    water = draw_water(city, district, size_cells, gsd_m, rng)
    objects = cut_to_scene(sketch, placement, None if water is None else water.mask)
    return Layout(
        size_cells=size_cells,
        gsd_m=gsd_m,
        ground=objects.ground,
        solids=objects.solids,
        trees=objects.trees,
        buildings=objects.buildings,
        water=water,
        noise_shift=tuple(int(n) for n in rng.integers(NOISE_CELLS, size=2)),
    )


def _grid_turn(city: City, rng) -> float:
    """Angle in radians by which the street grid is turned."""
    if rng.random() < city.grid_turn:
        return rng.uniform(0.0, geometry.TWO_PI)
    return 0.03 * rng.standard_normal() + 0.25 * geometry.TWO_PI * rng.integers(4)


def _fill_blocks(sketch: Sketch, rng, city: City, district: str, grid: StreetGrid, change: float) -> None:
    """Fill all blocks that can reach into the scene. A block often has the same kind as the one before it."""
    kind = pick_weighted(rng, DISTRICTS[district])
    for left, right in itertools.pairwise(grid.along_y):
        for upper, lower in itertools.pairwise(grid.along_x):
            verge = rng.uniform(1.5, 4.0)
            x0, x1 = left.at + left.width / 2 + verge, right.at - right.width / 2 - verge
            y0, y1 = upper.at + upper.width / 2 + verge, lower.at - lower.width / 2 - verge
            if rng.random() < 0.6:
                kind = pick_weighted(rng, DISTRICTS[district])
            block = Block((x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0, change)
            if not sketch.shows(block.x, block.y, np.hypot(block.width, block.depth) / 2):
                continue
            FILLERS[kind](sketch, rng, city, block)
