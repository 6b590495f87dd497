"""Buildings of several parts: towers on podiums, platforms, and blocks of different heights that have grown together.

As in buildings.py, each function draws one kind on the current site of a Sketch.
"""

import itertools

import numpy as np

from geopose import geometry
from geopose.synthetic import cities
from geopose.synthetic.appearance import Texture
from geopose.synthetic.buildings import OVERLAP_M, any_height_m, flat_building, roof_clutter, shaped, within
from geopose.synthetic.cities import City, pick, vary
from geopose.synthetic.facades import random_walls
from geopose.synthetic.objects import Crown, Footprint, Roof, Seen, Sketch, Surface, roofing
from geopose.synthetic.plants import lawn

HIGHEST_M = 195.0  # of any tower


def complex_building(sketch: Sketch, rng, city: City, area: Footprint, top_m: float, seen: Seen) -> None:
    """Halls and wings of different height, age and direction that have become one building, as in city blocks."""
    u, v, half_u, half_v = area.u, area.v, area.half_u, area.half_v
    number = sketch.building(random_walls(rng))
    main_u, main_v = half_u * rng.uniform(0.6, 0.95), half_v * rng.uniform(0.6, 0.95)
    if rng.random() < 0.4:  # a long wing that leaves the hall at an angle and is about as high
        main_u, main_v = 0.7 * main_u, 0.7 * main_v
        slant_rad = rng.choice([-1.0, 1.0]) * rng.uniform(0.3, 1.2)
        long_u, long_v = np.hypot(half_u, half_v) * rng.uniform(0.5, 0.75), min(half_u, half_v) * rng.uniform(0.2, 0.4)
        wing = Footprint(u, v, long_u, long_v, tuple(geometry.rotation_matrix(slant_rad)[0]))
        colour = vary(rng, pick(rng, pick(rng, city.flat_roofs)), 0.06)
        wing_top_m = top_m * rng.uniform(0.8, 1.0)
        surface = roofing(colour, pick(rng, [Texture.MEMBRANE, Texture.GRAVEL, Texture.CONCRETE]))
        sketch.solid(wing, wing_top_m, surface, Roof.PARAPET, 0.8, number, seen)
    flat_building(sketch, rng, city, Footprint(u, v, main_u, main_v), top_m, seen, number)
    askew = rng.uniform(-0.6, 0.6) if rng.random() < 0.3 else 0.0
    axis = tuple(np.array([1.0, askew]) / np.hypot(1.0, askew))
    for _ in range(rng.integers(2, 6)):
        pu, pv = u + rng.uniform(-0.6, 0.6) * half_u, v + rng.uniform(-0.6, 0.6) * half_v
        wing = Footprint(pu, pv, half_u * rng.uniform(0.15, 0.4), half_v * rng.uniform(0.15, 0.4), axis)
        level_m = top_m * rng.uniform(0.45, 1.6)
        colour = vary(rng, pick(rng, pick(rng, city.flat_roofs)), 0.06)
        texture = pick(rng, [Texture.MEMBRANE, Texture.GRAVEL, Texture.SLATS, Texture.CONCRETE])
        shape = Roof.DISC if rng.random() < 0.1 else Roof.PARAPET
        sketch.solid(wing, level_m, roofing(colour, texture), shape, 0.9, number, seen)
        if not askew:
            roof_clutter(sketch, rng, wing, level_m, number, seen, 0.7)


def tower(sketch: Sketch, rng, city: City, footprint: Footprint, top_m: float) -> None:
    """A high-rise: podium, shaft, sometimes setbacks, and a plant room on top."""
    u, v, half_u, half_v = footprint.u, footprint.v, footprint.half_u, footprint.half_v
    number = sketch.building(random_walls(rng))
    if rng.random() < 0.7:
        podium_m = min(top_m * 0.4, rng.uniform(6.0, 18.0))
        flat_building(sketch, rng, city, footprint, podium_m, Seen.BOTH)
        half_u, half_v = half_u * rng.uniform(0.55, 0.85), half_v * rng.uniform(0.55, 0.85)
    colour = vary(rng, pick(rng, pick(rng, city.flat_roofs)), 0.06)
    level_m = top_m * (rng.uniform(0.6, 0.85) if rng.random() < 0.4 else 1.0)
    shaft = _shaft(sketch, rng, Footprint(u, v, half_u, half_v), level_m, roofing(colour, Texture.MEMBRANE), number)
    u, v, half_u, half_v = shaft[:4]
    roof_clutter(sketch, rng, Footprint(u, v, half_u * 0.8, half_v * 0.8), level_m, number, Seen.BOTH, 1.2)
    if level_m < top_m:
        u, v = u + rng.uniform(-0.3, 0.3) * half_u, v + rng.uniform(-0.3, 0.3) * half_v
        half_u, half_v = half_u * rng.uniform(0.4, 0.68), half_v * rng.uniform(0.4, 0.68)
        surface = roofing(vary(rng, colour, 0.08), Texture.MEMBRANE)
        sketch.solid(Footprint(u, v, half_u, half_v), top_m, surface, Roof.PARAPET, 1.2, number)
    plant_u, plant_v = half_u * rng.uniform(0.2, 0.5), half_v * rng.uniform(0.2, 0.5)
    pu, pv = u + rng.uniform(-1, 1) * (half_u - plant_u), v + rng.uniform(-1, 1) * (half_v - plant_v)
    plant_top_m = top_m + rng.uniform(2.5, 5.0)
    plant_colour = vary(rng, (150, 148, 144), 0.2)
    surface = roofing(plant_colour, pick(rng, [Texture.SLATS, Texture.MEMBRANE, Texture.METAL]))
    sketch.solid(Footprint(pu, pv, plant_u, plant_v), plant_top_m, surface, Roof.PARAPET, 0.8, number)


