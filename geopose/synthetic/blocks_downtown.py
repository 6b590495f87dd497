"""Downtown blocks: towers, mid-rise buildings, platforms, parking decks, car parks and plazas. See blocks.py."""

import numpy as np

from geopose import geometry
from geopose.synthetic import cities
from geopose.synthetic.appearance import Texture
from geopose.synthetic.blocks import Block, cover
from geopose.synthetic.buildings import any_height_m, parking_deck
from geopose.synthetic.cars import car_park
from geopose.synthetic.cities import City, pick, vary
from geopose.synthetic.complexes import HIGHEST_M, complex_building, courtyard, platform, terrace, tower
from geopose.synthetic.objects import Footprint, Sketch, Surface, object_seen
from geopose.synthetic.plants import lawn, tree, tree_clump


def downtown(sketch: Sketch, rng, city: City, block: Block) -> None:
    """A paved block with one or several parts: towers, mid-rise buildings, platforms, decks, car parks."""
    ground = vary(rng, pick(rng, cities.PAVING + cities.ASPHALT), 0.08)
    cover(sketch, block, Surface(ground, pick(rng, [Texture.TILES, Texture.CONCRETE, Texture.ASPHALT])))
    if rng.random() < 0.08:  # one platform covers the block
        sketch.site(block.x, block.y)
        platform(sketch, rng, city, Footprint(0, 0, block.width / 2 - 3.0, block.depth / 2 - 3.0))
        return
    part_m = rng.uniform(38, 75) if rng.random() < 0.85 else 200.0
    parts_u, parts_v = max(1, round(block.width / part_m)), max(1, round(block.depth / part_m))
    half_u, half_v = block.width / parts_u / 2 - 1.5, block.depth / parts_v / 2 - 1.5
    tall = rng.random() < 0.5
    for i in range(parts_u):
        for j in range(parts_v):
            middle = (block.x - block.width / 2 + (2 * i + 1) * (half_u + 1.5),
                      block.y - block.depth / 2 + (2 * j + 1) * (half_v + 1.5))  # fmt: skip
            sketch.site(*middle)
            _yard(sketch, rng, city, half_u, half_v, ground)
            fit_u, fit_v = half_u, half_v
            if rng.random() < 0.25:  # a building that is not parallel to the streets
                sketch.site(*middle, *geometry.rotation_matrix(rng.uniform(0.0, geometry.TWO_PI))[0])
                fit_u, fit_v = 0.72 * half_u, 0.72 * half_v
            _part(sketch, rng, city, Footprint(0, 0, fit_u, fit_v), tall, block.change)
            sketch.site(*middle)
            _street_trees(sketch, rng, city, half_u, half_v)


def _part(sketch: Sketch, rng, city: City, area: Footprint, tall: bool, change: float) -> None:
    """The main object of one part of a block, on the current site."""
    kind = rng.random()
    smaller = Footprint(0, 0, area.half_u * rng.uniform(0.75, 1.0), area.half_v * rng.uniform(0.75, 1.0))
    if kind < (0.45 if tall else 0.2):
        top_m = min(HIGHEST_M, 12.0 + rng.lognormal(np.log(32.0), 0.75) * city.tower_factor)
        tower(sketch, rng, city, smaller, top_m)
    elif kind < 0.60:
        top_m = any_height_m(rng, rng.uniform(6, 26), 90.0)
        complex_building(sketch, rng, city, area, top_m, object_seen(rng, change))
    elif kind < 0.66:
        platform(sketch, rng, city, area)
    elif kind < 0.73:
        terrace(sketch, rng, city, area, object_seen(rng, change))
    elif kind < 0.78:
        courtyard(sketch, rng, city, smaller, object_seen(rng, change))
    elif kind < 0.88:
        parking_deck(sketch, rng, smaller)
    elif kind < 0.94:
        car_park(sketch, rng, city, area, rng.uniform(0.2, 0.9))
    else:
        _plaza_site(sketch, rng, city, area)


def _yard(sketch: Sketch, rng, city: City, half_u: float, half_v: float, ground: tuple) -> None:
    """Other kinds of paving, drives and planted strips around the main object. ground: colour of the block."""
    for _ in range(rng.integers(1, 6)):
        pu, pv = rng.uniform(-1, 1) * half_u, rng.uniform(-1, 1) * half_v
        strip = Footprint(pu, pv, rng.uniform(1.5, 0.5 * half_u), rng.uniform(1.5, 0.5 * half_v))
        if rng.random() < 0.35:
            sketch.paint(strip, lawn(rng, city))
            count = rng.poisson(strip.half_u * strip.half_v / 40 * city.tree_density)
            tree_clump(sketch, rng, city, strip, count)
        else:
            other = pick(rng, [ground, *cities.PAVING, *cities.BRICK, *cities.ASPHALT])
            texture = pick(rng, [Texture.TILES, Texture.CONCRETE, Texture.ASPHALT])
            sketch.paint(strip, Surface(vary(rng, other, 0.08), texture))


def _street_trees(sketch: Sketch, rng, city: City, half_u: float, half_v: float) -> None:
    """Trees along two sides of a part of a block: alone, or so close that their crowns become one row."""
    if rng.random() < 0.5:
        apart_m, kept = rng.uniform(4.5, 11.0), rng.uniform(0.4, 1.0)
        for pu in np.arange(-half_u + 3, half_u - 2, apart_m):
            for side in (-1, 1):
                if rng.random() < kept * min(city.tree_density, 1.0):
                    tree(sketch, rng, city, pu, side * (half_v + 0.5), rng.uniform(1.4, 3.6))


def _plaza_site(sketch: Sketch, rng, city: City, area: Footprint) -> None:
    """Bright or brick paving with rings, flower beds and a few trees: ground that looks like a roof."""
    paving = vary(rng, pick(rng, cities.PAVING + cities.BRICK), 0.06)
    sketch.paint(area, Surface(paving, Texture.TILES))
    size = min(area.half_u, area.half_v)
    for ring in np.linspace(0.85, 0.2, rng.integers(2, 6)):
        disc = Footprint(0, 0, size * ring, size * ring)
        sketch.paint(disc, Surface(vary(rng, paving, 0.09), Texture.TILES), round_=True)
    for _ in range(rng.integers(1, 5)):
        pu, pv = rng.uniform(-0.8, 0.8) * area.half_u, rng.uniform(-0.8, 0.8) * area.half_v
        sketch.paint(Footprint(pu, pv, rng.uniform(2, 8), rng.uniform(2, 5)), lawn(rng, city))
        tree_clump(sketch, rng, city, Footprint(pu, pv, 5, 3), rng.poisson(2.5 * city.tree_density))


def plaza(sketch: Sketch, rng, city: City, block: Block) -> None:
    """A paved square."""
    cover(sketch, block, Surface(vary(rng, pick(rng, cities.PAVING), 0.06), Texture.CONCRETE))
    sketch.site(block.x, block.y)
    _plaza_site(sketch, rng, city, Footprint(0, 0, block.width / 2 - 4, block.depth / 2 - 4))
