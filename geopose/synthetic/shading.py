"""Colours of the visible surface under a light: walls with windows, tree crowns, roofs and ground.

`shade` knows from visibility.py how high the middle of each pixel is. A pixel is the mean of four samples. Where the
heights around it differ, it is the mean of eight with a ray each, so that edges are straight at any angle. One function
finds the surface that a sample sees (a building's wall, the side of another object, or a surface seen from above), its
colour, how it faces the sun and whether it is in shadow, and then adds sunlight and skylight.
"""

from typing import NamedTuple

import cv2
import numpy as np

from geopose.synthetic.appearance import Material, Season, season_gains
from geopose.synthetic.ground import Scene
from geopose.synthetic.kernels import inlined, kernel
from geopose.synthetic.light import Light, shadow_height
from geopose.synthetic.view import View, rays_of
from geopose.synthetic.visibility import BLOCK_CELLS, bilinear, bilinear_within, block_maxima, meet
from geopose.synthetic.walls import face_of, wall_colour

WALL_M = 0.25  # a visible point this far below the surface just behind it is on a wall
BEHIND_CELLS = (1.3, 2.6, 4.0)  # where to look for the box of a wall; its bilinear step is one cell wide
ROUGH_M = 1.0  # pixels whose neighbours differ by more than this get a ray for each sample,
ROUGH_PX = 1.2  # or by more than this many pixels of a wall: in very oblique views a pixel of a wall is lower
ABOVE_M = 0.6  # such a ray starts this far above the highest neighbour
# Offsets of a pixel's samples from its middle, in pixels. In SKEWED no two are in one row or column. With them, edges
# that are nearly parallel to the pixels are nearly as smooth as others.
SQUARE = ((-0.25, -0.25), (0.25, -0.25), (-0.25, 0.25), (0.25, 0.25))
SKEWED = (
    (-0.4375, -0.1875), (-0.3125, 0.1875), (-0.1875, -0.4375), (-0.0625, 0.4375),
    (0.0625, -0.0625), (0.1875, 0.3125), (0.3125, -0.3125), (0.4375, 0.0625),
)  # fmt: skip
GAP_SHARE = 0.8  # of the ground's colour in that of a gap in a crown; the rest are twigs
DECIDUOUS, EVERGREEN, SOIL = int(Material.DECIDUOUS), int(Material.EVERGREEN), int(Material.SOIL)


class _Surfaces(NamedTuple):
    """The rasters [rows, cols] of a scene that the kernel reads; shadow_m from shadow_height, the rest as in Scene."""

    height_m: np.ndarray
    blocks_m: np.ndarray  # block_maxima of height_m
    shadow_m: np.ndarray
    open_sky: np.ndarray
    albedo: np.ndarray
    below_trees: np.ndarray
    crown: np.ndarray
    material: np.ndarray
    solid: np.ndarray
    solids: np.ndarray
    buildings: np.ndarray
    gsd_m: float


class _Illumination(NamedTuple):
    """Light and season as the kernel reads them. gains [8, 3], scatter and gap_below [8] have a row per material.

    scatter is the share by which tree crowns even out light and shade within themselves. Crowns less dense than
    gap_below have a gap: one sees the ground below.
    """

    sun_direction: np.ndarray  # float32 [2]
    sun_tan: float
    sky: float
    wall: float
    gains: np.ndarray
    scatter: np.ndarray
    gap_below: np.ndarray


def shade(scene: Scene, agl_m: np.ndarray, view: View, light: Light, season: Season) -> np.ndarray:
    """Colours float32 [H, W, 3] of the visible surface agl_m [H, W] under a light; 0-255, may exceed 255."""
    # From above one sees the ground between twigs. Sunlight comes through at an angle and at many more places.
    gap_below = _crown_limits(190.0 - 125.0 * season.leaf, 50.0)
    shading_m = np.empty_like(scene.height_m)
    lit_below = _crown_limits(250.0 - 150.0 * season.leaf, 80.0)
    _let_light_through(scene.height_m, scene.crown, scene.material, lit_below, shading_m)
    surfaces = _Surfaces(
        scene.height_m,
        block_maxima(scene.height_m, BLOCK_CELLS),
        shadow_height(shading_m, scene.gsd_m, light),
        scene.open_sky,
        scene.albedo,
        scene.below_trees,
        scene.crown,
        scene.material,
        scene.solid,
        scene.solids,
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
        gap_below,
    )
    image = np.empty((*agl_m.shape, 3), dtype=np.float32)
    around = np.ones((3, 3), np.uint8)
    low_m, high_m = cv2.erode(agl_m, around), cv2.dilate(agl_m, around)
    _shade_pixels(agl_m, low_m, high_m, rays_of(view, scene.gsd_m), surfaces, illumination, image)
    return image


