"""What fills a city block of each kind. A filler draws on a block of width x depth metres around (x, y)."""

from dataclasses import dataclass

import numpy as np

from geopose import geometry
from geopose.synthetic import cities
from geopose.synthetic.appearance import Material, Texture
from geopose.synthetic.cities import City, pick, vary
from geopose.synthetic.objects import Roof, Sketch
from geopose.synthetic.structures import (
    car,
    car_park,
    complex_building,
    flat_building,
    hedge,
    house,
    object_seen,
    office_walls,
    parking_structure,
    roof_clutter,
    shed,
    tank,
    tower,
    tree,
    tree_clump,
    warehouse,
)


@dataclass(frozen=True)
class Block:
    """A block between streets: middle (x, y) and size in metres of the street grid; change: share of objects that
    came or went between lidar and image."""

    x: float
    y: float
    width: float
    depth: float
    change: float


def base(sketch: Sketch, rng, block: Block, colour, texture, material) -> None:
    """Colour the whole block, in pieces, so that the ground bends with the streets and is never one flat sheet."""
    for x0 in np.arange(block.x - block.width / 2, block.x + block.width / 2, 22.0):
        for y0 in np.arange(block.y - block.depth / 2, block.y + block.depth / 2, 22.0):
            wide = min(22.0, block.x + block.width / 2 - x0)
            deep = min(22.0, block.y + block.depth / 2 - y0)
            sketch.site(x0 + wide / 2, y0 + deep / 2)
            sketch.paint(0, 0, wide / 2 + 0.8, deep / 2 + 0.8, colour, texture, material)


def lawn(rng, city: City) -> tuple:
    return vary(rng, pick(rng, city.lawns), 0.08)


def soil(rng, city: City) -> tuple:
    return vary(rng, pick(rng, city.soils), 0.08)


def blotches(sketch: Sketch, rng, city: City, u, v, half_u, half_v, count: int) -> None:
    """Bare patches, worn grass and lusher spots on the current site."""
    for _ in range(count):
        bare = rng.random() < 0.6
        colour = soil(rng, city) if bare else lawn(rng, city)
        texture, material = (Texture.SOIL, Material.SOIL) if bare else (Texture.LAWN, Material.LAWN)
        size_u, size_v = rng.uniform(0.1, 0.45) * half_u, rng.uniform(0.1, 0.45) * half_v
        sketch.paint(u + rng.uniform(-0.7, 0.7) * half_u, v + rng.uniform(-0.7, 0.7) * half_v, size_u, size_v,
                     colour, texture, material, round_=True)  # fmt: skip


