"""Colours of the visible surface under a light: walls with windows, tree crowns, roofs and ground.

`shade` knows from visibility.py how high the visible point of each pixel is. One kernel goes over the pixels. It finds
the surface at that point (a building's wall, the side of another object, or a surface seen from above), its colour,
how it faces the sun and whether it is in shadow, and then adds sunlight and skylight.
"""

from typing import NamedTuple

import numba
import numpy as np

from geopose.synthetic.appearance import Material, Season, season_gains
from geopose.synthetic.ground import Scene
from geopose.synthetic.light import Light, shadow_height
from geopose.synthetic.view import View, rays_of
from geopose.synthetic.visibility import bilinear

WALL_M = 0.9  # a visible point this far below the surface just behind it is on a wall
DECIDUOUS, EVERGREEN = int(Material.DECIDUOUS), int(Material.EVERGREEN)


class _Surfaces(NamedTuple):
    """The rasters [rows, cols] of a scene that the kernel reads; shadow_m from shadow_height, the rest as in Scene."""

    height_m: np.ndarray
    shadow_m: np.ndarray
    open_sky: np.ndarray
    albedo: np.ndarray
    material: np.ndarray
    building: np.ndarray
    buildings: np.ndarray
    gsd_m: float


class _Illumination(NamedTuple):
    """Light and season as the kernel reads them. gains float32 [8, 3] and scatter float32 [8] have a row per material.

    scatter is the share by which tree crowns even out light and shade within themselves.
    """

    sun_direction: np.ndarray  # float32 [2]
    sun_tan: float
    sky: float
    wall: float
    gains: np.ndarray
    scatter: np.ndarray


def shade(scene: Scene, agl_m: np.ndarray, view: View, light: Light, season: Season) -> np.ndarray:
    """Colours float32 [H, W, 3] of the visible surface agl_m [H, W] under a light; 0-255, may exceed 255."""
    surfaces = _Surfaces(
        scene.height_m,
        shadow_height(_shading_height(scene, season), scene.gsd_m, light),
        scene.open_sky,
        scene.albedo,
        scene.material,
        scene.building,
        scene.buildings,
        float(scene.gsd_m),
    )
    illumination = _Illumination(
        np.array(light.sun_direction, dtype=np.float32),
        float(light.sun_tan_elevation),
        float(light.sky),
        float(light.wall),
        season_gains(season),
        _scatter(season),
    )
    image = np.empty((*agl_m.shape, 3), dtype=np.float32)
    _shade_pixels(agl_m, rays_of(view, scene.gsd_m), surfaces, illumination, image)
    return image


def _scatter(season: Season) -> np.ndarray:
    """_Illumination.scatter float32 [8] of a season: bare crowns scatter most."""
    scatter = np.zeros(len(Material), dtype=np.float32)
    scatter[EVERGREEN], scatter[DECIDUOUS] = 0.5, 0.8 - 0.3 * season.leaf
    return scatter


def _shading_height(scene: Scene, season: Season) -> np.ndarray:
    """Heights float32 [rows, cols] that cast shadows. Light falls through tree crowns, more if they have few leaves."""
    deciduous = scene.material == DECIDUOUS
    # Brightness differs from twig to twig. So it can serve as the pattern of gaps.
    gap = deciduous & (scene.albedo[..., 1] % 8 >= 2.0 + 5.0 * season.leaf)
    return np.where(gap, np.float32(0.25) * scene.height_m, scene.height_m)


@numba.njit(cache=True, fastmath=True)
def _hash(a, b, c):
    """A number in [0, 1) that looks random but is always the same for the same three integers."""
    n = (a * 73856093) ^ (b * 19349663) ^ (c * 83492791)
    n = (n ^ (n >> 13)) * 1274126177
    return ((n ^ (n >> 16)) & 0xFFFF) / 65536.0


@numba.njit(cache=True, fastmath=True)
def _wall_colour(recipe, x, y, h, normal_x, normal_y, gsd_m, number):
    """Colour of a wall point: windows by floor and bay, counted from the building's middle."""
    off_x, off_y = (x - recipe.x) * gsd_m, (y - recipe.y) * gsd_m
    if abs(normal_x * recipe.ux + normal_y * recipe.uy) > 0.707:
        along = abs(off_y * recipe.ux - off_x * recipe.uy)
    else:
        along = abs(off_x * recipe.ux + off_y * recipe.uy)
    bay, floor = along / recipe.bay_m, h / recipe.floor_m
    bay_part, floor_part = bay - int(bay), floor - int(floor)
    spandrel = 0.5 - 0.5 * recipe.window_h  # wall below and above a window; none if windows are as high as the floor
    if bay_part < recipe.window_u and spandrel <= floor_part <= 1.0 - spandrel:
        glass = recipe.glass * (0.6 + 0.9 * _hash(int(bay), int(floor), number))
        return glass, glass * 1.05, glass * 1.15
    stain = 1.0 - 0.08 * (floor_part < 0.08)
    return recipe.red * stain, recipe.green * stain, recipe.blue * stain