def _shaft(sketch: Sketch, rng, area: Footprint, top_m: float, surface: Surface, number: int) -> Footprint:
    """The shaft of a tower in one of several plans. Returns a rectangle that lies within its roof."""
    kind, rise_m = rng.random(), rng.uniform(0.5, 1.6)
    u, v, half_u, half_v = area.u, area.v, area.half_u, area.half_v
    size = min(half_u, half_v)
    if kind < 0.10:  # round
        sketch.solid(Footprint(u, v, size, size), top_m, surface, Roof.DISC, rise_m, number)
        return Footprint(u, v, 0.65 * size, 0.65 * size)
    if kind < 0.22:  # a star: slabs that cross in the middle
        arms = int(rng.integers(2, 4))
        turn_rad = rng.uniform(0.0, 1.5)
        for arm in range(arms):
            axis = tuple(geometry.rotation_matrix(turn_rad + arm * geometry.TWO_PI / (2 * arms))[0])
            slab = Footprint(u, v, size, size * rng.uniform(0.22, 0.4), axis)
            sketch.solid(slab, top_m, surface, Roof.PARAPET, rise_m, number)
        return Footprint(u, v, 0.2 * size, 0.2 * size)
    if kind < 0.36:  # an L, its wings of one or of two heights
        wing = size * rng.uniform(0.35, 0.6)
        other_m = top_m * (1.0 if rng.random() < 0.5 else rng.uniform(0.5, 0.9))
        sketch.solid(Footprint(u, v - half_v + wing, half_u, wing), top_m, surface, Roof.PARAPET, rise_m, number)
        side = rng.choice([-1.0, 1.0]) * (half_u - wing)
        sketch.solid(Footprint(u + side, v, wing, half_v), other_m, surface, Roof.PARAPET, rise_m, number)
        return Footprint(u, v - half_v + wing, 0.5 * half_u, 0.7 * wing)
    if kind < 0.5:  # a slab
        slab = Footprint(u, v, half_u, half_v * rng.uniform(0.35, 0.6))
        sketch.solid(slab, top_m, surface, Roof.PARAPET, rise_m, number)
        return slab
    shaft = shaped(rng, area)
    sketch.solid(shaft, top_m, surface, Roof.PARAPET, rise_m, number)
    return within(shaft)


def terrace(sketch: Sketch, rng, city: City, area: Footprint, seen: Seen) -> None:
    """A row of buildings wall to wall, each with its own height, depth, walls and roof, as along old streets."""
    edges = [-area.half_u]
    while edges[-1] < area.half_u - 7.0:
        edges.append(min(edges[-1] + rng.uniform(7.0, 26.0), area.half_u))
    usual_m = rng.uniform(5.0, 18.0)
    for left, right in itertools.pairwise(edges):
        depth = area.half_v * rng.uniform(0.6, 1.0)
        part = Footprint(
            area.u + (left + right) / 2, area.v - area.half_v + depth, (right - left) / 2 + OVERLAP_M, depth
        )
        top_m = any_height_m(rng, usual_m * rng.uniform(0.5, 1.6), 45.0)
        colour = vary(rng, pick(rng, pick(rng, city.flat_roofs)), 0.06)
        surface = roofing(colour, pick(rng, [Texture.MEMBRANE, Texture.GRAVEL, Texture.PLAIN]))
        number = sketch.building(random_walls(rng))
        sketch.solid(part, top_m, surface, Roof.PARAPET, rng.uniform(0.3, 1.2), number, seen)
        if part.half_u > 4.0:
            roof_clutter(sketch, rng, part.inset(1.5), top_m, number, seen, 0.8)


