"""The competition's files, and the only home of centimetres, 65535, px/cm and file names.

Inside the code: metres, px/m, radians, NaN = unknown. A label folder holds either integer centimetres (65535 = no
lidar return) with scale in px/cm, or float metres (NaN = unknown) with scale in px/m: the AGL file's dtype tells.
Every fault of a file raises UserError with one line: what, where, how to mend it.
"""

import json
import math
import os
import re
import tempfile
import warnings
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import rasterio
from rasterio.enums import Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import MemoryFile
from rasterio.windows import Window

from geopose.cli import UserError, one_line, progress

warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)

UNKNOWN_CM = 65535
CM_PER_M = 100.0
DEFLATE = {"compress": "deflate", "zlevel": 1}  # three times as fast as the usual level, files 5 % larger
MAX_AGL_M = (UNKNOWN_CM - 1) / CM_PER_M
MAX_PIXELS = 500_000_000  # of what is read whole
# What a crop of a large tile is read fastest from. The level makes files smaller and slows writing, not reading.
PREPARED = {"driver": "GTiff", "tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "zstd", "zstd_level": 9}

TABLE_COLUMNS = {
    "metadata.csv": ("id", "city", "gsd"),
    "geopose_train.csv": ("id", "agl", "json", "rgb"),
    "geopose_test.csv": ("id", "rgb"),
    "folds.csv": ("id", "city", "fold"),
    "places.csv": ("id", "place"),
}


@dataclass(frozen=True)
class AglFile:
    """A height file's content: agl_m float32 [H, W] metres, NaN unknown; its unit; its compression, or None."""

    agl_m: np.ndarray
    centimetres: bool
    compression: str | None


@dataclass(frozen=True)
class VflowLabel:
    """Image-wide label: scale in px/m and angle in radians, [0, 2 pi) as written by the labeller."""

    scale_px_per_m: float
    angle_rad: float


# --- file names -------------------------------------------------------------------------------------------------


def rgb_name(tile_id: str, suffix: str = "j2k") -> str:
    """File name of a tile's image."""
    return f"{tile_id}_RGB.{suffix}"


def agl_name(tile_id: str) -> str:
    """File name of a tile's heights."""
    return f"{tile_id}_AGL.tif"


def vflow_name(tile_id: str) -> str:
    """File name of a tile's scale and angle."""
    return f"{tile_id}_VFLOW.json"


def label_of(file_name: str) -> tuple[str, str] | None:
    """(tile id, "agl" or "vflow") of a label's file name; None for any other name."""
    for kind, suffix in (("agl", agl_name("")), ("vflow", vflow_name(""))):
        if file_name.endswith(suffix) and len(file_name) > len(suffix):
            return file_name.removesuffix(suffix), kind
    return None


def city_of(tile_id: str) -> str:
    """City of a tile id: ARG of ARG_xxxxxx."""
    return tile_id.split("_")[0]


# --- tables -----------------------------------------------------------------------------------------------------


def read_train_table(root: str | os.PathLike) -> pd.DataFrame:
    """Training tiles of a competition folder: columns id, city, gsd_m, rgb, agl, vflow (paths as text)."""
    root = Path(root)
    table = _read_split(root, "geopose_train.csv")
    return pd.DataFrame(
        {
            "id": table.id,
            "city": table.city,
            "gsd_m": table.gsd,
            "rgb": [str(root / "train" / name) for name in table.rgb],
            "agl": [str(root / "train" / name) for name in table.agl],
            "vflow": [str(root / "train" / name) for name in table.json],
        }
    )


def read_test_table(root: str | os.PathLike) -> pd.DataFrame:
    """Test tiles of a competition folder: columns id, city, gsd_m, rgb (paths as text)."""
    root = Path(root)
    table = _read_split(root, "geopose_test.csv")
    return pd.DataFrame(
        {
            "id": table.id,
            "city": table.city,
            "gsd_m": table.gsd,
            "rgb": [str(root / "test" / name) for name in table.rgb],
        }
    )


def find_gsd_m(rgb: Path) -> float | None:
    """Metres per pixel of a competition tile, whose folder's metadata.csv tells it; None for any other image."""
    metadata = rgb.resolve().parent.parent / "metadata.csv"
    if not rgb.stem.endswith("_RGB") or not metadata.exists():
        return None
    table = read_csv(metadata).set_index("id").gsd
    tile_id = _tile_id(rgb.name)
    return float(table[tile_id]) if tile_id in table.index else None


def find_truth(rgb: Path) -> VflowLabel | None:
    """True scale and angle of a competition tile where its folder has them, in truth/ or beside it; else None."""
    tile_id, here = _tile_id(rgb.name), rgb.resolve().parent
    for folder in (here, here.parent / "truth"):
        if (folder / vflow_name(tile_id)).exists() and (folder / agl_name(tile_id)).exists():
            return read_vflow(folder / vflow_name(tile_id), folder / agl_name(tile_id))
    return None


def find_labels(root: str | os.PathLike) -> pd.DataFrame:
    """Labels in a folder, or in the truth/ of a competition folder: columns id, agl, vflow (paths as text)."""
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; give one that holds {agl_name('<id>')} and {vflow_name('<id>')}")
    for folder in (root, root / "truth"):
        files = sorted(folder.glob(agl_name("?*")))
        if files:
            ids = [label_of(file.name)[0] for file in files]
            vflow = [str(folder / vflow_name(tile_id)) for tile_id in ids]
            return pd.DataFrame({"id": ids, "agl": [str(file) for file in files], "vflow": vflow})
    raise UserError(f"{root}: holds no {agl_name('<id>')}; give the folder with the true heights")


def read_places(root: str | os.PathLike) -> pd.Series | None:
    """Place of each tile by id, when the folder has a places.csv (the synthetic data does); else None."""
    path = Path(root) / "places.csv"
    return read_csv(path).set_index("id").place if path.exists() else None


def read_folds(path: str | os.PathLike, train_table: pd.DataFrame) -> pd.Series:
    """Fold number of each training tile, by id. Raises UserError when the two tables hold different ids."""
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path} missing; run 'make folds'")
    folds = read_csv(path).set_index("id").fold
    _refuse_difference(set(train_table.id), set(folds.index), "geopose_train.csv", str(path), "run 'make folds' again")
    if not pd.api.types.is_integer_dtype(folds):  # NumPy cannot judge the dtype pandas gives text
        raise UserError(f"{path}: column fold must hold whole numbers; run 'make folds' again")
    return folds


