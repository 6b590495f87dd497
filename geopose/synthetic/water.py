"""Ponds, lakes and rivers of a place: where the water is, and what it and its banks look like.

Rivers and quays belong to downtowns. Dark, smooth water beside towers is flat, and a network that has not seen it takes
it for a tower of dark glass.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from geopose import geometry
from geopose.synthetic.appearance import Material
from geopose.synthetic.cities import City, pick, vary

WET = {"rural": 0.45, "suburb": 0.25, "downtown": 0.4, "midtown": 0.25}  # share of places with water, by district
WET_ELSEWHERE = 0.12
RIVERS = {"downtown": 0.7, "midtown": 0.6, "industrial": 0.6}  # share of the waters that are rivers
RIVERS_ELSEWHERE = 0.25
QUAYS = ((118, 116, 110), (150, 146, 138), (92, 92, 90))  # concrete and stone
BANK, WATER = 1, 2


@dataclass(frozen=True)
class Water:
    """The water of a place. mask uint8 [rows, cols]: 0 dry, BANK or WATER. ripple: relative contrast of waves."""

    mask: np.ndarray
    colour: tuple
    bank_colour: tuple
    bank_material: Material
    ripple: float


def draw_water(city: City, district: str, size_cells: int, gsd_m: float, rng: np.random.Generator) -> Water | None:
    """Random water in a place of size_cells cells of gsd_m metres. None for a place without."""
    if rng.random() > WET.get(district, WET_ELSEWHERE):
        return None
    is_river = rng.random() < RIVERS.get(district, RIVERS_ELSEWHERE)
    mask = (_draw_river if is_river else _draw_lake)(size_cells, gsd_m, rng)
    # Depth, mud and algae: from nearly black to brown and green.
    colour = np.array(vary(rng, city.water, 0.3)) * rng.uniform(0.5, 1.4)
    colour = colour * (1.0, rng.uniform(0.9, 1.25), rng.uniform(0.75, 1.2))
    ripple = rng.gamma(1.5, 0.03)
    if rng.random() < 0.25:  # the sun glitters on the water
        colour, ripple = colour * rng.uniform(1.0, 3.0), ripple + rng.uniform(0.1, 0.5)
    has_quay = rng.random() < (0.8 if district in RIVERS else 0.15)
    bank_colour = pick(rng, list(QUAYS)) if has_quay else pick(rng, city.soils + city.lawns)
    material = Material.HARD if has_quay else Material.SOIL
    return Water(mask, tuple(colour.clip(4.0)), vary(rng, bank_colour, 0.1), material, float(ripple))


def _draw_river(size_cells: int, gsd_m: float, rng: np.random.Generator) -> np.ndarray:
    """A band of constant width that crosses the scene, straight or in one bend. See Water.mask."""
    along, across = geometry.flow_direction(np.array([0.0, np.pi / 2]) + rng.uniform(0, geometry.TWO_PI)) * size_cells
    t = np.linspace(-1.0, 1.0, 65)[:, None]
    middle = rng.uniform(0.05, 0.95, 2) * size_cells
    line = middle + 1.6 * t * along + rng.normal(0.0, 0.35) * t**2 * across
    width = int(np.exp(rng.uniform(np.log(15.0), np.log(220.0))) / gsd_m)
    bank = max(2, int(rng.uniform(2.0, 12.0) / gsd_m))
    mask = np.zeros((size_cells, size_cells), np.uint8)
    for value, thickness in (BANK, width + 2 * bank), (WATER, width):
        edges = [line + side * _normals(line) * thickness / 2 for side in (-1, 1)]
        cv2.fillPoly(mask, [np.rint(np.concatenate([edges[0], edges[1][::-1]])).astype(np.int32)], value)
    return mask


def _normals(line: np.ndarray) -> np.ndarray:
    """Unit vectors [N,2] at right angles to a line [N,2]."""
    step = np.gradient(line, axis=0)
    return np.stack([-step[:, 1], step[:, 0]], -1) / np.hypot(step[:, :1], step[:, 1:])


def _draw_lake(size_cells: int, gsd_m: float, rng: np.random.Generator) -> np.ndarray:
    """A round or long shape with a wavy shore. See Water.mask."""
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
    cv2.fillPoly(mask, points, WATER)
    cv2.polylines(mask, points, True, BANK, max(2, int(rng.uniform(1.0, 4.0) / gsd_m)))
    return mask
