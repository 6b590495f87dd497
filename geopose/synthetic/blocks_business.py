"""Blocks where people work, shop and learn: commercial, industrial, offices, schools. See blocks.py."""

import numpy as np

from geopose.synthetic import cities
from geopose.synthetic.appearance import Texture
from geopose.synthetic.blocks import Block, cover
from geopose.synthetic.buildings import any_height_m, flat_building, parking_deck, tank, warehouse
from geopose.synthetic.cars import car, car_park
from geopose.synthetic.cities import City, pick, vary
from geopose.synthetic.facades import random_walls
from geopose.synthetic.objects import Footprint, Sketch, Surface, object_seen, roofing
from geopose.synthetic.plants import blotches, lawn, soil, tree_clump

DECK_SHARE = 0.4  # of the car parks of offices; half of it on large car parks of shops


def commercial(sketch: Sketch, rng, city: City, block: Block) -> None:
    """A large store or a row of shops at the back of a large car park."""
    cover(sketch, block, Surface(vary(rng, pick(rng, cities.ASPHALT), 0.06), Texture.ASPHALT))
    sketch.site(block.x, block.y, 1.0 if rng.random() < 0.5 else -1.0, 0.0)
    half_u, half_v = block.width / 2 - 5, block.depth / 2 - 5
    share = rng.uniform(0.35, 0.65)
    box_v = half_v * share
    seen = object_seen(rng, block.change)
    if rng.random() < 0.6:
        store = Footprint(0, half_v - box_v, half_u * rng.uniform(0.6, 0.95), box_v)
        flat_building(sketch, rng, city, store, any_height_m(rng, rng.uniform(6, 12), 40.0), seen)
    else:
        shops = rng.integers(2, 6)
        width = half_u / shops
        for number in range(shops):
            u, v = -half_u + width * (2 * number + 1), half_v - box_v * rng.uniform(0.5, 0.9)
            shop = Footprint(u, v, width * rng.uniform(0.8, 1.0), box_v * 0.5)
            flat_building(sketch, rng, city, shop, any_height_m(rng, rng.uniform(4.5, 9), 20.0), seen)
    park_v = half_v * (1 - share) - 2
    car_park(sketch, rng, city, Footprint(0, -half_v + park_v, half_u, park_v), rng.uniform(0.1, 0.8))
    if park_v > 15.0 and rng.random() < 0.5 * DECK_SHARE:
        u, deck_u = rng.uniform(-0.5, 0.5) * half_u, rng.uniform(0.25, 0.5) * half_u
        parking_deck(sketch, rng, Footprint(u, -half_v + park_v, deck_u, 0.8 * park_v))
    for _ in range(rng.integers(0, 3)):  # small buildings at the street
        u = rng.uniform(-0.8, 0.8) * half_u
        small = Footprint(u, -half_v + 9, rng.uniform(5, 10), rng.uniform(5, 8))
        flat_building(sketch, rng, city, small, rng.uniform(4, 6), object_seen(rng, block.change))
    sketch.paint(Footprint(0, half_v + 3, half_u + 3, 2.5), lawn(rng, city))
    back, street = Footprint(0, half_v + 3, half_u, 2.0), Footprint(0, -half_v - 2, half_u, 1.5)
    tree_clump(sketch, rng, city, back, rng.poisson(block.width / 12 * city.tree_density))
    tree_clump(sketch, rng, city, street, rng.poisson(block.width / 25 * city.tree_density))


def industrial(sketch: Sketch, rng, city: City, block: Block) -> None:
    """Warehouses, yards of concrete, gravel or soil, trucks, containers and tanks."""
    yard = rng.random()
    if yard < 0.4:
        ground = Surface(vary(rng, pick(rng, cities.PAVING), 0.08), Texture.CONCRETE)
    elif yard < 0.75:
        ground = Surface(vary(rng, pick(rng, cities.ASPHALT), 0.08), Texture.GRAVEL)
    else:
        ground = soil(rng, city)
    cover(sketch, block, ground)
    cell_u, cell_v = rng.uniform(50, 85), rng.uniform(48, 75)
    for x0 in np.arange(block.x - block.width / 2 + cell_u / 2, block.x + block.width / 2 - cell_u / 4, cell_u):
        for y0 in np.arange(block.y - block.depth / 2 + cell_v / 2, block.y + block.depth / 2 - cell_v / 4, cell_v):
            turn = rng.random() < 0.3
            sketch.site(x0, y0, 0.0 if turn else 1.0, 1.0 if turn else 0.0)
            half_u, half_v = (cell_v / 2 - 4, cell_u / 2 - 6) if turn else (cell_u / 2 - 4, cell_v / 2 - 6)
            _industrial_part(sketch, rng, city, half_u, half_v, block.change)
    sketch.site(block.x, block.y)
    edge = Footprint(0, block.depth / 2 - 3, block.width / 2, 3.0)
    tree_clump(sketch, rng, city, edge, rng.poisson(10 * city.tree_density))


