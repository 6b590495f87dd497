"""Which bands of a raster are red, green and blue, and what the values of a band mean as colours."""

import numpy as np
from rasterio.enums import ColorInterp
from rasterio.io import DatasetReader

from geopose.cli import UserError

OTHER_COLOURS = (ColorInterp.hue, ColorInterp.cyan, ColorInterp.Y)  # first bands of HSL, CMYK and YCbCr


def rgb_bands(raster: DatasetReader) -> tuple[int, int, int]:
    """1-based numbers of the red, green and blue band.

    The colour interpretation of the bands decides, then their descriptions. Without either, they are the first three
    bands that are not alpha, or the first one three times if there are fewer than three. Raises UserError for images
    of other colours than red, green and blue.
    """
    colours = raster.colorinterp
    other = [colour.name for colour in colours if colour in OTHER_COLOURS]
    if other:
        raise UserError(f"{raster.name}: band {other[0]} instead of red, green and blue; convert the image to RGB")
    names = ("red", "green", "blue")
    for tags in ([colour.name for colour in colours], [str(text).lower() for text in raster.descriptions]):
        if set(names) <= set(tags):
            return tuple(tags.index(name) + 1 for name in names)
    bands = [number for number, colour in enumerate(colours, 1) if colour != ColorInterp.alpha] or [1]
    return tuple(bands[:3]) if len(bands) >= 3 else (bands[0],) * 3


def colour_table(raster: DatasetReader, band: int) -> np.ndarray | None:
    """Palette of a band: uint8 [N,4], the red, green, blue and alpha of each value that its dtype can hold.

    None without a palette. Values that the palette lacks are transparent black.
    """
    dtype = np.dtype(raster.dtypes[band - 1])
    if dtype not in (np.uint8, np.uint16):
        return None
    try:
        entries = raster.colormap(band)
    except ValueError:  # rasterio's way to say that there is none
        return None
    table = np.zeros((np.iinfo(dtype).max + 1, 4), np.uint8)
    table[list(entries)] = list(entries.values())
    return table


def bits(raster: DatasetReader, band: int) -> int:
    """Number of bits of a band's values. A band of 1, 2 or 4 bits is read as uint8 with small values."""
    return int(raster.tags(band, ns="IMAGE_STRUCTURE").get("NBITS", 8 * np.dtype(raster.dtypes[band - 1]).itemsize))
