"""Blocks where people live: houses on their lots, and apartment buildings. See blocks.py."""

import numpy as np

from geopose.synthetic import cities
from geopose.synthetic.appearance import Material, Texture
from geopose.synthetic.blocks import Block, cover
from geopose.synthetic.buildings import ACROSS, any_height_m, house, roof_clutter, shed
from geopose.synthetic.cars import car, car_park
from geopose.synthetic.cities import City, pick, vary
from geopose.synthetic.complexes import tower
from geopose.synthetic.facades import home_walls
from geopose.synthetic.objects import Crown, Footprint, Roof, Sketch, Surface, object_seen, roofing
from geopose.synthetic.plants import blotches, hedge, lawn, soil, tree, tree_clump

TOWER_SHARE = 0.12  # of apartment buildings


def houses(sketch: Sketch, rng, city: City, block: Block) -> None:
    """Two rows of lots, back to back. Each has a house, a drive, a lawn, trees and small objects."""
    for side in (-1.0, 1.0):
        x = -block.width / 2
        while x < block.width / 2 - 8.0:
            width = min(rng.uniform(*city.lot_width_m), block.width / 2 - x)
            if block.width / 2 - (x + width) < 8.0:
                width = block.width / 2 - x
            middle = (block.x + x + width / 2, block.y + side * block.depth / 4)
            x += width
            if not sketch.shows(*middle, 30.0):
                continue
            # v points from the street (negative) to the back of the lot.
            sketch.site(*middle, -side, 0.0)
            _lot(sketch, rng, city, width, block.depth / 2, block.change)


def _lot(sketch: Sketch, rng, city: City, width: float, depth: float, change: float) -> None:
    """A lot of width x depth metres on the current site, with the street at the side of negative v."""
    half_u, half_v = width / 2, depth / 2
    lot = Footprint(0, 0, half_u, half_v)
    ground = lawn(rng, city) if rng.random() < 0.85 else soil(rng, city)
    sketch.paint(lot.inset(-0.5), Surface(ground.colour, Texture.LAWN, Material.LAWN))
    blotches(sketch, rng, city, lot, rng.integers(2, 7))
    if rng.random() < 0.04:  # an empty lot
        tree_clump(sketch, rng, city, lot, int(rng.integers(2, 9)))
        return
    house_v = -half_v + rng.uniform(5.5, 8.5) + 5.0
    paving = _drive(sketch, rng, half_u, half_v, house_v)
    house_u = rng.uniform(-0.1, 0.1) * half_u
    house(sketch, rng, city, house_u, house_v, width - 4.5, depth - 14.0, object_seen(rng, change))
    _back_yard(sketch, rng, city, half_u, half_v, house_v, paving)
    if rng.random() < 0.45:
        shed(sketch, rng, rng.uniform(-0.7, 0.7) * half_u, half_v - rng.uniform(2.5, 6.0), object_seen(rng, change))
    if rng.random() < 0.35:
        hedge(sketch, rng, city, -half_u, half_v - 0.6, half_u, half_v - 0.6)
    for _ in range(rng.poisson(1.0)):  # bushes along the house
        colour = vary(rng, pick(rng, city.evergreens), 0.12)
        u, v = rng.uniform(-0.8, 0.8) * half_u, house_v + rng.choice([-6.0, 6.0])
        sketch.tree(u, v, Crown(rng.uniform(0.6, 1.4), rng.uniform(1.0, 2.6), colour))
    for _ in range(rng.poisson(1.1 * city.tree_density)):
        u, v = rng.uniform(-0.9, 0.9) * half_u, rng.uniform(-0.95, -0.5) * half_v
        tree(sketch, rng, city, u, v, rng.uniform(1.8, 5.0), object_seen(rng, change))
    for _ in range(rng.poisson(5.5 * city.tree_density * rng.uniform(0.1, 1.9))):  # trees behind the house
        radius_m = float(np.clip(rng.lognormal(1.2, 0.45), 1.2, 7.5))
        u, v = rng.uniform(-1, 1) * half_u, rng.uniform(0.15, 1.0) * half_v
        tree(sketch, rng, city, u, v, radius_m, object_seen(rng, change))


