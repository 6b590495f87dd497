"""A folder of predictions: two files for each tile, written by one or several processes.

The folder can be resumed after an interruption. Its recipe.json records what the predictions were made of.
"""

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from geopose.inference.ensemble import TilePrediction
from geopose.io.files import write_bytes
from geopose.io.names import agl_name, label_of, vflow_name
from geopose.io.poses import read_vflow
from geopose.io.rasters import read_agl
from geopose.runs.folder import encode_recipe
from geopose.scoring.submission import SubmissionWriter, encode_prediction

RECIPE = "recipe.json"


def made_of(folder: Path, recipe: dict) -> bool:
    """Whether the predictions in the folder were made with this recipe. True for a folder without predictions."""
    path = folder / RECIPE
    if path.exists():
        return path.read_bytes() == encode_recipe(recipe)
    return not folder.exists() or not any(label_of(file.name) for file in folder.iterdir())


def start_folder(folder: Path, recipe: dict) -> None:
    """Record the recipe of the predictions that the folder will hold."""
    write_bytes(folder / RECIPE, encode_recipe(recipe))


def missing_tiles(folder: Path, table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a table whose tiles are not in the folder yet."""
    return table[[not (folder / vflow_name(tile_id)).exists() for tile_id in table.id]]


def write_tile(folder: Path, tile: TilePrediction) -> None:
    """Write a tile's two files. The pose is written last, so a tile with a pose is complete."""
    for name, content in encode_prediction(tile.tile_id, tile.agl_m, tile.scale_px_per_m, tile.angle_rad):
        write_bytes(folder / name, content)


def read_tile(folder: Path, tile_id: str) -> TilePrediction:
    """Read a tile's two files."""
    agl_path = folder / agl_name(tile_id)
    pose = read_vflow(folder / vflow_name(tile_id), agl_path)
    return TilePrediction(tile_id, read_agl(agl_path), pose.scale_px_per_m, pose.angle_rad)


@contextmanager
def write_behind(in_thread: bool) -> Iterator[Callable]:
    """Gives write(function, *args), which calls the function in a background thread, or at once if in_thread is False.

    Calls run in order. At most one call is waiting or running, so results do not collect in memory. An exception in a
    call is raised by the next write, or at the end of the block.

    Use the thread when the model runs on a GPU. On a CPU the threads of the model wait for each other whenever another
    thread takes a core from one of them, which cost several times what the writing itself took.
    """
    if not in_thread:
        yield lambda function, *args: function(*args)
        return
    last: list[Future] = []

    def write(function: Callable, *args) -> None:
        while last:
            last.pop().result()
        last.append(pool.submit(function, *args))

    with ThreadPoolExecutor(1, thread_name_prefix="write-behind") as pool:
        yield write
        while last:
            last.pop().result()


def pack_folder(folder: Path, ids: list[str], out: str | Path) -> None:
    """Pack the predictions of these tiles into a tarball, in this order, and remove the folder."""
    with SubmissionWriter(out) as tarball:
        for tile_id in ids:
            names = agl_name(tile_id), vflow_name(tile_id)
            tarball.add_encoded(tile_id, [(name, (folder / name).read_bytes()) for name in names])
    shutil.rmtree(folder)