def _scatter(season: Season) -> np.ndarray:
    """_Illumination.scatter float32 [8] of a season: bare crowns scatter most."""
    scatter = np.zeros(len(Material), dtype=np.float32)
    scatter[EVERGREEN], scatter[DECIDUOUS] = 0.5, 0.8 - 0.3 * season.leaf
    return scatter


def _crown_limits(deciduous: float, evergreen: float) -> np.ndarray:
    """Densities of crowns, one per material: where a crown is less dense, it lets light through or shows the ground."""
    limits = np.zeros(len(Material))
    limits[DECIDUOUS], limits[EVERGREEN] = deciduous, evergreen
    return limits


@inlined
def _is_thin(crown, material, limits, y, x):
    """Whether a cell has a crown that is less dense than the limit of its material. Crowns thin out outwards."""
    return crown[y, x] > 0 and crown[y, x] < limits[material[y, x]]


@kernel
def _let_light_through(height_m, crown, material, limits, shading_m):
    """Fill shading_m with height_m, but with 0 in the cells whose crown is too thin to cast a shadow."""
    rows, cols = height_m.shape
    for y in range(rows):
        for x in range(cols):
            shading_m[y, x] = 0.0 if _is_thin(crown, material, limits, y, x) else height_m[y, x]


@kernel
def _shade_pixels(agl_m, low_m, high_m, rays, surfaces, illumination, image):
    """Fill image [H, W, 3] with the colours of the visible points.

    agl_m [H, W] holds the heights at pixel centres, low_m and high_m the lowest and highest of each pixel and the
    eight around it.
    """
    rows, cols = agl_m.shape
    cells_per_m = rays.cells_per_m
    rough_m = min(ROUGH_M, ROUGH_PX * rays.cells_per_px / max(cells_per_m, 1e-9))
    for py in range(rows):
        for px in range(cols):
            h = agl_m[py, px]
            high = high_m[py, px]
            is_rough = high - low_m[py, px] > rough_m and cells_per_m > 0.0
            red, green, blue = 0.0, 0.0, 0.0
            share = 0.25
            if not is_rough:
                red, green, blue = _shade_smooth(px, py, h, rays, surfaces, illumination)
            else:
                share = 0.125
                start = (high + ABOVE_M) * cells_per_m
                for off_x, off_y in SKEWED:
                    foot_x = rays.x0 + (px + off_x) * rays.cells_per_px
                    foot_y = rays.y0 + (py + off_y) * rays.cells_per_px
                    shift = meet(surfaces.height_m, surfaces.blocks_m, start, foot_x, foot_y, rays)
                    x, y = foot_x + shift * rays.dx, foot_y + shift * rays.dy
                    sample = _shade_point(x, y, shift / cells_per_m, rays, surfaces, illumination)
                    red, green, blue = red + sample[0], green + sample[1], blue + sample[2]
            image[py, px, 0], image[py, px, 1], image[py, px, 2] = share * red, share * green, share * blue


@inlined
def _shade_smooth(px, py, h, rays, surfaces, illumination):
    """Sum of the four samples' colours of a pixel without steps: its samples differ in colour and shadow only."""
    rows, cols = surfaces.height_m.shape
    shift = h * rays.cells_per_m
    x = rays.x0 + px * rays.cells_per_px + shift * rays.dx
    y = rays.y0 + py * rays.cells_per_px + shift * rays.dy
    near_x, near_y = _nearest(x, cols), _nearest(y, rows)
    kind = surfaces.material[near_y, near_x]
    tree = kind in (DECIDUOUS, EVERGREEN)
    facing = _facing_from_above(x, y, tree, surfaces, illumination)
    scatter = illumination.scatter[kind] if tree else 0.0
    facing += scatter * (0.9 - facing)  # leaves face all directions, and twigs even more so
    ambient = illumination.sky * surfaces.open_sky[near_y, near_x]
    red, green, blue = 0.0, 0.0, 0.0
    for off_x, off_y in SQUARE:
        at_x, at_y = x + off_x * rays.cells_per_px, y + off_y * rays.cells_per_px
        lit = _lit(at_x, at_y, h, surfaces, illumination)
        lit += scatter * (1.0 - lit)  # light falls through crowns
        direct = (1.0 - illumination.sky) * facing * lit
        colour = _lighten(_bilinear_colour(surfaces.albedo, at_x, at_y), kind, direct, ambient, 1.0, illumination)
        if tree:
            colour = _through_gap(at_x, at_y, h, colour, rays, surfaces, illumination)
        red, green, blue = red + colour[0], green + colour[1], blue + colour[2]
    return red, green, blue


