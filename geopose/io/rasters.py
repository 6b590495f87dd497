"""Images and heights: reading, windows, encoding.

Inside the code heights are float32 metres and NaN is unknown. A height file holds uint16 centimetres, where 65535 means
no lidar return, or float metres, where NaN, infinity and whatever the file calls no data are unknown. The dtype says
which. Every fault of a file raises UserError with one line: what is wrong, where, and how to fix it.
"""

import os
import re
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import rasterio
from rasterio.enums import Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader, DatasetWriter, MemoryFile
from rasterio.windows import Window

from geopose.cli import UserError
from geopose.io.cog import ROOM, is_masked, translate
from geopose.io.colours import rgb_bands
from geopose.io.files import beside, file_status, refuse_full_disk, writing
from geopose.io.nodata import no_data
from geopose.io.png import is_damaged_png
from geopose.version import VERSION

warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)

UNKNOWN_CM = 65535
CM_PER_M = 100.0
UNKNOWN_VALUES = f"{UNKNOWN_CM} or NaN"  # for messages
MAX_AGL_M = (UNKNOWN_CM - 1) / CM_PER_M
LIKELY_AGL_M = (-100.0, 1000.0)  # known heights outside are no data that the file does not call so, or another unit
MAX_PIXELS = 500_000_000  # limit for rasters that are read completely
# GDAL's limit for decoded blocks while a scene is read and written by windows. By default it is a twentieth of the
# machine's memory, or GDAL_CACHEMAX of the environment. 1024 rows of 20,000 px need 61 MB, or 123 MB with 16 bits.
CACHE_BYTES = 200 * 2**20
DEFLATE = {"compress": "deflate", "zlevel": 1}  # three times as fast as the default level, and files are 5 % larger
# Crops of a large tile are read fastest from this format. A higher level slows writing only, and files get smaller.
PREPARED = {"driver": "GTiff", "tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "zstd", "zstd_level": 9}
HEADER_BYTES = 2**16  # without room for the header of a mask, GDAL ends the whole process
MIXED_UNITS = "integer centimetres and float metres are mixed in one folder; keep labels of one unit together"


@dataclass(frozen=True)
class AglFile:
    """Content of a height file: agl_m float32 [H, W] metres (NaN unknown), its unit, its compression or None."""

    agl_m: np.ndarray
    centimetres: bool
    compression: str | None


# --- reading ----------------------------------------------------------------------------------------------------


@contextmanager
def open_raster(path: str | os.PathLike) -> Iterator[DatasetReader]:
    """An open raster. A fault while opening or reading raises UserError with one line."""
    file_status(path)
    with one_line_errors(str(path)), rasterio.open(path) as raster:
        # Only the driver of PNG files reads a truncated file without an error. A VRT may consist of such files.
        for file in raster.files if raster.driver in ("PNG", "VRT") else ():
            if Path(file).is_file() and is_damaged_png(Path(file)):
                raise UserError(f"{file}: truncated or damaged; copy or create the file again")
        yield raster


@contextmanager
def open_scene(path: str | os.PathLike) -> Iterator[DatasetReader]:
    """open_raster for an image of any size. Until it is closed, GDAL keeps CACHE_BYTES of blocks of all open files."""
    with rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES), open_raster(path) as image:  # rasterio takes bytes, unlike GDAL
        yield image


@contextmanager
def one_line_errors(where: str) -> Iterator[None]:
    """Turn rasterio's errors into UserError with one line. where names the file."""
    try:
        yield
    except RasterioError as error:
        cause = re.sub(r"/vsimem/[^/]+/", "", str(error.__cause__ or error))  # files in memory have random names
        raise UserError(f"{where}: truncated or not an image ({cause}); copy or create the file again") from None


def image_size(path: str | os.PathLike) -> tuple[int, int]:
    """(height, width) of a raster. Only the header is read."""
    with open_raster(path) as raster:
        return raster.height, raster.width


def read_rgb(path: str | os.PathLike, window: Window | None = None) -> np.ndarray:
    """A tile's image, or one window of it. Returns uint8 [H, W, 3]."""
    with open_raster(path) as raster:
        if raster.count != 3 or raster.dtypes[0] != "uint8":
            raise UserError(f"{path}: {raster.count} bands of {raster.dtypes[0]}; a tile's image has 3 bands of uint8")
        if window is None:
            _refuse_giant(raster, str(path))
        bands = raster.read(rgb_bands(raster), window=window)
        return cv2.merge(bands)  # ten times as fast as NumPy's copy of the transposed array


