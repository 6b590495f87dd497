"""Recipes of walls: what the walls of a building look like. walls.py draws them.

Real walls are as different as real roofs. Some are dark, and some are white or, in the sun, brighter than the sensor
can record. A third is plain or nearly so. The others have windows in regular rows: single ones, bands, piers, curtain
walls or balconies, from hardly visible to strong.
"""

import numpy as np

from geopose.synthetic import cities
from geopose.synthetic.cities import pick, vary
from geopose.synthetic.objects import Walls

BRIGHTNESS = (0.5, 1.9)
PLAIN_SHARE = 0.33
BLANK_SHARE = 0.12  # of the sides of a building that otherwise has windows


def random_walls(rng) -> Walls:
    """Walls of a larger building."""
    colour = random_wall_colour(rng)
    style, glass = rng.random(), rng.uniform(18, 110)
    if style < 0.30:  # punched windows
        walls = Walls(
            colour, rng.uniform(2.9, 4.2), rng.uniform(1.8, 5.0), rng.uniform(0.3, 0.65), rng.uniform(0.3, 0.6)
        )
    elif style < 0.50:  # bands
        walls = Walls(colour, rng.uniform(3.2, 4.4), 6.0, 1.0, rng.uniform(0.3, 0.6))
    elif style < 0.64:  # curtain wall, tinted or dark
        tint = vary(rng, pick(rng, [(96, 108, 118), (70, 80, 92), (46, 50, 56), (128, 140, 146), (84, 98, 96)]), 0.15)
        glass = min(tint) * rng.uniform(0.55, 1.0)
        walls = Walls(tint, rng.uniform(3.4, 4.2), rng.uniform(1.3, 3.2), rng.uniform(0.8, 0.94), rng.uniform(0.6, 0.9))
    elif style < 0.80:  # piers from top to bottom
        walls = Walls(colour, 3.8, rng.uniform(1.6, 7.0), rng.uniform(0.25, 0.65), 1.0)
    elif style < 0.92:  # balconies or slabs, with shade between them
        walls = Walls(
            colour, rng.uniform(2.9, 3.6), rng.uniform(3.5, 8.0), rng.uniform(0.6, 1.0), rng.uniform(0.4, 0.6)
        )
        walls = walls._replace(slab=rng.uniform(0.15, 0.4))
    else:  # a hall
        walls = Walls(colour, 5.0, 8.0, 0.15, 0.3)
    return walls._replace(glass=glass, contrast=_contrast(rng), mixed=rng.uniform(0.0, 0.6), blank=_blank_sides(rng))


def home_walls(rng) -> Walls:
    """Walls of a house or of an apartment building."""
    walls = Walls(random_wall_colour(rng), rng.uniform(2.7, 3.1), rng.uniform(2.2, 4.0), rng.uniform(0.3, 0.5))
    walls = walls._replace(window_h=rng.uniform(0.35, 0.5), glass=rng.uniform(25, 90), contrast=_contrast(rng))
    if rng.random() < 0.2:
        walls = walls._replace(slab=rng.uniform(0.15, 0.35))
    return walls._replace(blank=_blank_sides(rng))


def deck_walls(rng) -> Walls:
    """Walls of a parking deck: dark openings between slabs of concrete."""
    colour = tuple(c * np.exp(rng.uniform(-0.4, 0.4)) for c in vary(rng, (176, 172, 164), 0.06))
    return Walls(colour, 3.0, 8.0, 1.0, rng.uniform(0.35, 0.6), 35.0, rng.uniform(0.5, 1.0), 0.1)


def plain_walls(colour: tuple[float, float, float]) -> Walls:
    """Walls of one colour, without windows."""
    return Walls(colour)


def random_wall_colour(rng) -> tuple[float, float, float]:
    """A wall's grey values in the sun, from dark to brighter than the sensor can record."""
    low, high = np.log(BRIGHTNESS)
    gain = np.exp(rng.uniform(low, high))
    return tuple(float(c * gain) for c in vary(rng, pick(rng, cities.WALLS + cities.BRICK), 0.08))


def _contrast(rng) -> float:
    return 0.0 if rng.random() < PLAIN_SHARE else float(rng.uniform(0.05, 1.0))


def _blank_sides(rng) -> int:
    return sum(1 << side for side in range(4) if rng.random() < BLANK_SHARE)
