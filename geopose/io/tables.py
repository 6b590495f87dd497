"""The CSV tables of a competition folder, and the files that belong to their rows."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

from geopose.cli import UserError, list_some, one_line, progress
from geopose.io.files import writing
from geopose.io.names import agl_name, label_of, tile_id_of, vflow_name
from geopose.io.poses import VflowLabel, read_vflow
from geopose.io.rasters import MIXED_UNITS, holds_centimetres, open_raster, read_agl, read_rgb

TABLE_COLUMNS = {
    "metadata.csv": ("id", "city", "gsd"),
    "geopose_train.csv": ("id", "agl", "json", "rgb"),
    "geopose_test.csv": ("id", "rgb"),
    "folds.csv": ("id", "city", "fold"),
    "places.csv": ("id", "place"),
}
MAX_GSD_M = 10.0  # no building leans visibly in coarser images, and a larger number is most likely in centimetres
NO_DATA_REMEDY = "give the competition's folder as DATA=, or render a folder with 'make data DATA=...'"
GSD_REMEDY = f"give metres per pixel, above 0 and at most {MAX_GSD_M:g}"


def read_train_table(root: str | os.PathLike) -> pd.DataFrame:
    """Training tiles of a competition folder: columns id, city, gsd_m, rgb, agl, vflow (paths as text)."""
    table = _read_split(Path(root), "geopose_train.csv")
    files = {"rgb": table.rgb, "agl": table.agl, "vflow": table.json}
    return _with_paths(table, Path(root) / "train", files)


def read_test_table(root: str | os.PathLike) -> pd.DataFrame:
    """Test tiles of a competition folder: columns id, city, gsd_m, rgb (paths as text)."""
    table = _read_split(Path(root), "geopose_test.csv")
    return _with_paths(table, Path(root) / "test", {"rgb": table.rgb})


def read_halves(root: str | os.PathLike) -> list[pd.DataFrame]:
    """read_train_table and read_test_table of a competition folder. A half without a table is left out.

    Raises UserError when it has neither.
    """
    readers = {"geopose_train.csv": read_train_table, "geopose_test.csv": read_test_table}
    return [read(root) for name, read in readers.items() if (Path(root) / name).exists()] or [read_train_table(root)]


def is_competition(root: str | os.PathLike) -> bool:
    """Whether a folder has a metadata.csv with a competition's columns. Other images may have one with others."""
    path = Path(root) / "metadata.csv"
    try:
        columns = pd.read_csv(path, nrows=0, encoding_errors="replace").columns
    except (OSError, ValueError):  # pandas' own errors are ValueErrors
        return False
    return set(TABLE_COLUMNS[path.name]) <= set(columns)


def check_gsd(gsd_m: float, where: str) -> float:
    """The same metres per pixel. where names their source in errors. Raises UserError when they are impossible."""
    if not _is_gsd(gsd_m):
        raise UserError(f"{where} {gsd_m:g}: {GSD_REMEDY}")
    return gsd_m


def find_gsd_m(rgb: Path) -> float | None:
    """Metres per pixel of a competition tile, from its folder's metadata.csv. None for any other image.

    Raises UserError when the tile's gsd is impossible.
    """
    tile_id = tile_id_of(rgb)
    for folder in _folders_of(rgb) if rgb.stem.endswith("_RGB") else ():
        metadata = folder.parent / "metadata.csv"
        if is_competition(folder.parent):
            table = read_csv(metadata).set_index("id").gsd
            if tile_id in table.index:
                gsd_m = pd.to_numeric(table, errors="coerce")[tile_id]
                if not _is_gsd(gsd_m):
                    raise UserError(
                        f"{metadata}: the gsd of {tile_id} is {table[tile_id]}; {GSD_REMEDY}, or give --gsd"
                    )
                return float(gsd_m)
    return None


def find_truth(rgb: Path) -> VflowLabel | None:
    """True scale and angle of a competition tile, from its own folder or truth/. None where there is no label."""
    tile_id = tile_id_of(rgb)
    for folder in (folder for here in _folders_of(rgb) for folder in (here, here.parent / "truth")):
        if (folder / vflow_name(tile_id)).exists() and (folder / agl_name(tile_id)).exists():
            return read_vflow(folder / vflow_name(tile_id), folder / agl_name(tile_id))
    return None


def truth_folder(root: str | os.PathLike) -> Path:
    """The folder with the labels of a competition folder's test half. Raises UserError where there is none."""
    folder = Path(root) / "truth"
    if not folder.is_dir():
        raise UserError(f"{root} has no truth/ folder, so its test half cannot be scored; use the synthetic data")
    return folder


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
    """Place of each tile by id when the folder has a places.csv (synthetic data does), otherwise None."""
    path = Path(root) / "places.csv"
    return read_csv(path).set_index("id").place if path.exists() else None


def read_folds(path: str | os.PathLike, train_table: pd.DataFrame) -> pd.Series:
    """Fold number of each training tile, by id. Raises UserError when the two tables hold different ids."""
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path} missing; run 'make folds'")
    folds = read_csv(path).set_index("id").fold
    _refuse_missing(folds.index, train_table.id, "geopose_train.csv", "run 'make folds' again")
    _refuse_missing(train_table.id, folds.index, str(path), "run 'make folds' again")
    if not pd.api.types.is_integer_dtype(folds):  # not np.issubdtype, which fails on pandas' text dtype
        raise UserError(f"{path}: column fold must hold whole numbers; run 'make folds' again")
    return folds


