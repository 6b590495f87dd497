"""Which values of a raster are no data, however its file says it.

A file may name a value (nodata), have a mask beside its bands or in another file, have an alpha band, or hold NaN.
"""

import warnings
from collections.abc import Sequence

import numpy as np
from rasterio.enums import ColorInterp
from rasterio.errors import NodataShadowWarning
from rasterio.io import DatasetReader
from rasterio.windows import Window

warnings.filterwarnings("ignore", category=NodataShadowWarning)  # of files with a nodata value and alpha: both count


def no_data(
    raster: DatasetReader, bands: Sequence[int], values: np.ndarray, window: Window | None = None
) -> np.ndarray:
    """bool [B,H,W], True where a value is no data. values [B,H,W] are what bands hold in the window, of any size.

    Where an alpha band is 0, all bands have no data. GDAL's own mask uses one of several statements of a file. Here
    each of them counts.
    """
    missing = raster.read_masks(bands, window=window, out_shape=values.shape) == 0
    missing |= ~np.isfinite(values)
    for plane, band_values, band in zip(missing, values, bands, strict=True):
        nodata = raster.nodatavals[band - 1]
        if nodata is not None:
            plane |= band_values == np.float64(nodata)  # a Python float would overflow in float32
    if ColorInterp.alpha in raster.colorinterp:
        alpha = raster.colorinterp.index(ColorInterp.alpha) + 1
        if alpha not in bands:
            missing |= raster.read(alpha, window=window, out_shape=values.shape[1:]) == 0
    return missing