def _industrial_part(sketch: Sketch, rng, city: City, half_u: float, half_v: float, change: float) -> None:
    """A warehouse, a row of tanks, a container yard or a car park on the current site."""
    part = Footprint(0, 0, half_u, half_v)
    blotches(sketch, rng, city, part, 3)
    kind = rng.random()
    if kind < 0.62:
        hall = Footprint(0, -3, half_u * rng.uniform(0.6, 1.0), half_v * rng.uniform(0.6, 0.95))
        warehouse(sketch, rng, hall, object_seen(rng, change))
    elif kind < 0.72:
        for u in np.arange(-half_u + 8, half_u - 6, 19.0):
            tank(sketch, rng, u, rng.uniform(-3, 3), rng.uniform(4.5, 8.5))
    elif kind < 0.87:
        _container_yard(sketch, rng, half_u, half_v)
    else:
        car_park(sketch, rng, city, part, rng.uniform(0.1, 0.6))


def _container_yard(sketch: Sketch, rng, half_u: float, half_v: float) -> None:
    for row in np.arange(-half_v + 3, half_v - 2, rng.uniform(4.5, 9.0)):
        for u in np.arange(-half_u + 4, half_u - 6, 7.5):
            if rng.random() < 0.45:
                colour = vary(rng, pick(rng, cities.CARS_COLOURED + cities.METAL + [(150, 110, 90)]), 0.08)
                sketch.solid(Footprint(u, row, 3.1, 1.25), 2.6 * rng.integers(1, 3), roofing(colour))
    for _ in range(rng.integers(0, 8)):
        car(sketch, rng, rng.uniform(-0.9, 0.9) * half_u, rng.uniform(-0.9, 0.9) * half_v, truck=rng.random() < 0.7)


def office(sketch: Sketch, rng, city: City, block: Block) -> None:
    """Mid-rise offices or institutions with several wings, lawns and car parks."""
    cover(sketch, block, lawn(rng, city))
    cell = rng.uniform(52, 74)
    for x0 in np.arange(block.x - block.width / 2 + cell / 2, block.x + block.width / 2 - cell / 3, cell):
        for y0 in np.arange(block.y - block.depth / 2 + cell / 2, block.y + block.depth / 2 - cell / 3, cell):
            turn = rng.random() < 0.5
            sketch.site(x0, y0, 0.0 if turn else 1.0, 1.0 if turn else 0.0)
            _office_part(sketch, rng, city, cell / 2 - 5, block.change)


def _office_part(sketch: Sketch, rng, city: City, half: float, change: float) -> None:
    """A car park, a parking deck, or a building on the current site, which reaches half metres to every side."""
    if rng.random() < 0.33:
        if rng.random() < DECK_SHARE:
            parking_deck(sketch, rng, Footprint(0, 0, half * rng.uniform(0.6, 1.0), half * rng.uniform(0.5, 0.9)))
        else:
            car_park(sketch, rng, city, Footprint(0, 0, half, half), rng.uniform(0.2, 0.9))
        return
    seen = object_seen(rng, change)
    top_m = any_height_m(rng, rng.uniform(5, 30) * (0.6 + 0.4 * city.tower_factor))
    number = sketch.building(random_walls(rng))
    half_v = half * rng.uniform(0.35, 0.6)
    paving = Surface(vary(rng, pick(rng, cities.PAVING), 0.06), Texture.CONCRETE)
    sketch.paint(Footprint(0, 0, half, half), paving)
    flat_building(sketch, rng, city, Footprint(0, -half + half_v, half * 0.95, half_v), top_m, seen, number)
    if rng.random() < 0.7:
        wing_u = rng.uniform(0.25, 0.4) * half
        side = rng.choice([-1, 1])
        wing = Footprint(side * (half * 0.95 - wing_u), half * 0.2, wing_u, half * 0.7)
        flat_building(sketch, rng, city, wing, top_m * rng.uniform(0.5, 1.1), seen, number)
    trees = Footprint(0, half * 0.7, half, half * 0.25)
    tree_clump(sketch, rng, city, trees, rng.poisson(9 * city.tree_density))


def school(sketch: Sketch, rng, city: City, block: Block) -> None:
    """Flat halls around courts, a sports ground and worn grass."""
    cover(sketch, block, lawn(rng, city))
    sketch.site(block.x, block.y)
    half_u, half_v = block.width / 2 - 4, block.depth / 2 - 4
    ground = Footprint(0, 0, half_u, half_v)
    blotches(sketch, rng, city, ground, 8)
    seen = object_seen(rng, block.change)
    for _ in range(rng.integers(3, 6)):
        u, v = -half_u * rng.uniform(0.05, 0.8), rng.uniform(-0.7, 0.7) * half_v
        hall = Footprint(u, v, rng.uniform(9, 22), rng.uniform(6, 13))
        flat_building(sketch, rng, city, hall, any_height_m(rng, rng.uniform(4, 10), 25.0), seen)
    court = vary(rng, pick(rng, [(120, 128, 116), (140, 116, 106), (128, 128, 132)]), 0.08)
    sketch.paint(Footprint(half_u * 0.55, -half_v * 0.5, 9, 17), Surface(court, Texture.ASPHALT))
    sketch.paint(Footprint(half_u * 0.55, -half_v * 0.5, 8, 0.15), Surface((220, 220, 215)))
    sketch.paint(Footprint(half_u * 0.55, half_v * 0.45, 22, 14), soil(rng, city), round_=True)
    sketch.paint(Footprint(half_u * 0.55, half_v * 0.45, 19, 11), lawn(rng, city), round_=True)
    cars = Footprint(half_u * 0.1, half_v * 0.75, min(25, half_u * 0.3), min(9, half_v * 0.2))
    car_park(sketch, rng, city, cars, 0.4)
    tree_clump(sketch, rng, city, ground, rng.poisson(block.width / 8 * city.tree_density))
