"""Numba kernels that paint boxes and trees into the rasters of a scene.

Objects are painted in order. An object changes a cell only where it is higher than everything painted before it.
Paint (marks on ground and roofs) has no height: it always changes the colour.

Cells do not know in which part of them an outline runs. So the sides of a box are not vertical steps but narrow ramps,
with their middle on the outline. Bilinear interpolation reproduces a ramp, and edges are straight at any angle.
"""

from typing import NamedTuple

import cv2
import numpy as np

from geopose.synthetic.appearance import NOISE_CELLS, Material, Texture
from geopose.synthetic.kernels import inlined, kernel
from geopose.synthetic.objects import Roof, Seen

WRAP = NOISE_CELLS - 1
IMAGE_ONLY, LABEL_ONLY = int(Seen.IMAGE_ONLY), int(Seen.LABEL_ONLY)
PAINT, PAINT_DISC, DISC, DOME = int(Roof.PAINT), int(Roof.PAINT_DISC), int(Roof.DISC), int(Roof.DOME)
GABLE, HIP, PARAPET, SHED = int(Roof.GABLE), int(Roof.HIP), int(Roof.PARAPET), int(Roof.SHED)
CAR, LAWN, SOIL = int(Texture.CAR), int(Texture.LAWN), int(Texture.SOIL)
DECIDUOUS = int(Material.DECIDUOUS)
RAMP_CELLS = 1.6  # width of a box's sides; with 1.0, edges are a fifth less straight
PARAPET_WIDTH_M = 0.45  # more than two cells, so that it has no gaps where it is not parallel to the raster


class Rasters(NamedTuple):
    """The rasters [rows, cols] that are painted, as in ground.Scene."""

    height_m: np.ndarray
    label_height_m: np.ndarray
    albedo: np.ndarray
    material: np.ndarray
    solid: np.ndarray
    crown: np.ndarray


def empty_rasters(shape: tuple[int, int]) -> Rasters:
    """Rasters [rows, cols] of flat ground on which nothing is painted."""
    return Rasters(
        height_m=np.zeros(shape, np.float32),
        label_height_m=np.zeros(shape, np.float32),
        albedo=np.zeros((*shape, 3), np.uint8),
        material=np.zeros(shape, np.uint8),
        solid=np.zeros(shape, np.int32),
        crown=np.zeros(shape, np.uint8),
    )


@inlined
def _clip_u8(value):
    return np.uint8(min(max(value, 0.0), 255.0))


@inlined
def _edge_m(u, v, half_u, half_v, taper, cut_m):
    """Distance in metres from (u, v) to the outline of a box; negative outside. taper and cut_m as in Footprint."""
    if taper != 0.0:
        half_v *= 1.0 - 0.5 * taper * (1.0 + u / half_u)
    to_u, to_v = half_u - abs(u), half_v - abs(v)
    return min(to_u, to_v, (to_u + to_v - cut_m) * 0.7071)


@inlined
def _ramp(inward_m, gsd_m):
    """Share of a step's height at inward_m metres inside its outline, from 0 to 1; cells have gsd_m metres."""
    return min(max(0.5 + inward_m / (RAMP_CELLS * gsd_m), 0.0), 1.0)


@kernel
def _roof_rise_m(roof, rise_m, u, v, half_u, half_v, edge_m, gsd_m):
    """Height of the roof above its eaves at (u, v) metres from the box's middle; the ridge runs along u."""
    if roof == GABLE:
        return rise_m * max(1.0 - abs(v) / half_v, 0.0)
    if roof == HIP:
        return rise_m * min(1.0, max(min(half_v - abs(v), half_u - abs(u)), 0.0) / half_v)
    if roof == SHED:
        return rise_m * min(max((v + half_v) / (2.0 * half_v), 0.0), 1.0)
    if roof == PARAPET:
        return rise_m * _ramp(PARAPET_WIDTH_M - edge_m, gsd_m)
    if roof == DOME:
        r2 = (u / half_u) ** 2 + (v / half_v) ** 2
        return rise_m * max(1.0 - r2, 0.0)
    return 0.0


