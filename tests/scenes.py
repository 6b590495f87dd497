"""Scenes for tests of the geometry: bare scenes, oblique poses, and scenes that are turned, mirrored or stretched."""

from dataclasses import replace

import cv2
import numpy as np

from geopose import geometry
from geopose.geometry import Pose
from geopose.synthetic.appearance import Season
from geopose.synthetic.ground import Scene
from geopose.synthetic.light import Light
from geopose.synthetic.objects import BOX, WALLS, Roof, Walls

SEASON = Season(leaf=0.6, dryness=0.3)
LIGHT = Light((0.6, 0.8), 1.1)
ANGLES_RAD = (0.3, 1.9, 2.8, 4.4, 5.9)


def oblique_pose(angle_rad: float, off_nadir_deg: float = 24.0, gsd_m: float = 0.4) -> Pose:
    scale = geometry.scale_for_off_nadir(np.radians(off_nadir_deg), gsd_m)
    return Pose(angle_rad, float(scale), gsd_m)


def bare_scene(height_m: np.ndarray, gsd_m: float = 0.4) -> Scene:
    """Grey scene of the given heights [rows, cols], without buildings or shade from the sky."""
    height_m = np.ascontiguousarray(height_m, dtype=np.float32)
    grey = np.full((*height_m.shape, 3), 128, np.uint8)
    return Scene(
        gsd_m=gsd_m,
        height_m=height_m,
        label_height_m=height_m,
        albedo=grey,
        material=np.zeros(height_m.shape, np.uint8),
        solid=np.zeros(height_m.shape, np.int32),
        solids=np.zeros(0, BOX),
        buildings=np.zeros(0, WALLS),
        crown=np.zeros(height_m.shape, np.uint8),
        open_sky=np.ones(height_m.shape, np.float32),
        below_trees=grey,
    )


def tower_scene(height_m: float = 20.0, size: int = 200) -> tuple[Scene, np.ndarray]:
    """A single tower of 40 x 30 cells in the middle of a bare scene, and the mask of its footprint."""
    footprint = np.zeros((size, size), bool)
    footprint[size // 2 - 15 : size // 2 + 15, size // 2 - 20 : size // 2 + 20] = True
    return bare_scene(footprint * height_m), footprint


def walled_tower(walls: Walls, height_m: float = 20.0) -> tuple[Scene, np.ndarray]:
    """tower_scene with walls: the tower is a box of 16 x 12 m."""
    scene, footprint = tower_scene(height_m)
    box = np.zeros(1, BOX)
    box["x"], box["y"], box["ux"] = 99.5, 99.5, 1.0
    box["half_u"], box["half_v"], box["top_m"], box["building"], box["roof"] = 8.0, 6.0, height_m, 1, Roof.FLAT
    recipes = np.array([(*walls.colour, *walls[1:])], WALLS)
    return replace(scene, solid=footprint.astype(np.int32), solids=box, buildings=recipes), footprint


def agreement(first: np.ndarray, second: np.ndarray, tolerance: float) -> float:
    """Share of pixels whose values agree within the tolerance."""
    return float((np.abs(first - second) <= tolerance).mean())


def mirrored(scene: Scene, element: str) -> Scene:
    """The scene under an element of geometry.D4_MATRICES."""
    rasters = {
        name: np.ascontiguousarray(geometry.apply_d4(getattr(scene, name), element))
        for name in ("height_m", "label_height_m", "material", "solid", "crown", "open_sky")
    }
    for name in ("albedo", "below_trees"):
        bands = geometry.apply_d4(getattr(scene, name).transpose(2, 0, 1), element)
        rasters[name] = np.ascontiguousarray(bands.transpose(1, 2, 0))
    solids = _moved_solids(scene, geometry.D4_MATRICES[element], rasters["height_m"].shape)
    return replace(scene, solids=solids, **rasters)


def turned(scene: Scene, theta_rad: float) -> Scene:
    """The scene turned counter-clockwise about its middle. The corners are filled with empty ground."""
    matrix = geometry.rotation_matrix(theta_rad)
    rows, cols = scene.height_m.shape
    middle = np.array([(cols - 1) / 2, (rows - 1) / 2])
    affine = np.hstack([matrix, (middle - matrix @ middle)[:, None]])

    def warp(raster, interpolation):
        return cv2.warpAffine(raster, affine, (cols, rows), flags=interpolation)

    smooth = ("height_m", "label_height_m", "albedo", "below_trees")
    rasters = {name: warp(getattr(scene, name), cv2.INTER_LINEAR) for name in smooth}
    rasters["open_sky"] = np.maximum(warp(scene.open_sky, cv2.INTER_LINEAR), 0.05)
    for name in ("material", "crown"):
        rasters[name] = warp(getattr(scene, name), cv2.INTER_NEAREST)
    rasters["solid"] = warp(scene.solid.astype(np.float32), cv2.INTER_NEAREST).astype(np.int32)
    return replace(scene, solids=_moved_solids(scene, matrix, (rows, cols)), **rasters)


def made_taller(scene: Scene, factor: float) -> Scene:
    """The scene with all heights multiplied by factor."""
    solids, buildings = scene.solids.copy(), scene.buildings.copy()
    buildings["floor_m"] *= factor
    solids["top_m"] *= factor
    return replace(
        scene,
        height_m=scene.height_m * np.float32(factor),
        label_height_m=scene.label_height_m * np.float32(factor),
        solids=solids,
        buildings=buildings,
    )


def _moved_solids(scene: Scene, matrix: np.ndarray, new_shape: tuple[int, int]) -> np.ndarray:
    """Boxes under the similarity matrix [2, 2] about the middle of the raster."""
    rows, cols = scene.height_m.shape
    moved = scene.solids.copy()
    offsets = np.stack([moved["x"] - (cols - 1) / 2, moved["y"] - (rows - 1) / 2], -1) @ np.asarray(matrix).T
    moved["x"], moved["y"] = offsets[:, 0] + (new_shape[1] - 1) / 2, offsets[:, 1] + (new_shape[0] - 1) / 2
    axes = geometry.transform_direction(np.stack([moved["ux"], moved["uy"]], -1).astype(np.float64), matrix)
    moved["ux"], moved["uy"] = axes[:, 0], axes[:, 1]
    return moved.astype(BOX)
