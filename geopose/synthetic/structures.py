"""Buildings and what stands around them, each drawn on the current site of a Sketch."""

import numpy as np

from geopose import geometry
from geopose.synthetic import cities
from geopose.synthetic.appearance import Material, Texture
from geopose.synthetic.cities import City, pick, vary
from geopose.synthetic.objects import Roof, Seen, Sketch


def object_seen(rng: np.random.Generator, change: float) -> Seen:
    """Whether an object came or went between lidar and image, with probability `change`."""
    if rng.random() >= change:
        return Seen.BOTH
    return Seen.IMAGE_ONLY if rng.random() < 0.5 else Seen.LABEL_ONLY


def house(sketch: Sketch, rng, city: City, u: float, v: float, max_u: float, max_v: float, seen: Seen) -> None:
    """A dwelling of at most max_u x max_v metres around (u, v): a main part, often wings, a porch, vents."""
    half_u = min(rng.uniform(6.0, 9.5), max_u / 2)
    half_v = min(rng.uniform(4.5, 6.8), max_v / 2)
    two_storeys = rng.random() < city.storeys[0]
    eaves_m = rng.uniform(2.6, 3.4) + (2.8 if two_storeys else 0.0)
    colour = vary(rng, pick(rng, pick(rng, city.house_roofs)), 0.08)
    wall = vary(rng, pick(rng, cities.WALLS), 0.10)
    number = sketch.building(wall, floor_m=2.9, bay_m=rng.uniform(2.2, 3.4), window_u=0.4, window_h=0.42)
    flat = min(colour) > 60 and city.name == "ARG" and rng.random() < 0.7
    roof = Roof.PARAPET if flat else (Roof.HIP if rng.random() < 0.45 else Roof.GABLE)
    texture = Texture.MEMBRANE if flat else Texture.SHINGLE
    pitch = 0.4 if flat else half_v * rng.uniform(0.22, 0.45)

    def part(pu, pv, pw, pd, top_m, rise_m, part_roof=roof, axis=(1.0, 0.0), part_colour=colour):
        sketch.solid(u + pu, v + pv, pw, pd, top_m, part_colour, part_roof, rise_m, texture, number, seen, axis=axis)

    part(0, 0, half_u, half_v, eaves_m, pitch)
    if rng.random() < 0.65:  # a wing across the main ridge: L and T shapes
        wing_u = half_u * rng.uniform(0.3, 0.5)
        side = rng.choice([-1.0, 1.0])
        wing_v = min(half_v * rng.uniform(1.1, 1.7), max_v / 2 + 2.0)
        front = rng.choice([-1.0, 1.0]) * wing_v * 0.45
        wing_rise = 0.4 if flat else min(pitch, wing_u * 0.5)
        part(side * (half_u - wing_u), front, wing_v, wing_u, eaves_m, wing_rise, axis=(0.0, 1.0))
    if rng.random() < 0.4:  # porch or carport with another roof
        part(
            rng.uniform(-0.5, 0.5) * half_u,
            rng.choice([-1.0, 1.0]) * (half_v + 1.2),
            rng.uniform(1.5, 3.5),
            rng.uniform(1.2, 2.2),
            2.6,
            0.3,
            Roof.SHED if not flat else Roof.FLAT,
            part_colour=vary(rng, pick(rng, cities.FLAT_GREY + cities.SHINGLE_PALE), 0.08),
        )
    if not flat and roof in (Roof.GABLE, Roof.HIP):
        ridge_half = half_u if roof == Roof.GABLE else max(half_u - half_v, 0.5)
        bright = tuple(min(255.0, 1.16 * c) for c in colour)
        sketch.mark(u, v, ridge_half, 0.25, bright, material=Material.ROOF)
    for _ in range(rng.integers(0, 4)):
        pu, pv = rng.uniform(-0.8, 0.8) * half_u, rng.uniform(-0.6, 0.6) * half_v
        top = eaves_m + (0.9 if flat else pitch * (1 - abs(pv) / half_v) + 0.7)
        grey = pick(rng, [(200, 200, 200), (120, 110, 106), (150, 96, 84), (70, 70, 72)])
        sketch.solid(u + pu, v + pv, 0.4, 0.4, top, grey, building=number, seen=seen)
    if rng.random() < 0.3:  # a patch of newer roofing or stain
        sketch.mark(
            u + rng.uniform(-0.5, 0.5) * half_u,
            v + rng.choice([-0.5, 0.5]) * half_v,
            half_u * 0.3,
            half_v * 0.35,
            vary(rng, colour, 0.12),
            texture,
            Material.ROOF,
        )


