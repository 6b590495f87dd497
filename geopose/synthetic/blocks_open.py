"""Blocks without buildings: parks, woods, fields and car parks. See blocks.py."""

from geopose.synthetic import cities
from geopose.synthetic.appearance import Material, Texture
from geopose.synthetic.blocks import Block, cover
from geopose.synthetic.buildings import parking_deck
from geopose.synthetic.cars import car_park
from geopose.synthetic.cities import City, pick, vary
from geopose.synthetic.objects import Footprint, Sketch, Surface
from geopose.synthetic.plants import blotches, lawn, soil, tree_clump


def park(sketch: Sketch, rng, city: City, block: Block) -> None:
    """Grass with worn patches, paths and loose groups of trees."""
    cover(sketch, block, lawn(rng, city))
    sketch.site(block.x, block.y)
    half_u, half_v = block.width / 2, block.depth / 2
    whole = Footprint(0, 0, half_u, half_v)
    blotches(sketch, rng, city, whole, 12)
    path = Surface(vary(rng, pick(rng, cities.PAVING + cities.BRICK), 0.06), Texture.CONCRETE)
    sketch.paint(Footprint(0, rng.uniform(-0.4, 0.4) * half_v, half_u, 1.2), path)
    sketch.paint(Footprint(rng.uniform(-0.4, 0.4) * half_u, 0, 1.2, half_v), path)
    count = rng.poisson(block.width * block.depth / 260 * city.tree_density)
    tree_clump(sketch, rng, city, whole, count, block.change)


def woods(sketch: Sketch, rng, city: City, block: Block) -> None:
    """A closed canopy with gaps."""
    cover(sketch, block, Surface(vary(rng, pick(rng, city.soils), 0.05), Texture.SOIL, Material.SOIL))
    sketch.site(block.x, block.y)
    whole = Footprint(0, 0, block.width / 2, block.depth / 2)
    blotches(sketch, rng, city, whole, 10)
    count = rng.poisson(block.width * block.depth / 55 * min(city.tree_density, 1.0) * rng.uniform(0.5, 1.2))
    tree_clump(sketch, rng, city, whole, count, block.change)


def field(sketch: Sketch, rng, city: City, block: Block) -> None:
    """Bare or mown open ground, a building site or a gravel yard: flat, wide, and of the same colours as roofs."""
    kind = rng.random()
    if kind < 0.35:
        ground = lawn(rng, city)
    elif kind < 0.6:
        ground = soil(rng, city, Texture.FURROWS)
    elif kind < 0.85:
        ground = soil(rng, city)
    else:
        ground = Surface(vary(rng, pick(rng, cities.PAVING), 0.06), Texture.GRAVEL)
    cover(sketch, block, ground)
    sketch.site(block.x, block.y)
    blotches(sketch, rng, city, Footprint(0, 0, block.width / 2, block.depth / 2), 14)
    edge = Footprint(0, -block.depth / 2, block.width / 2, 3.0)
    tree_clump(sketch, rng, city, edge, rng.poisson(12 * city.tree_density))


def open_car_park(sketch: Sketch, rng, city: City, block: Block) -> None:
    """A block that is one car park or, now and then, one parking deck."""
    cover(sketch, block, lawn(rng, city))
    sketch.site(block.x, block.y)
    if rng.random() < 0.3:
        half_u, half_v = min(block.width / 2 - 4, 60.0), min(block.depth / 2 - 4, 40.0)
        parking_deck(sketch, rng, Footprint(0, 0, half_u, half_v))
        return
    car_park(sketch, rng, city, Footprint(0, 0, block.width / 2 - 2, block.depth / 2 - 2), rng.uniform(0.0, 0.9))
