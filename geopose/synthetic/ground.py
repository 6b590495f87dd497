"""A place as rasters in the ground frame, and how such a scene turns, grows and stretches."""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from geopose import geometry
from geopose.synthetic.appearance import TEXTURE_TABLE, Material, noise_fields
from geopose.synthetic.objects import BUILDING
from geopose.synthetic.paint import paint_boxes, paint_trees


@dataclass(frozen=True)
class Scene:
    """Rasters [rows, cols] over flat ground, x right and y down, cells of gsd_m metres.

    height_m float32 is what images show, label_height_m float32 what the lidar saw on another day (no cars; some
    objects came or went). albedo uint8 [.., 3]; material uint8; building int32 (0 = none, else row + 1 of
    buildings, a BUILDING array with positions in cells); open_sky float32 in (0, 1].
    """

    gsd_m: float
    height_m: np.ndarray
    label_height_m: np.ndarray
    albedo: np.ndarray
    material: np.ndarray
    building: np.ndarray
    buildings: np.ndarray
    open_sky: np.ndarray


def build_scene(layout) -> Scene:
    """Rasterise a placed Layout."""
    shape = (layout.size_cells, layout.size_cells)
    height_m, label_height_m = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    albedo, material = np.zeros((*shape, 3), np.uint8), np.zeros(shape, np.uint8)
    building = np.zeros(shape, np.int32)
    noise = noise_fields()
    noise = np.roll(noise, layout.noise_shift, axis=(1, 2))
    rasters = (height_m, label_height_m, albedo, material, building)
    paint_boxes(layout.ground, TEXTURE_TABLE, noise, layout.gsd_m, *rasters)
    if layout.water is not None:
        _flood(layout, noise, albedo, material)
    paint_boxes(layout.solids, TEXTURE_TABLE, noise, layout.gsd_m, *rasters)
    paint_trees(layout.trees, noise, layout.gsd_m, *rasters)
    return Scene(
        layout.gsd_m,
        height_m,
        label_height_m,
        albedo,
        material,
        building,
        layout.buildings,
        _open_sky(height_m, layout.gsd_m),
    )


def _flood(layout, noise: np.ndarray, albedo: np.ndarray, material: np.ndarray) -> None:
    """Paint the water polygons' mask (uint8: 1 = bank, 2 = water) over the ground."""
    rows, cols = material.shape
    bank, water = layout.water == 1, layout.water == 2
    ripple = 1.0 + layout.ripple * noise[0] + 0.03 * noise[1] + 0.03 * noise[2]
    ripple = np.tile(ripple, (-(-rows // ripple.shape[0]), -(-cols // ripple.shape[1])))[:rows, :cols]
    for mask, colour, kind in ((bank, layout.bank_colour, Material.SOIL), (water, layout.water_colour, Material.WATER)):
        albedo[mask] = np.clip(ripple[mask][:, None] * np.asarray(colour), 0, 255)
        material[mask] = kind


def _open_sky(height_m: np.ndarray, gsd_m: float) -> np.ndarray:
    """Share of the sky a cell sees, roughly: the less, the higher its surroundings stand above it."""
    small = cv2.resize(np.minimum(height_m, 40.0), None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    around = cv2.GaussianBlur(small, (0, 0), 1.2 / gsd_m)
    around = cv2.resize(around, height_m.shape[::-1], interpolation=cv2.INTER_LINEAR)
    above = np.maximum(around - height_m, 0.0)
    return (1.0 / (1.0 + 0.10 * above)).astype(np.float32)


def transform_d4(scene: Scene, element: str) -> Scene:
    """The scene under a D4 element of geometry.D4_MATRICES."""
    rasters = {
        name: np.ascontiguousarray(geometry.apply_d4(getattr(scene, name), element))
        for name in ("height_m", "label_height_m", "material", "building", "open_sky")
    }
    bands = geometry.apply_d4(scene.albedo.transpose(2, 0, 1), element)
    rasters["albedo"] = np.ascontiguousarray(bands.transpose(1, 2, 0))
    buildings = _move_buildings(scene, geometry.D4_MATRICES[element], rasters["height_m"].shape)
    return replace(scene, buildings=buildings, **rasters)


def rotate(scene: Scene, theta_rad: float) -> Scene:
    """The scene turned counter-clockwise about its middle; what comes in at the corners is empty ground."""
    matrix = geometry.rotation_matrix(theta_rad)
    rows, cols = scene.height_m.shape
    middle = np.array([(cols - 1) / 2, (rows - 1) / 2])
    affine = np.hstack([matrix, (middle - matrix @ middle)[:, None]])

    def warp(raster, interpolation):
        return cv2.warpAffine(raster, affine, (cols, rows), flags=interpolation)

    rasters = {name: warp(getattr(scene, name), cv2.INTER_LINEAR) for name in ("height_m", "label_height_m", "albedo")}
    rasters["open_sky"] = np.maximum(warp(scene.open_sky, cv2.INTER_LINEAR), 0.05)
    rasters["material"] = warp(scene.material, cv2.INTER_NEAREST)
    rasters["building"] = warp(scene.building.astype(np.float32), cv2.INTER_NEAREST).astype(np.int32)
    return replace(scene, buildings=_move_buildings(scene, matrix, (rows, cols)), **rasters)


def stretch_heights(scene: Scene, factor: float) -> Scene:
    """The scene with all heights multiplied by factor."""
    buildings = scene.buildings.copy()
    buildings["floor_m"] *= factor
    return replace(
        scene,
        height_m=scene.height_m * np.float32(factor),
        label_height_m=scene.label_height_m * np.float32(factor),
        buildings=buildings,
    )


def _move_buildings(scene: Scene, matrix: np.ndarray, new_shape: tuple[int, int]) -> np.ndarray:
    """Building table after the similarity matrix [2,2] about the middle of the raster."""
    rows, cols = scene.height_m.shape
    moved = scene.buildings.copy()
    offsets = np.stack([moved["x"] - (cols - 1) / 2, moved["y"] - (rows - 1) / 2], -1) @ np.asarray(matrix).T
    moved["x"], moved["y"] = offsets[:, 0] + (new_shape[1] - 1) / 2, offsets[:, 1] + (new_shape[0] - 1) / 2
    axes = geometry.transform_direction(np.stack([moved["ux"], moved["uy"]], -1).astype(np.float64), matrix)
    moved["ux"], moved["uy"] = axes[:, 0], axes[:, 1]
    return moved.astype(BUILDING)