def houses(sketch: Sketch, rng, city: City, block: Block) -> None:
    """Two rows of lots back to back, each with its house, drive, lawn, trees and odds and ends."""
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
    half_u, half_v = width / 2, depth / 2
    ground = lawn(rng, city) if rng.random() < 0.85 else soil(rng, city)
    sketch.paint(0, 0, half_u + 0.5, half_v + 0.5, ground, Texture.LAWN, Material.LAWN)
    blotches(sketch, rng, city, 0, 0, half_u, half_v, rng.integers(2, 7))
    if rng.random() < 0.04:  # an empty lot
        tree_clump(sketch, rng, city, 0, 0, half_u, half_v, int(rng.integers(2, 9)))
        return
    house_v = -half_v + rng.uniform(5.5, 8.5) + 5.0
    drive_side = rng.choice([-1.0, 1.0])
    paving = vary(rng, pick(rng, cities.PAVING + cities.ASPHALT[:2]), 0.08)
    drive_u = drive_side * (half_u - rng.uniform(2.2, 3.6))
    drive_half = (house_v + rng.uniform(-4.0, 4.0) + half_v) / 2 + 0.5
    sketch.paint(drive_u, -half_v - 1.5 + drive_half, rng.uniform(1.4, 2.8), drive_half + 1.5, paving, Texture.CONCRETE)
    if rng.random() < 0.5:
        sketch.paint(rng.uniform(-0.3, 0.3) * half_u, -half_v + 4.0, 0.6, 5.0, paving, Texture.CONCRETE)
    for _ in range(rng.integers(0, 3)):
        car(sketch, rng, drive_u, -half_v + rng.uniform(1.0, 8.0), (0.0, 1.0))
    house(
        sketch, rng, city, rng.uniform(-0.1, 0.1) * half_u, house_v, width - 4.5, depth - 14.0, object_seen(rng, change)
    )
    back_v = house_v + 6.5
    if rng.random() < 0.4:  # patio
        sketch.paint(rng.uniform(-0.4, 0.4) * half_u, back_v + 1.0, rng.uniform(1.5, 4), rng.uniform(1.5, 3), paving,
                     Texture.TILES)  # fmt: skip
    if rng.random() < 0.07:  # pool
        sketch.paint(0.2 * half_u, back_v + 6.0, 4.6, 3.2, (196, 190, 182), Texture.CONCRETE)
        sketch.paint(0.2 * half_u, back_v + 6.0, 3.6, 2.0, (92, 146, 160), Texture.PLAIN, round_=rng.random() < 0.5)
    if rng.random() < 0.45:
        shed(sketch, rng, rng.uniform(-0.7, 0.7) * half_u, half_v - rng.uniform(2.5, 6.0), object_seen(rng, change))
    if rng.random() < 0.35:
        hedge(sketch, rng, city, -half_u, half_v - 0.6, half_u, half_v - 0.6)
    for _ in range(rng.poisson(1.0)):  # bushes along the house
        colour = vary(rng, pick(rng, city.evergreens), 0.12)
        sketch.tree(rng.uniform(-0.8, 0.8) * half_u, house_v + rng.choice([-6.0, 6.0]), rng.uniform(0.6, 1.4),
                    rng.uniform(1.0, 2.6), colour)  # fmt: skip
    for _ in range(rng.poisson(1.1 * city.tree_density)):
        tree(sketch, rng, city, rng.uniform(-0.9, 0.9) * half_u, rng.uniform(-0.95, -0.5) * half_v,
             rng.uniform(1.8, 5.0), object_seen(rng, change))  # fmt: skip
    behind = rng.poisson(5.5 * city.tree_density * rng.uniform(0.1, 1.9))
    for _ in range(behind):
        radius = float(np.clip(rng.lognormal(1.2, 0.45), 1.2, 7.5))
        tree(sketch, rng, city, rng.uniform(-1, 1) * half_u, rng.uniform(0.15, 1.0) * half_v, radius,
             object_seen(rng, change))  # fmt: skip


def apartments(sketch: Sketch, rng, city: City, block: Block) -> None:
    """Long low blocks of flats in straight, L and U shapes around lawns and car parks."""
    base(sketch, rng, block, lawn(rng, city), Texture.LAWN, Material.LAWN)
    step_u, step_v = rng.uniform(38, 54), rng.uniform(30, 42)
    for x0 in np.arange(block.x - block.width / 2 + step_u / 2, block.x + block.width / 2 - step_u / 3, step_u):
        for y0 in np.arange(block.y - block.depth / 2 + step_v / 2, block.y + block.depth / 2 - step_v / 3, step_v):
            turn = rng.random() < 0.25
            sketch.site(x0, y0, 0.0 if turn else 1.0, 1.0 if turn else 0.0)
            half = min(step_u, step_v) / 2 - 3
            blotches(sketch, rng, city, 0, 0, half, half, 3)
            if rng.random() < 0.25:
                car_park(sketch, rng, city, 0, 0, half, half * 0.8, rng.uniform(0.2, 0.7))
                continue
            seen = object_seen(rng, block.change)
            number = sketch.building(vary(rng, pick(rng, cities.WALLS), 0.1), 3.0, rng.uniform(2.4, 3.6), 0.45, 0.5)
            colour = vary(rng, pick(rng, pick(rng, city.house_roofs)), 0.08)
            flat = rng.random() < 0.4
            roof = Roof.PARAPET if flat else (Roof.HIP if rng.random() < 0.6 else Roof.GABLE)
            texture = Texture.MEMBRANE if flat else Texture.SHINGLE
            half_v = rng.uniform(5.5, 8.0)
            top_m = 3.0 * rng.integers(2, 5) + 0.5
            rise = 0.6 if flat else half_v * rng.uniform(0.3, 0.5)
            sketch.solid(0, -half + half_v, half, half_v, top_m, colour, roof, rise, texture, number, seen)
            for side in (-1, 1)[: rng.integers(0, 3)]:
                sketch.solid(side * (half - half_v), 0, half, half_v, top_m, colour, roof, rise, texture, number, seen,
                             axis=(0.0, 1.0))  # fmt: skip
            if flat:
                roof_clutter(sketch, rng, 0, -half + half_v, half, half_v - 1, top_m, number, seen)
            sketch.paint(0, half * 0.5, half * 0.5, 1.0, vary(rng, pick(rng, cities.PAVING)), Texture.CONCRETE)
            tree_clump(sketch, rng, city, 0, half * 0.6, half, half * 0.4, rng.poisson(8 * city.tree_density),
                       block.change)  # fmt: skip