def read_csv(path: str | os.PathLike) -> pd.DataFrame:
    """A competition table with its required columns checked, its ids unique and, where it has cities, in full."""
    path = Path(path)
    columns = TABLE_COLUMNS.get(path.name, TABLE_COLUMNS["folds.csv"])
    if not path.exists():
        raise UserError(f"{path} missing; a competition folder holds {', '.join(list(TABLE_COLUMNS)[:3])}")
    try:
        table = pd.read_csv(path, dtype={"id": str, "city": str}, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, ValueError) as error:
        raise UserError(f"{path}: not a readable CSV ({one_line(error)}); download or make it again") from None
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise UserError(f"{path}: no column {', '.join(missing)}; it must have {', '.join(columns)}")
    if table.empty:
        raise UserError(f"{path}: holds no rows; download or make it again")
    if "city" in columns:
        table["id"] = [_full_id(i, c) for i, c in zip(table.id, table.city, strict=True)]
    # Ids without their city may repeat between cities; full ids and image names may not.
    ids = table.rgb.map(_tile_id) if "rgb" in columns else table.id
    repeated = ids[ids.duplicated()].unique()
    if len(repeated):
        raise UserError(f"{path}: {_some(repeated)} stand in more than one row; keep one row per id")
    return table


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write a table so that a half-written file never has its name."""
    with writing(path) as temporary:
        table.to_csv(temporary, index=False)


def _read_split(root: Path, csv_name: str) -> pd.DataFrame:
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; run 'make data' or give the competition's folder as DATA=")
    if not any(root.iterdir()):
        raise UserError(f"{root}: the folder is empty; run 'make data' or give the competition's folder as DATA=")
    metadata, table = read_csv(root / "metadata.csv"), read_csv(root / csv_name)
    metadata["gsd"] = pd.to_numeric(metadata.gsd, errors="coerce")
    bad_gsd = metadata.id[~(metadata.gsd > 0) | ~np.isfinite(metadata.gsd)]
    if len(bad_gsd):
        raise UserError(f"{root / 'metadata.csv'}: {_some(bad_gsd)} without a positive gsd; give metres per pixel")
    for row_id, rgb in zip(table.id, table.rgb, strict=True):
        if not _tile_id(rgb).endswith(row_id):
            raise UserError(f"{root / csv_name}: id {row_id} has the image {rgb}; ids and file names must agree")
    table["id"] = [_tile_id(name) for name in table.rgb]
    _refuse_difference(set(table.id), set(table.id) & set(metadata.id), csv_name, "metadata.csv", "add their rows")
    return table.merge(metadata[["id", "city", "gsd"]], on="id", how="left", validate="one_to_one")


def _full_id(row_id: str, city: str) -> str:
    """CITY_xxxxxx, whether or not the table's id names the city."""
    return row_id if row_id.startswith(f"{city}_") else f"{city}_{row_id}"