def shed(sketch: Sketch, rng, u: float, v: float, seen: Seen = Seen.BOTH) -> None:
    """A garden shed or small workshop."""
    colour = vary(rng, pick(rng, cities.METAL + cities.SHINGLE_DARK + cities.FLAT_GREY), 0.1)
    number = sketch.building(vary(rng, pick(rng, cities.WALLS)), window_u=0.0)
    half_u, half_v = rng.uniform(1.4, 3.0), rng.uniform(1.2, 2.2)
    sketch.solid(u, v, half_u, half_v, 2.2, colour, Roof.GABLE, 0.7, Texture.METAL, number, seen)


def car_colour(rng) -> tuple:
    """Paint of a car: mostly white, grey or black."""
    return vary(rng, pick(rng, cities.CARS_COLOURED if rng.random() < 0.16 else cities.CARS), 0.06)


def car(sketch: Sketch, rng, u: float, v: float, axis=(1.0, 0.0), truck: bool = False) -> None:
    """A parked car: in the image only, for the lidar flew on another day."""
    colour = car_colour(rng)
    half_u, half_v, top_m = (rng.uniform(2.1, 2.5), 0.95, 1.5)
    texture = Texture.CAR
    if truck:
        half_u, half_v, top_m, texture = rng.uniform(5.0, 8.0), 1.3, 3.4, Texture.PLAIN
        colour = vary(rng, pick(rng, [(240, 240, 240), (200, 200, 196), (110, 90, 84), (96, 108, 124)]), 0.05)
    sketch.solid(u, v, half_u, half_v, top_m, colour, Roof.FLAT, 0.0, texture, 0, Seen.IMAGE_ONLY, Material.CAR, axis)


def roof_clutter(sketch: Sketch, rng, u, v, half_u, half_v, top_m, number: int, seen: Seen, per_100_m2=0.5) -> None:
    """Air handlers, vents, skylights, ponding stains and pipes on a flat roof."""
    area = 4.0 * half_u * half_v
    for _ in range(min(80, rng.poisson(area / 100.0 * per_100_m2))):
        pu, pv = rng.uniform(-0.85, 0.85) * half_u, rng.uniform(-0.85, 0.85) * half_v
        kind = rng.random()
        if kind < 0.5:
            grey = vary(rng, pick(rng, [(205, 205, 205), (160, 160, 158), (110, 110, 112)]), 0.1)
            size = rng.uniform(0.5, 1.6, 2)
            sketch.solid(
                u + pu, v + pv, *size, top_m + rng.uniform(0.8, 2.2), grey, building=number, seen=seen,
                texture=Texture.SLATS if size.min() > 1.1 else Texture.PLAIN,
            )  # fmt: skip
        elif kind < 0.7:
            sketch.mark(u + pu, v + pv, 1.2, 0.7, (210, 214, 220), material=Material.ROOF)
        else:
            shade = rng.uniform(0.75, 0.95)
            base = 150 * shade
            size = rng.uniform(0.4, 2.2)
            sketch.mark(u + pu, v + pv, size, rng.uniform(0.2, 0.8), (base, base, base), Texture.GRAVEL, Material.ROOF)
    if area > 900 and rng.random() < 0.6:  # a plant room and a duct
        pu, pv = rng.uniform(-0.5, 0.5) * half_u, rng.uniform(-0.5, 0.5) * half_v
        size = rng.uniform(2.0, 5.0)
        grey = vary(rng, pick(rng, cities.FLAT_GREY), 0.08)
        sketch.solid(u + pu, v + pv, size, size * 0.7, top_m + 3.2, grey, Roof.PARAPET, 0.6,
                     Texture.MEMBRANE, number, seen)  # fmt: skip
        sketch.solid(u + pu * 0.4, v + pv, half_u * 0.35, 0.5, top_m + 0.9, (170, 170, 172), building=number, seen=seen)