def paint_boxes(boxes: np.ndarray, textures: np.ndarray, noise: np.ndarray, gsd_m: float, rasters: Rasters) -> None:
    """Paint the boxes [N] of dtype BOX (positions in cells, lengths in metres) into the Rasters.

    textures float32 [T, 7] as TEXTURE_TABLE; noise float32 [3, N, N] as noise_fields; gsd_m metres per cell. Pieces of
    ground lie in many layers over each other. So the shapes come first, and then each cell gets the colour of its last
    box alone.
    """
    last = np.full(rasters.material.shape, -1, np.int32)  # the box that a cell shows; -1: none of these boxes
    _raise_boxes(boxes, noise[1], gsd_m, rasters, last)
    _colour_cells(boxes, textures, noise, cv2.transpose(noise[2]), gsd_m, last, rasters)


class _Outline(NamedTuple):
    """The part of a BOX that says where it is. Kernels read a box again after each write to a raster, but not this."""

    x: float
    y: float
    ux: float
    uy: float
    half_u: float
    half_v: float
    taper: float
    cut_m: float
    is_round: bool


@inlined
def _outline_of(box):
    is_round = box.roof in (PAINT_DISC, DISC, DOME)
    return _Outline(box.x, box.y, box.ux, box.uy, box.half_u, box.half_v, box.taper, box.cut_m, is_round)


@inlined
def _cells_of(box, gsd_m, rows, cols):
    """The first and last column and row of an outline's cells: x0, x1, y0, y1. x1 < x0 or y1 < y0 if it has none."""
    reach_x = (abs(box.ux) * box.half_u + abs(box.uy) * box.half_v) / gsd_m + 0.75 * RAMP_CELLS
    reach_y = (abs(box.uy) * box.half_u + abs(box.ux) * box.half_v) / gsd_m + 0.75 * RAMP_CELLS
    x0, x1 = max(0, int(np.ceil(box.x - reach_x))), min(cols - 1, int(np.floor(box.x + reach_x)))
    y0, y1 = max(0, int(np.ceil(box.y - reach_y))), min(rows - 1, int(np.floor(box.y + reach_y)))
    return x0, x1, y0, y1


@inlined
def _row_of(box, y, x0, x1, gsd_m):
    """The part of the columns x0 to x1 that may be on a box in row y: one cell around its rectangle included.

    The columns between the corners of a long box at an angle are many more than its cells.
    """
    off_y = (y - box.y) * gsd_m
    # A wedge is wider beyond its wide end.
    reach_u, reach_v = box.half_u + gsd_m, box.half_v + gsd_m * (1.0 + box.taper * box.half_v / box.half_u)
    first, last = float(x0), float(x1)
    if abs(box.ux) > 1e-6:
        middle, reach = -off_y * box.uy / box.ux, reach_u / abs(box.ux)
        first, last = max(first, box.x + (middle - reach) / gsd_m), min(last, box.x + (middle + reach) / gsd_m)
    if abs(box.uy) > 1e-6:
        middle, reach = off_y * box.ux / box.uy, reach_v / abs(box.uy)
        first, last = max(first, box.x + (middle - reach) / gsd_m), min(last, box.x + (middle + reach) / gsd_m)
    return max(x0, int(np.ceil(first))), int(np.floor(last))


@inlined
def _on_box(box, x, y, gsd_m):
    """Position (u, v) of cell (x, y) in metres from the middle of an outline, along its axes."""
    off_x, off_y = (x - box.x) * gsd_m, (y - box.y) * gsd_m
    return off_x * box.ux + off_y * box.uy, off_y * box.ux - off_x * box.uy


@inlined
def _inward_m(box, u, v, ragged):
    """Distance in metres from (u, v) to an outline, negative outside. ragged moves a round one in or out."""
    if box.is_round:
        away = np.sqrt((u / box.half_u) ** 2 + (v / box.half_v) ** 2 + ragged)
        return (1.0 - away) * min(box.half_u, box.half_v)
    return _edge_m(u, v, box.half_u, box.half_v, box.taper, box.cut_m)


