"""Where an image's pixels are on the earth, from its transform, from GCPs or from RPCs.

A CRS measures in its own units: degrees, feet, or metres that its projection has stretched. Its north is not true north
either. Therefore points around the image's centre are placed on the earth's ellipsoid, and steps from pixel to pixel
are taken there.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from rasterio._err import CPLE_BaseError  # GDAL's errors; rasterio has no public name for them
from rasterio.crs import CRS
from rasterio.errors import CRSError, TransformError
from rasterio.io import DatasetReader
from rasterio.rpc import RPC
from rasterio.transform import RPCTransformer, from_gcps, xy
from rasterio.warp import transform

EARTH = CRS.from_epsg(4978)  # WGS 84 as x, y, z in metres from the centre of the earth
DEGREES = CRS.from_epsg(4326)
STEP_PX = 16  # steps are taken over so many pixels on both sides, because a projection is exact to a millimetre
STEP_DEGREES = 1e-4  # 11 m to the north
RPC_PX = 1.0  # an RPC that is used within its range returns to the pixel that it began at
POLE = "its centre is at a pole, where no direction is north"


class NoPlaceError(Exception):
    """An image has no place on the earth. The text says why, as the middle of a sentence."""


class PixelAxes(NamedTuple):
    """Position [2 or 3] in metres of an image's centre, and steps [2, 2 or 3] to the next pixel in row and column.

    Three coordinates are those of EARTH. Two are a building site's own.
    """

    centre_m: np.ndarray
    steps_m: np.ndarray


def has_grid(image: DatasetReader) -> bool:
    """Whether a transform and a CRS place an image."""
    return image.crs is not None and not image.transform.is_identity


def pixel_axes(image: DatasetReader) -> PixelAxes:
    """The axes of an image's grid. Raises NoPlaceError if the image has no place on the earth."""
    return _around_centre(image, lambda rows, columns: _place(image, rows, columns))


def rpc_axes(image: DatasetReader) -> PixelAxes:
    """The axes that an image's RPCs give, also if the image has another georeference. Raises NoPlaceError."""
    return _around_centre(image, lambda rows, columns: _place_by_rpcs(image.rpcs, rows, columns))


def east_north_axes(image: DatasetReader) -> np.ndarray:
    """Metres [2,2] to the true east (row 0) and north (row 1) of a step along a row (column 0) and a column (column 1).

    Raises NoPlaceError if the image has no place on the earth.
    """
    centre_m, steps_m = pixel_axes(image)
    if len(centre_m) < 3:
        raise NoPlaceError("its CRS is a building site's own, in which no direction is north")
    (longitude,), (latitude,), _ = transform(EARTH, DEGREES, *centre_m[:, None])
    if abs(latitude) > 90 - 2 * STEP_DEGREES:
        raise NoPlaceError(POLE)
    longitudes = longitude + STEP_DEGREES * np.array([-1, 1, 0, 0])
    latitudes = latitude + STEP_DEGREES * np.array([0, 0, -1, 1])
    west, east, south, north = _on_earth(DEGREES, (longitudes, latitudes))
    compass = np.stack([east - west, north - south])
    return compass / np.linalg.norm(compass, axis=1, keepdims=True) @ steps_m.T


def rpc_shift(image: DatasetReader) -> np.ndarray:
    """How far [2] (dx, dy) px the RPCs of an image move a point above its centre that rises by one metre.

    Raises NoPlaceError where the RPCs give no numbers, or do not return to the pixel that they began at.
    """
    row, column = image.height / 2, image.width / 2
    ground_m = image.rpcs.height_off  # zs count from it
    with _named_faults(), RPCTransformer(image.rpcs, RPC_HEIGHT=ground_m) as rpcs:
        longitude, latitude = rpcs.xy([row], [column], offset="ul")
        if not np.isfinite([*longitude, *latitude]).all():
            raise NoPlaceError("they place its centre nowhere")
        rows, columns = rpcs.rowcol([*longitude] * 2, [*latitude] * 2, zs=[0.0, 1.0], op=np.asarray)
    away_px = np.hypot(rows[0] - row, columns[0] - column)
    if not np.isfinite([*rows, *columns]).all() or away_px > RPC_PX:
        raise NoPlaceError("they do not return from the ground to the pixel that they began at")
    return np.array([columns[1] - columns[0], rows[1] - rows[0]])


def _around_centre(image: DatasetReader, place: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> PixelAxes:
    rows, columns = image.height / 2, image.width / 2
    step = min(STEP_PX, rows, columns)
    rows, columns = rows + step * np.array([0, 0, -1, 1]), columns + step * np.array([-1, 1, 0, 0])
    with _named_faults():
        positions = place(rows, columns)
    return PixelAxes(positions.mean(axis=0), (positions[[1, 3]] - positions[[0, 2]]) / (2 * step))


@contextmanager
def _named_faults() -> Iterator[None]:
    """Turn the errors of GDAL about coordinates into NoPlaceError."""
    try:
        yield
    except (CPLE_BaseError, CRSError, TransformError) as error:
        raise NoPlaceError(f"its centre has no place on the earth ({str(error).splitlines()[0]})") from None


def _place(image: DatasetReader, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Positions [N,2 or 3] in metres of an image's points. Rows and columns [N] count from its upper left corner."""
    gcps, gcps_crs = image.gcps
    if has_grid(image):
        x_y, crs = xy(image.transform, rows, columns, offset="ul"), image.crs
    elif gcps and gcps_crs:
        x_y, crs = xy(from_gcps(gcps), rows, columns, offset="ul"), gcps_crs
    elif image.rpcs:
        return _place_by_rpcs(image.rpcs, rows, columns)
    else:
        raise NoPlaceError("has no georeference")
    if crs.is_projected or crs.is_geographic:
        return _on_earth(crs, x_y)
    if crs.to_dict(projjson=True)["type"] == "EngineeringCRS":  # a building site's own axes: lengths in it are true
        return np.array(x_y).T * crs.units_factor[1]
    raise NoPlaceError("its CRS is neither a map nor degrees")


def _place_by_rpcs(rpcs: RPC, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    with RPCTransformer(rpcs, RPC_HEIGHT=rpcs.height_off) as transformer:
        return _on_earth(DEGREES, transformer.xy(rows, columns, offset="ul"))


def _on_earth(crs: CRS, x_y: tuple) -> np.ndarray:
    """Positions [N,3] of EARTH of points (x [N], y [N]) of a CRS, on the ellipsoid."""
    return np.array(transform(crs, EARTH, *x_y, np.zeros(len(x_y[0])))).T