def outline(rng, half_u: float, half_v: float) -> tuple[float, float]:
    """Taper and cut_m of a larger building: most are rectangles, some wedges, some have their corners cut."""
    if min(half_u, half_v) < 7.0:
        return 0.0, 0.0
    kind = rng.random()
    if kind < 0.18:
        return rng.uniform(0.1, 0.6), 0.0
    if kind < 0.36:
        return 0.0, rng.uniform(0.15, 0.6) * min(half_u, half_v)
    return 0.0, 0.0


def within(half_u: float, half_v: float, taper: float, cut_m: float) -> tuple[float, float]:
    """Half sizes of a rectangle inside such an outline, to which what stands on the roof keeps."""
    return (0.8 * half_u, 0.8 * half_v) if cut_m else (half_u, half_v * (1.0 - taper))


def flat_building(sketch: Sketch, rng, city: City, u, v, half_u, half_v, top_m, seen: Seen, number: int = 0) -> int:
    """A flat-roofed block with parapet, roof sections of different age and clutter; returns its building id."""
    colour = vary(rng, pick(rng, pick(rng, city.flat_roofs)), 0.06)
    texture = pick(rng, [Texture.MEMBRANE, Texture.MEMBRANE, Texture.GRAVEL, Texture.CONCRETE])
    if not number:
        number = office_walls(sketch, rng)
    taper, cut_m = outline(rng, half_u, half_v)
    sketch.solid(u, v, half_u, half_v, top_m, colour, Roof.PARAPET, rng.uniform(0.4, 1.2), texture, number, seen,
                 taper=taper, cut_m=cut_m)  # fmt: skip
    if taper or cut_m:
        half_u, half_v = within(half_u, half_v, taper, cut_m)
    elif rng.random() < 0.4 and half_u > 10:
        part = rng.uniform(0.2, 0.6)
        other = vary(rng, pick(rng, pick(rng, city.flat_roofs)), 0.06)
        sketch.mark(u + half_u * (1 - part) * rng.choice([-1, 1]), v, half_u * part - 0.6, half_v - 0.6, other,
                    texture, Material.ROOF)  # fmt: skip
    roof_clutter(sketch, rng, u, v, half_u - 1, half_v - 1, top_m, number, seen)
    return number


def office_walls(sketch: Sketch, rng) -> int:
    """A wall recipe for a larger building: windows, glass bands, curtain wall, upright fins, slats or hardly any."""
    style = rng.random()
    wall = vary(rng, pick(rng, cities.WALLS), 0.10)
    if style < 0.28:
        return sketch.building(wall, 3.6, rng.uniform(2.0, 4.5), rng.uniform(0.4, 0.65), 0.5, rng.uniform(35, 90))
    if style < 0.48:
        return sketch.building(wall, 3.7, 6.0, 1.0, rng.uniform(0.35, 0.55), rng.uniform(30, 95))
    if style < 0.62:
        glassy = vary(rng, (96, 108, 118), 0.12)
        return sketch.building(glassy, 3.8, 1.6, 0.85, 0.7, rng.uniform(50, 110))
    if style < 0.78:
        return sketch.building(wall, 3.8, rng.uniform(1.4, 3.4), rng.uniform(0.3, 0.6), 1.0, rng.uniform(35, 110))
    if style < 0.86:
        return sketch.building(wall, rng.uniform(1.6, 2.6), 6.0, 1.0, rng.uniform(0.35, 0.6), rng.uniform(30, 100))
    return sketch.building(wall, 5.0, 8.0, 0.15, 0.3, 50.0)


