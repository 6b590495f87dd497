"""Streets: where they are in the straight street grid, and how they are drawn.

A street consists of short segments. Each has its own site, so the street bends with the grid. All pavements are drawn
first, then all carriageways, then the markings, cars at the kerb and trees at the roadside. At a crossing, each layer
covers the layers before it. Pavements and carriageways have shorter segments than the rest, so that their edges are
smooth in a bend. Wide streets have a deck, which becomes a bridge where they cross water.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from geopose.synthetic import cities
from geopose.synthetic.appearance import Material, Texture
from geopose.synthetic.cars import car
from geopose.synthetic.cities import City, pick, vary
from geopose.synthetic.objects import Footprint, Sketch, Surface
from geopose.synthetic.plants import tree_clump

SEGMENT_M = 12.0
PIECE_M = 4.0  # of pavements, carriageways and decks
WIDE_M = 12.0  # a carriageway that is wider has lanes, and bridges over water
DECK_M = (1.5, 7.0)  # height of a bridge's deck


@dataclass(frozen=True)
class Street:
    """A straight street of the grid: the coordinate of its middle line and the width of its carriageway, metres."""

    at: float
    width: float
    wear: float  # brightness of its wheel tracks


@dataclass(frozen=True)
class StreetGrid:
    """Streets along y (each at an x), streets along x (each at a y), and how far they reach from the middle, metres."""

    along_y: list[Street]
    along_x: list[Street]
    reach_m: float


def plan_streets(rng, reach_m: float, spacing_m: tuple[float, float], district: str) -> list[Street]:
    """Parallel streets from -reach_m to reach_m or more. spacing_m: smallest and largest width of a block."""
    streets, at = [], -reach_m - rng.uniform(0, spacing_m[0])
    while at < reach_m + spacing_m[1]:
        wide = rng.random() < (0.12 if district in ("suburb", "rural", "dense_suburb") else 0.35)
        highway = rng.random() < 0.03
        width = rng.uniform(24, 34) if highway else (rng.uniform(13, 19) if wide else rng.uniform(7.0, 9.5))
        streets.append(Street(at, width, 1.0 + 0.05 * rng.standard_normal()))
        at += rng.uniform(*spacing_m) + width
    return streets


def draw_streets(sketch: Sketch, rng, city: City, grid: StreetGrid, district: str) -> None:
    """Draw all segments that can reach into the scene, layer after layer."""
    asphalt = vary(rng, pick(rng, cities.ASPHALT), 0.08)
    pavement = Surface(vary(rng, pick(rng, cities.PAVING), 0.06), Texture.CONCRETE)
    paved = rng.random() < 0.7 and district != "rural"
    lines = [(street, True) for street in grid.along_y] + [(street, False) for street in grid.along_x]
    looks = [(*line, vary(rng, asphalt, 0.07), rng.uniform(*DECK_M)) for line in lines]

    def segments(length_m: float) -> Iterator[tuple[Street, bool, float, tuple, float]]:
        """Start a site for each segment: street, whether it runs along y, middle, colour and height of its deck."""
        for street, along_y, colour, deck_m in looks:
            for end in np.arange(-grid.reach_m, grid.reach_m, length_m) + length_m / 2:
                if sketch.shows(*_place(street, along_y, end)[:2], street.width + length_m):
                    sketch.site(*_place(street, along_y, end))
                    yield street, along_y, end, colour, deck_m

    if paved:
        for street, *_ in segments(PIECE_M):
            for side in (-1, 1):
                sketch.paint(Footprint(0, side * (street.width / 2 + 2.0), PIECE_M / 2 + 0.5, 0.8), pavement)
    for street, _, _, colour, deck_m in segments(PIECE_M):
        half = street.width / 2
        if paved:  # concrete gutters at both edges of the asphalt
            sketch.paint(Footprint(0, 0, PIECE_M / 2 + 0.5, half + 0.7), pavement)
        sketch.paint(Footprint(0, 0, PIECE_M / 2 + 0.5, half), Surface(colour, Texture.ASPHALT))
        if street.width > WIDE_M:
            sketch.deck(Footprint(0, 0, PIECE_M / 2 + 0.5, half + 2.5), deck_m, pavement)
            sketch.deck(Footprint(0, 0, PIECE_M / 2 + 0.5, half), deck_m + 0.05, Surface(colour, Texture.ASPHALT))
            sketch.deck(Footprint(0, 0, 1.0, 0.2), deck_m + 0.1, Surface((175, 175, 170)))
    for street, along_y, end, colour, _ in segments(SEGMENT_M):
        crossings = grid.along_x if along_y else grid.along_y
        if all(abs(end - c.at) > c.width / 2 + SEGMENT_M / 2 for c in crossings):
            _draw_details(sketch, rng, city, street, colour)


def _place(street: Street, along_y: bool, end: float) -> tuple[float, float, float, float]:
    """The site (x, y) and direction of the segment of a street whose middle is at `end` along it."""
    return (street.at, end, 0.0, 1.0) if along_y else (end, street.at, 1.0, 0.0)


def _draw_details(sketch: Sketch, rng, city: City, street: Street, colour: tuple) -> None:
    """Markings, wheel tracks, repairs, cars and trees of one segment, on the current site."""
    half = street.width / 2
    worn = Surface(tuple(c * street.wear for c in colour), Texture.ASPHALT)
    for side in (-1, 1):  # wheels and oil make the lanes brighter or darker
        sketch.paint(Footprint(0, side * half * 0.45, SEGMENT_M / 2 + 0.8, half * 0.22), worn)
    if street.width > 22:  # divided highway: grass median with trees, dashed lines, shoulders
        grass = Surface(vary(rng, city.lawns[0], 0.02), Texture.LAWN, Material.LAWN)
        sketch.paint(Footprint(0, 0, SEGMENT_M / 2 + 0.8, 3.5), grass)
        for side in (-1, 1):
            sketch.paint(Footprint(0, side * (half + 3.5) / 2, 1.5, 0.2), Surface((185, 185, 180)))
            sketch.paint(Footprint(0, side * (half - 0.6), SEGMENT_M / 2 + 0.3, 0.2), Surface((165, 165, 160)))
        tree_clump(sketch, rng, city, Footprint(0, 0, SEGMENT_M / 2, 2.0), rng.poisson(0.25))
    elif street.width > WIDE_M:
        sketch.paint(Footprint(0, 0, SEGMENT_M / 2, 0.2), Surface((160, 148, 100)))
        for side in (-1, 1):
            sketch.paint(Footprint(0, side * half / 2, 1.5, 0.2), Surface((175, 175, 170)))
    elif rng.random() < 0.1:
        u, v = rng.uniform(-4, 4), rng.uniform(-0.5, 0.5) * half
        repair = Footprint(u, v, rng.uniform(0.5, 4), rng.uniform(0.4, 1.5))
        sketch.paint(repair, Surface(vary(rng, colour, 0.1), Texture.ASPHALT))
    if rng.random() < (0.12 if street.width < WIDE_M else 0.22):
        car(sketch, rng, rng.uniform(-5, 5), rng.choice([-1, 1]) * (half - (1.3 if street.width < WIDE_M else 3.0)))
    if rng.random() < 0.10 * city.tree_density:
        tree_clump(sketch, rng, city, Footprint(0, rng.choice([-1, 1]) * (half + 3.5), 4, 0.8), 1)
