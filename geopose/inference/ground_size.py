"""The size of an image's pixels on the ground, from its georeference.

A CRS measures in its own units: degrees, feet, or metres that its projection has stretched. The metres of EPSG:3857
are half as long as true metres at 60 degrees north. Therefore points around the image's centre are placed on the
earth's ellipsoid, and the distances between them are taken there.
"""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rasterio._err import CPLE_BaseError  # GDAL's errors; rasterio has no public name for them
from rasterio.crs import CRS
from rasterio.errors import CRSError, TransformError
from rasterio.io import DatasetReader
from rasterio.transform import RPCTransformer, from_gcps, xy
from rasterio.warp import transform

from geopose.cli import UserError

EARTH = CRS.from_epsg(4978)  # WGS 84 as x, y, z in metres from the centre of the earth
DEGREES = CRS.from_epsg(4326)
STEP_PX = 16  # distances are taken over so many pixels on both sides, because a projection is exact to a millimetre
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
    rows, columns = image.height / 2, image.width / 2
    step = min(STEP_PX, rows, columns)
    rows, columns = rows + step * np.array([0, 0, -1, 1]), columns + step * np.array([-1, 1, 0, 0])
    try:
        positions = _positions_m(image, path, rows, columns)
    except (CPLE_BaseError, CRSError, TransformError) as error:
        fault = str(error).splitlines()[0]
        raise UserError(f"{path}: its centre has no place on the earth ({fault}); {REMEDY}") from None
    axes = (positions[[1, 3]] - positions[[0, 2]]) / (2 * step)
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


def _positions_m(image: DatasetReader, path: Path, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Positions [N,2 or 3] in metres of an image's points, between which distances are true.

    Rows and columns [N] count from the image's upper left corner.
    """
    gcps, gcps_crs = image.gcps
    if image.crs is not None and not image.transform.is_identity:
        x_y, crs = xy(image.transform, rows, columns, offset="ul"), image.crs
    elif gcps and gcps_crs:
        x_y, crs = xy(from_gcps(gcps), rows, columns, offset="ul"), gcps_crs
    elif image.rpcs:
        with RPCTransformer(image.rpcs, RPC_HEIGHT=image.rpcs.height_off) as rpcs:
            x_y, crs = rpcs.xy(rows, columns, offset="ul"), DEGREES
    else:
        raise UserError(f"{path}: has no georeference, so its metres per pixel are unknown; give --gsd M_PER_PX")
    if crs.is_projected or crs.is_geographic:
        return np.array(transform(crs, EARTH, *x_y, np.zeros(len(rows)))).T
    if crs.to_dict(projjson=True)["type"] == "EngineeringCRS":  # a building site's own axes: lengths in it are true
        return np.array(x_y).T * crs.units_factor[1]
    raise UserError(f"{path}: its CRS is neither a map nor degrees, so its metres per pixel are unknown; {REMEDY}")