def commercial(sketch: Sketch, rng, city: City, block: Block) -> None:
    """A big box or a strip of shops at the back of a large car park."""
    base(sketch, rng, block, vary(rng, pick(rng, cities.ASPHALT), 0.06), Texture.ASPHALT, Material.HARD)
    sketch.site(block.x, block.y, 1.0 if rng.random() < 0.5 else -1.0, 0.0)
    half_u, half_v = block.width / 2 - 5, block.depth / 2 - 5
    share = rng.uniform(0.35, 0.65)
    box_v = half_v * share
    seen = object_seen(rng, block.change)
    if rng.random() < 0.6:
        flat_building(sketch, rng, city, 0, half_v - box_v, half_u * rng.uniform(0.6, 0.95), box_v,
                      rng.uniform(6, 12), seen)  # fmt: skip
    else:
        shops = rng.integers(2, 6)
        width = half_u / shops
        for shop in range(shops):
            flat_building(sketch, rng, city, -half_u + width * (2 * shop + 1), half_v - box_v * rng.uniform(0.5, 0.9),
                          width * rng.uniform(0.8, 1.0), box_v * 0.5, rng.uniform(4.5, 9), seen)  # fmt: skip
    park_v = half_v * (1 - share) - 2
    car_park(sketch, rng, city, 0, -half_v + park_v, half_u, park_v, rng.uniform(0.1, 0.8))
    for _ in range(rng.integers(0, 3)):  # small pads at the street
        flat_building(sketch, rng, city, rng.uniform(-0.8, 0.8) * half_u, -half_v + 9, rng.uniform(5, 10),
                      rng.uniform(5, 8), rng.uniform(4, 6), object_seen(rng, block.change))  # fmt: skip
    sketch.paint(0, half_v + 3, half_u + 3, 2.5, lawn(rng, city), Texture.LAWN, Material.LAWN)
    tree_clump(sketch, rng, city, 0, half_v + 3, half_u, 2.0, rng.poisson(block.width / 12 * city.tree_density))
    tree_clump(sketch, rng, city, 0, -half_v - 2, half_u, 1.5, rng.poisson(block.width / 25 * city.tree_density))


def industrial(sketch: Sketch, rng, city: City, block: Block) -> None:
    """Warehouses, yards of concrete, gravel or dirt, trucks, containers and tanks."""
    yard = rng.random()
    if yard < 0.4:
        base(sketch, rng, block, vary(rng, pick(rng, cities.PAVING), 0.08), Texture.CONCRETE, Material.HARD)
    elif yard < 0.75:
        base(sketch, rng, block, vary(rng, pick(rng, cities.ASPHALT), 0.08), Texture.GRAVEL, Material.HARD)
    else:
        base(sketch, rng, block, soil(rng, city), Texture.SOIL, Material.SOIL)
    cell_u, cell_v = rng.uniform(50, 85), rng.uniform(48, 75)
    for x0 in np.arange(block.x - block.width / 2 + cell_u / 2, block.x + block.width / 2 - cell_u / 4, cell_u):
        for y0 in np.arange(block.y - block.depth / 2 + cell_v / 2, block.y + block.depth / 2 - cell_v / 4, cell_v):
            turn = rng.random() < 0.3
            sketch.site(x0, y0, 0.0 if turn else 1.0, 1.0 if turn else 0.0)
            half_u, half_v = (cell_v / 2 - 4, cell_u / 2 - 6) if turn else (cell_u / 2 - 4, cell_v / 2 - 6)
            blotches(sketch, rng, city, 0, 0, half_u, half_v, 3)
            kind = rng.random()
            if kind < 0.62:
                warehouse(sketch, rng, 0, -3, half_u * rng.uniform(0.6, 1.0), half_v * rng.uniform(0.6, 0.95),
                          object_seen(rng, block.change))  # fmt: skip
            elif kind < 0.72:
                for pu in np.arange(-half_u + 8, half_u - 6, 19.0):
                    tank(sketch, rng, pu, rng.uniform(-3, 3), rng.uniform(4.5, 8.5))
            elif kind < 0.87:
                _container_yard(sketch, rng, half_u, half_v)
            else:
                car_park(sketch, rng, city, 0, 0, half_u, half_v, rng.uniform(0.1, 0.6))
    sketch.site(block.x, block.y)
    tree_clump(sketch, rng, city, 0, block.depth / 2 - 3, block.width / 2, 3.0, rng.poisson(10 * city.tree_density))


