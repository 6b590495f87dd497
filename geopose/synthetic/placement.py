"""From the straight street grid in metres to the cells of a scene.

`Placement` bends the grid with a smooth random field, turns it and moves it to the middle of the scene. `cut_to_scene`
moves all objects of a Sketch together with their sites, and keeps those that touch the scene.
"""

from typing import NamedTuple

import cv2
import numpy as np

from geopose import geometry
from geopose.synthetic.objects import BOX, TREE, WALLS, Sketch

BEND_SPACING_M = 90.0  # between the knots of the bending field
LARGE_M = 4.0  # half the width of a building on which something may stand
BRIDGE_M = 280.0  # longest bridge


class Objects(NamedTuple):
    """Arrays of BOX (ground, solids) and TREE, with positions in scene cells, and of WALLS (buildings)."""

    ground: np.ndarray
    solids: np.ndarray
    trees: np.ndarray
    buildings: np.ndarray


class Placement:
    """Maps metres of the straight street grid to scene cells.

    bend_m: standard deviation of the bending in metres; turn_rad: counter-clockwise turn of the grid.
    """

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
                for part in np.array_split(knots, len(knots) // 30000 + 1)  # remap takes fewer than 32768 rows
            ]
        ).reshape(-1, 2)
        return (points_m + bend_m) @ self.matrix.T / self.gsd_m + (self.size_cells - 1) / 2

    def axes(self, points_m: np.ndarray, axes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Scene directions [N, 2] of the grid directions axes [N, 2] at the grid points, and their stretch factors [N].

        The scene directions are unit vectors.
        """
        moved = self.positions(points_m + axes) - self.positions(points_m - axes)
        length = np.linalg.norm(moved, axis=1)
        return moved / length[:, None], length * self.gsd_m / 2


def cut_to_scene(sketch: Sketch, placement: Placement, water: np.ndarray | None) -> Objects:
    """All objects that touch the scene. In water (mask [rows, cols] > 0, banks included) only bridges stand."""
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

    def touching(boxes: np.ndarray) -> np.ndarray:
        return inside(boxes, np.hypot(boxes["half_u"], boxes["half_v"]))

    ground, decks = place(sketch.ground, BOX), place(sketch.decks, BOX)
    solids, trees = place(sketch.solids, BOX), place(sketch.trees, TREE)
    # Where bending stretches the grid, pieces of ground grow with it. Otherwise there would be gaps between them.
    for pieces in ground, decks:
        pieces["half_u"] *= np.maximum(stretch, 1.0)[pieces["site"]]
    ground["half_v"] *= np.where(ground["half_v"] > 6.0, np.maximum(across_stretch, 1.0)[ground["site"]], 1.0)
    solids, trees = solids[touching(solids)], trees[inside(trees, trees["radius_m"] * 1.3)]
    if water is not None:
        solids, trees = _out_of_water(solids, trees, water, placement.gsd_m)
        decks = decks[touching(decks)]
        solids = np.concatenate([decks[_bridges(decks, water, placement.gsd_m)], solids])
    return Objects(ground[touching(ground)], solids, trees, np.array(sketch.buildings, dtype=WALLS))


def _at(water: np.ndarray, spots: np.ndarray) -> np.ndarray:
    """Whether there is water at the spots [..., 2], cells (x, y). Beyond the scene the cell at its edge counts."""
    col, row = np.clip(np.rint(spots), 0, len(water) - 1).astype(int).transpose(-1, *range(spots.ndim - 1))
    return water[row, col] > 0


def _frame(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Middles [N, 2] in cells of boxes, and the unit vectors [N, 2] along their u and v."""
    along = np.stack([boxes["ux"], boxes["uy"]], -1)
    return np.stack([boxes["x"], boxes["y"]], -1), along, along[:, ::-1] * (-1, 1)


def _out_of_water(
    solids: np.ndarray, trees: np.ndarray, water: np.ndarray, gsd_m: float
) -> tuple[np.ndarray, np.ndarray]:
    """The solids and trees that do not stand in water, and not on a solid that does."""
    middle, along, across = _frame(solids)
    reach_u, reach_v = (0.7 * solids[half][:, None] / gsd_m for half in ("half_u", "half_v"))
    corners = [middle + u * reach_u * along + v * reach_v * across for u in (-1, 1) for v in (-1, 1)]
    wet = _at(water, np.stack([middle, *corners])).any(0)
    tree_spots = np.stack([trees["x"], trees["y"]], -1)
    lost, lost_trees = wet.copy(), _at(water, tree_spots)
    for i in np.flatnonzero(wet & (np.minimum(solids["half_u"], solids["half_v"]) > LARGE_M)):
        for spots, gone in (middle, lost), (tree_spots, lost_trees):
            off_m = (spots - middle[i]) * gsd_m
            gone |= (abs(off_m @ along[i]) < solids["half_u"][i]) & (abs(off_m @ across[i]) < solids["half_v"][i])
    return solids[~lost], trees[~lost_trees]


def _bridges(decks: np.ndarray, water: np.ndarray, gsd_m: float) -> np.ndarray:
    """Which decks are over water that has dry land in the scene on both sides along the street, not too far away."""
    middle, along, _ = _frame(decks)
    steps = np.arange(-BRIDGE_M, BRIDGE_M + 1.0, 5.0)
    spots = middle[:, None] + steps[:, None] / gsd_m * along[:, None]
    shown = ((spots > 0) & (spots < len(water) - 1)).all(-1)
    land = ~_at(water, spots) & shown
    before = np.where(land & (steps < 0), steps, -np.inf).max(1, initial=-np.inf)
    after = np.where(land & (steps > 0), steps, np.inf).min(1, initial=np.inf)
    return _at(water, middle) & (after - before <= BRIDGE_M)