@inlined
def _shade_point(x, y, h, rays, surfaces, illumination):
    """Colour (red, green, blue) of the visible point over cell (x, y) at height h, near a step."""
    height_m, material, open_sky = surfaces.height_m, surfaces.material, surfaces.open_sky
    rows, cols = height_m.shape
    dx, dy = rays.dx, rays.dy
    near_x, near_y = _nearest(x, cols), _nearest(y, rows)
    sky, sun_tan = illumination.sky, illumination.sun_tan
    # Rays come from the side of +d. So the object behind a visible wall point is on the side of -d.
    behind_x, behind_y = x - BEHIND_CELLS[0] * dx, y - BEHIND_CELLS[0] * dy
    behind = bilinear(height_m, behind_x, behind_y)
    is_side = behind - h > WALL_M
    number = 0
    if is_side:
        for far in BEHIND_CELLS:  # where the ray grazes a wall, the wall's cells are further behind it
            near_x = _nearest(x - far * dx, cols)
            near_y = _nearest(y - far * dy, rows)
            number = surfaces.solid[near_y, near_x]
            if number > 0:
                break
        if number == 0:
            near_x, near_y = _nearest(behind_x, cols), _nearest(behind_y, rows)
    kind = material[near_y, near_x]
    tree = kind in (DECIDUOUS, EVERGREEN)
    shadow_x, shadow_y = x, y
    if number > 0:
        colour, normal_x, normal_y = _wall(number, x, y, h, rays, surfaces)
        facing = max(0.0, normal_x * illumination.sun_direction[0] + normal_y * illumination.sun_direction[1]) / sun_tan
        shadow_x, shadow_y = x + 1.5 * normal_x, y + 1.5 * normal_y
        front_x = _nearest(x + 4.0 * normal_x, cols)
        front_y = _nearest(y + 4.0 * normal_y, rows)
        # A wall's foot sees less sky and less sunlit ground than its top.
        seen = open_sky[front_y, front_x]
        ambient = illumination.wall * (seen + (1.0 - seen) * min(1.0, h / 20.0)) * (0.75 + 0.25 * min(1.0, h / 8.0))
        blueness = 0.4  # the ground reflects most of this light, so it is less blue
    elif is_side:
        # Lower points take the colour of another part of the crown. Otherwise the side would be one streak.
        inward = BEHIND_CELLS[0] + (3.0 * (behind - h) if tree else 0.0)
        near_x = _nearest(x - inward * dx, cols)
        near_y = _nearest(y - inward * dy, rows)
        depth = max(0.35, 1.0 - 0.10 * (behind - h)) if tree else 0.75
        albedo = surfaces.albedo[near_y, near_x]
        colour = depth * albedo[0], depth * albedo[1], depth * albedo[2]
        facing, blueness = 0.7, 1.0
        ambient = 0.7 * sky * open_sky[near_y, near_x]
        shadow_x, shadow_y = x + 1.2 * dx, y + 1.2 * dy
    else:
        colour = _bilinear_colour(surfaces.albedo, x, y)
        facing = _facing_from_above(x, y, tree, surfaces, illumination)
        if tree:  # leaves face all directions, and twigs even more so
            facing = facing + illumination.scatter[kind] * (0.9 - facing)
        ambient, blueness = sky * open_sky[near_y, near_x], 1.0
    lit = _lit(shadow_x, shadow_y, h, surfaces, illumination)
    if tree:
        lit += illumination.scatter[kind] * (1.0 - lit)  # light falls through crowns
    direct = (1.0 - sky) * min(facing, 2.2) * lit
    colour = _lighten(colour, kind, direct, ambient, blueness, illumination)
    if tree:
        colour = _through_gap(x, y, h, colour, rays, surfaces, illumination)
    return colour


@inlined
def _nearest(x, cells):
    """The cell nearest to x of a row or column of cells. The compiler sees that it is not negative."""
    return max(min(int(x + 0.5), cells - 1), 0)


@inlined
def _lit(x, y, h, surfaces, illumination):
    """Share of the sun's disc that height h over cell (x, y) sees, 0 in shadow."""
    rows, cols = surfaces.height_m.shape
    x, y = min(max(x, 0.0), cols - 1.002), min(max(y, 0.0), rows - 1.002)
    lit = (h - bilinear_within(surfaces.shadow_m, x, y)) / (surfaces.gsd_m * illumination.sun_tan)
    return min(max(lit, 0.0), 1.0)


@inlined
def _lighten(colour, kind, direct, ambient, blueness, illumination):
    """The colour (red, green, blue) of a material in warm sunlight and, as far as blueness says, blue skylight."""
    gains = illumination.gains
    red = colour[0] * gains[kind, 0] * (direct * 1.02 + ambient * (1.0 - 0.14 * blueness))
    green = colour[1] * gains[kind, 1] * (direct + ambient * (1.0 - 0.02 * blueness))
    blue = colour[2] * gains[kind, 2] * (direct * 0.96 + ambient * (1.0 + 0.24 * blueness))
    return red, green, blue