def _container_yard(sketch: Sketch, rng, half_u: float, half_v: float) -> None:
    for row in np.arange(-half_v + 3, half_v - 2, rng.uniform(4.5, 9.0)):
        for pu in np.arange(-half_u + 4, half_u - 6, 7.5):
            if rng.random() < 0.45:
                colour = vary(rng, pick(rng, cities.CARS_COLOURED + cities.METAL + [(150, 110, 90)]), 0.08)
                stack = 2.6 * rng.integers(1, 3)
                sketch.solid(pu, row, 3.1, 1.25, stack, colour, Roof.FLAT, 0.0, Texture.PLAIN)
    for _ in range(rng.integers(0, 8)):
        car(sketch, rng, rng.uniform(-0.9, 0.9) * half_u, rng.uniform(-0.9, 0.9) * half_v, truck=rng.random() < 0.7)


def downtown(sketch: Sketch, rng, city: City, block: Block) -> None:
    """A block shared by towers, mid-rise, parking decks and lots on paved ground, or filled by one of them."""
    ground = vary(rng, pick(rng, cities.PAVING + cities.BRICK + cities.ASPHALT), 0.08)
    base(sketch, rng, block, ground, pick(rng, [Texture.TILES, Texture.CONCRETE, Texture.ASPHALT]), Material.HARD)
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
            if rng.random() < 0.25:  # a building that does not follow the streets
                sketch.site(*middle, *geometry.rotation_matrix(rng.uniform(0.0, geometry.TWO_PI))[0])
                fit_u, fit_v = 0.72 * half_u, 0.72 * half_v
            _downtown_part(sketch, rng, city, fit_u, fit_v, tall, block.change)
            sketch.site(*middle)
            _street_trees(sketch, rng, city, half_u, half_v)


def _downtown_part(sketch: Sketch, rng, city: City, half_u: float, half_v: float, tall: bool, change: float) -> None:
    """What stands on one part of a block, on the current site."""
    kind = rng.random()
    fit_u, fit_v = half_u * rng.uniform(0.75, 1.0), half_v * rng.uniform(0.75, 1.0)
    if kind < (0.45 if tall else 0.2):
        top_m = min(195.0, 12.0 + rng.lognormal(np.log(24.0), 0.75) * city.storeys[1])
        tower(sketch, rng, city, 0, 0, fit_u, fit_v, top_m)
    elif kind < 0.72:
        complex_building(sketch, rng, city, 0, 0, half_u, half_v, rng.uniform(6, 26), object_seen(rng, change))
    elif kind < 0.85:
        parking_structure(sketch, rng, 0, 0, fit_u, fit_v, rng.uniform(9, 22))
    elif kind < 0.93:
        car_park(sketch, rng, city, 0, 0, half_u, half_v, rng.uniform(0.2, 0.9))
    else:
        _plaza_site(sketch, rng, city, half_u, half_v)


def _yard(sketch: Sketch, rng, city: City, half_u: float, half_v: float, ground: tuple) -> None:
    """Paving of other kinds, drives and planted strips around what stands on a part of a block."""
    for _ in range(rng.integers(1, 6)):
        pu, pv = rng.uniform(-1, 1) * half_u, rng.uniform(-1, 1) * half_v
        size_u, size_v = rng.uniform(1.5, 0.5 * half_u), rng.uniform(1.5, 0.5 * half_v)
        if rng.random() < 0.35:
            sketch.paint(pu, pv, size_u, size_v, lawn(rng, city), Texture.LAWN, Material.LAWN)
            tree_clump(sketch, rng, city, pu, pv, size_u, size_v, rng.poisson(size_u * size_v / 40 * city.tree_density))
        else:
            other = pick(rng, [ground, *cities.PAVING, *cities.BRICK, *cities.ASPHALT])
            texture = pick(rng, [Texture.TILES, Texture.CONCRETE, Texture.ASPHALT])
            sketch.paint(pu, pv, size_u, size_v, vary(rng, other, 0.08), texture)