def _tile_id(rgb_file: str) -> str:
    return Path(rgb_file).stem.removesuffix("_RGB")


def _refuse_difference(ids: set[str], others: set[str], name: str, other_name: str, remedy: str) -> None:
    for only, where, absent in ((ids - others, name, other_name), (others - ids, other_name, name)):
        if only:
            raise UserError(f"{_some(sorted(only))} stand in {where} but not in {absent}; {remedy}")


def _some(ids, shown: int = 3) -> str:
    ids = [str(tile_id) for tile_id in ids]
    return f"{len(ids)} ids ({', '.join(ids[:shown])}{', ...' if len(ids) > shown else ''})"


# --- reading ----------------------------------------------------------------------------------------------------


def image_size(path: str | os.PathLike) -> tuple[int, int]:
    """(height, width) of a raster, from its header alone."""
    with _open(path) as raster:
        return raster.height, raster.width


def read_rgb(path: str | os.PathLike, window: Window | None = None) -> np.ndarray:
    """A tile's image, or one window of it. Returns uint8 [H, W, 3]."""
    with _open(path) as raster:
        if raster.count != 3 or raster.dtypes[0] != "uint8":
            raise UserError(f"{path}: {raster.count} bands of {raster.dtypes[0]}; a tile's image has 3 bands of uint8")
        if window is None:
            _refuse_giant(raster, str(path))
        return cv2.merge(raster.read(window=window))  # [H, W, 3] in a tenth of the time of NumPy's transposed copy


def read_rgb_thumbnail(path: str | os.PathLike, side_px: int) -> np.ndarray:
    """A tile's whole image shrunk to uint8 [side_px, side_px, 3]; a .j2k is decoded only as far as that needs."""
    with _open(path) as raster:
        shape = (raster.count, side_px, side_px)
        return np.ascontiguousarray(raster.read(out_shape=shape, resampling=Resampling.average).transpose(1, 2, 0))


def read_agl(path: str | os.PathLike, window: Window | None = None) -> np.ndarray:
    """A tile's height above ground, or one window of it. Returns float32 [H, W] metres, NaN = unknown."""
    with _open(path) as raster:
        return _read_heights(raster, str(path), window)


