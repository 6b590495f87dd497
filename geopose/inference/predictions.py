"""A folder of predictions in the making, two files a tile, written by one or many processes.

What stands in it is kept when work is broken off, and recipe.json says what it was made of.
"""

import shutil
from pathlib import Path

import pandas as pd

from geopose.inference.ensemble import TilePrediction
from geopose.io.files import write_bytes
from geopose.io.names import agl_name, vflow_name
from geopose.runs.folder import encode_recipe
from geopose.scoring.submission import SubmissionWriter, encode_prediction

RECIPE = "recipe.json"


def made_of(folder: Path, recipe: dict) -> bool:
    """Whether what the folder holds was made of this recipe; an empty or missing folder was."""
    path = folder / RECIPE
    return not path.exists() or path.read_bytes() == encode_recipe(recipe)


def start_folder(folder: Path, recipe: dict) -> None:
    """Note what the folder is going to be made of."""
    write_bytes(folder / RECIPE, encode_recipe(recipe))


def missing_tiles(folder: Path, table: pd.DataFrame) -> pd.DataFrame:
    """The tiles of a table that are not predicted yet."""
    return table[[not (folder / vflow_name(tile_id)).exists() for tile_id in table.id]]


def write_tile(folder: Path, tile: TilePrediction) -> None:
    """Write a tile's two files. The pose comes last: a tile whose pose stands is whole."""
    for name, content in encode_prediction(tile.tile_id, tile.agl_m, tile.scale_px_per_m, tile.angle_rad):
        write_bytes(folder / name, content)


def pack_folder(folder: Path, ids: list[str], out: str | Path) -> None:
    """Pack the predictions of these tiles into a tarball, in this order, and remove the folder."""
    with SubmissionWriter(out) as tarball:
        for tile_id in ids:
            names = agl_name(tile_id), vflow_name(tile_id)
            tarball.add_encoded(tile_id, [(name, (folder / name).read_bytes()) for name in names])
    shutil.rmtree(folder)
