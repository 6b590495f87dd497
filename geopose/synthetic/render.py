"""A scene seen under orthographic oblique projection, with cast shadows: a pure function of scene, pose and light.

Every pixel shows the first surface its ray meets. All rays share one direction, so a ray is walked from the highest
height any block of cells on its way can reach, skipping blocks it flies over. Shadows need no rays at all: one sweep
away from the sun carries along the height below which points are shaded, which serves ground, roofs and facades.
"""

from dataclasses import dataclass

import cv2
import numba
import numpy as np

from geopose import geometry
from geopose.geometry import Pose
from geopose.synthetic.appearance import Material, Season, season_gains
from geopose.synthetic.ground import Scene

BLOCK_CELLS = 4
SUPER_BLOCKS = 4  # blocks along the side of a super-block, over which a whole tile of pixels flies at once
TILE_PX = 8
BLOCKS_PER_CELL = 1.0 / BLOCK_CELLS
STEP_CELLS = 0.4
WALL_M = 0.9  # a visible point this far below the surface just behind it is on a wall
DECIDUOUS, EVERGREEN = int(Material.DECIDUOUS), int(Material.EVERGREEN)


@dataclass(frozen=True)
class View:
    """A pose and the window it sees: the image's middle looks at ground cell (centre_x, centre_y) of the scene."""

    pose: Pose
    height_px: int
    width_px: int
    centre_x: float
    centre_y: float


@dataclass(frozen=True)
class Light:
    """Sun direction: horizontal unit vector towards the sun in image axes (dx, dy) and tangent of its elevation.

    A wall turned away from the sun is brighter than the ground in its shadow: half of the sky, the brighter half, and
    all that is lit around shine on it.
    """

    sun_direction: tuple[float, float]
    sun_tan_elevation: float
    sky: float = 0.30  # share of the light on open flat ground that comes from the sky and stays in shadow
    wall: float = 0.30  # light on walls from sky and surroundings, as a share of all light on open flat ground


def whole_scene_view(scene: Scene, pose: Pose, height_px: int, width_px: int) -> View:
    """View of the given size whose middle is the scene's middle."""
    rows, cols = scene.height_m.shape
    return View(pose, height_px, width_px, (cols - 1) / 2, (rows - 1) / 2)


def render(scene: Scene, view: View, light: Light, season: Season) -> tuple[np.ndarray, np.ndarray]:
    """Noise-free image float32 [H, W, 3] (0-255, may exceed 255) and AGL float32 [H, W] in metres."""
    agl_m = visible_agl(scene.height_m, scene.gsd_m, view)
    return shade(scene, agl_m, view, light, season), agl_m


def visible_agl(height_m: np.ndarray, gsd_m: float, view: View) -> np.ndarray:
    """Height of the first surface each pixel's ray meets, float32 [H, W] metres.

    height_m float32 [rows, cols] metres over ground cells of gsd_m metres.
    """
    blocks_m = _block_maxima(height_m, BLOCK_CELLS)
    supers_m = cv2.dilate(_block_maxima(blocks_m, SUPER_BLOCKS), np.ones((3, 3), np.uint8))
    agl_m = np.empty((view.height_px, view.width_px), dtype=np.float32)
    _walk_rays(height_m, blocks_m, supers_m, *_ray_numbers(view, gsd_m), agl_m)
    return agl_m


def label_agl(scene: Scene, agl_m: np.ndarray, view: View) -> np.ndarray:
    """visible_agl of the scene's label heights, made quickly from the AGL [H, W] of its image heights.

    Where the label's surface sank, rays go on down from where they met the image's; all other rays stay. Objects that
    only the label holds are seen by themselves, and whatever is met first counts.
    """
    lowered_m = np.minimum(scene.label_height_m, scene.height_m)
    sunk = cv2.dilate((lowered_m < scene.height_m).astype(np.uint8), np.ones((3, 3), np.uint8))
    label_m = agl_m.copy()
    _sink_rays(lowered_m, _block_maxima(lowered_m, BLOCK_CELLS), sunk, *_ray_numbers(view, scene.gsd_m), label_m)
    raised = scene.label_height_m > scene.height_m
    if raised.any():
        raised_m = np.where(raised, scene.label_height_m, np.float32(0.0))
        label_m = np.maximum(label_m, visible_agl(raised_m, scene.gsd_m, view))
    return label_m