def complex_building(sketch: Sketch, rng, city: City, u, v, half_u, half_v, top_m: float, seen: Seen) -> None:
    """Halls and wings of unlike height, age and direction grown together, as city blocks are."""
    number = office_walls(sketch, rng)
    main_u, main_v = half_u * rng.uniform(0.6, 0.95), half_v * rng.uniform(0.6, 0.95)
    if rng.random() < 0.4:  # a long wing that leaves the hall at an angle, as high as it
        main_u, main_v = 0.7 * main_u, 0.7 * main_v
        slant = rng.choice([-1.0, 1.0]) * rng.uniform(0.3, 1.2)
        long_u, long_v = np.hypot(half_u, half_v) * rng.uniform(0.5, 0.75), min(half_u, half_v) * rng.uniform(0.2, 0.4)
        colour = vary(rng, pick(rng, pick(rng, city.flat_roofs)), 0.06)
        sketch.solid(u, v, long_u, long_v, top_m * rng.uniform(0.8, 1.0), colour, Roof.PARAPET, 0.8,
                     pick(rng, [Texture.MEMBRANE, Texture.GRAVEL, Texture.CONCRETE]), number, seen,
                     axis=tuple(geometry.rotation_matrix(slant)[0]))  # fmt: skip
    flat_building(sketch, rng, city, u, v, main_u, main_v, top_m, seen, number)
    askew = rng.uniform(-0.6, 0.6) if rng.random() < 0.3 else 0.0
    axis = np.array([1.0, askew]) / np.hypot(1.0, askew)
    for _ in range(rng.integers(2, 6)):
        pu, pv = rng.uniform(-0.6, 0.6) * half_u, rng.uniform(-0.6, 0.6) * half_v
        wing_u, wing_v = half_u * rng.uniform(0.15, 0.4), half_v * rng.uniform(0.15, 0.4)
        level = top_m * rng.uniform(0.45, 1.6)
        colour = vary(rng, pick(rng, pick(rng, city.flat_roofs)), 0.06)
        texture = pick(rng, [Texture.MEMBRANE, Texture.GRAVEL, Texture.SLATS, Texture.CONCRETE])
        shape = Roof.DISC if rng.random() < 0.1 else Roof.PARAPET
        sketch.solid(u + pu, v + pv, wing_u, wing_v, level, colour, shape, 0.9, texture, number, seen, axis=tuple(axis))
        if not askew:
            roof_clutter(sketch, rng, u + pu, v + pv, wing_u, wing_v, level, number, seen, 0.7)


def tower(sketch: Sketch, rng, city: City, u, v, half_u, half_v, top_m: float) -> None:
    """A high-rise: podium, shaft, sometimes setbacks, plant room on top."""
    number = office_walls(sketch, rng)
    if rng.random() < 0.7:
        podium = min(top_m * 0.4, rng.uniform(6.0, 18.0))
        flat_building(sketch, rng, city, u, v, half_u, half_v, podium, Seen.BOTH)
        half_u, half_v = half_u * rng.uniform(0.55, 0.85), half_v * rng.uniform(0.55, 0.85)
    colour = vary(rng, pick(rng, pick(rng, city.flat_roofs)), 0.06)
    level = top_m * (rng.uniform(0.6, 0.85) if rng.random() < 0.4 else 1.0)
    disc = rng.random() < 0.08
    taper, cut_m = outline(rng, half_u, half_v)
    sketch.solid(u, v, half_u, half_v, level, colour, Roof.DISC if disc else Roof.PARAPET, 1.4,
                 Texture.MEMBRANE, number, taper=taper, cut_m=cut_m)  # fmt: skip
    half_u, half_v = within(half_u, half_v, taper, cut_m)
    roof_clutter(sketch, rng, u, v, half_u * 0.8, half_v * 0.8, level, number, Seen.BOTH, 1.2)
    if level < top_m:
        u, v = u + rng.uniform(-0.3, 0.3) * half_u, v + rng.uniform(-0.3, 0.3) * half_v
        half_u, half_v = half_u * rng.uniform(0.4, 0.68), half_v * rng.uniform(0.4, 0.68)
        sketch.solid(u, v, half_u, half_v, top_m, vary(rng, colour, 0.08), Roof.PARAPET, 1.2, Texture.MEMBRANE, number)
    plant_u, plant_v = half_u * rng.uniform(0.2, 0.5), half_v * rng.uniform(0.2, 0.5)
    sketch.solid(u + rng.uniform(-1, 1) * (half_u - plant_u), v + rng.uniform(-1, 1) * (half_v - plant_v), plant_u,
                 plant_v, top_m + rng.uniform(2.5, 5.0), vary(rng, (150, 148, 144), 0.2), Roof.PARAPET, 0.8,
                 pick(rng, [Texture.SLATS, Texture.MEMBRANE, Texture.METAL]), number)  # fmt: skip


