"""The size of an image's pixels on the ground, from its georeference.

The metres of a CRS are not always metres on the ground: those of EPSG:3857 are half as long at 60 degrees north.
Therefore sizes are taken on the earth's ellipsoid.
"""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rasterio.io import DatasetReader

from geopose.cli import UserError
from geopose.inference.ground_axes import NoPlaceError, pixel_axes

SQUARE = 1.02  # sides that differ by less count as equal: heights change less than by the resampling
MAX_RATIO = 10.0  # no sensor has such pixels; the georeference must be wrong
MAX_COSINE = 0.25  # between the axes of a pixel. Views of 36 degrees off-nadir stay below it
REMEDY = "correct its georeference or give --gsd M_PER_PX"


class GroundPixel(NamedTuple):
    """Metres on the ground from a pixel to the next one in its row (x_m) and in its column (y_m)."""

    x_m: float
    y_m: float

    @property
    def is_square(self) -> bool:
        """Whether both sides are equal for all purposes."""
        return max(self) <= SQUARE * min(self)

    @property
    def mean_m(self) -> float:
        """Side of a square of the same area, metres."""
        return math.sqrt(self.x_m * self.y_m)


def ground_pixel(image: DatasetReader, path: Path) -> GroundPixel:
    """Size of the pixel at the image's centre. It is taken from the transform, from GCPs, or from RPCs.

    Raises UserError if the image has none of them, if its CRS cannot be placed on the earth, or if its pixels are far
    from rectangles.
    """
    try:
        axes = pixel_axes(image).steps_m
    except NoPlaceError as error:
        raise UserError(f"{path}: {error}, so its metres per pixel are unknown; {REMEDY}") from None
    pixel = GroundPixel(*np.linalg.norm(axes, axis=1).tolist())
    if not 0 < min(pixel) <= max(pixel) < np.inf:
        raise UserError(f"{path}: its pixels measure {_size(pixel)} on the ground; {REMEDY}")
    if max(pixel) > MAX_RATIO * min(pixel):
        raise UserError(f"{path}: its pixels measure {_size(pixel)} on the ground, no image has such; {REMEDY}")
    if abs(axes[0] @ axes[1]) > MAX_COSINE * pixel.x_m * pixel.y_m:
        raise UserError(f"{path}: its pixels are slanted on the ground; warp it to a map or give --gsd M_PER_PX")
    return pixel


def _size(pixel: GroundPixel) -> str:
    return f"{pixel.x_m:.3g} m x {pixel.y_m:.3g} m"