def _street_trees(sketch: Sketch, rng, city: City, half_u: float, half_v: float) -> None:
    if rng.random() < 0.5:
        for pu in np.arange(-half_u + 3, half_u - 2, 9.0):
            for side in (-1, 1):
                if rng.random() < 0.6 * city.tree_density:
                    tree(sketch, rng, city, pu, side * (half_v + 0.5), rng.uniform(1.4, 3.2))


def _plaza_site(sketch: Sketch, rng, city: City, half_u: float, half_v: float) -> None:
    """Bright or brick paving with rings, beds and a few trees: ground that looks like a roof."""
    paving = vary(rng, pick(rng, cities.PAVING + cities.BRICK), 0.06)
    sketch.paint(0, 0, half_u, half_v, paving, Texture.TILES)
    size = min(half_u, half_v)
    for ring in np.linspace(0.85, 0.2, rng.integers(2, 6)):
        sketch.paint(0, 0, size * ring, size * ring, vary(rng, paving, 0.09), Texture.TILES, round_=True)
    for _ in range(rng.integers(1, 5)):
        pu, pv = rng.uniform(-0.8, 0.8) * half_u, rng.uniform(-0.8, 0.8) * half_v
        sketch.paint(pu, pv, rng.uniform(2, 8), rng.uniform(2, 5), lawn(rng, city), Texture.LAWN, Material.LAWN)
        tree_clump(sketch, rng, city, pu, pv, 5, 3, rng.poisson(2.5 * city.tree_density))


def plaza(sketch: Sketch, rng, city: City, block: Block) -> None:
    """A paved square."""
    base(sketch, rng, block, vary(rng, pick(rng, cities.PAVING), 0.06), Texture.CONCRETE, Material.HARD)
    sketch.site(block.x, block.y)
    _plaza_site(sketch, rng, city, block.width / 2 - 4, block.depth / 2 - 4)


def office(sketch: Sketch, rng, city: City, block: Block) -> None:
    """Mid-rise offices or institutions of joined wings, with lawns and car parks."""
    base(sketch, rng, block, lawn(rng, city), Texture.LAWN, Material.LAWN)
    cell = rng.uniform(52, 74)
    for x0 in np.arange(block.x - block.width / 2 + cell / 2, block.x + block.width / 2 - cell / 3, cell):
        for y0 in np.arange(block.y - block.depth / 2 + cell / 2, block.y + block.depth / 2 - cell / 3, cell):
            turn = rng.random() < 0.5
            sketch.site(x0, y0, 0.0 if turn else 1.0, 1.0 if turn else 0.0)
            half = cell / 2 - 5
            if rng.random() < 0.33:
                car_park(sketch, rng, city, 0, 0, half, half, rng.uniform(0.2, 0.9))
                continue
            seen = object_seen(rng, block.change)
            top_m = rng.uniform(5, 30) * (0.6 + 0.4 * city.storeys[1])
            number = office_walls(sketch, rng)
            half_v = half * rng.uniform(0.35, 0.6)
            sketch.paint(0, 0, half, half, vary(rng, pick(rng, cities.PAVING), 0.06), Texture.CONCRETE)
            flat_building(sketch, rng, city, 0, -half + half_v, half * 0.95, half_v, top_m, seen, number)
            if rng.random() < 0.7:
                wing = rng.uniform(0.25, 0.4) * half
                side = rng.choice([-1, 1])
                flat_building(sketch, rng, city, side * (half * 0.95 - wing), half * 0.2, wing, half * 0.7,
                              top_m * rng.uniform(0.5, 1.1), seen, number)  # fmt: skip
            tree_clump(sketch, rng, city, 0, half * 0.7, half, half * 0.25, rng.poisson(9 * city.tree_density))