@inlined
def _top_m(box, u, v, edge_m, gsd_m):
    """Height of a box at (u, v), edge_m metres inside its outline."""
    rise_m = _roof_rise_m(box.roof, box.rise_m, u, v, box.half_u, box.half_v, edge_m, gsd_m)
    return (box.top_m + rise_m) * _ramp(edge_m, gsd_m)


@inlined
def _paint_row(box, y, first, end, gsd_m, number, last):
    """Paint the number of a box without height into the columns first to end of a row of last [rows, cols]."""
    for x in range(first, end + 1):
        u, v = _on_box(box, x, y, gsd_m)
        if _edge_m(u, v, box.half_u, box.half_v, box.taper, box.cut_m) > 0.0:
            last[y, x] = number


@kernel
def _raise_boxes(boxes, noise, gsd_m, rasters, last):
    """Paint the heights of the boxes, and the number of the box that each cell shows into last [rows, cols]."""
    height_m, label_height_m, solid = rasters.height_m, rasters.label_height_m, rasters.solid
    rows, cols = height_m.shape
    for i in range(boxes.size):
        box = boxes[i]
        outline, seen = _outline_of(box), box.seen
        is_paint = box.roof in (PAINT, PAINT_DISC)
        is_ragged = outline.is_round and box.texture in (LAWN, SOIL)
        margin_m = 0.0 if is_paint else 0.5 * RAMP_CELLS * gsd_m  # the outer half of the ramp
        x0, x1, y0, y1 = _cells_of(outline, gsd_m, rows, cols)
        for y in range(y0, y1 + 1):
            first, end = (x0, x1) if outline.is_round else _row_of(outline, y, x0, x1, gsd_m)
            if is_paint and not outline.is_round:
                _paint_row(outline, y, first, end, gsd_m, i, last)
                continue
            for x in range(first, end + 1):
                u, v = _on_box(outline, x, y, gsd_m)
                ragged = 0.35 * noise[y & WRAP, x & WRAP] if is_ragged else 0.0
                edge_m = _inward_m(outline, u, v, ragged)
                if edge_m <= -margin_m:
                    continue
                if not is_paint:
                    top = _top_m(box, u, v, edge_m, gsd_m)
                    if seen != IMAGE_ONLY and top > label_height_m[y, x]:
                        label_height_m[y, x] = top
                    if seen == LABEL_ONLY or top <= height_m[y, x]:
                        continue
                    height_m[y, x] = top
                    solid[y, x] = i + 1 if box.building > 0 else 0
                last[y, x] = i


@kernel
def _colour_cells(boxes, textures, noise, broad_turned, gsd_m, last, rasters):
    """Paint the colours and materials of the boxes that cells show, as in last. broad_turned: noise[2] transposed."""
    rows, cols = last.shape
    for y in range(rows):
        end = 0
        while end < cols:
            first, number = end, last[y, end]
            while end < cols and last[y, end] == number:
                end += 1
            if number >= 0:
                _colour_row(boxes[number], number, y, first, end, textures, noise, broad_turned, gsd_m, rasters)


@inlined
def _colour_row(box, number, y, first, end, textures, noise, broad_turned, gsd_m, rasters):
    """Paint the colours and the material of a box into the columns first to end - 1 of row y."""
    albedo, material = rasters.albedo, rasters.material
    outline, roof, texture, kind = _outline_of(box), box.roof, box.texture, box.material
    red, green, blue = box.red, box.green, box.blue
    fine, middle, broad, hue = textures[texture, 0], textures[texture, 1], textures[texture, 2], textures[texture, 3]
    if texture not in (LAWN, SOIL):  # real roofs and roads of one kind differ: some are smooth, some mottled
        uneven = 0.25 + 1.1 * ((number * 40503) % 1024) / 1024.0
        fine, middle, broad = fine * uneven, middle * uneven, broad * uneven
    joint_u, joint_v, joint_depth = textures[texture, 4], textures[texture, 5], textures[texture, 6]
    # Each roof has its own pattern; ground continues from piece to piece.
    is_paint = roof in (PAINT, PAINT_DISC)
    shift_x, shift_y = (0, 0) if is_paint else (57 * number, 131 * number)
    ny = (y + shift_y) & WRAP
    for x in range(first, end):
        u, v = _on_box(outline, x, y, gsd_m)
        nx = (x + shift_x) & WRAP
        gain = 1.0 + fine * noise[0, y & WRAP, x & WRAP] + middle * noise[1, ny, nx]
        gain += broad * noise[2, y & WRAP, x & WRAP]
        if joint_u > 0.0 and u - joint_u * np.floor(u / joint_u) < gsd_m:
            gain -= joint_depth
        if joint_v > 0.0 and v - joint_v * np.floor(v / joint_v) < gsd_m:
            gain -= joint_depth
        if roof == PARAPET:
            edge_m = _inward_m(outline, u, v, 0.0)
            if _top_m(box, u, v, edge_m, gsd_m) > box.top_m:
                gain *= 1.12
        if texture == CAR and 0.15 < abs(u) / outline.half_u < 0.42:
            gain *= 0.55  # windscreens
        tint = hue * broad_turned[ny, nx]
        material[y, x] = kind
        albedo[y, x, 0] = _clip_u8(red * (gain + tint))
        albedo[y, x, 1] = _clip_u8(green * gain)
        albedo[y, x, 2] = _clip_u8(blue * (gain - tint))