def courtyard(sketch: Sketch, rng, city: City, area: Footprint, seen: Seen) -> None:
    """Four wings around a court, of one height or of several."""
    wing = min(area.half_u, area.half_v) * rng.uniform(0.18, 0.34)
    number = sketch.building(random_walls(rng))
    colour = vary(rng, pick(rng, pick(rng, city.flat_roofs)), 0.06)
    surface = roofing(colour, pick(rng, [Texture.MEMBRANE, Texture.GRAVEL]))
    usual_m, even = any_height_m(rng, rng.uniform(7.0, 24.0)), rng.random() < 0.5
    for side in (-1.0, 1.0):
        along = Footprint(area.u, area.v + side * (area.half_v - wing), area.half_u, wing)
        across = Footprint(area.u + side * (area.half_u - wing), area.v, wing, area.half_v)
        for part in (along, across):
            top_m = usual_m if even else usual_m * rng.uniform(0.6, 1.4)
            sketch.solid(part, top_m, surface, Roof.PARAPET, 0.8, number, seen)
            roof_clutter(sketch, rng, part.inset(1.0), top_m, number, seen, 0.6)


def platform(sketch: Sketch, rng, city: City, area: Footprint) -> None:
    """A platform that looks like a square: paving, rings, beds and trees, with halls and sometimes a tower on it."""
    top_m = any_height_m(rng, rng.uniform(3.5, 12.0), 25.0)
    number, rise_m = sketch.building(random_walls(rng)), rng.uniform(0.2, 1.2)
    paving = vary(rng, pick(rng, pick(rng, [cities.PAVING, cities.ASPHALT, cities.BRICK, cities.FLAT_GREY])), 0.08)
    texture = pick(rng, [Texture.TILES, Texture.CONCRETE, Texture.ASPHALT, Texture.MEMBRANE])
    if rng.random() < 0.4:  # a round end
        size = min(area.half_u, area.half_v) * rng.uniform(0.3, 0.8)
        side, off_v = rng.choice([-1.0, 1.0]), rng.uniform(-1.0, 1.0) * (area.half_v - size)
        base = area._replace(u=area.u - side * size / 2, half_u=area.half_u - size / 2)
        end = Footprint(area.u + side * (area.half_u - size), area.v + off_v, size, size)
        sketch.solid(end, top_m, roofing(paving, texture), Roof.DISC, rise_m, number)
    else:
        base = shaped(rng, area)
    sketch.solid(base, top_m, roofing(paving, texture), Roof.PARAPET, rise_m, number)
    u, v, half_u, half_v = within(base)[:4]

    def spot(smallest: float, largest: float) -> Footprint:
        """A rectangle on the platform, its sides shares of the platform's and at least 5 m."""
        size_u = max(half_u * rng.uniform(smallest, largest), 2.5)
        size_v = max(half_v * rng.uniform(smallest, largest), 2.5)
        pu, pv = rng.uniform(-1, 1) * (half_u - size_u), rng.uniform(-1, 1) * (half_v - size_v)
        return Footprint(u + pu, v + pv, size_u, size_v)

    for _ in range(rng.integers(1, 5)):
        other = vary(rng, pick(rng, [paving, *cities.PAVING, *cities.BRICK, *cities.FLAT_GREY]), 0.09)
        sketch.mark(spot(0.08, 0.5), roofing(other, pick(rng, [texture, Texture.TILES, Texture.CONCRETE])))
    if rng.random() < 0.5:
        middle = spot(0.3, 0.6)
        for ring in np.linspace(1.0, 0.3, rng.integers(2, 5)) * min(middle.half_u, middle.half_v):
            disc = middle._replace(half_u=ring, half_v=ring)
            sketch.mark(disc, roofing(vary(rng, paving, 0.12), Texture.TILES), round_=True)
    for _ in range(rng.integers(0, 6)):
        bed = spot(0.03, 0.12)
        sketch.mark(bed, lawn(rng, city))
        colour, height_m = vary(rng, pick(rng, city.evergreens), 0.12), top_m + rng.uniform(1.5, 6.0)
        sketch.tree(bed.u, bed.v, Crown(rng.uniform(1.0, 3.0), height_m, colour, lumps=0.1))
    for _ in range(rng.integers(1, 5)):
        hall, level_m = spot(0.08, 0.35), top_m + rng.uniform(2.5, 16.0)
        flat_building(sketch, rng, city, hall, level_m, Seen.BOTH, number if rng.random() < 0.5 else 0)
    place = spot(0.3, 0.5)
    if min(place.half_u, place.half_v) > 8.0 and rng.random() < 0.6:
        tower_top_m = min(HIGHEST_M, top_m + rng.lognormal(np.log(25.0), 0.75) * city.tower_factor)
        tower(sketch, rng, city, place, tower_top_m)
