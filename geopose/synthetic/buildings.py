"""Buildings of all kinds, drawn on the current site of a Sketch.

A building consists of boxes with a roof shape, marks on its roof, and one wall recipe for all of its boxes. Each
function draws one kind of building, from the shed to the tower.
"""

import numpy as np

from geopose.synthetic import cities
from geopose.synthetic.appearance import Material, Texture
from geopose.synthetic.cars import car, car_colour
from geopose.synthetic.cities import City, pick, vary
from geopose.synthetic.facades import deck_walls, home_walls, plain_walls, random_wall_colour, random_walls
from geopose.synthetic.objects import Footprint, Roof, Seen, Sketch, Surface, roofing

ACROSS = (0.0, 1.0)  # axis of what runs along v
OVERLAP_M = 0.15  # of boxes that share a wall, so that there is no groove between the ramps of their sides


def any_height_m(rng, usual_m: float, highest_m: float = 60.0) -> float:
    """The height of a building: usual_m or, for two in five, any from 4 m to highest_m, equally often per doubling.

    Neither the size nor the texture of a roof tells how high it is. A network must read walls and shadows.
    """
    return usual_m if rng.random() < 0.6 else float(np.exp(rng.uniform(np.log(4.0), np.log(highest_m))))


def house(sketch: Sketch, rng, city: City, u: float, v: float, max_u: float, max_v: float, seen: Seen) -> None:
    """A house of at most max_u x max_v metres around (u, v): a main part, often a wing, a porch and vents."""
    half_u = min(rng.uniform(6.0, 9.5), max_u / 2)
    half_v = min(rng.uniform(4.5, 6.8), max_v / 2)
    two_storeys = rng.random() < city.two_storey_share
    eaves_m = rng.uniform(2.6, 3.4) + (2.8 if two_storeys else 0.0)
    colour = vary(rng, pick(rng, pick(rng, city.house_roofs)), 0.08)
    number = sketch.building(home_walls(rng))
    flat = min(colour) > 60 and city.name == "ARG" and rng.random() < 0.7
    roof = Roof.PARAPET if flat else (Roof.HIP if rng.random() < 0.45 else Roof.GABLE)
    texture = Texture.MEMBRANE if flat else Texture.SHINGLE
    pitch_m = 0.4 if flat else half_v * rng.uniform(0.22, 0.45)

    sketch.solid(Footprint(u, v, half_u, half_v), eaves_m, roofing(colour, texture), roof, pitch_m, number, seen)
    if rng.random() < 0.65:  # a wing across the main ridge: L and T shapes
        wing_u = half_u * rng.uniform(0.3, 0.5)
        side = rng.choice([-1.0, 1.0])
        wing_v = min(half_v * rng.uniform(1.1, 1.7), max_v / 2 + 2.0)
        front = rng.choice([-1.0, 1.0]) * wing_v * 0.45
        wing_rise_m = 0.4 if flat else min(pitch_m, wing_u * 0.5)
        wing = Footprint(u + side * (half_u - wing_u), v + front, wing_v, wing_u, ACROSS)
        sketch.solid(wing, eaves_m, roofing(colour, texture), roof, wing_rise_m, number, seen)
    if rng.random() < 0.4:  # porch or carport with another roof
        pu, pv = u + rng.uniform(-0.5, 0.5) * half_u, v + rng.choice([-1.0, 1.0]) * (half_v + 1.2)
        porch = Footprint(pu, pv, rng.uniform(1.5, 3.5), rng.uniform(1.2, 2.2))
        porch_colour = vary(rng, pick(rng, cities.FLAT_GREY + cities.SHINGLE_PALE), 0.08)
        porch_roof = Roof.SHED if not flat else Roof.FLAT
        sketch.solid(porch, 2.6, roofing(porch_colour, texture), porch_roof, 0.3, number, seen)
    if not flat and roof in (Roof.GABLE, Roof.HIP):
        ridge_half = half_u if roof == Roof.GABLE else max(half_u - half_v, 0.5)
        bright = tuple(min(255.0, 1.16 * c) for c in colour)
        sketch.mark(Footprint(u, v, ridge_half, 0.25), roofing(bright), seen)
    for _ in range(rng.integers(0, 4)):
        pu, pv = rng.uniform(-0.8, 0.8) * half_u, rng.uniform(-0.6, 0.6) * half_v
        top_m = eaves_m + (0.9 if flat else pitch_m * (1 - abs(pv) / half_v) + 0.7)
        grey = pick(rng, [(200, 200, 200), (120, 110, 106), (150, 96, 84), (70, 70, 72)])
        sketch.solid(Footprint(u + pu, v + pv, 0.4, 0.4), top_m, roofing(grey), building=number, seen=seen)
    if rng.random() < 0.3:  # a patch of newer roofing or stain
        pu, pv = u + rng.uniform(-0.5, 0.5) * half_u, v + rng.choice([-0.5, 0.5]) * half_v
        sketch.mark(Footprint(pu, pv, half_u * 0.3, half_v * 0.35), roofing(vary(rng, colour, 0.12), texture), seen)


