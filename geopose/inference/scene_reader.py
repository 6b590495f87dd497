"""Reading an image of any size, number of bands and depth by windows, as the 8-bit RGB that models need."""

import math
from pathlib import Path

import numpy as np
import rasterio
from rasterio.windows import Window

from geopose.cli import UserError
from geopose.geometry import metres_per_degree

STRETCH_PERCENT = (2.0, 98.0)
OVERVIEW_PX = 1024  # the percentiles are measured on the image reduced to this side


class SceneReader:
    """Windows of an image as uint8 [3,H,W], and a mask of the pixels with data.

    bands: 1-based numbers of the red, green and blue band, or of one band that is used three times. Without bands, the
    first three are used, or the first if there are fewer than three. Bands of any dtype but uint8 are stretched: their
    2nd percentile becomes 0 and their 98th becomes 255.
    """

    def __init__(self, image: rasterio.DatasetReader, path: Path, bands: tuple[int, ...]):
        self.image = image
        self.bands = bands or ((1, 2, 3) if image.count >= 3 else (1, 1, 1))
        if len(self.bands) == 1:
            self.bands *= 3
        if len(self.bands) != 3 or not all(1 <= band <= image.count for band in self.bands):
            given = " ".join(map(str, bands))
            raise UserError(f"{path}: --bands {given}; it has bands 1 to {image.count}, give 1 or 3 of them")
        self.limits = None if image.dtypes[0] == "uint8" else self._measure_limits(path)

    def read(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """uint8 [3,H,W], and bool [H,W], True where the image has data."""
        values = self.image.read(self.bands, window=window)
        if self.limits is not None:
            low, high = self.limits[:, 0, None, None], self.limits[:, 1, None, None]
            scaled = (np.nan_to_num(values.astype(np.float32)) - low) / np.maximum(high - low, 1e-9)
            values = np.rint(scaled.clip(0, 1) * 255).astype(np.uint8)
        return values, self.image.dataset_mask(window=window) > 0

    def _measure_limits(self, path: Path) -> np.ndarray:
        """For each band, the two values [3,2] that become 0 and 255."""
        side = [min(OVERVIEW_PX, n) for n in self.image.shape]
        overview = self.image.read(self.bands, out_shape=(3, *side)).astype(np.float64)
        has_data = self.image.dataset_mask(out_shape=tuple(side)) > 0
        values = [band[has_data & np.isfinite(band)] for band in overview]
        if min(map(len, values)) == 0:
            raise UserError(f"{path}: no pixel has data; give another image")
        return np.array([np.percentile(band, STRETCH_PERCENT) for band in values])


def read_gsd(image: rasterio.DatasetReader, path: Path) -> float:
    """Metres per pixel from the image's georeference. Raises UserError if it has none."""
    if image.crs is None or image.transform.is_identity:
        raise UserError(f"{path}: has no georeference, so its metres per pixel are unknown; give --gsd M_PER_PX")
    pixel = math.sqrt(abs(image.transform.determinant))
    if image.crs.is_geographic:
        _, latitude = image.xy(image.height / 2, image.width / 2)
        return pixel * metres_per_degree(latitude)
    return pixel * image.crs.linear_units_factor[1]
