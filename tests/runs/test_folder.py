"""Run folders: what several runs have in common, and fingerprints of the data."""

import os
from importlib.metadata import version
from pathlib import Path

import pytest
from helpers import DEFAULT, RELEASED

from geopose.cli import UserError
from geopose.config import load_config, save_config
from geopose.devices import DTYPES
from geopose.io.tables import read_test_table, read_train_table
from geopose.runs.folder import (
    describe_other_packages,
    fingerprint_data,
    fingerprint_images,
    newest_run,
    read_manifest,
    usual_views,
    write_manifest,
)


def finish(run_dir, zooms: str, weights: str = "[]", tta: str = "d4"):
    """The parts of a finished run's folder that usual_views reads."""
    run_dir.mkdir()
    settings = [f"predict.zooms={zooms}", f"predict.zoom_weights={weights}", f"predict.tta={tta}"]
    save_config(load_config(DEFAULT, settings), run_dir / "config.yaml")
    write_manifest(run_dir, {"checkpoints": []})
    return run_dir


def test_runs_use_the_sizes_that_they_have_in_common(tmp_path):
    plain = finish(tmp_path / "plain", "[1]")
    equal = finish(tmp_path / "equal", "[1,0.5]")
    fine = finish(tmp_path / "fine", "[1,0.5]", "[3,1]")
    coarse = finish(tmp_path / "coarse", "[0.25,0.5]", "[1,4]")
    assert usual_views([plain]) == {"tta": "d4", "zooms": (1.0,), "zoom_weights": (1.0,)}
    assert usual_views([fine]) == {"tta": "d4", "zooms": (0.5, 1.0), "zoom_weights": (0.25, 0.75)}
    assert usual_views([fine, equal]) == {"tta": "d4", "zooms": (0.5, 1.0), "zoom_weights": (0.375, 0.625)}
    assert usual_views([coarse, fine])["zooms"] == (0.5,)
    assert usual_views([coarse, plain]) == {"tta": "d4", "zooms": (1.0,), "zoom_weights": (1.0,)}


def test_runs_use_their_own_turned_views_if_they_agree(tmp_path):
    still = [finish(tmp_path / name, "[1]", tta="none") for name in ("first", "second")]
    turned = finish(tmp_path / "turned", "[1]")
    assert usual_views(still)["tta"] == "none"
    assert usual_views([*still, turned])["tta"] == "d4"


def test_the_newest_run_is_the_one_that_finished_last(tmp_path):
    """Copied or checked-out files have other times than the trainings."""
    for name, finished in (
        ("old", "2026-01-02 03:04:05"),
        ("new", "2026-01-02 10:00:00"),
        ("older", "2025-12-31 23:00:00"),
    ):
        folder = tmp_path / name / "fold0"
        folder.mkdir(parents=True)
        write_manifest(folder, {"finished": finished})
    os.utime(tmp_path / "new" / "fold0" / "manifest.json", (0, 0))
    assert newest_run(tmp_path) == tmp_path / "new" / "fold0"


def test_other_major_versions_of_packages_are_named(tmp_path):
    here = {name: version(name) for name in ("torch", "timm")}
    for name, packages in (
        ("same", here),
        ("minor", here | {"torch": f"{here['torch'].split('.')[0]}.99"}),
        ("old", here | {"timm": "0.9.1"}),
    ):
        (tmp_path / name).mkdir()
        write_manifest(tmp_path / name, {"packages": packages})
    assert describe_other_packages([tmp_path / "same", tmp_path / "minor"]) == ""
    told = describe_other_packages([tmp_path / "same", tmp_path / "old"])
    assert f"old was trained with timm 0.9.1 (here is {here['timm']}): predictions may differ" in told
    assert "\n" not in told


def test_the_released_run_says_what_it_was_trained_with():
    """predict.py compares packages and gsd with these entries."""
    manifest = read_manifest(RELEASED)
    low_m, high_m = manifest["data"]["gsd_m"]
    assert 0.2 < low_m < high_m < 1
    assert manifest["released"]["trained_on"]["precision"] in DTYPES
    assert {"torch", "timm"} <= set(manifest["packages"])


def test_a_folder_without_a_finished_run_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds no finished run"):
        usual_views([tmp_path])


def test_a_missing_file_of_the_data_is_named(competition):
    """Predicting takes the fingerprint of the test images, and a finished training that of its own files, first."""
    tiles = read_test_table(competition)
    Path(tiles.rgb[1]).unlink()
    with pytest.raises(UserError, match=rf"{tiles.id[1]}_RGB.tif missing; restore"):
        fingerprint_images(competition, "geopose_test.csv", tiles.rgb)
    (competition / "test").rename(competition / "test_rgbs")  # as the archive is called
    with pytest.raises(UserError, match=r"test/.* missing, with its whole folder"):
        fingerprint_images(competition, "geopose_test.csv", tiles.rgb)
    Path(read_train_table(competition).agl[0]).unlink()
    with pytest.raises(UserError, match=r"_AGL.tif missing; restore"):
        fingerprint_data(str(competition))
