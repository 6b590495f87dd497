"""Plants and natural ground: trees, hedges, lawns and bare soil, drawn on the current site of a Sketch."""

import numpy as np

from geopose.synthetic.appearance import Material, Texture
from geopose.synthetic.cities import City, pick, vary
from geopose.synthetic.objects import Crown, Footprint, Seen, Sketch, Surface, object_seen


def lawn(rng, city: City) -> Surface:
    """Grass in one of the city's colours."""
    return Surface(vary(rng, pick(rng, city.lawns), 0.08), Texture.LAWN, Material.LAWN)


def soil(rng, city: City, texture: Texture = Texture.SOIL) -> Surface:
    """Bare soil in one of the city's colours."""
    return Surface(vary(rng, pick(rng, city.soils), 0.08), texture, Material.SOIL)


def blotches(sketch: Sketch, rng, city: City, area: Footprint, count: int) -> None:
    """Bare patches, worn grass and greener spots, scattered over an area."""
    for _ in range(count):
        surface = soil(rng, city) if rng.random() < 0.6 else lawn(rng, city)
        size_u, size_v = rng.uniform(0.1, 0.45) * area.half_u, rng.uniform(0.1, 0.45) * area.half_v
        u, v = area.u + rng.uniform(-0.7, 0.7) * area.half_u, area.v + rng.uniform(-0.7, 0.7) * area.half_v
        sketch.paint(Footprint(u, v, size_u, size_v), surface, round_=True)


def tree(sketch: Sketch, rng, city: City, u, v, radius_m: float, seen: Seen = Seen.BOTH) -> None:
    """One tree of the city's species, with a crown of about radius_m metres.

    City trees are about as high as their crown is wide, or a half more.
    """
    deciduous = rng.random() > city.evergreen_share
    palette = city.deciduous if deciduous else city.evergreens
    conifer = not deciduous and rng.random() < 0.35
    height_m = radius_m * (rng.uniform(2.6, 4.2) if conifer else rng.uniform(1.9, 3.1)) + 1.0
    crown = Crown(
        radius_m,
        min(height_m, 28.0),
        vary(rng, pick(rng, palette), 0.14),
        lumps=rng.uniform(0.1, 0.6),
        pointed=0.7 if conifer else rng.uniform(0.0, 0.25),
        deciduous=deciduous,
    )
    sketch.tree(u, v, crown, seen)


def tree_clump(sketch: Sketch, rng, city: City, area: Footprint, count: int, change: float = 0.0) -> None:
    """Trees scattered over an area. They gather around a few points, so that their crowns form one canopy.

    change: share of the trees that exist in the image only or in the lidar data only.
    """
    seeds = rng.uniform(-1, 1, (max(1, count // 4), 2))
    for _ in range(count):
        seed = seeds[rng.integers(len(seeds))]
        spot = seed + 0.22 * rng.standard_normal(2) if rng.random() < 0.7 else rng.uniform(-1, 1, 2)
        spot = np.clip(spot, -1, 1)
        radius_m = float(np.clip(rng.lognormal(1.22, 0.4), 1.2, 8.0))
        u, v = area.u + spot[0] * area.half_u, area.v + spot[1] * area.half_v
        tree(sketch, rng, city, u, v, radius_m, object_seen(rng, change))


def hedge(sketch: Sketch, rng, city: City, u0, v0, u1, v1) -> None:
    """A row of bushes from (u0, v0) to (u1, v1)."""
    length = max(abs(u1 - u0), abs(v1 - v0))
    for part in np.linspace(0, 1, max(2, int(length / 1.3))):
        colour = vary(rng, pick(rng, city.evergreens), 0.1)
        crown = Crown(rng.uniform(0.7, 1.2), rng.uniform(1.0, 2.4), colour)
        sketch.tree(u0 + part * (u1 - u0), v0 + part * (v1 - v0), crown)
