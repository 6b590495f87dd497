"""The rendered folder is a whole competition folder, the same for any number of workers and after an interruption."""

import dataclasses
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from helpers import half_written

from geopose import geometry
from geopose.cli import UserError, run_command
from geopose.io.files import write_bytes
from geopose.io.names import agl_name, vflow_name
from geopose.io.poses import read_vflow
from geopose.io.rasters import read_agl, read_rgb
from geopose.io.tables import check_labels, read_places, read_test_table, read_train_table
from geopose.synthetic import command
from geopose.synthetic.cities import CITIES
from geopose.synthetic.dataset import Options, is_finished, make_dataset, plan_places

SMALL = Options(train=8, test=4, size=96, seed=7)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    """The folder of the options SMALL."""
    root = tmp_path_factory.mktemp("synthetic")
    assert make_dataset(root, SMALL, workers=1) == 12
    return root


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_folder_reads_as_a_competition_folder(dataset):
    train, test = read_train_table(dataset), read_test_table(dataset)
    check_labels(train)
    assert (len(train), len(test)) == (8, 4)
    assert set(train.city) == set(test.city) == set(CITIES)
    gsd_m = pd.concat([train.gsd_m, test.gsd_m])
    assert gsd_m.between(0.31, 0.59).all()
    heights = []
    for row in train.itertuples():
        rgb, agl_m, vflow = read_rgb(row.rgb), read_agl(row.agl), read_vflow(row.vflow, row.agl)
        assert rgb.shape == (96, 96, 3) and agl_m.shape == (96, 96)
        assert 4.0 <= np.degrees(geometry.off_nadir_rad(vflow.scale_px_per_m, row.gsd_m)) <= 36.01
        assert 0.0 <= vflow.angle_rad < geometry.TWO_PI
        heights.append(np.nanmax(agl_m))
    assert max(heights) > 4.0 and max(heights) <= 215.0


def test_places_do_not_cross_the_halves_and_truth_is_there(dataset):
    places = read_places(dataset)
    train, test = read_train_table(dataset), read_test_table(dataset)
    assert set(places.index) == set(train.id) | set(test.id)
    assert not set(places[train.id]) & set(places[test.id])
    for tile_id in test.id:
        assert (dataset / "truth" / agl_name(tile_id)).exists()
        read_vflow(dataset / "truth" / vflow_name(tile_id), dataset / "truth" / agl_name(tile_id))


def test_training_labels_have_faults_and_truth_has_none(dataset):
    def speckles(agl_m):
        """Single pixels more than 6 m from flat surroundings, so not the edges of roofs and crowns.

        The outermost pixels do not count: a roof may reach into the tile with a few pixels there.
        """
        filled = np.nan_to_num(agl_m)
        smooth = cv2.medianBlur(filled, 3)
        flat = cv2.morphologyEx(smooth, cv2.MORPH_GRADIENT, np.ones((5, 5), np.uint8)) < 1.0
        return int((flat & (np.abs(filled - smooth) > 6.0))[3:-3, 3:-3].sum())

    train = [read_agl(path) for path in read_train_table(dataset).agl]
    truth = [read_agl(path) for path in sorted((dataset / "truth").glob("*_AGL.tif"))]
    assert sum(np.isnan(agl_m).sum() for agl_m in train) > 50
    assert sum(map(speckles, train)) >= 5 and sum(map(speckles, truth)) == 0
    dry = [agl_m for agl_m in truth if not np.isnan(agl_m).any()]
    assert len(dry) >= 2  # the others may have water without returns


def test_the_arguments_are_recorded(dataset):
    assert json.loads((dataset / "synthetic.json").read_text())["size"] == 96


def test_same_seed_same_bytes_for_any_number_of_workers(dataset, tmp_path):
    make_dataset(tmp_path / "two", SMALL, workers=2)
    assert contents(tmp_path / "two") == contents(dataset)
    other = plan_places(dataclasses.replace(SMALL, seed=6))
    assert {i for p in other for i in p.tile_ids}.isdisjoint(i for p in plan_places(SMALL) for i in p.tile_ids)


def test_a_run_resumes_after_an_interruption(dataset, tmp_path):
    root = tmp_path / "again"
    for name, content in contents(dataset).items():
        write_bytes(root / name, content)
    (root / "metadata.csv").unlink()
    assert not is_finished(root, SMALL)
    lost = next((root / "train").glob("*_RGB.tif"))
    lost.unlink()
    half_written(root / "train")
    assert 0 < make_dataset(root, SMALL, workers=1) < 12
    assert contents(root) == contents(dataset)
    assert is_finished(root, SMALL)


def test_other_arguments_and_foreign_folders_are_refused(dataset, tmp_path):
    with pytest.raises(UserError, match=r"other arguments \(train 8 instead of 9\).*--out"):
        is_finished(dataset, dataclasses.replace(SMALL, train=9))
    (tmp_path / "metadata.csv").write_text("id,city,gsd\n")
    with pytest.raises(UserError, match=r"metadata.csv of another dataset"):
        is_finished(tmp_path, SMALL)
    (tmp_path / "metadata.csv").rename(tmp_path / "geopose_train.tar.gz")
    with pytest.raises(UserError, match=r"geopose_train.tar.gz of another dataset"):
        is_finished(tmp_path, SMALL)


def test_jpeg2000_folder(tmp_path):
    options = Options(train=2, test=1, size=64, seed=1, rgb_format="j2k")
    make_dataset(tmp_path, options, workers=1)
    train = read_train_table(tmp_path)
    assert all(path.endswith("_RGB.j2k") for path in train.rgb)
    assert read_rgb(train.rgb[0]).shape == (64, 64, 3)


def test_command_makes_then_skips_and_reports_mistakes(dataset, tmp_path, monkeypatch, capsys):
    def run(*args):
        monkeypatch.setattr(sys, "argv", ["synthesize", *map(str, args)])
        with pytest.raises(SystemExit) as status:
            run_command(command.main)
        return status.value.code, capsys.readouterr()

    arguments = ["--train", 8, "--test", 4, "--size", 96, "--seed", SMALL.seed]
    status, output = run("--out", dataset, *arguments)
    assert status == 0 and "nothing to do" in output.out
    for bad in (["--train", 0], ["--size", 5], ["--seed", -1], ["--rgb-format", "png"], ["--downtown-share", 1.5]):
        status, output = run("--out", tmp_path / "new", *bad)
        assert status == 2 and output.err.startswith("error: ") and output.err.count("\n") == 1
    assert not (tmp_path / "new").exists()
    status, output = run("--out", dataset, "--train", 7)
    assert status == 2 and "other arguments (train 8 instead of 7" in output.err