def _drive(sketch: Sketch, rng, half_u: float, half_v: float, house_v: float) -> tuple:
    """A drive with cars, sometimes a path to the door. Returns the colour of the paving."""
    side = rng.choice([-1.0, 1.0])
    paving = vary(rng, pick(rng, cities.PAVING + cities.ASPHALT[:2]), 0.08)
    drive_u = side * (half_u - rng.uniform(2.2, 3.6))
    drive_half = (house_v + rng.uniform(-4.0, 4.0) + half_v) / 2 + 0.5
    drive = Footprint(drive_u, -half_v - 1.5 + drive_half, rng.uniform(1.4, 2.8), drive_half + 1.5)
    sketch.paint(drive, Surface(paving, Texture.CONCRETE))
    if rng.random() < 0.5:
        path = Footprint(rng.uniform(-0.3, 0.3) * half_u, -half_v + 4.0, 0.6, 5.0)
        sketch.paint(path, Surface(paving, Texture.CONCRETE))
    for _ in range(rng.integers(0, 3)):
        car(sketch, rng, drive_u, -half_v + rng.uniform(1.0, 8.0), ACROSS)
    return paving


def _back_yard(sketch: Sketch, rng, city: City, half_u: float, half_v: float, house_v: float, paving: tuple) -> None:
    """Sometimes a patio and a pool behind the house."""
    back_v = house_v + 6.5
    if rng.random() < 0.4:
        patio = Footprint(rng.uniform(-0.4, 0.4) * half_u, back_v + 1.0, rng.uniform(1.5, 4), rng.uniform(1.5, 3))
        sketch.paint(patio, Surface(paving, Texture.TILES))
    if rng.random() < 0.07:
        pool = Footprint(0.2 * half_u, back_v + 6.0, 3.6, 2.0)
        sketch.paint(pool._replace(half_u=4.6, half_v=3.2), Surface((196, 190, 182), Texture.CONCRETE))
        sketch.paint(pool, Surface((92, 146, 160)), round_=rng.random() < 0.5)


def apartments(sketch: Sketch, rng, city: City, block: Block) -> None:
    """Long low apartment buildings in straight, L and U shapes around lawns and car parks; now and then a tower."""
    cover(sketch, block, lawn(rng, city))
    step_u, step_v = rng.uniform(38, 54), rng.uniform(30, 42)
    for x0 in np.arange(block.x - block.width / 2 + step_u / 2, block.x + block.width / 2 - step_u / 3, step_u):
        for y0 in np.arange(block.y - block.depth / 2 + step_v / 2, block.y + block.depth / 2 - step_v / 3, step_v):
            turn = rng.random() < 0.25
            sketch.site(x0, y0, 0.0 if turn else 1.0, 1.0 if turn else 0.0)
            half = min(step_u, step_v) / 2 - 3
            blotches(sketch, rng, city, Footprint(0, 0, half, half), 3)
            if rng.random() < 0.25:
                car_park(sketch, rng, city, Footprint(0, 0, half, half * 0.8), rng.uniform(0.2, 0.7))
                continue
            if rng.random() < TOWER_SHARE:
                shaft = Footprint(0, -half * 0.3, half * rng.uniform(0.5, 0.9), half * rng.uniform(0.4, 0.65))
                tower(sketch, rng, city, shaft, float(np.exp(rng.uniform(np.log(20.0), np.log(100.0)))))
            else:
                _apartment_building(sketch, rng, city, half, block.change)
            path = Surface(vary(rng, pick(rng, cities.PAVING)), Texture.CONCRETE)
            sketch.paint(Footprint(0, half * 0.5, half * 0.5, 1.0), path)
            trees = Footprint(0, half * 0.6, half, half * 0.4)
            tree_clump(sketch, rng, city, trees, rng.poisson(8 * city.tree_density), block.change)


def _apartment_building(sketch: Sketch, rng, city: City, half: float, change: float) -> None:
    """One building on the current site, which reaches half metres to every side."""
    seen = object_seen(rng, change)
    number = sketch.building(home_walls(rng))
    colour = vary(rng, pick(rng, pick(rng, city.house_roofs)), 0.08)
    flat = rng.random() < 0.4
    roof = Roof.PARAPET if flat else (Roof.HIP if rng.random() < 0.6 else Roof.GABLE)
    surface = roofing(colour, Texture.MEMBRANE if flat else Texture.SHINGLE)
    half_v = rng.uniform(5.5, 8.0)
    top_m = any_height_m(rng, 3.0 * rng.integers(2, 5) + 0.5, 40.0)
    rise_m = 0.6 if flat else half_v * rng.uniform(0.3, 0.5)
    sketch.solid(Footprint(0, -half + half_v, half, half_v), top_m, surface, roof, rise_m, number, seen)
    for side in (-1, 1)[: rng.integers(0, 3)]:
        wing = Footprint(side * (half - half_v), 0, half, half_v, ACROSS)
        sketch.solid(wing, top_m, surface, roof, rise_m, number, seen)
    if flat:
        roof_clutter(sketch, rng, Footprint(0, -half + half_v, half, half_v - 1), top_m, number, seen)