def parking_structure(sketch: Sketch, rng, u, v, half_u, half_v, top_m: float) -> None:
    """An open parking deck: a top that looks like a car park or shines white, parapet, bays, cars, ramps, stairs."""
    concrete = vary(rng, pick(rng, pick(rng, [cities.PAVING, cities.FLAT_PALE, cities.FLAT_BRIGHT])), 0.08)
    number = sketch.building(vary(rng, (176, 172, 164), 0.06), 3.0, 8.0, 1.0, 0.5, 40.0)
    fill = rng.uniform(0.0, 0.6)
    sketch.solid(u, v, half_u, half_v, top_m, concrete, Roof.PARAPET, 1.0, Texture.CONCRETE, number)
    for row in np.arange(-half_v + 3.5, half_v - 3.0, 8.5):
        for bay in np.arange(-half_u + 3.0, half_u - 3.0, 2.7):
            sketch.mark(u + bay, v + row, 0.21, 2.4, (205, 205, 200), material=Material.ROOF)
            if rng.random() < fill:
                colour = car_colour(rng)
                sketch.solid(u + bay + 1.35, v + row, 2.2, 0.95, top_m + 1.5, colour, Roof.FLAT, 0.0, Texture.CAR, 0,
                             Seen.IMAGE_ONLY, Material.CAR, (0.0, 1.0))  # fmt: skip
    if rng.random() < 0.4:  # slots beside the ramps, in the shade
        for side in (-1.0, 1.0)[: rng.integers(1, 3)]:
            shade = vary(rng, (78, 80, 88), 0.2)
            sketch.mark(u, v + side * 0.3 * half_v, half_u * rng.uniform(0.4, 0.7), rng.uniform(0.5, 1.6), shade,
                        material=Material.ROOF)  # fmt: skip
    sketch.solid(u + half_u - 4, v - half_v + 4, 2.5, 2.5, top_m + 3.2, (150, 148, 144), building=number)


def warehouse(sketch: Sketch, rng, u, v, half_u, half_v, seen: Seen) -> None:
    """A low-pitched metal or membrane shed with skylight rows and loading docks."""
    metal = rng.random() < 0.6
    palette = cities.METAL_COLOURED if rng.random() < 0.15 else (cities.METAL if metal else cities.FLAT_BRIGHT)
    colour = vary(rng, pick(rng, palette), 0.06)
    number = sketch.building(vary(rng, pick(rng, cities.WALLS + cities.METAL), 0.1), 5.0, 7.0, 0.25, 0.35, 55.0)
    eaves_m = rng.uniform(5.0, 11.0)
    bays = max(1, int(half_v / 14)) if metal and rng.random() < 0.5 else 1
    for bay in range(bays):
        off = (bay + 0.5) * 2 * half_v / bays - half_v
        rise = half_v / bays * rng.uniform(0.06, 0.22) if metal else 0.6
        shape = Roof.GABLE if metal else Roof.PARAPET
        texture = Texture.METAL if metal else Texture.MEMBRANE
        sketch.solid(u, v + off, half_u, half_v / bays, eaves_m, colour, shape, rise, texture, number, seen)
        if metal:
            sketch.mark(u, v + off, half_u, 0.3, vary(rng, colour, 0.05), material=Material.ROOF)
    if rng.random() < 0.5:
        for pu in np.arange(-half_u + 5, half_u - 5, rng.uniform(7, 12)):
            for side in (-0.5, 0.5):
                sketch.mark(u + pu, v + side * half_v, 0.6, min(2.5, half_v * 0.25), (222, 226, 228),
                            material=Material.ROOF)  # fmt: skip
    else:
        roof_clutter(sketch, rng, u, v, half_u - 1, half_v - 1, eaves_m + 0.6, number, seen, 0.3)
    for pu in np.arange(-half_u + 4, half_u - 3, 5.0):
        if rng.random() < 0.3:
            car(sketch, rng, u + pu, v + half_v + 7.0, (0.0, 1.0), truck=True)


def tank(sketch: Sketch, rng, u, v, radius_m: float) -> None:
    """A round storage tank."""
    colour = vary(rng, pick(rng, [(225, 225, 222), (190, 190, 186), (160, 150, 140)]), 0.06)
    number = sketch.building(colour, window_u=0.0)
    sketch.solid(u, v, radius_m, radius_m, rng.uniform(6, 14), colour, Roof.DISC if rng.random() < 0.6 else Roof.DOME,
                 radius_m * 0.12, Texture.PLAIN, number)  # fmt: skip


