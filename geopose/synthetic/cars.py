"""Cars and car parks, drawn on the current site of a Sketch.

Cars exist in images only: the lidar data are from another day. So label heights contain no cars.
"""

import numpy as np

from geopose.synthetic import cities
from geopose.synthetic.appearance import Material, Texture
from geopose.synthetic.cities import City, pick, vary
from geopose.synthetic.objects import Footprint, Seen, Sketch, Surface
from geopose.synthetic.plants import lawn, tree


def car_colour(rng) -> tuple:
    """Paint of a car, most often white, grey or black."""
    return vary(rng, pick(rng, cities.CARS_COLOURED if rng.random() < 0.16 else cities.CARS), 0.06)


def car(sketch: Sketch, rng, u: float, v: float, axis=(1.0, 0.0), truck: bool = False) -> None:
    """A parked car or truck around (u, v), with its length along axis."""
    colour = car_colour(rng)
    half_u, half_v, top_m = (rng.uniform(2.1, 2.5), 0.95, 1.5)
    texture = Texture.CAR
    if truck:
        half_u, half_v, top_m, texture = rng.uniform(5.0, 8.0), 1.3, 3.4, Texture.PLAIN
        colour = vary(rng, pick(rng, [(240, 240, 240), (200, 200, 196), (110, 90, 84), (96, 108, 124)]), 0.05)
    body = Surface(colour, texture, Material.CAR)
    sketch.solid(Footprint(u, v, half_u, half_v, axis), top_m, body, seen=Seen.IMAGE_ONLY)


def car_park(sketch: Sketch, rng, city: City, area: Footprint, fill: float) -> None:
    """Asphalt or concrete with painted bays, rows of cars, and islands with small trees. fill: how full it is, 0-1."""
    u, v, half_u, half_v = area.u, area.v, area.half_u, area.half_v
    concrete = rng.random() < 0.3
    colour = vary(rng, pick(rng, cities.PAVING if concrete else cities.ASPHALT), 0.08)
    sketch.paint(area, Surface(colour, Texture.CONCRETE if concrete else Texture.ASPHALT))
    for _ in range(rng.integers(0, 4)):  # patches, repairs, oil
        pu, pv = u + rng.uniform(-0.8, 0.8) * half_u, v + rng.uniform(-0.8, 0.8) * half_v
        patch = Footprint(pu, pv, rng.uniform(1, 7), rng.uniform(1, 4))
        sketch.paint(patch, Surface(vary(rng, colour, 0.10), Texture.ASPHALT))
    paint = (205, 205, 198) if rng.random() < 0.8 else (196, 176, 96)
    # A line is thinner than a cell, so the cell has a mixture of the two colours.
    line = Surface(tuple(0.45 * p + 0.55 * c for p, c in zip(paint, colour, strict=True)))
    for row in np.arange(-half_v + 3.0, half_v - 2.0, 16.5):
        for half_row in (0.0, 5.2):
            if row + half_row > half_v - 2.0:
                continue
            bays = np.arange(-half_u + 3.0, half_u - 3.0, 2.7)
            local_fill = np.clip(0.6 * fill * rng.uniform(0.1, 1.6), 0, 0.9)
            occupied = rng.random(bays.size) < local_fill
            for bay, taken in zip(bays, occupied, strict=True):
                sketch.paint(Footprint(u + bay, v + row + half_row, 0.13, 2.3), line)
                if taken:
                    car(sketch, rng, u + bay + 1.35, v + row + half_row + rng.uniform(-0.3, 0.3), (0.0, 1.0))
        if rng.random() < 0.35:
            for side in (-1, 1):
                island = Footprint(u + side * (half_u - 1.4), v + row + 2.6, 1.3, 4.6)
                sketch.paint(island, lawn(rng, city))
                if rng.random() < 0.6:
                    tree(sketch, rng, city, island.u, island.v, rng.uniform(1.4, 2.6))
