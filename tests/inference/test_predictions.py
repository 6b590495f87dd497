"""A folder of predictions: what is written is read again; writing in a thread keeps order, bounds and errors."""

import threading
import time

import numpy as np
import pandas as pd
import pytest

from geopose.inference.command import start_parts
from geopose.inference.ensemble import TilePrediction
from geopose.inference.predictions import made_of, missing_tiles, read_tile, write_behind, write_tile
from geopose.io.names import vflow_name


def test_a_tile_is_read_as_it_was_written(tmp_path):
    agl_m = np.random.default_rng(0).uniform(-1, 30, (20, 30)).astype(np.float32)
    write_tile(tmp_path, TilePrediction("JAX_aaaaaa", agl_m, 0.7, 1.9, seconds=2.0))
    tile = read_tile(tmp_path, "JAX_aaaaaa")
    assert np.abs(tile.agl_m - np.maximum(agl_m, 0)).max() <= 0.005 + 1e-6
    assert (tile.tile_id, tile.angle_rad) == ("JAX_aaaaaa", 1.9)
    assert tile.scale_px_per_m == pytest.approx(0.7, rel=1e-12)


def test_a_tile_without_its_pose_is_missing(tmp_path):
    table = pd.DataFrame({"id": ["JAX_aaaaaa", "JAX_bbbbbb"]})
    assert missing_tiles(tmp_path, table).id.tolist() == table.id.tolist()
    for tile_id in table.id:
        write_tile(tmp_path, TilePrediction(tile_id, np.zeros((4, 5), np.float32), 0.7, 1.9))
    assert missing_tiles(tmp_path, table).empty
    (tmp_path / vflow_name("JAX_aaaaaa")).unlink()
    assert missing_tiles(tmp_path, table).id.tolist() == ["JAX_aaaaaa"]


def test_predictions_without_a_recipe_match_none(tmp_path):
    recipe, parts = {"checkpoints": "a"}, tmp_path / "parts"
    assert made_of(parts, recipe)
    start_parts(parts, recipe)
    assert made_of(parts, recipe) and not made_of(parts, {"checkpoints": "b"})
    tile = TilePrediction("JAX_aaaaaa", np.zeros((4, 5), np.float32), 0.7, 1.9)
    write_tile(parts, tile)
    start_parts(parts, recipe)
    assert len(list(parts.iterdir())) == 3
    for damage in (lambda path: path.unlink(), lambda path: path.write_bytes(b"{")):
        write_tile(parts, tile)
        damage(parts / "recipe.json")
        assert not made_of(parts, recipe)
        start_parts(parts, recipe)
        assert [file.name for file in parts.iterdir()] == ["recipe.json"]
    (parts / "recipe.json").unlink()
    (parts / "notes.txt").touch()
    assert made_of(parts, recipe), "no predictions"


def test_calls_run_in_order_and_all_before_the_block_ends():
    done = []

    def slowly(number):
        time.sleep(0.01)
        done.append(number)

    with write_behind(in_thread=True) as write:
        for number in range(5):
            write(slowly, number)
            assert len(done) >= number - 1
    assert done == list(range(5))


def test_a_failed_write_ends_the_work():
    def fail():
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"), write_behind(in_thread=True) as write:
        write(fail)
    after = []
    with pytest.raises(OSError, match="disk full"), write_behind(in_thread=True) as write:
        write(fail)
        write(after.append, 1)
        write(after.append, 2)
    assert after == []


def test_without_a_thread_calls_run_at_once():
    threads = []
    with write_behind(in_thread=False) as write:
        write(lambda: threads.append(threading.current_thread()))
        assert threads == [threading.main_thread()]
    with write_behind(in_thread=True) as write:
        write(lambda: threads.append(threading.current_thread()))
    assert threads[1] != threading.main_thread()