@inlined
def _through_gap(x, y, h, colour, rays, surfaces, illumination):
    """The colour of a crown at (x, y) and height h; where it has a gap, mixed with the ground further down the ray."""
    rows, cols = surfaces.height_m.shape
    near_x, near_y = _nearest(x, cols), _nearest(y, rows)
    if not _is_thin(surfaces.crown, surfaces.material, illumination.gap_below, near_y, near_x):
        return colour
    foot_x, foot_y = x - h * rays.cells_per_m * rays.dx, y - h * rays.cells_per_m * rays.dy
    lit = _lit(foot_x, foot_y, 0.0, surfaces, illumination)
    direct, ambient = (1.0 - illumination.sky) * lit, 0.8 * illumination.sky
    ground = _bilinear_colour(surfaces.below_trees, foot_x, foot_y)
    ground = _lighten(ground, SOIL, direct, ambient, 1.0, illumination)
    return (
        colour[0] + GAP_SHARE * (ground[0] - colour[0]),
        colour[1] + GAP_SHARE * (ground[1] - colour[1]),
        colour[2] + GAP_SHARE * (ground[2] - colour[2]),
    )


@inlined
def _wall(number, x, y, h, rays, surfaces):
    """Colour (red, green, blue), and outward normal x and y, of box `number` at its wall point (x, y), height h."""
    gsd_m = surfaces.gsd_m
    box = surfaces.solids[number - 1]
    off_x, off_y = (x - box.x) * gsd_m, (y - box.y) * gsd_m
    u, v = off_x * box.ux + off_y * box.uy, off_y * box.ux - off_x * box.uy
    du, dv = rays.dx * box.ux + rays.dy * box.uy, rays.dy * box.ux - rays.dx * box.uy
    nu, nv, to_side_m, along, length, side = face_of(box, u, v, du, dv)
    cosine = max(nu * du + nv * dv, 0.1)
    # The raster's step is up to a cell off. Along the ray, the point moves onto the side itself.
    ahead = min(max(to_side_m / cosine, -0.5), 0.5)
    nu, nv, to_side_m, along, length, side = face_of(box, u + ahead * du, v + ahead * dv, du, dv)
    h += ahead / (rays.cells_per_m * gsd_m)
    pixel_m = 0.5 * rays.cells_per_px * gsd_m
    up_m = min(pixel_m / (rays.cells_per_m * gsd_m), 20.0)
    recipe = surfaces.buildings[box.building - 1]
    top_m = box.top_m
    colour = wall_colour(recipe, top_m, h, along, length, side, pixel_m, up_m, box.building)
    return colour, nu * box.ux - nv * box.uy, nu * box.uy + nv * box.ux


@inlined
def _bilinear_colour(albedo, x, y):
    """Colour (red, green, blue) of albedo [rows, cols, 3] at fractional cells; the nearest cell's outside."""
    rows, cols = albedo.shape[:2]
    x, y = min(max(x, 0.0), cols - 1.001), min(max(y, 0.0), rows - 1.001)
    col, row = np.uint32(x), np.uint32(y)
    fx, fy = np.float32(x - col), np.float32(y - row)
    w00, w01, w10, w11 = (1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy
    upper, lower = albedo[row], albedo[row + 1]
    red = w00 * upper[col, 0] + w01 * upper[col + 1, 0] + w10 * lower[col, 0] + w11 * lower[col + 1, 0]
    green = w00 * upper[col, 1] + w01 * upper[col + 1, 1] + w10 * lower[col, 1] + w11 * lower[col + 1, 1]
    blue = w00 * upper[col, 2] + w01 * upper[col + 1, 2] + w10 * lower[col, 2] + w11 * lower[col + 1, 2]
    return red, green, blue


@inlined
def _facing_from_above(x, y, tree, surfaces, illumination):
    """How the surface seen from above at (x, y) faces the sun, relative to flat ground."""
    height_m, gsd_m = surfaces.height_m, surfaces.gsd_m
    slope_x = (bilinear(height_m, x + 1.2, y) - bilinear(height_m, x - 1.2, y)) / (2.4 * gsd_m)
    slope_y = (bilinear(height_m, x, y + 1.2) - bilinear(height_m, x, y - 1.2)) / (2.4 * gsd_m)
    steep = np.sqrt(slope_x * slope_x + slope_y * slope_y)
    limit = 0.55 if tree else 1.0
    if steep > limit:  # steps of the raster at edges are not slopes
        part = limit / steep if tree or steep < 1.6 else 0.0
        slope_x, slope_y = slope_x * part, slope_y * part
    upright = 1.0 / np.sqrt(1.0 + slope_x * slope_x + slope_y * slope_y)
    sun_x, sun_y = illumination.sun_direction
    return max(0.0, (1.0 - (slope_x * sun_x + slope_y * sun_y) / illumination.sun_tan) * upright)
