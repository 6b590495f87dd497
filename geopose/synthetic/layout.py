"""A place drawn up as objects: streets, blocks, water; then turned, bent and cut to the scene's cells."""

import itertools
from dataclasses import dataclass

import cv2
import numpy as np

from geopose import geometry
from geopose.synthetic import cities
from geopose.synthetic.appearance import NOISE_CELLS, Material, Texture
from geopose.synthetic.blocks import FILLERS, Block
from geopose.synthetic.cities import DISTRICTS, City, pick, pick_weighted, vary
from geopose.synthetic.objects import BOX, BUILDING, TREE, Sketch
from geopose.synthetic.structures import car, tree_clump

SEGMENT_M = 12.0
BEND_SPACING_M = 90.0
# Block width and depth ranges in metres by district character.
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
    """Objects of a place in scene cells: arrays of BOX, TREE and BUILDING, and the water mask (0, 1 bank, 2 water)."""

    size_cells: int
    gsd_m: float
    ground: np.ndarray
    solids: np.ndarray
    trees: np.ndarray
    buildings: np.ndarray
    water: np.ndarray | None
    water_colour: tuple
    bank_colour: tuple
    ripple: float  # relative contrast of waves
    noise_shift: tuple[int, int]


def plan_place(
    city: City, district: str, size_cells: int, gsd_m: float, change: float, rng: np.random.Generator
) -> Layout:
    """A random place of the city, of a district's character.

    change: share of objects standing on only one of the lidar's and the image's days.
    """
    reach_m = 0.72 * size_cells * gsd_m + 20.0  # the turned square's half diagonal
    turn_rad = _grid_turn(city, rng)
    bend_m = 0.0 if district in ("downtown", "industrial") else city.bend_m * rng.uniform(0.3, 1.5)
    sketch = Sketch(geometry.rotation_matrix(turn_rad), size_cells * gsd_m / 2 + 3.0 * bend_m)
    size_x, size_y = BLOCK_SIZES_M[district]
    streets_x = _streets(rng, reach_m, size_x, district)
    streets_y = _streets(rng, reach_m, size_y, district)
    ground = pick(rng, city.lawns) if rng.random() < 0.75 else pick(rng, city.soils)
    sketch.site(0.0, 0.0)
    sketch.paint(0, 0, 3 * reach_m, 3 * reach_m, vary(rng, ground, 0.06), Texture.LAWN, Material.LAWN)
    _fill_blocks(sketch, rng, city, district, streets_x, streets_y, change)
    _draw_streets(sketch, rng, city, streets_x, streets_y, reach_m, district)
    placement = _Placement(size_cells, gsd_m, turn_rad, bend_m, rng)
    water = _draw_water(city, district, size_cells, gsd_m, rng)
    return _cut_to_scene(sketch, placement, water, city, rng)


def _grid_turn(city: City, rng) -> float:
    if rng.random() < city.grid_turn:
        return rng.uniform(0.0, geometry.TWO_PI)
    return 0.03 * rng.standard_normal() + 0.25 * geometry.TWO_PI * rng.integers(4)


@dataclass(frozen=True)
class Street:
    """A straight street of the grid: where its middle runs and how wide its carriageway is, metres."""

    at: float
    width: float
    wear: float  # brightness of its wheel tracks


def _streets(rng, reach_m: float, spacing: tuple[float, float], district: str) -> list[Street]:
    streets, at = [], -reach_m - rng.uniform(0, spacing[0])
    while at < reach_m + spacing[1]:
        wide = rng.random() < (0.12 if district in ("suburb", "rural", "dense_suburb") else 0.35)
        highway = rng.random() < 0.03
        width = rng.uniform(24, 34) if highway else (rng.uniform(13, 19) if wide else rng.uniform(7.0, 9.5))
        streets.append(Street(at, width, 1.0 + 0.05 * rng.standard_normal()))
        at += rng.uniform(*spacing) + width
    return streets