def car_park(sketch: Sketch, rng, city: City, u, v, half_u, half_v, fill: float) -> None:
    """Asphalt or concrete with painted bays, rows of cars, islands with small trees and lamp posts."""
    concrete = rng.random() < 0.3
    colour = vary(rng, pick(rng, cities.PAVING if concrete else cities.ASPHALT), 0.08)
    sketch.paint(u, v, half_u, half_v, colour, Texture.CONCRETE if concrete else Texture.ASPHALT)
    for _ in range(rng.integers(0, 4)):  # patches, repairs, oil
        sketch.paint(u + rng.uniform(-0.8, 0.8) * half_u, v + rng.uniform(-0.8, 0.8) * half_v, rng.uniform(1, 7),
                     rng.uniform(1, 4), vary(rng, colour, 0.10), Texture.ASPHALT)  # fmt: skip
    paint = (205, 205, 198) if rng.random() < 0.8 else (196, 176, 96)
    paint = tuple(0.45 * p + 0.55 * c for p, c in zip(paint, colour, strict=True))  # lines are thinner than a cell
    rows = np.arange(-half_v + 3.0, half_v - 2.0, 16.5)
    for row in rows:
        for half_row in (0.0, 5.2):
            if row + half_row > half_v - 2.0:
                continue
            bays = np.arange(-half_u + 3.0, half_u - 3.0, 2.7)
            local_fill = np.clip(0.6 * fill * rng.uniform(0.1, 1.6), 0, 0.9)
            occupied = rng.random(bays.size) < local_fill
            for bay, taken in zip(bays, occupied, strict=True):
                sketch.paint(u + bay, v + row + half_row, 0.21, 2.3, paint)
                if taken:
                    car(sketch, rng, u + bay + 1.35, v + row + half_row + rng.uniform(-0.3, 0.3), (0.0, 1.0))
        if rng.random() < 0.35:
            for side in (-1, 1):
                lawn = vary(rng, pick(rng, city.lawns), 0.08)
                sketch.paint(u + side * (half_u - 1.4), v + row + 2.6, 1.3, 4.6, lawn, Texture.LAWN, Material.LAWN)
                if rng.random() < 0.6:
                    tree(sketch, rng, city, u + side * (half_u - 1.4), v + row + 2.6, rng.uniform(1.4, 2.6))


def tree(sketch: Sketch, rng, city: City, u, v, radius_m: float, seen: Seen = Seen.BOTH) -> None:
    """One tree of the city's species with a crown of about radius_m."""
    deciduous = rng.random() > city.evergreen_share
    palette = city.deciduous if deciduous else city.evergreens
    conifer = not deciduous and rng.random() < 0.35
    height_m = radius_m * (rng.uniform(2.6, 4.2) if conifer else rng.uniform(1.6, 2.6)) + 1.0
    sketch.tree(
        u,
        v,
        radius_m,
        min(height_m, 28.0),
        vary(rng, pick(rng, palette), 0.14),
        lumps=rng.uniform(0.3, 0.7),
        pointed=0.7 if conifer else rng.uniform(0.0, 0.25),
        deciduous=deciduous,
        seen=seen,
    )


def tree_clump(sketch: Sketch, rng, city: City, u, v, half_u, half_v, count: int, change: float = 0.0) -> None:
    """Trees scattered over a rectangle, more where others stand: crowns grow into one canopy."""
    seeds = rng.uniform(-1, 1, (max(1, count // 4), 2))
    for _ in range(count):
        seed = seeds[rng.integers(len(seeds))]
        spot = seed + 0.22 * rng.standard_normal(2) if rng.random() < 0.7 else rng.uniform(-1, 1, 2)
        spot = np.clip(spot, -1, 1)
        radius = float(np.clip(rng.lognormal(1.15, 0.4), 1.2, 7.5))
        tree(sketch, rng, city, u + spot[0] * half_u, v + spot[1] * half_v, radius, object_seen(rng, change))


def hedge(sketch: Sketch, rng, city: City, u0, v0, u1, v1) -> None:
    """A row of bushes from one point to another."""
    length = max(abs(u1 - u0), abs(v1 - v0))
    for part in np.linspace(0, 1, max(2, int(length / 1.3))):
        colour = vary(rng, pick(rng, city.evergreens), 0.1)
        sketch.tree(u0 + part * (u1 - u0), v0 + part * (v1 - v0), rng.uniform(0.7, 1.2), rng.uniform(1.0, 2.4), colour)