def decode_agl(content: bytes, where: str, size: tuple[int, int] | None = None) -> AglFile:
    """Heights from a TIFF file's bytes; where names the file in errors. Refuses a size (H, W) other than the given."""
    with (
        one_line_errors(where),
        MemoryFile(content or b"empty", filename="heights.tif") as memory,
        memory.open(driver="GTiff") as raster,
    ):
        if size is not None and (raster.height, raster.width) != size:
            raise UserError(f"{where}: {raster.height}x{raster.width}, but its image is {size[0]}x{size[1]}; resize it")
        agl_m = _read_heights(raster, where)
        compression = raster.compression.value.lower() if raster.compression else None
        return AglFile(agl_m, _is_centimetres(where, np.dtype(raster.dtypes[0])), compression)


def _read_heights(raster: rasterio.DatasetReader, where: str, window: Window | None = None) -> np.ndarray:
    centimetres = _is_centimetres(where, np.dtype(raster.dtypes[0]))
    if raster.count > (1 if centimetres else 2):  # a scene's metres have their spread as a second band
        raise UserError(f"{where}: {raster.count} bands; heights have one band")
    if window is None:
        _refuse_giant(raster, where)
    values = raster.read(1, window=window)
    if not centimetres:
        return values.astype(np.float32)
    agl_m = np.divide(values, np.float32(CM_PER_M), dtype=np.float32)
    agl_m[values == UNKNOWN_CM] = np.nan
    return agl_m


def _refuse_giant(raster: rasterio.DatasetReader, where: str) -> None:
    """A damaged header may ask for more memory than there is."""
    if raster.height * raster.width > MAX_PIXELS:
        raise UserError(
            f"{where}: {raster.height}x{raster.width}, more than {MAX_PIXELS:.0e} pixels; "
            "copy it again if it is damaged, else cut it"
        )


def read_vflow(path: str | os.PathLike, agl_path: str | os.PathLike) -> VflowLabel:
    """A tile's scale and angle; the dtype of its AGL file says whether scale is px/cm or px/m."""
    with _open(agl_path) as raster:
        return read_pose(path, _is_centimetres(agl_path, np.dtype(raster.dtypes[0])))


def read_pose(path: str | os.PathLike, centimetres: bool) -> VflowLabel:
    """A scale and angle whose unit is known: px/cm or px/m."""
    try:
        text = Path(path).read_text()
    except FileNotFoundError:
        raise UserError(f"{path} missing; every tile needs its {vflow_name('<id>')}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not text; write it again as {{'scale': px/cm, 'angle': rad}}") from None
    return parse_vflow(text, str(path), centimetres)


def parse_vflow(text: str | bytes, where: str, centimetres: bool = True, finite: bool = True) -> VflowLabel:
    """Scale and angle from JSON text; where names the file in errors; centimetres: "scale" is px/cm, else px/m.

    finite=False lets NaN and infinity pass: the score of a prediction takes note of them instead.
    """
    try:
        values = json.loads(text, parse_int=float)  # an integer of 400 digits is no float
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not JSON ({error}); write it again") from None
    if not isinstance(values, dict):
        raise UserError(f"{where}: not a JSON object; it must hold scale and angle")
    numbers = {}
    keys = ("scale", "angle")
    if "scale_px_per_m" in values:  # a scene's pose, which names its units
        keys, centimetres = ("scale_px_per_m", "angle_rad"), False
    for key in keys:
        value = values.get(key)
        if not isinstance(value, float) or (finite and not math.isfinite(value)):
            raise UserError(f"{where}: {key} is {value if key in values else 'missing'}; it must be a finite number")
        numbers[key] = float(value)
    scale, angle_rad = (numbers[key] for key in keys)
    return VflowLabel(scale * (CM_PER_M if centimetres else 1.0), angle_rad)


