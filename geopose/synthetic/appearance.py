"""What surfaces look like: materials, textures, seasonal colours, and the noise fields of which all textures are made.

A colour is what a flat sunlit surface shows on the 0-255 scale of a finished image. Ground and roofs share colours and
textures on purpose. Real car parks, plazas and gravel look like roofs from above, so colour must not reveal height.
"""

from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache

import cv2
import numpy as np

NOISE_CELLS = 1024  # period of the noise fields; a power of two, so that a bit mask wraps indices
NOISE_SEED = 20210


class Material(IntEnum):
    """What a cell is made of. Seasons, shading and label faults depend on it."""

    HARD = 0  # roads and pavements: the season does not change them
    LAWN = 1
    SOIL = 2
    WATER = 3
    ROOF = 4
    EVERGREEN = 5
    DECIDUOUS = 6
    CAR = 7


class Texture(IntEnum):
    """Rows of TEXTURE_TABLE."""

    PLAIN = 0
    ASPHALT = 1
    CONCRETE = 2
    LAWN = 3
    SOIL = 4
    GRAVEL = 5
    SHINGLE = 6
    METAL = 7
    MEMBRANE = 8
    TILES = 9
    FURROWS = 10
    CAR = 11
    SLATS = 12


# Per texture: relative amplitudes of fine (0.4 m), middle (2 m) and broad (12 m) noise and of hue noise, distance of
# the joints along u and v in metres (0 = no joints), and how dark the joints are.
TEXTURE_TABLE = np.array(
    [
        (0.02, 0.02, 0.02, 0.000, 0.0, 0.0, 0.00),  # PLAIN
        (0.030, 0.018, 0.03, 0.003, 0.0, 3.7, 0.02),  # ASPHALT
        (0.028, 0.022, 0.03, 0.006, 5.0, 5.0, 0.06),  # CONCRETE
        (0.06, 0.06, 0.07, 0.018, 0.0, 0.0, 0.00),  # LAWN
        (0.05, 0.06, 0.07, 0.015, 0.0, 0.0, 0.00),  # SOIL
        (0.05, 0.04, 0.05, 0.004, 0.0, 0.0, 0.00),  # GRAVEL
        (0.028, 0.035, 0.03, 0.006, 0.0, 1.1, 0.015),  # SHINGLE
        (0.02, 0.03, 0.03, 0.003, 1.5, 12.0, 0.04),  # METAL
        (0.02, 0.03, 0.04, 0.004, 9.0, 3.2, 0.03),  # MEMBRANE
        (0.03, 0.03, 0.03, 0.010, 2.4, 2.4, 0.07),  # TILES
        (0.05, 0.07, 0.08, 0.012, 0.0, 2.6, 0.08),  # FURROWS
        (0.03, 0.02, 0.00, 0.000, 0.0, 0.0, 0.00),  # CAR
        (0.03, 0.03, 0.03, 0.000, 1.6, 0.0, 0.35),  # SLATS
    ],
    dtype=np.float32,
)


@lru_cache(maxsize=1)
def noise_fields() -> np.ndarray:
    """Fine, middle and broad periodic noise, float32 [3, N, N] of standard deviation 1. It is the same in every run."""
    rng = np.random.default_rng(NOISE_SEED)
    fields = [
        _wrapped_noise(rng, sigma_cells=1.2),
        0.8 * _wrapped_noise(rng, sigma_cells=6.0) + 0.6 * _wrapped_noise(rng, sigma_cells=12.0),
        0.7 * _wrapped_noise(rng, sigma_cells=32.0) + 0.7 * _wrapped_noise(rng, sigma_cells=80.0),
    ]
    return np.stack(fields).astype(np.float32)


def _wrapped_noise(rng: np.random.Generator, sigma_cells: float) -> np.ndarray:
    """Periodic noise [N, N]: blurred white noise of mean 0 and standard deviation 1."""
    shrink = max(1, 2 ** int(np.log2(max(sigma_cells / 2, 1))))  # broad noise needs few samples
    size = NOISE_CELLS // shrink
    margin = min(size, int(4 * sigma_cells / shrink) + 4)
    white = rng.standard_normal((size, size), dtype=np.float32)
    padded = np.pad(white, margin, mode="wrap")
    smooth = cv2.GaussianBlur(padded, (0, 0), sigma_cells / shrink)
    large = cv2.resize(smooth, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_LINEAR)
    start = margin * shrink
    field = large[start : start + NOISE_CELLS, start : start + NOISE_CELLS]
    return (field - field.mean()) / field.std()


@dataclass(frozen=True)
class Season:
    """leaf in [0, 1]: 0 = bare winter trees, 1 = full summer leaves. dryness of the grass in [0, 1].

    crowns: brightness of trees, most of all of leaves. It differs between products: panchromatic bands that reach the
    near infrared, where leaves are bright, are used to sharpen the colours.
    """

    leaf: float
    dryness: float
    crowns: float = 1.0


def season_gains(season: Season) -> np.ndarray:
    """Factors for the colours of each material, float32 [8, 3]."""
    leaf, dryness = season.leaf, season.dryness
    gains = np.ones((len(Material), 3), dtype=np.float32)
    lush, straw = np.array([0.94, 1.04, 0.88]), np.array([1.18, 1.05, 1.03])
    gains[Material.LAWN] = lush + (straw - lush) * dryness
    gains[Material.SOIL] = 1.0 + 0.08 * dryness
    green, bare = np.array([0.88, 1.03, 0.93]), np.array([1.16, 1.06, 1.16])
    gains[Material.DECIDUOUS] = bare + (green - bare) * leaf
    gains[Material.EVERGREEN] = np.array([1.04, 1.0, 1.06]) + np.array([-0.06, 0.03, -0.06]) * leaf
    gains[Material.EVERGREEN] *= season.crowns
    gains[Material.DECIDUOUS] *= 1.0 + (season.crowns - 1.0) * (0.5 + 0.5 * leaf)
    return gains