def read_rgb_thumbnail(path: str | os.PathLike, side_px: int) -> np.ndarray:
    """A tile's image reduced to uint8 [side_px, side_px, 3]. A .j2k is decoded at a reduced resolution."""
    with open_raster(path) as raster:
        reduced = raster.read(rgb_bands(raster), out_shape=(3, side_px, side_px), resampling=Resampling.average)
        return np.ascontiguousarray(reduced.transpose(1, 2, 0))


def read_agl(path: str | os.PathLike, window: Window | None = None) -> np.ndarray:
    """A tile's height above ground, or one window of it. Returns float32 [H, W] metres, NaN unknown.

    Raises UserError for heights that no building and no valley has, see check_heights.
    """
    with open_raster(path) as raster:
        agl_m = _read_heights(raster, str(path), window)
    check_heights(agl_m, str(path))
    return agl_m


def check_heights(agl_m: np.ndarray, where: str) -> None:
    """Raise UserError for a known height outside LIKELY_AGL_M. agl_m [H,W] metres, NaN unknown; where names the file.

    A file with -9999 in its holes and no nodata tag would otherwise count them as deep pits.
    """
    low_m, high_m = np.nanmin(agl_m, initial=0), np.nanmax(agl_m, initial=0)
    if low_m < LIKELY_AGL_M[0] or high_m > LIKELY_AGL_M[1]:
        value = low_m if low_m < LIKELY_AGL_M[0] else high_m
        raise UserError(
            f"{where}: a height of {value:g} m; heights are {LIKELY_AGL_M[0]:g} to {LIKELY_AGL_M[1]:g} m above ground, "
            "so give metres, and name the value of unknown pixels as the file's nodata"
        )


def decode_agl(content: bytes, where: str, size: tuple[int, int] | None = None) -> AglFile:
    """Heights from the bytes of a TIFF file.

    where names the file in errors. size is the expected (H, W); another size raises UserError.
    """
    with (
        one_line_errors(where),
        MemoryFile(content or b"empty", filename="heights.tif") as memory,
        memory.open(driver="GTiff") as raster,
    ):
        if size is not None and (raster.height, raster.width) != size:
            raise UserError(f"{where}: {raster.height}x{raster.width}, but its image is {size[0]}x{size[1]}; resize it")
        agl_m = _read_heights(raster, where)
        compression = raster.compression.value.lower() if raster.compression else None
        return AglFile(agl_m, holds_centimetres(raster, where), compression)


def holds_centimetres(raster: DatasetReader, where: str) -> bool:
    """Whether a height file holds integer centimetres (True) or float metres (False). where names it in errors."""
    dtype = np.dtype(raster.dtypes[0])
    if dtype == np.uint16:
        return True
    if dtype in (np.float32, np.float64):
        return False
    raise UserError(f"{where}: dtype {dtype}; heights are uint16 centimetres or float32 metres")


def _read_heights(raster: DatasetReader, where: str, window: Window | None = None) -> np.ndarray:
    centimetres = holds_centimetres(raster, where)
    if raster.count > (1 if centimetres else 2):  # a scene's heights have their spread as a second band
        raise UserError(f"{where}: {raster.count} bands; heights have one band")
    if window is None:
        _refuse_giant(raster, where)
    values = raster.read((1,), window=window)
    unknown = _unknown(raster, values, window)[0]
    agl_m = values[0].astype(np.float32) if not centimetres else np.divide(values[0], CM_PER_M, dtype=np.float32)
    agl_m[unknown] = np.nan
    return agl_m


def _unknown(raster: DatasetReader, values: np.ndarray, window: Window | None = None) -> np.ndarray:
    """bool [B,H,W], True where a height file's values [B,H,W] of its first bands are unknown heights."""
    bands = range(1, len(values) + 1)
    if values.dtype != np.uint16:
        return no_data(raster, bands, values, window)
    unknown = values == UNKNOWN_CM
    # In centimetres 0 is the ground, also where a tool has set it as nodata.
    return unknown if raster.nodata == 0 else unknown | no_data(raster, bands, values, window)


def _refuse_giant(raster: DatasetReader, where: str) -> None:
    """Raise UserError for a very large raster, because a damaged header may request more memory than there is."""
    if raster.height * raster.width > MAX_PIXELS:
        raise UserError(
            f"{where}: {raster.height}x{raster.width}, more than {MAX_PIXELS:.0e} pixels; "
            "copy it again if it is damaged, otherwise crop it"
        )


# --- writing ----------------------------------------------------------------------------------------------------


def encode_rgb(rgb: np.ndarray, suffix: str) -> bytes:
    """An image uint8 [H, W, 3] as a lossless .tif (deflate tiles) or .j2k (JPEG2000 codestream) file."""
    profile = {
        "tif": {"driver": "GTiff", **DEFLATE, "predictor": 2, "tiled": True},
        "j2k": {"driver": "JP2OpenJPEG", "codec": "J2K", "quality": "100", "reversible": "YES", "ycbcr420": "NO"},
    }[suffix]
    return _encode(rgb.transpose(2, 0, 1), profile)