def shed(sketch: Sketch, rng, u: float, v: float, seen: Seen = Seen.BOTH) -> None:
    """A garden shed or small workshop."""
    colour = vary(rng, pick(rng, cities.METAL + cities.SHINGLE_DARK + cities.FLAT_GREY), 0.1)
    number = sketch.building(plain_walls(random_wall_colour(rng)))
    footprint = Footprint(u, v, rng.uniform(1.4, 3.0), rng.uniform(1.2, 2.2))
    sketch.solid(footprint, 2.2, roofing(colour, Texture.METAL), Roof.GABLE, 0.7, number, seen)


def roof_clutter(sketch: Sketch, rng, roof: Footprint, top_m, number: int, seen: Seen, per_100_m2=0.5) -> None:
    """Air handlers, vents, skylights, water stains and pipes on a flat roof at top_m."""
    u, v, half_u, half_v = roof.u, roof.v, roof.half_u, roof.half_v
    area_m2 = 4.0 * half_u * half_v
    for _ in range(min(80, rng.poisson(area_m2 / 100.0 * per_100_m2))):
        pu, pv = u + rng.uniform(-0.85, 0.85) * half_u, v + rng.uniform(-0.85, 0.85) * half_v
        kind = rng.random()
        if kind < 0.5:
            grey = vary(rng, pick(rng, [(205, 205, 205), (160, 160, 158), (110, 110, 112)]), 0.1)
            size = rng.uniform(0.5, 1.6, 2)
            surface = roofing(grey, Texture.SLATS if size.min() > 1.1 else Texture.PLAIN)
            unit_top_m = top_m + rng.uniform(0.8, 2.2)
            sketch.solid(Footprint(pu, pv, *size), unit_top_m, surface, building=number, seen=seen)
        elif kind < 0.7:
            sketch.mark(Footprint(pu, pv, 1.2, 0.7), roofing((210, 214, 220)), seen)
        else:
            grey = 150 * rng.uniform(0.75, 0.95)
            stain = Footprint(pu, pv, rng.uniform(0.4, 2.2), rng.uniform(0.2, 0.8))
            sketch.mark(stain, roofing((grey, grey, grey), Texture.GRAVEL), seen)
    if area_m2 > 900 and rng.random() < 0.6:  # a plant room and a duct
        pu, pv = rng.uniform(-0.5, 0.5) * half_u, rng.uniform(-0.5, 0.5) * half_v
        size = rng.uniform(2.0, 5.0)
        surface = roofing(vary(rng, pick(rng, cities.FLAT_GREY), 0.08), Texture.MEMBRANE)
        plant_room = Footprint(u + pu, v + pv, size, size * 0.7)
        duct = Footprint(u + pu * 0.4, v + pv, half_u * 0.35, 0.5)
        sketch.solid(plant_room, top_m + 3.2, surface, Roof.PARAPET, 0.6, number, seen)
        sketch.solid(duct, top_m + 0.9, roofing((170, 170, 172)), building=number, seen=seen)


def shaped(rng, footprint: Footprint) -> Footprint:
    """The footprint of a larger building: most remain rectangles, some become wedges, some lose their corners."""
    narrow_m = min(footprint.half_u, footprint.half_v)
    if narrow_m < 7.0:
        return footprint
    kind = rng.random()
    if kind < 0.18:
        return footprint._replace(taper=rng.uniform(0.1, 0.6))
    if kind < 0.36:
        return footprint._replace(cut_m=rng.uniform(0.15, 0.6) * narrow_m)
    return footprint


def within(footprint: Footprint) -> Footprint:
    """A plain rectangle inside the footprint, for everything on the roof."""
    if footprint.cut_m:
        half_u, half_v = footprint.half_u - footprint.cut_m / 2, footprint.half_v - footprint.cut_m / 2
    else:
        half_u, half_v = footprint.half_u, footprint.half_v * (1.0 - footprint.taper)
    return Footprint(footprint.u, footprint.v, half_u, half_v)


def flat_building(
    sketch: Sketch, rng, city: City, footprint: Footprint, top_m: float, seen: Seen, number: int = 0
) -> None:
    """A block with a flat roof, a parapet, roof sections of different age, and clutter.

    number: the building to which it belongs; 0 adds a new building.
    """
    colour = vary(rng, pick(rng, pick(rng, city.flat_roofs)), 0.06)
    texture = pick(rng, [Texture.MEMBRANE, Texture.MEMBRANE, Texture.GRAVEL, Texture.CONCRETE])
    if not number:
        number = sketch.building(random_walls(rng))
    footprint = shaped(rng, footprint)
    rise_m = rng.uniform(0.4, 1.2)
    sketch.solid(footprint, top_m, roofing(colour, texture), Roof.PARAPET, rise_m, number, seen)
    roof = within(footprint)
    if not (footprint.taper or footprint.cut_m) and rng.random() < 0.4 and roof.half_u > 10:
        part = rng.uniform(0.2, 0.6)
        other = vary(rng, pick(rng, pick(rng, city.flat_roofs)), 0.06)
        section_u = roof.u + roof.half_u * (1 - part) * rng.choice([-1, 1])
        section = Footprint(section_u, roof.v, roof.half_u * part - 0.6, roof.half_v - 0.6)
        sketch.mark(section, roofing(other, texture), seen)
    roof_clutter(sketch, rng, roof.inset(1), top_m, number, seen)


