"""Cloud-Optimized GeoTIFF: tiles and overviews, in an order that lets a map viewer read only the part it shows.

Such a file cannot be written strip by strip, because its overviews come first. A plain GeoTIFF, the draft, is written
before, and GDAL translates it block by block.
"""

from pathlib import Path

import rasterio
import rasterio.shutil
from rasterio._err import CPLE_BaseError  # GDAL's errors; rasterio has no public name for them
from rasterio.enums import MaskFlags
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


def translate(draft: Path, path: Path, masked: bool) -> bool:
    """Write a Cloud-Optimized GeoTIFF of a draft. Returns False when one of the two files has damage.

    Size, grid, GCPs, RPCs, masks, nodata, tags, units and descriptions are the draft's. masked: whether a mask was
    written into the draft. A full disk can take it away and leave the rest.
    """
    if not has_all_blocks(draft, masked):
        return False
    try:
        rasterio.shutil.copy(draft, path, **COG)
    except (RasterioError, CPLE_BaseError, SystemError):  # rasterio raises SystemError for faults without a text
        return False
    return has_all_blocks(path, masked)


def is_masked(raster: DatasetReader) -> bool:
    """Whether a GeoTIFF holds a mask."""
    return MaskFlags.per_dataset in raster.mask_flag_enums[0]


def has_all_blocks(path: Path, masked: bool) -> bool:
    """Whether a GeoTIFF holds all its blocks from their first to their last byte, also those of overviews and masks.

    A full disk leaves a file that ends early, or a directory that does not name its blocks, and GDAL closes it without
    an error. Nothing is decoded for this. A block that is not in the file would be read as zeros.
    """
    try:
        with rasterio.open(path) as raster:
            directories = (1 + len(raster.overviews(1))) * (1 + masked)
        return all(_has_all_blocks(path, 1 + number) for number in range(directories))
    except RasterioError:
        return False


def _has_all_blocks(path: Path, directory: int) -> bool:
    """The same of one directory of the file, which counts from 1: the raster, an overview, or the mask of one."""
    with rasterio.open(f"GTIFF_DIR:{directory}:{path}") as raster:
        return all(
            0 < _block_end(raster, band, row, column) <= path.stat().st_size
            for band in raster.indexes
            for (row, column), _ in raster.block_windows(band)
        )


def _block_end(raster: DatasetReader, band: int, row: int, column: int) -> int:
    """Where a block ends in the file of a raster. 0 if it is not there."""
    place = (f"BLOCK_{name}_{column}_{row}" for name in ("OFFSET", "SIZE"))
    offset, size = (raster.get_tag_item(name, "TIFF", bidx=band) for name in place)
    return int(offset) + int(size) if offset and size else 0
