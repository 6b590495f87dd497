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
    """All objects that touch the scene. In water (mask [rows, cols] > 0) decks take the place of solids and trees."""
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

    def dry(table: np.ndarray) -> np.ndarray:
        if water is None:
            return np.ones(table.size, bool)
        last = placement.size_cells - 1
        col = np.clip(np.rint(table["x"]), 0, last).astype(int)
        row = np.clip(np.rint(table["y"]), 0, last).astype(int)
        return water[row, col] == 0

    ground, decks = place(sketch.ground, BOX), place(sketch.decks, BOX)
    solids, trees = place(sketch.solids, BOX), place(sketch.trees, TREE)
    # Where bending stretches the grid, pieces of ground grow with it. Otherwise there would be gaps between them.
    for pieces in ground, decks:
        pieces["half_u"] *= np.maximum(stretch, 1.0)[pieces["site"]]
    ground["half_v"] *= np.where(ground["half_v"] > 6.0, np.maximum(across_stretch, 1.0)[ground["site"]], 1.0)
    return Objects(
        ground[touching(ground)],
        np.concatenate([decks[touching(decks) & ~dry(decks)], solids[touching(solids) & dry(solids)]]),
        trees[inside(trees, trees["radius_m"] * 1.3) & dry(trees)],
        np.array(sketch.buildings, dtype=WALLS),
    )