def school(sketch: Sketch, rng, city: City, block: Block) -> None:
    """Flat halls around courts, sports ground, worn grass."""
    base(sketch, rng, block, lawn(rng, city), Texture.LAWN, Material.LAWN)
    sketch.site(block.x, block.y)
    half_u, half_v = block.width / 2 - 4, block.depth / 2 - 4
    blotches(sketch, rng, city, 0, 0, half_u, half_v, 8)
    seen = object_seen(rng, block.change)
    for _ in range(rng.integers(3, 6)):
        flat_building(sketch, rng, city, -half_u * rng.uniform(0.05, 0.8), rng.uniform(-0.7, 0.7) * half_v,
                      rng.uniform(9, 22), rng.uniform(6, 13), rng.uniform(4, 10), seen)  # fmt: skip
    court = vary(rng, pick(rng, [(120, 128, 116), (140, 116, 106), (128, 128, 132)]), 0.08)
    sketch.paint(half_u * 0.55, -half_v * 0.5, 9, 17, court, Texture.ASPHALT)
    sketch.paint(half_u * 0.55, -half_v * 0.5, 8, 0.15, (220, 220, 215))
    sketch.paint(half_u * 0.55, half_v * 0.45, 22, 14, soil(rng, city), Texture.SOIL, Material.SOIL, round_=True)
    sketch.paint(half_u * 0.55, half_v * 0.45, 19, 11, lawn(rng, city), Texture.LAWN, Material.LAWN, round_=True)
    car_park(sketch, rng, city, half_u * 0.1, half_v * 0.75, min(25, half_u * 0.3), min(9, half_v * 0.2), 0.4)
    tree_clump(sketch, rng, city, 0, 0, half_u, half_v, rng.poisson(block.width / 8 * city.tree_density))


def park(sketch: Sketch, rng, city: City, block: Block) -> None:
    """Grass with worn patches, paths and loose groups of trees."""
    base(sketch, rng, block, lawn(rng, city), Texture.LAWN, Material.LAWN)
    sketch.site(block.x, block.y)
    half_u, half_v = block.width / 2, block.depth / 2
    blotches(sketch, rng, city, 0, 0, half_u, half_v, 12)
    path = vary(rng, pick(rng, cities.PAVING + cities.BRICK), 0.06)
    sketch.paint(0, rng.uniform(-0.4, 0.4) * half_v, half_u, 1.2, path, Texture.CONCRETE)
    sketch.paint(rng.uniform(-0.4, 0.4) * half_u, 0, 1.2, half_v, path, Texture.CONCRETE)
    area = block.width * block.depth
    tree_clump(sketch, rng, city, 0, 0, half_u, half_v, rng.poisson(area / 260 * city.tree_density), block.change)


def woods(sketch: Sketch, rng, city: City, block: Block) -> None:
    """Closed canopy with gaps."""
    base(sketch, rng, block, vary(rng, pick(rng, city.soils), 0.05), Texture.SOIL, Material.SOIL)
    area = block.width * block.depth
    sketch.site(block.x, block.y)
    blotches(sketch, rng, city, 0, 0, block.width / 2, block.depth / 2, 10)
    count = rng.poisson(area / 55 * min(city.tree_density, 1.0) * rng.uniform(0.5, 1.2))
    tree_clump(sketch, rng, city, 0, 0, block.width / 2, block.depth / 2, count, block.change)


def field(sketch: Sketch, rng, city: City, block: Block) -> None:
    """Bare or mown open ground, a building site or a gravel yard: flat, broad and of any roof's colour."""
    kind = rng.random()
    if kind < 0.35:
        base(sketch, rng, block, lawn(rng, city), Texture.LAWN, Material.LAWN)
    elif kind < 0.6:
        base(sketch, rng, block, soil(rng, city), Texture.FURROWS, Material.SOIL)
    elif kind < 0.85:
        base(sketch, rng, block, soil(rng, city), Texture.SOIL, Material.SOIL)
    else:
        base(sketch, rng, block, vary(rng, pick(rng, cities.PAVING), 0.06), Texture.GRAVEL,
             Material.HARD)  # fmt: skip
    sketch.site(block.x, block.y)
    blotches(sketch, rng, city, 0, 0, block.width / 2, block.depth / 2, 14)
    tree_clump(sketch, rng, city, 0, -block.depth / 2, block.width / 2, 3.0, rng.poisson(12 * city.tree_density))


def open_car_park(sketch: Sketch, rng, city: City, block: Block) -> None:
    """A block that is one car park."""
    base(sketch, rng, block, lawn(rng, city), Texture.LAWN, Material.LAWN)
    sketch.site(block.x, block.y)
    car_park(sketch, rng, city, 0, 0, block.width / 2 - 2, block.depth / 2 - 2, rng.uniform(0.0, 0.9))


FILLERS = {
    "houses": houses,
    "apartments": apartments,
    "commercial": commercial,
    "industrial": industrial,
    "downtown": downtown,
    "plaza": plaza,
    "office": office,
    "school": school,
    "park": park,
    "woods": woods,
    "field": field,
    "car_park": open_car_park,
}
