"""Cloud-Optimized GeoTIFF: tiles and overviews, in an order that lets a map viewer read only the part it shows.

Such a file cannot be written strip by strip, because its overviews come first. A plain GeoTIFF, the draft, is written
before, and GDAL translates it block by block.
"""

from pathlib import Path

import rasterio
import rasterio.shutil
from rasterio._err import CPLE_BaseError  # GDAL's errors; rasterio has no public name for them
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader

COG = {
    "driver": "COG",
    "compress": "deflate",
    "level": 1,  # level 6 makes heights 3 % smaller and takes a fifth longer
    "predictor": "yes",  # 3 for floats, 2 for integers
    "overview_resampling": "average",  # pixels without data are left out; of a mask's zeros and ones, the majority wins
    "bigtiff": "if_safer",
    "num_threads": 4,  # each holds several blocks, so that 64 need 300 MB more
}
ROOM = 2  # bytes that a translation needs at the same time, per byte of the draft: the copy and its overviews, twice


def translate(draft: Path, path: Path) -> bool:
    """Write a Cloud-Optimized GeoTIFF of a draft. Returns False when one of the two files has damage.

    Size, grid, GCPs, RPCs, masks, nodata, tags, units and descriptions are the draft's.
    """
    try:
        with rasterio.open(draft) as raster:
            if not has_all_blocks(raster):
                return False
        rasterio.shutil.copy(draft, path, **COG)
        return is_whole(path)
    except (RasterioError, CPLE_BaseError):
        return False


def is_whole(path: Path) -> bool:
    """Whether every block of a GeoTIFF was written and can be decoded."""
    try:
        with rasterio.open(path) as raster:
            for band in raster.indexes:
                for _, window in raster.block_windows(band):
                    raster.read(band, window=window)
            return has_all_blocks(raster)
    except RasterioError:
        return False


def has_all_blocks(raster: DatasetReader) -> bool:
    """Whether a GeoTIFF holds all its blocks. A block that is not in the file would be read as zeros."""
    return all(
        raster.get_tag_item(f"BLOCK_OFFSET_{column}_{row}", "TIFF", bidx=band) is not None
        for band in raster.indexes
        for (row, column), _ in raster.block_windows(band)
    )