def encode_agl(agl_m: np.ndarray) -> bytes:
    """Heights float [H, W] in metres (NaN unknown) as the competition's TIFF: uint16 centimetres, deflate.

    Negative heights become 0. Raises ValueError above 655.34 m, the limit of the format.
    """
    return _encode(agl_to_cm(agl_m)[None], {"driver": "GTiff", **DEFLATE})


def agl_to_cm(agl_m: np.ndarray) -> np.ndarray:
    """Heights in metres as the competition's uint16 centimetres, NaN as 65535. See encode_agl."""
    agl_cm = np.rint(np.maximum(agl_m, 0.0) * CM_PER_M)
    highest_cm = np.nanmax(agl_cm, initial=0.0)
    if highest_cm >= UNKNOWN_CM:  # tested after rounding, because float32 655.34 m is slightly above the limit
        raise ValueError(f"a height of {highest_cm / CM_PER_M:g} m; the format holds at most {MAX_AGL_M} m")
    return np.where(np.isnan(agl_cm), UNKNOWN_CM, agl_cm).astype(np.uint16)


@contextmanager
def raster_like(path: str | os.PathLike, like: str | os.PathLike, count: int, dtype: type) -> Iterator[DatasetWriter]:
    """A Cloud-Optimized GeoTIFF on the grid of another file, open for writing by windows. It gets its name on success.

    Float rasters have NaN as nodata. A mask that is written goes into the file itself. Before the closed file gets its
    name, all its blocks must be in it, because GDAL may close a file without an error though the disk is full. Raises
    OSError then, and UserError for any other damage.
    """
    with open_raster(like) as grid:
        profile = {"height": grid.height, "width": grid.width, "crs": grid.crs, "transform": grid.transform}
        gcps, rpcs = grid.gcps, grid.rpcs
    predictor = 3 if np.issubdtype(dtype, np.floating) else 2
    if predictor == 3:
        profile["nodata"] = np.nan
    profile |= {"driver": "GTiff", **DEFLATE, "predictor": predictor, "tiled": True, "BIGTIFF": "IF_SAFER"}
    with writing(path) as temporary, beside(temporary, "draft") as draft:
        draft.write_bytes(bytes(HEADER_BYTES))
        try:
            with (
                rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
                rasterio.open(draft, "w", count=count, dtype=dtype, **profile) as raster,
            ):
                raster.update_tags(TIFFTAG_SOFTWARE=f"geopose {VERSION}")
                if gcps[0] and profile["transform"].is_identity:  # GCPs would remove the transform
                    raster.gcps = gcps
                if rpcs:
                    raster.rpcs = rpcs
                yield raster
                masked = is_masked(raster)
        except RasterioError:
            refuse_full_disk(temporary)  # the fault is the disk's then, not that of an image that is read meanwhile
            raise
        if not translate(draft, temporary, masked):
            refuse_full_disk(temporary, ROOM * draft.stat().st_size)  # GDAL has removed what it could not finish
            raise UserError(f"{path}: damaged while it was written; check its disk, then run again")


def encode_prepared(source: str | os.PathLike) -> bytes:
    """An image or a height file as a lossless TIFF of 256 px tiles in the raster's own dtype.

    The copy has no tags: bands are red, green and blue, and unknown heights are 65535 or NaN. The result is decoded
    again and compared. Raises UserError when the pixels differ.
    """
    with open_raster(source) as raster:
        if raster.count == 3:
            bands = raster.read(rgb_bands(raster))
        else:
            bands = raster.read()
            if bands.dtype in (np.uint16, np.float32, np.float64):
                bands[_unknown(raster, bands)] = UNKNOWN_CM if bands.dtype == np.uint16 else np.nan
    # A predictor does not make integer centimetres smaller, and reading takes nearly twice as long with one.
    predictor = {"uint8": 2, "uint16": 1}.get(bands.dtype.name, 3)
    content = _encode(bands, {**PREPARED, "predictor": predictor, "interleave": "pixel"})
    with MemoryFile(content) as memory, memory.open() as copy:
        if zlib.crc32(np.ascontiguousarray(copy.read())) != zlib.crc32(np.ascontiguousarray(bands)):
            raise UserError(f"{source}: its copy has different pixels; check the machine's memory, then run again")
    return content


def _encode(bands: np.ndarray, profile: dict) -> bytes:
    count, height, width = bands.shape
    with MemoryFile() as memory:
        with memory.open(count=count, height=height, width=width, dtype=bands.dtype, **profile) as raster:
            raster.write(bands)
        return memory.read()
