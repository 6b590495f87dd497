"""A competition folder as the challenge ships it: .j2k tiles of 2048 px, the challenge's ids, and no truth/.

The tiles are rendered. All else is as in the challenge's files: image names have the city, id columns lack it.
"""

import os
import string
from itertools import cycle
from pathlib import Path

import numpy as np
import pandas as pd

from geopose.cli import UserError
from geopose.io.names import agl_name, rgb_name, vflow_name
from geopose.io.tables import read_test_table, read_train_table, write_csv
from geopose.synthetic.dataset import Options, make_dataset

TRAIN_TILES, TEST_TILES = 5923, 1025  # of the challenge
CITY_SHARES = {"ARG": 2325, "ATL": 704, "JAX": 1098, "OMA": 1796}  # of the challenge's training tiles


def render(root: Path, train: int, test: int, size: int) -> Path:
    """Render the tiles, in all four cities. Finished tiles are skipped."""
    make_dataset(root, Options(train=train, test=test, size=size, seed=11, rgb_format="j2k"))
    return root


def read_ids(path: Path) -> dict[str, list[str]]:
    """City -> ids of the challenge's training tiles, from a CSV with the columns id and city. Ids lack their city."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    if not {"id", "city"} <= set(table):
        raise UserError(f"{path}: it must have the columns id and city")
    return {city: rows.id.tolist() for city, rows in table.groupby("city")}


def make_up_ids(count: int) -> dict[str, list[str]]:
    """City -> count ids of the same form: six letters."""
    rng = np.random.default_rng(0)
    letters = np.array(list(string.ascii_letters))
    return {city: ["".join(word) for word in rng.choice(letters, (count, 6))] for city in CITY_SHARES}


def link_folder(rendered: Path, root: Path, ids: dict[str, list[str]], train: dict[str, int]) -> Path:
    """Make a folder of hard links to rendered tiles. train: city -> number of training tiles.

    A tile is linked as often as it takes. All rendered test tiles are linked once.
    """
    ids = {city: iter(names) for city, names in ids.items()}
    rows = []
    for half, tiles in (("train", read_train_table(rendered)), ("test", read_test_table(rendered))):
        (root / half).mkdir(parents=True)
        for city, those in tiles.groupby("city"):
            count = train[city] if half == "train" else len(those)
            for tile, _ in zip(cycle(those.itertuples()), range(count), strict=False):
                bare = next(ids[city])
                rows.append({"id": bare, "city": city, "gsd": tile.gsd_m, "half": half})
                link_tile(tile, root / half, f"{city}_{bare}")
    write_tables(root, pd.DataFrame(rows))
    return root


def link_tile(tile, folder: Path, tile_id: str) -> None:
    """Link the files of a row of read_train_table or read_test_table under another id."""
    os.link(tile.rgb, folder / rgb_name(tile_id))
    if hasattr(tile, "agl"):
        os.link(tile.agl, folder / agl_name(tile_id))
        os.link(tile.vflow, folder / vflow_name(tile_id))


def write_tables(root: Path, tiles: pd.DataFrame) -> None:
    """The challenge's three CSVs. tiles has the columns id (without city), city, gsd and half."""
    full = tiles.city + "_" + tiles.id
    tiles = tiles.assign(rgb=full.map(rgb_name), agl=full.map(agl_name), json=full.map(vflow_name))
    write_csv(tiles[["id", "city", "gsd"]], root / "metadata.csv")
    write_csv(tiles.loc[tiles.half == "train", ["id", "agl", "json", "rgb"]], root / "geopose_train.csv")
    write_csv(tiles.loc[tiles.half == "test", ["id", "rgb"]], root / "geopose_test.csv")