class _Crown(NamedTuple):
    """A TREE that kernels do not read again after each write to a raster."""

    x: float
    y: float
    radius_m: float
    height_m: float
    red: float
    green: float
    blue: float
    lumps: float
    pointed: float
    material: int
    seen: int


@inlined
def _crown_of(tree):
    look = tree.red, tree.green, tree.blue, tree.lumps, tree.pointed
    return _Crown(tree.x, tree.y, tree.radius_m, tree.height_m, *look, tree.material, tree.seen)


@kernel
def paint_trees(trees, noise, gsd_m, rasters):
    """Paint the crowns [N] of dtype TREE into the Rasters: domes or cones with lumps and ragged outlines."""
    height_m, label_height_m, albedo, material, solid, crown = rasters
    rows, cols = height_m.shape
    for i in range(trees.size):
        tree = _crown_of(trees[i])
        radius = tree.radius_m / gsd_m
        reach = radius * 1.3
        x0, x1 = max(0, int(tree.x - reach)), min(cols - 1, int(tree.x + reach) + 1)
        y0, y1 = max(0, int(tree.y - reach)), min(rows - 1, int(tree.y + reach) + 1)
        twig = 0.12 if tree.material == DECIDUOUS else 0.07
        shift_y, shift_x = 313 * i, 171 * i
        for y in range(y0, y1 + 1):
            for x in range(x0, x1 + 1):
                off_x, off_y = x - tree.x, y - tree.y
                far = (off_x * off_x + off_y * off_y) / (radius * radius)
                if far > 1.7:
                    continue
                ny, nx = (y + shift_y) & WRAP, (x + shift_x) & WRAP
                lump, leaf = noise[1, ny, nx], noise[0, ny, nx]
                far *= 1.0 + 0.40 * lump + 0.20 * leaf
                if far >= 1.0:
                    continue
                profile = (1.0 - tree.pointed) * np.sqrt(1.0 - far) + tree.pointed * (1.0 - np.sqrt(max(far, 0.0)))
                share = 0.42 + 0.58 * profile
                top = tree.height_m * share * (1.0 + tree.lumps * (0.30 * lump + 0.15 * leaf))
                if top < 0.3:
                    continue
                if tree.seen != IMAGE_ONLY and top > label_height_m[y, x]:
                    label_height_m[y, x] = top
                if tree.seen == LABEL_ONLY or top <= height_m[y, x]:
                    continue
                height_m[y, x] = top
                solid[y, x] = 0
                material[y, x] = tree.material
                crown[y, x] = max(_clip_u8(255.0 * (0.8 - 0.6 * far + 0.12 * lump + 0.25 * leaf)), 1)
                gain = 1.0 + 0.10 * lump + twig * leaf + 0.06 * noise[2, y & WRAP, x & WRAP]
                albedo[y, x, 0] = _clip_u8(tree.red * gain)
                albedo[y, x, 1] = _clip_u8(tree.green * gain)
                albedo[y, x, 2] = _clip_u8(tree.blue * gain)