def check_labels(table: pd.DataFrame) -> None:
    """Refuse a training table whose files are missing, whose image and AGL differ in size, or whose units mix.

    table has the columns of read_train_table. Only headers are read. Raises UserError naming the first bad tile.
    """

    def header(row) -> bool:
        with _open(row.rgb) as image, _open(row.agl) as agl:
            if image.shape != agl.shape:
                raise UserError(_size_fault(row, image.shape, agl.shape))
            if not Path(row.vflow).exists():
                raise UserError(f"{row.vflow} missing; every tile needs its {vflow_name('<id>')}")
            return _is_centimetres(row.agl, np.dtype(agl.dtypes[0]))

    with ThreadPoolExecutor() as pool:
        centimetres = list(pool.map(header, table.itertuples()))
    if len(set(centimetres)) > 1:
        odd = table.agl[np.array(centimetres) != centimetres[0]].iloc[0]
        raise UserError(
            f"{odd}: integer centimetres and float metres are mixed in one folder; keep labels of one unit together"
        )


def find_bad_tiles(table: pd.DataFrame, workers: int) -> dict[str, str]:
    """What is wrong, in one line, with each training tile that cannot be read to the last pixel, by id.

    table has the columns of read_train_table.
    """

    def fault(row) -> str | None:
        try:
            rgb, agl_m = read_rgb(row.rgb), read_agl(row.agl)
            read_vflow(row.vflow, row.agl)
        except UserError as error:
            return str(error)
        return None if rgb.shape[:2] == agl_m.shape else _size_fault(row, rgb.shape[:2], agl_m.shape)

    with ThreadPoolExecutor(workers) as pool:
        faults = progress(pool.map(fault, table.itertuples()), "read all tiles", total=len(table), unit="tile")
        return {tile_id: fault for tile_id, fault in zip(table.id, faults, strict=True) if fault}


def _size_fault(row, rgb_size: tuple[int, int], agl_size: tuple[int, int]) -> str:
    (height, width), (agl_height, agl_width) = rgb_size, agl_size
    return f"{row.agl}: {agl_height}x{agl_width}, but its RGB is {height}x{width}; replace the one that is wrong"


@contextmanager
def _open(path: str | os.PathLike) -> Iterator[rasterio.DatasetReader]:
    """An open raster; a fault on opening or reading becomes one line."""
    if not Path(path).exists():
        raise UserError(f"{path} missing; restore the file or take its id out of the CSV")
    with one_line_errors(str(path)), rasterio.open(path) as raster:
        yield raster


@contextmanager
def one_line_errors(where: str) -> Iterator[None]:
    """Faults of a raster as UserError with one line; where names the file."""
    try:
        yield
    except RasterioError as error:
        cause = re.sub(r"/vsimem/[^/]+/", "", str(error.__cause__ or error))  # files in memory have random names
        raise UserError(f"{where}: truncated or no image ({cause}); copy or make the file again") from None


def _is_centimetres(path: str | os.PathLike, dtype: np.dtype) -> bool:
    if dtype == np.uint16:
        return True
    if dtype in (np.float32, np.float64):
        return False
    raise UserError(f"{path}: dtype {dtype}; heights are uint16 centimetres or float32 metres")


# --- writing ----------------------------------------------------------------------------------------------------


UNFINISHED = ".part-"  # how the names of files begin that are being written