def _fill_blocks(sketch, rng, city, district, streets_x, streets_y, change) -> None:
    """Fill the blocks that can reach the scene; neighbours often share a kind."""
    kind = pick_weighted(rng, DISTRICTS[district])
    for left, right in itertools.pairwise(streets_x):
        for upper, lower in itertools.pairwise(streets_y):
            verge = rng.uniform(1.5, 4.0)
            x0, x1 = left.at + left.width / 2 + verge, right.at - right.width / 2 - verge
            y0, y1 = upper.at + upper.width / 2 + verge, lower.at - lower.width / 2 - verge
            if rng.random() < 0.6:
                kind = pick_weighted(rng, DISTRICTS[district])
            block = Block((x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0, change)
            if not sketch.shows(block.x, block.y, np.hypot(block.width, block.depth) / 2):
                continue
            FILLERS[kind](sketch, rng, city, block)


def _draw_streets(sketch, rng, city, streets_x, streets_y, reach_m, district) -> None:
    """Pavements first, then carriageways, then markings, kerbside cars and roadside trees."""
    asphalt = vary(rng, pick(rng, cities.ASPHALT), 0.08)
    pavement = vary(rng, pick(rng, cities.PAVING), 0.06)
    paved = rng.random() < 0.7 and district != "rural"
    lines = [(street, True) for street in streets_x] + [(street, False) for street in streets_y]
    ends = np.arange(-reach_m, reach_m, SEGMENT_M) + SEGMENT_M / 2
    colours = [vary(rng, asphalt, 0.07) for _ in lines]
    for layer in ("kerb", "road", "paint"):
        for (street, along_y), colour in zip(lines, colours, strict=True):
            crossings = streets_y if along_y else streets_x
            for end in ends:
                place = (street.at, end, 0.0, 1.0) if along_y else (end, street.at, 1.0, 0.0)
                if not sketch.shows(*place[:2], street.width + SEGMENT_M):
                    continue
                sketch.site(*place)
                half = street.width / 2
                if layer == "kerb" and paved:
                    for side in (-1, 1):
                        sketch.paint(0, side * (half + 2.0), SEGMENT_M / 2 + 1.4, 0.8, pavement, Texture.CONCRETE)
                elif layer == "road":
                    if paved:  # concrete gutters edge the asphalt
                        sketch.paint(0, 0, SEGMENT_M / 2 + 1.2, half + 0.7, pavement, Texture.CONCRETE)
                    sketch.paint(0, 0, SEGMENT_M / 2 + 1.2, half, colour, Texture.ASPHALT)
                elif layer == "paint":
                    free = all(abs(end - c.at) > c.width / 2 + SEGMENT_M / 2 for c in crossings)
                    if free:
                        _segment_details(sketch, rng, city, street, colour)


def _segment_details(sketch, rng, city, street: Street, colour) -> None:
    half = street.width / 2
    worn = tuple(c * street.wear for c in colour)
    for side in (-1, 1):  # lanes polished or darkened by wheels and oil
        sketch.paint(0, side * half * 0.45, SEGMENT_M / 2 + 0.8, half * 0.22, worn, Texture.ASPHALT)
    if street.width > 22:  # divided highway: grass median with trees, lane dashes, shoulders
        sketch.paint(0, 0, SEGMENT_M / 2 + 0.8, 3.5, vary(rng, city.lawns[0], 0.02), Texture.LAWN, Material.LAWN)
        for side in (-1, 1):
            sketch.paint(0, side * (half + 3.5) / 2, 1.5, 0.2, (185, 185, 180))
            sketch.paint(0, side * (half - 0.6), SEGMENT_M / 2 + 0.3, 0.2, (165, 165, 160))
        tree_clump(sketch, rng, city, 0, 0, SEGMENT_M / 2, 2.0, rng.poisson(0.25))
    elif street.width > 12:
        sketch.paint(0, 0, SEGMENT_M / 2, 0.2, (160, 148, 100))
        for side in (-1, 1):
            sketch.paint(0, side * half / 2, 1.5, 0.2, (175, 175, 170))
    elif rng.random() < 0.1:
        sketch.paint(rng.uniform(-4, 4), rng.uniform(-0.5, 0.5) * half, rng.uniform(0.5, 4), rng.uniform(0.4, 1.5),
                     vary(rng, colour, 0.1), Texture.ASPHALT)  # fmt: skip
    if rng.random() < (0.12 if street.width < 12 else 0.22):
        car(sketch, rng, rng.uniform(-5, 5), rng.choice([-1, 1]) * (half - (1.3 if street.width < 12 else 3.0)))
    if rng.random() < 0.10 * city.tree_density:
        tree_clump(sketch, rng, city, 0, rng.choice([-1, 1]) * (half + 3.5), 4, 0.8, 1)


class _Placement:
    """Maps metres of the straight street grid to scene cells: bent by a smooth random field, turned, centred."""

    def __init__(self, size_cells: int, gsd_m: float, turn_rad: float, bend_m: float, rng: np.random.Generator):
        self.size_cells, self.gsd_m = size_cells, gsd_m
        self.matrix = geometry.rotation_matrix(turn_rad)
        knots = int(2 * size_cells * gsd_m / BEND_SPACING_M) + 12
        self.bends = (bend_m * rng.standard_normal((knots, knots, 2))).astype(np.float32)

    def positions(self, points_m: np.ndarray) -> np.ndarray:
        """Cells [N, 2] of grid points [N, 2] in metres."""
        knots = (points_m / BEND_SPACING_M + self.bends.shape[0] / 2).astype(np.float32)
        bend_m = np.concatenate(
            [
                cv2.remap(self.bends, part[:, 0:1], part[:, 1:2], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
                for part in np.array_split(knots, len(knots) // 30000 + 1)
            ]
        ).reshape(-1, 2)
        return (points_m + bend_m) @ self.matrix.T / self.gsd_m + (self.size_cells - 1) / 2

    def axes(self, points_m: np.ndarray, axes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Unit directions [N, 2] in the scene of the grid directions at the grid points, and how far each stretches."""
        moved = self.positions(points_m + axes) - self.positions(points_m - axes)
        length = np.linalg.norm(moved, axis=1)
        return moved / length[:, None], length * self.gsd_m / 2


def _draw_water(city: City, district: str, size_cells: int, gsd_m: float, rng) -> np.ndarray | None:
    """Mask uint8 of a pond, or of a lake or river across the place: 1 bank, 2 water; None for a dry place."""
    wet = {"rural": 0.45, "suburb": 0.25, "downtown": 0.15}.get(district, 0.10)
    if rng.random() > wet:
        return None
    radius = size_cells * rng.uniform(0.08, 0.36)
    angles = np.arange(96) / 96 * geometry.TWO_PI
    knots = rng.standard_normal(16)
    wobble = np.interp(np.arange(96) / 6.0, np.arange(17), np.append(knots, knots[0]))
    spokes = geometry.flow_direction(angles) * (radius * np.exp(0.33 * wobble))[:, None]
    spokes *= np.array([1.0, rng.uniform(0.5, 1.6)])
    outline = spokes + rng.uniform(0.0, 1.0, 2) * size_cells
    smooth = np.stack([np.convolve(np.tile(outline[:, i], 3), np.ones(9) / 9, "same")[96:192] for i in range(2)], -1)
    points = [np.rint(smooth).astype(np.int32)]
    mask = np.zeros((size_cells, size_cells), np.uint8)
    cv2.fillPoly(mask, points, 2)
    cv2.polylines(mask, points, True, 1, max(2, int(rng.uniform(1.0, 4.0) / gsd_m)))
    return mask


def _cut_to_scene(sketch: Sketch, placement: _Placement, water, city: City, rng) -> Layout:
    """Structured arrays in cells of all that touches the scene and does not stand in water."""
    sites = np.array(sketch.sites, dtype=np.float64).reshape(-1, 4)
    origins = placement.positions(sites[:, :2])
    axes, stretch = placement.axes(sites[:, :2], sites[:, 2:])
    across_stretch = placement.axes(sites[:, :2], np.stack([-sites[:, 3], sites[:, 2]], -1))[1]
    normals = np.stack([-axes[:, 1], axes[:, 0]], -1)

    def place(rows: list[tuple], dtype: np.dtype) -> np.ndarray:
        table = np.array(rows, dtype=dtype)
        site = table["site"]
        spot = (
            origins[site] + (table["x"][:, None] * axes[site] + table["y"][:, None] * normals[site]) / placement.gsd_m
        )
        if "ux" in dtype.names:
            along, across = table["ux"][:, None].copy(), table["uy"][:, None].copy()
            turned = along * axes[site] + across * normals[site]
            table["ux"], table["uy"] = turned[:, 0], turned[:, 1]
        table["x"], table["y"] = spot[:, 0], spot[:, 1]
        return table

    def inside(table: np.ndarray, reach_m: np.ndarray) -> np.ndarray:
        reach = reach_m / placement.gsd_m
        keep = (table["x"] > -reach) & (table["x"] < placement.size_cells + reach)
        return keep & (table["y"] > -reach) & (table["y"] < placement.size_cells + reach)

    def dry(table: np.ndarray) -> np.ndarray:
        if water is None:
            return np.ones(table.size, bool)
        last = placement.size_cells - 1
        col = np.clip(np.rint(table["x"]), 0, last).astype(int)
        row = np.clip(np.rint(table["y"]), 0, last).astype(int)
        return water[row, col] == 0

    ground, solids, trees = place(sketch.ground, BOX), place(sketch.solids, BOX), place(sketch.trees, TREE)
    # Where bending stretches the grid, ground pieces grow with it, or gaps would open between them.
    ground["half_u"] *= np.maximum(stretch, 1.0)[ground["site"]]
    ground["half_v"] *= np.where(ground["half_v"] > 6.0, np.maximum(across_stretch, 1.0)[ground["site"]], 1.0)
    ground = ground[inside(ground, np.hypot(ground["half_u"], ground["half_v"]))]
    solids = solids[inside(solids, np.hypot(solids["half_u"], solids["half_v"])) & dry(solids)]
    trees = trees[inside(trees, trees["radius_m"] * 1.3) & dry(trees)]
    water_colour, ripple = np.array(vary(rng, city.water, 0.12)), rng.gamma(1.5, 0.03)
    if rng.random() < 0.25:  # the sun glitters on it
        water_colour, ripple = water_colour * rng.uniform(1.0, 3.0), ripple + rng.uniform(0.1, 0.5)
    return Layout(
        placement.size_cells,
        placement.gsd_m,
        ground,
        solids,
        trees,
        place(sketch.buildings, BUILDING),
        water,
        tuple(water_colour),
        vary(rng, pick(rng, city.soils + city.lawns), 0.1),
        float(ripple),
        tuple(int(n) for n in rng.integers(NOISE_CELLS, size=2)),
    )