def parking_deck(sketch: Sketch, rng, footprint: Footprint) -> None:
    """A building whose roof is a car park like those on the ground: bays and cars, a parapet, ramps and stairs."""
    top_m = any_height_m(rng, rng.uniform(6.0, 24.0), 40.0)
    palette = pick(rng, [cities.PAVING, cities.FLAT_PALE, cities.FLAT_BRIGHT, cities.FLAT_GREY, cities.ASPHALT])
    concrete = vary(rng, pick(rng, palette), 0.08)
    number = sketch.building(deck_walls(rng))
    fill = rng.uniform(0.0, 0.6)
    footprint = shaped(rng, footprint)
    sketch.solid(footprint, top_m, roofing(concrete, Texture.CONCRETE), Roof.PARAPET, 1.0, number)
    u, v, half_u, half_v = within(footprint)[:4]
    for row in np.arange(-half_v + 3.5, half_v - 3.0, 8.5):
        for bay in np.arange(-half_u + 3.0, half_u - 3.0, 2.7):
            sketch.mark(Footprint(u + bay, v + row, 0.21, 2.4), roofing((205, 205, 200)))
            if rng.random() < fill:
                body = Surface(car_colour(rng), Texture.CAR, Material.CAR)
                spot = Footprint(u + bay + 1.35, v + row, 2.2, 0.95, ACROSS)
                sketch.solid(spot, top_m + 1.5, body, seen=Seen.IMAGE_ONLY)
    if rng.random() < 0.4:  # dark slots next to the ramps
        for side in (-1.0, 1.0)[: rng.integers(1, 3)]:
            shade = vary(rng, (78, 80, 88), 0.2)
            slot = Footprint(u, v + side * 0.3 * half_v, half_u * rng.uniform(0.4, 0.7), rng.uniform(0.5, 3.0))
            sketch.mark(slot, roofing(shade))
    stairs = Footprint(u + half_u - 4, v - half_v + 4, 2.5, 2.5)
    sketch.solid(stairs, top_m + 3.2, roofing((150, 148, 144)), building=number)


def warehouse(sketch: Sketch, rng, footprint: Footprint, seen: Seen) -> None:
    """A hall with a low metal or membrane roof, rows of skylights and loading docks."""
    u, v, half_u, half_v = footprint.u, footprint.v, footprint.half_u, footprint.half_v
    metal = rng.random() < 0.6
    palette = cities.METAL_COLOURED if rng.random() < 0.15 else (cities.METAL if metal else cities.FLAT_BRIGHT)
    colour = vary(rng, pick(rng, palette), 0.06)
    number = sketch.building(random_walls(rng))
    eaves_m = any_height_m(rng, rng.uniform(5.0, 11.0), 24.0)
    bays = max(1, int(half_v / 14)) if metal and rng.random() < 0.5 else 1
    for bay in range(bays):
        off = (bay + 0.5) * 2 * half_v / bays - half_v
        rise_m = half_v / bays * rng.uniform(0.06, 0.22) if metal else 0.6
        shape = Roof.GABLE if metal else Roof.PARAPET
        surface = roofing(colour, Texture.METAL if metal else Texture.MEMBRANE)
        sketch.solid(
            Footprint(u, v + off, half_u, half_v / bays + OVERLAP_M), eaves_m, surface, shape, rise_m, number, seen
        )
        if metal:
            sketch.mark(Footprint(u, v + off, half_u, 0.3), roofing(vary(rng, colour, 0.05)), seen)
    if rng.random() < 0.5:
        for pu in np.arange(-half_u + 5, half_u - 5, rng.uniform(7, 12)):
            for side in (-0.5, 0.5):
                skylight = Footprint(u + pu, v + side * half_v, 0.6, min(2.5, half_v * 0.25))
                sketch.mark(skylight, roofing((222, 226, 228)), seen)
    else:
        roof_clutter(sketch, rng, footprint.inset(1), eaves_m + 0.6, number, seen, 0.3)
    for pu in np.arange(-half_u + 4, half_u - 3, 5.0):
        if rng.random() < 0.3:
            car(sketch, rng, u + pu, v + half_v + 7.0, ACROSS, truck=True)


def tank(sketch: Sketch, rng, u, v, radius_m: float) -> None:
    """A round storage tank."""
    colour = vary(rng, pick(rng, [(225, 225, 222), (190, 190, 186), (160, 150, 140)]), 0.06)
    number = sketch.building(plain_walls(tuple(c * rng.uniform(0.7, 1.3) for c in colour)))
    top_m = rng.uniform(6, 14)
    roof = Roof.DISC if rng.random() < 0.6 else Roof.DOME
    sketch.solid(Footprint(u, v, radius_m, radius_m), top_m, roofing(colour), roof, radius_m * 0.12, number)
