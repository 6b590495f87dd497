"""Reading an image of any size, number of bands and depth by windows, as the 8-bit RGB that models need."""

import sys
from pathlib import Path

import numpy as np
import rasterio
from rasterio.enums import Interleaving
from rasterio.windows import Window

from geopose.cli import UserError
from geopose.io.colours import bits, colour_table, rgb_bands
from geopose.io.nodata import no_data
from geopose.io.rasters import CACHE_BYTES

STRETCH_PERCENT = (2.0, 98.0)
OVERVIEW_PX = 1024  # the percentiles are measured on the image reduced to this side


class SceneReader:
    """Windows of an image as uint8 [3,H,W], and a mask of the pixels with data.

    bands: 1-based numbers of the red, green and blue band, or of one band that is used three times. Without bands, the
    image's colour interpretation decides, and a palette gives the colours of its values. If one of the bands has
    another dtype than uint8, all are stretched: the 2nd percentile of each becomes 0 and its 98th becomes 255.

    A pixel has no data if all its bands have none, or if one band of floats has none. In a band of integers the value
    that means no data may also be a colour: white roofs hold 255.
    """

    def __init__(self, image: rasterio.DatasetReader, path: Path, bands: tuple[int, ...]):
        self.image, self.path = image, path
        self.shape: tuple[int, int] = image.shape
        self.bands = bands or rgb_bands(image)
        if len(self.bands) == 1:
            self.bands *= 3
        if len(self.bands) != 3 or not all(1 <= band <= image.count for band in self.bands):
            given = " ".join(map(str, bands))
            raise UserError(f"{path}: --bands {given}; it has bands 1 to {image.count}, give 1 or 3 of them")
        dtypes = [np.dtype(image.dtypes[band - 1]) for band in self.bands]
        if any(dtype.kind == "c" for dtype in dtypes):
            raise UserError(f"{path}: holds complex numbers; give an image of real numbers, such as their amplitude")
        self.floats = np.array([dtype.kind == "f" for dtype in dtypes])
        self.one_dtype = len(set(dtypes)) == 1
        self.palette = None if bands or len(set(self.bands)) > 1 else colour_table(image, self.bands[0])
        if self.palette is not None:
            self.limits = None
        elif set(dtypes) == {np.dtype(np.uint8)}:
            highest = [2.0 ** min(8, bits(image, band)) - 1 for band in self.bands]
            self.limits = None if min(highest) == 255 else np.array([(0.0, value) for value in highest])
        else:
            self.limits = self._measure_limits()

    def read(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """uint8 [3,H,W], and bool [H,W], True where the image has data."""
        values = self._read_bands(window)
        data = self._find_data(values, window)
        if self.palette is not None:
            return np.ascontiguousarray(self.palette[values[0], :3].transpose(2, 0, 1)), data
        if self.limits is not None:
            low, high = self.limits[:, 0, None, None], self.limits[:, 1, None, None]
            scaled = (np.nan_to_num(values.astype(np.float32)) - low) / np.maximum(high - low, 1e-9)
            values = np.rint(scaled.clip(0, 1) * 255).astype(np.uint8)
        return values, data

    def has_data(self, window: Window) -> np.ndarray:
        """bool [H,W], True where the image has data."""
        return self._find_data(self._read_bands(window), window)

    def _find_data(self, values: np.ndarray, window: Window) -> np.ndarray:
        missing = no_data(self.image, self.bands, values, window)
        data = ~(missing.all(axis=0) | missing[self.floats].any(axis=0))
        return data if self.palette is None else data & (self.palette[values[0], 3] > 0)

    def _read_bands(self, window: Window) -> np.ndarray:
        """The values [3,H,W] of a window. The dtypes of the bands may differ."""
        if self.one_dtype:
            return self.image.read(self.bands, window=window)
        return np.stack([self.image.read(band, window=window) for band in self.bands])

    def _measure_limits(self) -> np.ndarray:
        """For each band, the two values [3,2] that become 0 and 255."""
        height, width = (min(OVERVIEW_PX, n) for n in self.shape)
        overview = np.stack([self.image.read(band, out_shape=(height, width)) for band in self.bands])
        missing = no_data(self.image, self.bands, overview)
        values = [band[~unknown].astype(np.float64) for band, unknown in zip(overview, missing, strict=True)]
        if min(map(len, values)) == 0:
            raise UserError(f"{self.path}: no pixel has data; give another image")
        return np.array([np.percentile(band, STRETCH_PERCENT) for band in values])


def warn_of_wide_rows(image: rasterio.DatasetReader, path: Path, tile_px: int) -> None:
    """Say on standard error when every tile of an image decodes whole rows of it, and GDAL cannot keep them."""
    block_height, block_width = image.block_shapes[0]
    bands = image.dtypes if image.interleaving == Interleaving.pixel else image.dtypes[:3]
    row_bytes = image.width * sum(np.dtype(dtype).itemsize for dtype in bands)
    kept_bytes = row_bytes * (tile_px + block_height)
    if block_width > 2 * tile_px and kept_bytes > CACHE_BYTES:
        sizes = f"{kept_bytes / 1e6:.0f} MB, and {CACHE_BYTES / 1e6:.0f} MB are kept"
        remedy = "copy it first with 'gdal_translate -co TILED=YES -co BIGTIFF=IF_SAFER' to be much faster"
        print(f"warning: {path}: every tile decodes rows of full width again ({sizes}); {remedy}", file=sys.stderr)