def ground_cells(agl_m: np.ndarray, gsd_m: float, view: View) -> tuple[np.ndarray, np.ndarray]:
    """Scene cells (x, y), each [H, W], over which the pixels' visible points of heights agl_m [H, W] stand."""
    x0, y0, cells_per_px, dx, dy, cells_per_m = _ray_numbers(view, gsd_m)
    shift = agl_m * cells_per_m
    x = x0 + np.arange(view.width_px)[None, :] * cells_per_px + shift * dx
    y = y0 + np.arange(view.height_px)[:, None] * cells_per_px + shift * dy
    return x, y


def _ray_numbers(view: View, gsd_m: float) -> tuple[float, float, float, float, float, float]:
    """Ground cell (x0, y0) of the first pixel's ray, cells per pixel, flow direction (dx, dy), cells per metre up."""
    cells_per_px = view.pose.gsd_m / gsd_m
    dx, dy = geometry.flow_direction(view.pose.angle_rad)
    x0 = view.centre_x - (view.width_px - 1) / 2 * cells_per_px
    y0 = view.centre_y - (view.height_px - 1) / 2 * cells_per_px
    return x0, y0, cells_per_px, float(dx), float(dy), float(view.pose.scale_px_per_m * cells_per_px)


def shade(scene: Scene, agl_m: np.ndarray, view: View, light: Light, season: Season) -> np.ndarray:
    """Colours of the visible surface agl_m [H, W] under a light, float32 [H, W, 3]."""
    shadow_m = shadow_height(_shading_height(scene, season), scene.gsd_m, light)
    image = np.empty((*agl_m.shape, 3), dtype=np.float32)
    _shade_pixels(
        agl_m,
        *_ray_numbers(view, scene.gsd_m),
        scene.height_m,
        shadow_m,
        scene.open_sky,
        scene.albedo,
        scene.material,
        scene.building,
        scene.buildings,
        season_gains(season),
        _scatter(season),
        float(scene.gsd_m),
        np.array(light.sun_direction, dtype=np.float32),
        float(light.sun_tan_elevation),
        float(light.sky),
        float(light.wall),
        image,
    )
    return image


def _scatter(season: Season) -> np.ndarray:
    """Per material float32 [8], how far crowns even out light and shade in themselves: bare ones most."""
    scatter = np.zeros(len(Material), dtype=np.float32)
    scatter[EVERGREEN], scatter[DECIDUOUS] = 0.5, 0.8 - 0.3 * season.leaf
    return scatter


def _shading_height(scene: Scene, season: Season) -> np.ndarray:
    """Heights that cast shadows: light falls through crowns, and more of it the fewer leaves they hold."""
    deciduous = scene.material == DECIDUOUS
    # Brightness differs from twig to twig, so it serves as the pattern of gaps.
    gap = deciduous & (scene.albedo[..., 1] % 8 >= 2.0 + 5.0 * season.leaf)
    return np.where(gap, np.float32(0.25) * scene.height_m, scene.height_m)


def shadow_height(height_m: np.ndarray, gsd_m: float, light: Light) -> np.ndarray:
    """Height below which the points over a cell lie in shadow, float32 [rows, cols] metres."""
    sun_x, sun_y = light.sun_direction
    flip_y, flip_x, transpose = sun_y < 0, sun_x < 0, abs(sun_x) > abs(sun_y)
    # Turned so that the sun stands towards larger row numbers, never more than 45 degrees off the columns.
    turned = height_m[:: -1 if flip_y else 1, :: -1 if flip_x else 1]
    turned = np.ascontiguousarray(turned.T if transpose else turned)
    major, minor = (abs(sun_x), abs(sun_y)) if transpose else (abs(sun_y), abs(sun_x))
    slope = minor / major
    drop_m = gsd_m / major * light.sun_tan_elevation
    shadow = np.empty_like(turned)
    _sweep_shadow(turned, np.float32(slope), np.float32(drop_m), shadow)
    shadow = shadow.T if transpose else shadow
    return np.ascontiguousarray(shadow[:: -1 if flip_y else 1, :: -1 if flip_x else 1])