@contextmanager
def writing(path: str | os.PathLike) -> Iterator[Path]:
    """A temporary path beside `path` that takes its name when the block ends well, and is removed when it does not."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f"{UNFINISHED}{path.stem}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def remove_unfinished(folder: str | os.PathLike) -> None:
    """Remove what killed processes left half-written in a folder and below, while nobody writes there."""
    for left in Path(folder).rglob(f"{UNFINISHED}*"):
        left.unlink(missing_ok=True)


def write_bytes(path: str | os.PathLike, content: bytes) -> None:
    """Write a whole file, never half of one under its name."""
    with writing(path) as temporary:
        temporary.write_bytes(content)


def encode_rgb(rgb: np.ndarray, suffix: str) -> bytes:
    """An image uint8 [H, W, 3] as a lossless .tif (deflate tiles) or .j2k (JPEG2000 codestream) file."""
    profile = {
        "tif": {"driver": "GTiff", **DEFLATE, "predictor": 2, "tiled": True},
        "j2k": {"driver": "JP2OpenJPEG", "codec": "J2K", "quality": "100", "reversible": "YES", "ycbcr420": "NO"},
    }[suffix]
    return _encode(rgb.transpose(2, 0, 1), profile)


def encode_agl(agl_m: np.ndarray) -> bytes:
    """Heights float [H, W] in metres, NaN = unknown, as the competition's uint16 centimetre TIFF (deflate).

    Negative heights become 0. Raises ValueError above 655.34 m, which the format cannot hold.
    """
    return _encode(agl_to_cm(agl_m)[None], {"driver": "GTiff", **DEFLATE})


def agl_to_cm(agl_m: np.ndarray) -> np.ndarray:
    """Heights in metres as the competition's uint16 centimetres, NaN as 65535; see encode_agl."""
    agl_cm = np.rint(np.maximum(agl_m, 0.0) * CM_PER_M)
    highest_cm = np.nanmax(agl_cm, initial=0.0)
    if highest_cm >= UNKNOWN_CM:  # tested after rounding: float32 655.34 m lies just above the limit
        raise ValueError(f"a height of {highest_cm / CM_PER_M:g} m; the format holds at most {MAX_AGL_M} m")
    return np.where(np.isnan(agl_cm), UNKNOWN_CM, agl_cm).astype(np.uint16)


def encode_vflow(scale_px_per_m: float, angle_rad: float) -> bytes:
    """Scale and angle as the competition's JSON, px/cm and radians."""
    return json.dumps({"scale": float(scale_px_per_m) / CM_PER_M, "angle": float(angle_rad)}).encode()


@contextmanager
def raster_like(
    path: str | os.PathLike, like: str | os.PathLike, count: int, dtype: type
) -> Iterator[rasterio.io.DatasetWriter]:
    """A GeoTIFF on the grid of another file, open for windows of it; takes its name when the block ends well."""
    with _open(like) as grid:
        profile = {"height": grid.height, "width": grid.width, "crs": grid.crs, "transform": grid.transform}
    predictor = 3 if np.issubdtype(dtype, np.floating) else 2
    if predictor == 3:
        profile["nodata"] = np.nan
    profile |= {"driver": "GTiff", **DEFLATE, "predictor": predictor, "tiled": True, "BIGTIFF": "IF_SAFER"}
    with writing(path) as temporary, rasterio.open(temporary, "w", count=count, dtype=dtype, **profile) as raster:
        yield raster


def encode_prepared(source: str | os.PathLike) -> bytes:
    """A raster's pixels, lossless and in their own dtype, as a TIFF of 256 px tiles; decoded again and compared.

    Raises UserError when that does not give the same pixels.
    """
    with _open(source) as raster:
        bands = raster.read()
    # Whole centimetres shrink no further by differences, and take nearly twice as long to read.
    predictor = {"uint8": 2, "uint16": 1}.get(bands.dtype.name, 3)
    content = _encode(bands, {**PREPARED, "predictor": predictor, "interleave": "pixel"})
    with MemoryFile(content) as memory, memory.open() as copy:
        if zlib.crc32(np.ascontiguousarray(copy.read())) != zlib.crc32(np.ascontiguousarray(bands)):
            raise UserError(f"{source}: its copy holds other pixels; check the machine's memory, then run again")
    return content


def _encode(bands: np.ndarray, profile: dict) -> bytes:
    count, height, width = bands.shape
    with MemoryFile() as memory:
        with memory.open(count=count, height=height, width=width, dtype=bands.dtype, **profile) as raster:
            raster.write(bands)
        return memory.read()
