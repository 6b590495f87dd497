"""The competition folder that a translation writes: translated images, and the labels and tables of the source.

recipe.json is written first and says what the folder is made of. Tables follow the tiles, and metadata.csv is the last
of them, so no training starts on half of the tiles. manifest.json is written at the end.
"""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from geopose.adaptation.images import read_tables
from geopose.cli import UserError, list_some, progress
from geopose.data.processes import in_processes
from geopose.data.store import prefer_prepared
from geopose.io.files import UNFINISHED, make_folder, remove_unfinished, write_bytes, writing
from geopose.io.names import label_of
from geopose.io.rasters import encode_rgb, read_rgb
from geopose.io.tables import read_train_table
from geopose.runs.folder import encode_recipe

RECIPE = "recipe.json"
WRITTEN = (".tif", ".j2k")


def start_folder(out: Path, recipe: dict) -> None:
    """Record what the folder is made of. Raises UserError when it holds something else."""
    path = out / RECIPE
    # Listed before the recipe is looked for: another process of the same job may be writing it now, before all else.
    found = [file for file in out.glob("*") if not file.name.startswith(UNFINISHED)]
    if path.exists():
        recorded, now = json.loads(path.read_text()), json.loads(encode_recipe(recipe))
        differences = [name for name in {**recorded, **now} if recorded.get(name) != now.get(name)]
        if differences:
            names = list_some(differences)
            raise UserError(f"{out} holds a translation with other {names}; remove it or give another --out")
        return
    if found:
        raise UserError(f"{out} holds other files; give an empty or new folder as --out")
    make_folder(out)
    write_bytes(path, encode_recipe(recipe))


def refuse_unwritable(tiles: pd.DataFrame) -> None:
    """Raise UserError when write_tiles cannot write an image in the format that its name says."""
    odd = [path for path in tiles.rgb if Path(path).suffix not in WRITTEN]
    if odd:
        raise UserError(f"{odd[0]} is not {' or '.join(WRITTEN)}; convert the images first")


def write_tiles(source: Path, out: Path, translate: Callable, workers: int) -> int:
    """Write the images of both halves that are missing. Returns their number.

    translate(rgb uint8 [H,W,3], tile id) returns the same size. With several workers it must be picklable. No other
    process may be writing into out.
    """
    tables = read_tables(source), prefer_prepared(read_tables(source), source)
    rows = zip(tables[0].id, tables[0].rgb, tables[1].rgb, strict=True)
    jobs = [(translate, tile_id, read, out / Path(path).relative_to(source)) for tile_id, path, read in rows]
    jobs = [job for job in jobs if not job[-1].exists()]
    remove_unfinished(out)
    with progress(in_processes(write_tile, jobs, workers), "translate", len(jobs), "tile") as bar:
        return sum(bar)


def write_tile(translate: Callable[[np.ndarray, str], np.ndarray], tile_id: str, path: str, target: Path) -> int:
    """Translate one image and write it in the format that its name says."""
    write_bytes(target, encode_rgb(translate(read_rgb(path), tile_id), target.suffix[1:]))
    return 1


def take_labels(source: Path, out: Path) -> None:
    """Link the labels of both halves, and copy the tables. synthetic.json stays: it does not describe these images."""
    table = read_train_table(source)
    truth = [path for path in sorted((source / "truth").glob("*")) if label_of(path.name) and path.is_file()]
    for path in (*map(Path, table.agl), *map(Path, table.vflow), *truth):
        link(path, out / path.relative_to(source))
    for path in sorted(source.glob("*.csv"), key=lambda path: path.name == "metadata.csv"):
        with writing(out / path.name) as temporary:
            shutil.copyfile(path, temporary)


def link(path: Path, target: Path) -> None:
    """The same file under another name, or a copy where the file system cannot do this."""
    make_folder(target.parent)
    if target.exists():
        return
    try:
        os.link(path.resolve(), target)
    except OSError:
        with writing(target) as temporary:
            shutil.copyfile(path, temporary)