@numba.njit(cache=True, fastmath=True)
def _shade_pixels(agl_m, rays, surfaces, illumination, image):
    """Fill image [H, W, 3] with the colours of the visible points of heights agl_m [H, W]."""
    height_m, shadow_m, open_sky, albedo, material, building, buildings, gsd_m = surfaces
    sun_direction, sun_tan, sky, wall, gains, scatter = illumination
    dx, dy = rays.dx, rays.dy
    rows, cols = height_m.shape
    sun_x, sun_y = sun_direction[0] / sun_tan, sun_direction[1] / sun_tan  # relative to a vertical part of 1
    drop_m = gsd_m * sun_tan
    for py in range(agl_m.shape[0]):
        for px in range(agl_m.shape[1]):
            h = agl_m[py, px]
            x = rays.x0 + px * rays.cells_per_px + h * rays.cells_per_m * dx
            y = rays.y0 + py * rays.cells_per_px + h * rays.cells_per_m * dy
            near_x, near_y = min(max(int(x + 0.5), 0), cols - 1), min(max(int(y + 0.5), 0), rows - 1)
            slope_x = (bilinear(height_m, x + 0.6, y) - bilinear(height_m, x - 0.6, y)) / (1.2 * gsd_m)
            slope_y = (bilinear(height_m, x, y + 0.6) - bilinear(height_m, x, y - 0.6)) / (1.2 * gsd_m)
            # Rays come from the side of +d. So the object behind a visible wall point is on the side of -d.
            behind_x, behind_y = x - 0.9 * dx, y - 0.9 * dy
            behind = bilinear(height_m, behind_x, behind_y)
            is_wall = behind - h > WALL_M
            steep = np.sqrt(slope_x * slope_x + slope_y * slope_y)
            if is_wall:
                near_x = min(max(int(behind_x + 0.5), 0), cols - 1)
                near_y = min(max(int(behind_y + 0.5), 0), rows - 1)
            kind = material[near_y, near_x]
            number = building[near_y, near_x]
            tree = kind in (DECIDUOUS, EVERGREEN)
            if is_wall and number > 0 and steep > 0.5:
                normal_x, normal_y = -slope_x / steep, -slope_y / steep
                red, green, blue = _wall_colour(buildings[number - 1], x, y, h, normal_x, normal_y, gsd_m, number)
                facing = max(0.0, normal_x * sun_x + normal_y * sun_y)
                ambient, blueness = wall, 0.4  # the ground reflects most of this light, so it is less blue
                shadow_x, shadow_y = x + 1.0 * dx, y + 1.0 * dy
            elif is_wall:
                # Lower points take the colour of another part of the crown. Otherwise the side would be one streak.
                inward = 0.9 + (1.5 * (behind - h) if tree else 0.0)
                near_x = min(max(int(x - inward * dx + 0.5), 0), cols - 1)
                near_y = min(max(int(y - inward * dy + 0.5), 0), rows - 1)
                red, green, blue = albedo[near_y, near_x, 0], albedo[near_y, near_x, 1], albedo[near_y, near_x, 2]
                depth = max(0.35, 1.0 - 0.10 * (behind - h)) if tree else 0.75
                red, green, blue = red * depth, green * depth, blue * depth
                facing, ambient, blueness = 0.7, 0.7 * sky, 1.0
                shadow_x, shadow_y = x + 0.7 * dx, y + 0.7 * dy
            else:
                red, green, blue = albedo[near_y, near_x, 0], albedo[near_y, near_x, 1], albedo[near_y, near_x, 2]
                if 0.0 <= x < cols - 1.001 and 0.0 <= y < rows - 1.001 and steep < 3.0:
                    col, row = int(x), int(y)
                    fx, fy = x - col, y - row
                    w00, w01, w10, w11 = (1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy
                    red = w00 * albedo[row, col, 0] + w01 * albedo[row, col + 1, 0]
                    red += w10 * albedo[row + 1, col, 0] + w11 * albedo[row + 1, col + 1, 0]
                    green = w00 * albedo[row, col, 1] + w01 * albedo[row, col + 1, 1]
                    green += w10 * albedo[row + 1, col, 1] + w11 * albedo[row + 1, col + 1, 1]
                    blue = w00 * albedo[row, col, 2] + w01 * albedo[row, col + 1, 2]
                    blue += w10 * albedo[row + 1, col, 2] + w11 * albedo[row + 1, col + 1, 2]
                limit = 0.55 if tree else 1.6
                if steep > limit:  # steps of the raster at edges are not slopes
                    slope_x, slope_y = slope_x * limit / steep, slope_y * limit / steep
                upright = 1.0 / np.sqrt(1.0 + slope_x * slope_x + slope_y * slope_y)
                facing = max(0.0, (1.0 - slope_x * sun_x - slope_y * sun_y) * upright)
                if tree:  # leaves face all directions, and twigs even more so
                    facing = facing + scatter[kind] * (0.9 - facing)
                ambient, blueness = sky, 1.0
                shadow_x, shadow_y = x, y
            shadow_x = min(max(shadow_x, 0.0), cols - 1.002)
            shadow_y = min(max(shadow_y, 0.0), rows - 1.002)
            lit = (h - bilinear(shadow_m, shadow_x, shadow_y)) / drop_m
            lit = min(max(lit, 0.0), 1.0)
            if tree:
                lit += scatter[kind] * (1.0 - lit)  # light falls through crowns
            direct = (1.0 - sky) * min(facing, 1.7) * lit
            diffuse = ambient * open_sky[near_y, near_x]
            image[py, px, 0] = red * gains[kind, 0] * (direct * 1.02 + diffuse * (1.0 - 0.14 * blueness))
            image[py, px, 1] = green * gains[kind, 1] * (direct + diffuse * (1.0 - 0.02 * blueness))
            image[py, px, 2] = blue * gains[kind, 2] * (direct * 0.96 + diffuse * (1.0 + 0.24 * blueness))