def read_csv(path: str | os.PathLike) -> pd.DataFrame:
    """A competition table. Its columns are checked, its ids are unique, and ids get their city where it has one."""
    path = Path(path)
    columns = TABLE_COLUMNS.get(path.name, TABLE_COLUMNS["folds.csv"])
    if not path.exists():
        raise UserError(f"{path} missing; a competition folder holds {', '.join(list(TABLE_COLUMNS)[:3])}")
    if path.is_dir():
        raise UserError(f"{path}: is a folder; give a CSV file with the columns {', '.join(columns)}")
    try:
        table = pd.read_csv(path, dtype={"id": str, "city": str}, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, ValueError) as error:
        raise UserError(f"{path}: not a readable CSV ({one_line(error)}); download or create it again") from None
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise UserError(f"{path}: no column {', '.join(missing)}; it must have {', '.join(columns)}")
    if table.empty:
        raise UserError(f"{path}: has no rows; download or create it again")
    if "city" in columns:
        table["id"] = [_full_id(i, c) for i, c in zip(table.id, table.city, strict=True)]
    # Ids without their city may repeat between cities. Full ids and image names may not.
    ids = table.rgb.map(tile_id_of) if "rgb" in columns else table.id
    repeated = ids[ids.duplicated()].unique()
    if len(repeated):
        raise UserError(f"{path}: {_count_ids(repeated)} in more than one row; keep one row per id")
    return table


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write a table completely or not at all."""
    with writing(path) as temporary:
        table.to_csv(temporary, index=False)


def check_labels(table: pd.DataFrame) -> None:
    """Check that files exist, that image and AGL have one size, and that all labels have one unit.

    table has the columns of read_train_table. Only headers are read. Raises UserError that names the first bad tile.
    """

    def header(row) -> bool:
        with open_raster(row.rgb) as image, open_raster(row.agl) as agl:
            if image.shape != agl.shape:
                raise UserError(_size_fault(row, image.shape, agl.shape))
            if not Path(row.vflow).exists():
                raise UserError(f"{row.vflow} missing; every tile needs its {vflow_name('<id>')}")
            return holds_centimetres(agl, row.agl)

    with ThreadPoolExecutor() as pool:
        centimetres = list(pool.map(header, table.itertuples()))
    if len(set(centimetres)) > 1:
        odd = table.agl[np.array(centimetres) != centimetres[0]].iloc[0]
        raise UserError(f"{odd}: {MIXED_UNITS}")


def find_bad_tiles(table: pd.DataFrame, workers: int) -> dict[str, str]:
    """The fault, in one line, of each training tile that cannot be read completely, by id.

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


def _read_split(root: Path, csv_name: str) -> pd.DataFrame:
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; {NO_DATA_REMEDY}")
    if not any(root.iterdir()):
        raise UserError(f"{root}: the folder is empty; {NO_DATA_REMEDY}")
    metadata, table = read_csv(root / "metadata.csv"), read_csv(root / csv_name)
    metadata["gsd"] = pd.to_numeric(metadata.gsd, errors="coerce")
    bad_gsd = metadata.id[~_is_gsd(metadata.gsd)]
    if len(bad_gsd):
        raise UserError(f"{root / 'metadata.csv'}: {_count_ids(bad_gsd)} with an impossible gsd; {GSD_REMEDY}")
    for row_id, rgb in zip(table.id, table.rgb, strict=True):
        if not tile_id_of(rgb).endswith(row_id):
            raise UserError(f"{root / csv_name}: id {row_id} has the image {rgb}; ids and file names must agree")
    table["id"] = [tile_id_of(name) for name in table.rgb]
    _refuse_missing(table.id, metadata.id, "metadata.csv", "add their rows")
    return table.merge(metadata[["id", "city", "gsd"]], on="id", how="left", validate="one_to_one")


def _is_gsd(gsd_m):
    """Whether a number, or each number of a column, can be metres per pixel. NaN and infinity cannot."""
    return (gsd_m > 0) & (gsd_m <= MAX_GSD_M)


def _folders_of(file: Path) -> list[Path]:
    """The folders that a file is in, by its name and by its folder's real name, and those of the file it links to."""
    folders = [file.parent.absolute(), file.parent.resolve()]
    if file.is_symlink() and file.exists():
        folders += _folders_of(file.parent / file.readlink())
    return list(dict.fromkeys(folders))


def _with_paths(table: pd.DataFrame, folder: Path, files: dict[str, pd.Series]) -> pd.DataFrame:
    paths = {column: [str(folder / name) for name in names] for column, names in files.items()}
    return pd.DataFrame({"id": table.id, "city": table.city, "gsd_m": table.gsd, **paths})


def _full_id(row_id: str, city: str) -> str:
    """CITY_xxxxxx, whether or not the table's id names the city."""
    return row_id if row_id.startswith(f"{city}_") else f"{city}_{row_id}"


def _refuse_missing(wanted: Sequence[str], ids: Sequence[str], where: str, remedy: str) -> None:
    missing = sorted(set(wanted) - set(ids))
    if missing:
        raise UserError(f"{_count_ids(missing)} missing from {where}; {remedy}")


def _count_ids(ids: Sequence[str]) -> str:
    return f"{len(ids)} ids ({list_some(ids)})"


def _size_fault(row, rgb_size: tuple[int, int], agl_size: tuple[int, int]) -> str:
    (height, width), (agl_height, agl_width) = rgb_size, agl_size
    return f"{row.agl}: {agl_height}x{agl_width}, but its RGB is {height}x{width}; replace the wrong file"
