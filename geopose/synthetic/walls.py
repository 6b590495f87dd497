"""Colours of walls, from the exact shape of the box to which a wall belongs.

A raster cannot say exactly where a wall is: its edges zigzag from cell to cell. The box can. So `face_of` finds the
side of the box that a ray meets, and `wall_colour` finds the place on that side. Windows form regular rows at any
angle, start at the corners, and keep their storeys. They are averaged over the footprint of a sample, so that narrow
ones fade instead of breaking up into noise.
"""

import numpy as np

from geopose.synthetic.kernels import inlined, kernel
from geopose.synthetic.objects import Roof

DISC, DOME = int(Roof.DISC), int(Roof.DOME)
FACING = 0.02  # the ray meets sides only at angles above this cosine


@inlined
def covered(at, period, share, width):
    """Share of the interval of length `width` around `at` that lies in periodic bars.

    Each period has one bar in its middle, which takes `share` of it.
    """
    low, high = (at - 0.5 * width) / period, (at + 0.5 * width) / period
    start = 0.5 - 0.5 * share
    floor_low, floor_high = np.floor(low), np.floor(high)
    below_low = floor_low * share + min(max(low - floor_low - start, 0.0), share)
    below_high = floor_high * share + min(max(high - floor_high - start, 0.0), share)
    return (below_high - below_low) / (high - low)


@kernel
def face_of(box, u, v, du, dv):
    """The side of a box that a ray meets near (u, v) metres from its middle; (du, dv) points along the ground to it.

    (u, v) and the unit vector (du, dv) are along the axes of the box; visible sides face towards (du, dv). Returns the
    outward normal (nu, nv), the distance in metres from (u, v) outwards to the side, the position along the side from
    its start and the side's length in metres, and the side's number: 0 to 3 for +u, +v, -u, -v, and 4 for others.
    """
    half_u, half_v = box.half_u, box.half_v
    if box.roof == DISC or box.roof == DOME:
        nu, nv = u / (half_u * half_u), v / (half_v * half_v)
        norm = max(np.sqrt(nu * nu + nv * nv), 1e-9)
        radius = 0.5 * (half_u + half_v)
        away = np.sqrt((u / half_u) ** 2 + (v / half_v) ** 2)
        turn = v / max(abs(u) + abs(v), 1e-9)  # -1 to 1 over half a turn; good enough for places of windows
        return nu / norm, nv / norm, (1.0 - away) * radius, (turn + 1.0) * 1.5708 * radius, 3.1416 * radius, 4
    narrower = 0.5 * box.taper
    half_here = half_v * (1.0 - narrower * (1.0 + u / half_u))
    best, nu, nv, along, length, side = 1e9, 0.0, 0.0, 0.0, 1.0, 4
    for sign in (-1.0, 1.0):
        to_side = half_u - sign * u
        if sign * du > FACING and to_side < best:
            end = half_v * (1.0 - narrower * (1.0 + sign)) - box.cut_m
            best, nu, nv, along, length = to_side, sign, 0.0, v + end, 2.0 * end
            side = 0 if sign > 0.0 else 2
    slope = narrower * half_v / half_u
    norm = 1.0 / np.sqrt(1.0 + slope * slope)
    for sign in (-1.0, 1.0):
        to_side = (half_here - sign * v) * norm
        if (slope * du + sign * dv) * norm > FACING and to_side < best:
            best, nu, nv, along = to_side, slope * norm, sign * norm, u + half_u - box.cut_m
            length = 2.0 * (half_u - box.cut_m)
            side = 1 if sign > 0.0 else 3
    if box.cut_m > 0.0:
        for sign_u in (-1.0, 1.0):
            for sign_v in (-1.0, 1.0):
                to_side = (half_u - sign_u * u + half_here - sign_v * v - box.cut_m) * 0.7071
                if sign_u * du + sign_v * dv > FACING and to_side < best:
                    best, nu, nv = to_side, 0.7071 * sign_u, 0.7071 * sign_v
                    along, length, side = 0.7071 * (u * sign_v - v * sign_u), 1.4142 * box.cut_m, 4
                    along += 0.5 * length - 0.7071 * sign_u * sign_v * (half_u - half_here)
    return nu, nv, best, along, length, side


@inlined
def _hash(a, b, c):
    """A number in [0, 1) that looks random but is always the same for the same three integers."""
    n = (a * 73856093) ^ (b * 19349663) ^ (c * 83492791)
    n = (n ^ (n >> 13)) * 1274126177
    return ((n ^ (n >> 16)) & 0xFFFF) / 65536.0


@kernel
def wall_colour(recipe, top_m, h, along, length, side, sample_along_m, sample_up_m, number):
    """Grey values (red, green, blue) of a wall at height h and `along` metres from the start of its side.

    recipe: a row of WALLS; top_m: height of the eaves; length: of the side in metres; side as in face_of;
    sample_along_m, sample_up_m: lengths on the wall over which the windows are averaged; number: of the building.
    """
    red, green, blue = recipe.red, recipe.green, recipe.blue
    storeys = max(1.0, np.floor((top_m - 0.3) / recipe.floor_m + 0.3))
    floor_m = max(top_m - 0.3, 1.0) / storeys
    if recipe.slab > 0.0:
        # covered() has its bars in the middle of each period; a slab is at the foot of its storey.
        bright = covered(h + 0.5 * floor_m * (1.0 - recipe.slab), floor_m, recipe.slab, sample_up_m)
        gain = 0.8 + 0.45 * bright
        red, green, blue = red * gain, green * gain, blue * gain
    is_blank = side < 4 and (recipe.blank >> side) & 1
    if recipe.contrast > 0.0 and not is_blank and h < top_m - 0.2:
        bays = max(1.0, np.floor(length / recipe.bay_m + 0.5))
        bay_m = length / bays
        share = covered(h, floor_m, recipe.window_h, sample_up_m)
        if recipe.window_u < 1.0:
            share *= covered(along, bay_m, recipe.window_u, sample_along_m)
        if length < 0.6 * recipe.bay_m:
            share = 0.0
        glass = recipe.glass
        differ = _hash(int(np.floor(along / bay_m)), int(np.floor(h / floor_m)), number * 4 + side)
        glass *= 1.0 + recipe.mixed * 1.6 * (differ - 0.4)
        share *= recipe.contrast
        red += share * (glass - red)
        green += share * (1.04 * glass - green)
        blue += share * (1.12 * glass - blue)
    return red, green, blue