@numba.njit(cache=True, fastmath=True)
def _block_maxima(height_m, side):
    """Highest height in each block of side x side cells and the ring of cells around it, which interpolation reads."""
    rows, cols = height_m.shape
    blocks_m = np.zeros((-(-rows // side), -(-cols // side)), dtype=np.float32)
    for block_y in range(blocks_m.shape[0]):
        for block_x in range(blocks_m.shape[1]):
            highest = np.float32(0.0)
            for y in range(max(block_y * side - 1, 0), min(block_y * side + side + 1, rows)):
                for x in range(max(block_x * side - 1, 0), min(block_x * side + side + 1, cols)):
                    highest = max(highest, height_m[y, x])
            blocks_m[block_y, block_x] = highest
    return blocks_m


@numba.njit(cache=True, fastmath=True, inline="always")
def _bilinear(raster, x, y):
    """Value of a raster at fractional cells; 0 outside."""
    rows, cols = raster.shape
    if x < 0.0 or y < 0.0 or x > cols - 1.001 or y > rows - 1.001:
        return np.float32(0.0)
    x0, y0 = int(x), int(y)
    fx, fy = np.float32(x - x0), np.float32(y - y0)
    upper = raster[y0, x0] + fx * (raster[y0, x0 + 1] - raster[y0, x0])
    lower = raster[y0 + 1, x0] + fx * (raster[y0 + 1, x0 + 1] - raster[y0 + 1, x0])
    return upper + fy * (lower - upper)


@numba.njit(cache=True, fastmath=True, inline="always")
def _leave_block(x, y, block_x, block_y, side, inverse_dx, inverse_dy):
    """Distance down the ray from (x, y) to the border of its block of side cells."""
    leave_x = (x - (block_x + (inverse_dx < 0.0)) * side) * inverse_dx
    leave_y = (y - (block_y + (inverse_dy < 0.0)) * side) * inverse_dy
    return min(leave_x, leave_y)


@numba.njit(cache=True, fastmath=True)
def _tile_start(supers_m, start, x, y, dx, dy, inverse_dx, inverse_dy, cells_per_m):
    """Distance along the ray from (x, y) above which no ray of the tile around it meets anything."""
    side = BLOCK_CELLS * SUPER_BLOCKS
    t = start
    while t > 0.0:
        at_x, at_y = x + t * dx, y + t * dy
        block_x, block_y = int(np.floor(at_x / side)), int(np.floor(at_y / side))
        limit = 0.0
        if 0 <= block_x < supers_m.shape[1] and 0 <= block_y < supers_m.shape[0]:
            limit = supers_m[block_y, block_x] * cells_per_m
        elif -1 <= block_x <= supers_m.shape[1] and -1 <= block_y <= supers_m.shape[0]:
            limit = t  # beside the scene: some ray of the tile may be over it
        if limit >= t:
            return t
        t = max(limit, t - _leave_block(at_x, at_y, block_x, block_y, side, inverse_dx, inverse_dy) - 1e-3)
        if t == limit:
            return t
    return 0.0


@numba.njit(cache=True, fastmath=True)
def _walk_rays(height_m, blocks_m, supers_m, x0, y0, cells_per_px, dx, dy, cells_per_m, agl_m):
    """Fill agl_m [H, W]. A ray's point at height h stands over ground cell g0 + h * cells_per_m * d."""
    highest = 0.0
    for row in range(supers_m.shape[0]):
        for col in range(supers_m.shape[1]):
            highest = max(highest, supers_m[row, col])
    inverse_dx = 1.0 / dx if abs(dx) > 1e-9 else 1e9
    inverse_dy = 1.0 / dy if abs(dy) > 1e-9 else 1e9
    m_per_cell = 1.0 / cells_per_m if cells_per_m > 0.0 else 0.0
    rows, cols = agl_m.shape
    # A tile's rays stay within one super-block of its middle's ray, whose limits therefore look one super-block round.
    tile_px = max(1, min(TILE_PX, int(2 * BLOCK_CELLS * SUPER_BLOCKS / cells_per_px) - 1))
    for tile_y in range(0, rows, tile_px):
        for tile_x in range(0, cols, tile_px):
            middle_x = x0 + (tile_x + 0.5 * tile_px) * cells_per_px
            middle_y = y0 + (tile_y + 0.5 * tile_px) * cells_per_px
            start = _tile_start(
                supers_m, highest * cells_per_m + 1e-3, middle_x, middle_y, dx, dy, inverse_dx, inverse_dy, cells_per_m
            )
            for py in range(tile_y, min(tile_y + tile_px, rows)):
                for px in range(tile_x, min(tile_x + tile_px, cols)):
                    foot_x, foot_y = x0 + px * cells_per_px, y0 + py * cells_per_px
                    t = _meet(height_m, blocks_m, start, foot_x, foot_y, dx, dy, inverse_dx, inverse_dy, cells_per_m)
                    agl_m[py, px] = t * m_per_cell if cells_per_m > 0.0 else _bilinear(height_m, foot_x, foot_y)


@numba.njit(cache=True, fastmath=True)
def _sink_rays(height_m, blocks_m, sunk, x0, y0, cells_per_px, dx, dy, cells_per_m, agl_m):
    """Let the points agl_m [H, W] that lie over sunk cells go on down their rays to the surface height_m."""
    inverse_dx = 1.0 / dx if abs(dx) > 1e-9 else 1e9
    inverse_dy = 1.0 / dy if abs(dy) > 1e-9 else 1e9
    rows, cols = height_m.shape
    for py in range(agl_m.shape[0]):
        for px in range(agl_m.shape[1]):
            foot_x, foot_y = x0 + px * cells_per_px, y0 + py * cells_per_px
            t = agl_m[py, px] * cells_per_m
            x, y = int(foot_x + t * dx + 0.5), int(foot_y + t * dy + 0.5)
            if not (0 <= x < cols and 0 <= y < rows) or sunk[y, x] == 0:
                continue
            if cells_per_m > 0.0:
                t = _meet(height_m, blocks_m, t + 1e-3, foot_x, foot_y, dx, dy, inverse_dx, inverse_dy, cells_per_m)
                agl_m[py, px] = t / cells_per_m
            else:
                agl_m[py, px] = _bilinear(height_m, foot_x, foot_y)


@numba.njit(cache=True, fastmath=True, inline="always")
def _meet(height_m, blocks_m, start, foot_x, foot_y, dx, dy, inverse_dx, inverse_dy, cells_per_m):
    """Horizontal distance in cells from a ray's foot to where it first meets the surface, coming down from start."""
    t, stepped, gap_above = start, False, 0.0
    while t > 0.0:
        x, y = foot_x + t * dx, foot_y + t * dy
        block_x, block_y = int(x * BLOCKS_PER_CELL + 1024.0) - 1024, int(y * BLOCKS_PER_CELL + 1024.0) - 1024
        limit = 0.0
        if 0 <= block_x < blocks_m.shape[1] and 0 <= block_y < blocks_m.shape[0]:
            limit = blocks_m[block_y, block_x] * cells_per_m
        if limit < t:  # down to the block's highest surface or out of the block, whichever comes first
            t = max(limit, t - _leave_block(x, y, block_x, block_y, BLOCK_CELLS, inverse_dx, inverse_dy) - 1e-3)
            if t == limit:
                t -= 1e-4
            stepped = False
            continue
        gap = _bilinear(height_m, x, y) * cells_per_m - t
        if gap >= 0.0:
            break
        gap_above, stepped = gap, True
        t -= STEP_CELLS
    if not stepped:  # nothing stands on the stretch flown over: the surface is met where it ended
        return max(t, 0.0)
    # The surface was crossed within the last step: narrow it down.
    above = t + STEP_CELLS
    if t <= 0.0:
        t = 0.0
        gap = _bilinear(height_m, foot_x, foot_y) * cells_per_m
    for attempt in range(6):
        if gap <= 0.01:
            break
        # Chord and halving in turn: chords are exact on roofs, halving is safe on ragged walls.
        middle = t + (above - t) * gap / (gap - gap_above) if attempt % 2 == 0 else 0.5 * (t + above)
        gap_middle = _bilinear(height_m, foot_x + middle * dx, foot_y + middle * dy) * cells_per_m - middle
        if gap_middle >= 0.0:
            t, gap = middle, gap_middle
        else:
            above, gap_above = middle, gap_middle
    return t


@numba.njit(cache=True, fastmath=True)
def _sweep_shadow(height_m, slope, drop_m, shadow_m):
    """Shadow height from the row next nearer to the sun, the last row first; slope columns per row, drop_m per row."""
    rows, cols = height_m.shape
    carried = np.zeros(cols + 2, dtype=np.float32)
    for x in range(cols):
        shadow_m[rows - 1, x] = -drop_m
    for y in range(rows - 2, -1, -1):
        for x in range(cols):
            carried[x] = max(height_m[y + 1, x], shadow_m[y + 1, x])
        for x in range(cols):
            shadow_m[y, x] = carried[x] + slope * (carried[x + 1] - carried[x]) - drop_m


@numba.njit(cache=True, fastmath=True)
def _hash(a, b, c):
    """A number in [0, 1) that looks random, the same for the same three whole numbers."""
    n = (a * 73856093) ^ (b * 19349663) ^ (c * 83492791)
    n = (n ^ (n >> 13)) * 1274126177
    return ((n ^ (n >> 16)) & 0xFFFF) / 65536.0


@numba.njit(cache=True, fastmath=True)
def _wall_colour(recipe, x, y, h, normal_x, normal_y, gsd_m, number):
    """Colour of a wall point: windows by floor and bay, numbered from the building's middle."""
    off_x, off_y = (x - recipe.x) * gsd_m, (y - recipe.y) * gsd_m
    if abs(normal_x * recipe.ux + normal_y * recipe.uy) > 0.707:
        along = abs(off_y * recipe.ux - off_x * recipe.uy)
    else:
        along = abs(off_x * recipe.ux + off_y * recipe.uy)
    bay, floor = along / recipe.bay_m, h / recipe.floor_m
    bay_part, floor_part = bay - int(bay), floor - int(floor)
    spandrel = 0.5 - 0.5 * recipe.window_h  # none between the floors where windows are as high as these
    if bay_part < recipe.window_u and spandrel <= floor_part <= 1.0 - spandrel:
        glass = recipe.glass * (0.6 + 0.9 * _hash(int(bay), int(floor), number))
        return glass, glass * 1.05, glass * 1.15
    stain = 1.0 - 0.08 * (floor_part < 0.08)
    return recipe.red * stain, recipe.green * stain, recipe.blue * stain


@numba.njit(cache=True, fastmath=True)
def _shade_pixels(
    agl_m,
    x0,
    y0,
    cells_per_px,
    dx,
    dy,
    cells_per_m,
    height_m,
    shadow_m,
    open_sky,
    albedo,
    material,
    building,
    buildings,
    gains,
    scatter,
    gsd_m,
    sun_direction,
    sun_tan,
    sky,
    wall,
    image,
):
    rows, cols = height_m.shape
    sun_x, sun_y = sun_direction[0] / sun_tan, sun_direction[1] / sun_tan  # relative to a vertical part of 1
    drop_m = gsd_m * sun_tan
    for py in range(agl_m.shape[0]):
        for px in range(agl_m.shape[1]):
            h = agl_m[py, px]
            x = x0 + px * cells_per_px + h * cells_per_m * dx
            y = y0 + py * cells_per_px + h * cells_per_m * dy
            near_x, near_y = min(max(int(x + 0.5), 0), cols - 1), min(max(int(y + 0.5), 0), rows - 1)
            slope_x = (_bilinear(height_m, x + 0.6, y) - _bilinear(height_m, x - 0.6, y)) / (1.2 * gsd_m)
            slope_y = (_bilinear(height_m, x, y + 0.6) - _bilinear(height_m, x, y - 0.6)) / (1.2 * gsd_m)
            # Rays come from +d, so what stands behind a visible wall point is towards -d.
            behind_x, behind_y = x - 0.9 * dx, y - 0.9 * dy
            behind = _bilinear(height_m, behind_x, behind_y)
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
                ambient, blueness = wall, 0.4  # most of it has been on the ground before
                shadow_x, shadow_y = x + 1.0 * dx, y + 1.0 * dy
            elif is_wall:
                # Deeper down the side shows another part of the crown, or the whole side would be one streak.
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
                if steep > limit:  # raster steps at edges are no slopes
                    slope_x, slope_y = slope_x * limit / steep, slope_y * limit / steep
                upright = 1.0 / np.sqrt(1.0 + slope_x * slope_x + slope_y * slope_y)
                facing = max(0.0, (1.0 - slope_x * sun_x - slope_y * sun_y) * upright)
                if tree:  # leaves face every way, twigs even more so
                    facing = facing + scatter[kind] * (0.9 - facing)
                ambient, blueness = sky, 1.0
                shadow_x, shadow_y = x, y
            shadow_x = min(max(shadow_x, 0.0), cols - 1.002)
            shadow_y = min(max(shadow_y, 0.0), rows - 1.002)
            lit = (h - _bilinear(shadow_m, shadow_x, shadow_y)) / drop_m
            lit = min(max(lit, 0.0), 1.0)
            if tree:
                lit += scatter[kind] * (1.0 - lit)  # light falls through crowns
            direct = (1.0 - sky) * min(facing, 1.7) * lit
            diffuse = ambient * open_sky[near_y, near_x]
            image[py, px, 0] = red * gains[kind, 0] * (direct * 1.02 + diffuse * (1.0 - 0.14 * blueness))
            image[py, px, 1] = green * gains[kind, 1] * (direct + diffuse * (1.0 - 0.02 * blueness))
            image[py, px, 2] = blue * gains[kind, 2] * (direct * 0.96 + diffuse * (1.0 + 0.24 * blueness))
