"""The command on a user's own images: names, existing files, bad images, metres per pixel, flags that do not apply.

The released run predicts.
"""

import json
import shutil
import sys

import numpy as np
import pytest
import rasterio
from helpers import REPO, write_competition, write_tif

from geopose.cli import UserError, run_command
from geopose.data import folds
from geopose.inference import command, rectify
from geopose.inference.gsd_range import warn_of_gsd
from geopose.inference.scene import combine_poses
from geopose.io.tables import check_gsd, find_gsd_m, find_truth, read_test_table
from geopose.report import demo
from geopose.runs.folder import read_manifest

RUN = REPO / "runs" / "synthetic_lite0" / "fold0"
GRID = {"crs": "EPSG:32617", "transform": rasterio.transform.from_origin(440000, 3350000, 0.4, 0.4)}


@pytest.fixture
def call(monkeypatch, capsys):
    """Runs a command's main() in this process. Returns its status, output, and lines on standard error."""

    def run(main, *words):
        monkeypatch.setattr(sys, "argv", ["command", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            run_command(main)
        shown = capsys.readouterr()
        return end.value.code, shown.out, shown.err.splitlines()

    return run


@pytest.fixture
def predict(call, tmp_path):
    """predict.py IMAGE ... --out tmp_path/out, with the released run and one view."""

    def run(*words, out=tmp_path / "out"):
        settings = ("--runs", RUN, "--tta", "none", "--zooms", 1, "--device", "cpu", "--out", out)
        return call(command.main, *words, *settings)

    return run


def assert_refused(result, *words):
    """Status 2, one line on standard error that holds the words, and nothing printed."""
    status, out, errors = result
    assert (status, len(errors), out) == (2, 1, ""), result
    assert all(word in errors[0] for word in words), errors


def town(path, seed=0, **profile):
    """An image of 64 px. It has a georeference unless profile says otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(seed).integers(1, 255, (3, 64, 64), dtype=np.uint8)
    write_tif(path, image, **(profile or GRID))
    return path


# --- names ------------------------------------------------------------------------------------------------------


def test_two_images_of_one_name_are_refused(predict, tmp_path):
    one, other = town(tmp_path / "a" / "town.tif"), town(tmp_path / "b" / "town.tif", 1)
    for images in ((one, other), (one, one), (one, town(tmp_path / "b" / "town.png", 1, driver="PNG"))):
        assert_refused(predict(*images), str(images[0]), str(images[1]), "town_AGL.tif")
        assert_refused(predict(*images, "--overwrite"), "town_AGL.tif")
    # The heights of the image without lean have the name of the heights of another image.
    assert_refused(predict(one, town(tmp_path / "a" / "town_RECT.tif"), "--rectify"), "town_RECT_AGL.tif")
    assert list((tmp_path / "out").iterdir()) == []


def test_existing_files_are_replaced_on_request_only(predict, tmp_path):
    image = town(tmp_path / "out" / "town.tif")
    for name in ("town_AGL.tif", "town_VFLOW.json", "town_RECT_HIDDEN.tif"):
        own = tmp_path / "out" / name
        own.write_bytes(b"mine")
        assert_refused(predict(image, "--rectify"), f"{own} exists", "--overwrite")
        assert own.read_bytes() == b"mine"
        own.unlink()
    (tmp_path / "out" / "town_AGL.tif").write_bytes(b"mine")
    status, shown, _ = predict(image, "--overwrite")
    assert status == 0 and "scale" in shown
    with rasterio.open(tmp_path / "out" / "town_AGL.tif") as raster:
        assert raster.shape == (64, 64)


def test_an_input_is_never_replaced(predict, tmp_path):
    image, heights = town(tmp_path / "out" / "town.tif"), town(tmp_path / "out" / "town_AGL.tif")
    before = heights.read_bytes()
    assert_refused(predict(image, heights, "--overwrite"), f"{heights} is an input")
    assert heights.read_bytes() == before


def test_a_file_where_the_folder_should_be_is_named(predict, tmp_path):
    image, file = town(tmp_path / "town.tif"), tmp_path / "file"
    file.touch()
    for out in (file, file / "deeper"):
        assert_refused(predict(image, out=out), str(file), "needs a folder", "--out")
    write_competition(tmp_path / "data", per_city=1, cities=("ARG",))
    assert_refused(predict("--data", tmp_path / "data", out=tmp_path), str(tmp_path), "needs a file")
    assert_refused(predict("--data", tmp_path / "data", out=file / "x.tar.gz"), str(file), "needs a folder")


def test_rectify_replaces_on_request_only(call, tmp_path):
    image = town(tmp_path / "x.tif")
    write_tif(tmp_path / "x_AGL.tif", np.zeros((64, 64), np.float32))
    (tmp_path / "x_VFLOW.json").write_text('{"scale_px_per_m": 1.0, "angle_rad": 1.0}')
    files = (image, tmp_path / "x_AGL.tif", tmp_path / "x_VFLOW.json", "--out", tmp_path / "out")
    assert call(rectify.main, *files)[0] == 0
    assert_refused(call(rectify.main, *files), "x_RECT.tif exists", "--overwrite")
    assert call(rectify.main, *files, "--overwrite")[0] == 0
    (tmp_path / "file").touch()
    assert_refused(call(rectify.main, *files[:3], "--out", tmp_path / "file"), "needs a folder")
    shutil.copy(tmp_path / "x_AGL.tif", tmp_path / "x_RECT_AGL.tif")
    inputs = (image, tmp_path / "x_RECT_AGL.tif", tmp_path / "x_VFLOW.json")
    assert_refused(call(rectify.main, *inputs, "--out", tmp_path, "--overwrite"), "is an input")


def test_the_demo_does_not_replace_its_image(call, tmp_path):
    image = town(tmp_path / "town.png", driver="PNG")
    before = image.read_bytes()
    assert_refused(call(demo.main, image, "--gsd", 0.4, "--out", image), "is an input")
    assert_refused(call(demo.main, image, "--gsd", 0.4, "--out", tmp_path), "is a folder")
    assert image.read_bytes() == before


# --- a bad image ------------------------------------------------------------------------------------------------


def test_several_processes_want_a_list(predict, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    status, _, errors = predict(town(tmp_path / "a.tif"))
    assert (status, len(errors)) == (2, 1) and "share the images of --images-from only" in errors[0]


def test_after_a_bad_image_the_others_are_predicted(predict, tmp_path):
    bad, empty = tmp_path / "bad.tif", tmp_path / "empty.tif"
    bad.write_bytes(b"II*\0 and no more")
    write_tif(empty, np.zeros((3, 64, 64), np.uint8), nodata=0, **GRID)
    good = [town(tmp_path / "a.tif"), town(tmp_path / "z.tif", 1)]
    status, _, errors = predict(good[0], bad, tmp_path / "none.tif", empty, good[1])
    assert status == 2
    assert len(errors) == 4 and not any("Traceback" in line for line in errors)
    told = ("bad.tif", "none.tif", "empty.tif: no pixel has data", "3 of 5 images")
    for line, name in zip(errors, told, strict=True):
        assert name in line
    written = {file.name for file in (tmp_path / "out").iterdir()}
    assert written == {f"{stem}_{kind}" for stem in "az" for kind in ("AGL.tif", "VFLOW.json")}


# --- metres per pixel -------------------------------------------------------------------------------------------


def tile(root, gsd, header="id,city,gsd"):
    """A competition tile without a georeference, in a folder whose table gives this gsd."""
    image = town(root / "test" / "ARG_abcdef_RGB.tif", driver="GTiff")
    (root / "metadata.csv").write_text(f"{header}\nARG_abcdef,ARG,{gsd}\nARG_b,ARG,0.4\n")
    return image


@pytest.mark.parametrize("gsd", ["-1", "0", "n/a", "nan", "inf", "", "35", '"0,4"'])
def test_an_impossible_gsd_of_a_table_is_refused(predict, tmp_path, gsd):
    image = tile(tmp_path / "data", gsd)
    assert_refused(predict(image), "metadata.csv", "ARG_abcdef", "metres per pixel", "--gsd")
    assert predict(image, "--gsd", 0.4)[0] == 0


@pytest.mark.parametrize("gsd", ["-1", "0", "nan", "inf", "31"])
def test_an_impossible_gsd_of_the_command_line_is_refused(predict, call, tmp_path, gsd):
    image = town(tmp_path / "town.tif")
    assert_refused(predict(image, f"--gsd={gsd}"), "--gsd", "metres per pixel")
    assert_refused(call(demo.main, image, f"--gsd={gsd}"), "--gsd", "metres per pixel")


def test_a_tile_that_is_a_link_keeps_its_folder(tmp_path):
    image = tile(tmp_path / "data", 0.37)
    store = tmp_path / "store" / "objects" / "5f3a"
    store.parent.mkdir(parents=True)
    image.rename(store)
    image.symlink_to(store)
    (tmp_path / "data" / "truth").mkdir()
    write_tif(tmp_path / "data" / "truth" / "ARG_abcdef_AGL.tif", np.zeros((64, 64), np.float32))
    (tmp_path / "data" / "truth" / "ARG_abcdef_VFLOW.json").write_text('{"scale": 0.8, "angle": 1.0}')
    assert find_gsd_m(image) == 0.37 and find_truth(image).scale_px_per_m == 0.8
    for link, target in (("folder", image.parent), ("ARG_abcdef_RGB.tif", image)):  # links to the tile or its folder
        (tmp_path / link).symlink_to(target)
    assert find_gsd_m(tmp_path / "folder" / image.name) == 0.37
    assert find_gsd_m(tmp_path / "folder" / ".." / "folder" / image.name) == 0.37


def test_a_link_to_a_tile_of_a_competition_folder(tmp_path):
    image = tile(tmp_path / "data", 0.37)
    (tmp_path / "ARG_abcdef_RGB.tif").symlink_to(image)
    assert find_gsd_m(tmp_path / "ARG_abcdef_RGB.tif") == 0.37


@pytest.mark.parametrize(
    "content", [b"file,date\ntown_RGB.tif,2020\n", b"", b"\xff\xfe\x00\x01,\n", b'a;b\n"', b"id,city,gsd\nother,X,-1\n"]
)
def test_another_metadata_file_beside_an_image_is_ignored(tmp_path, predict, content):
    image = town(tmp_path / "mine" / "test" / "town_RGB.tif")
    (tmp_path / "mine" / "metadata.csv").write_bytes(content)
    status, shown, errors = predict(image)
    assert (status, errors) == (0, []) and "gsd 0.400 m" in shown
    plain = town(tmp_path / "mine" / "test" / "plain_RGB.tif", driver="GTiff")
    assert_refused(predict(plain), "plain_RGB.tif", "--gsd")


def test_a_folder_named_metadata_is_ignored(tmp_path):
    image = town(tmp_path / "test" / "town_RGB.tif")
    (tmp_path / "metadata.csv").mkdir()
    assert find_gsd_m(image) is None


def test_a_gsd_that_the_run_never_saw_is_warned_of(predict, tmp_path, capsys):
    low_m, high_m = read_manifest(RUN)["data"]["gsd_m"]
    assert 0.3 <= low_m < 0.35 and 0.5 < high_m <= 0.6
    image = town(tmp_path / "town.tif")
    for gsd in (0.1, 2.0):
        status, _, errors = predict(image, "--gsd", gsd, "--overwrite")
        assert status == 0 and len(errors) == 1
        for word in ("warning", str(image), f"gsd {gsd:g} m", str(RUN), f"{low_m:g} to {high_m:g} m"):
            assert word in errors[0]
    for gsd in (0.31, 0.5, 0.7):
        warn_of_gsd([RUN], "x", gsd)
    silent = tmp_path / "run"
    silent.mkdir()
    (silent / "manifest.json").write_text("{}")
    warn_of_gsd([silent], "x", 9.0)  # a run that does not record its range
    assert capsys.readouterr().err == ""


def test_the_tiles_of_a_folder_are_warned_of_too(predict, tmp_path):
    write_competition(tmp_path / "data", per_city=1, size=(64, 64), cities=("ARG", "JAX", "OMA"))
    table = (tmp_path / "data" / "metadata.csv").read_text()
    (tmp_path / "data" / "metadata.csv").write_text(table.replace("JAX,0.35", "JAX,1.5"))
    status, _, errors = predict("--data", tmp_path / "data", out=tmp_path / "s.tar.gz")
    assert status == 0, errors
    assert len(errors) == 1 and "JAX_aaaaaa" in errors[0] and "gsd 1.5 m" in errors[0]


def test_a_scale_is_never_below_0():
    assert combine_poses(np.array([(-0.4, 1.0, 5.0), (-0.2, 1.0, 5.0)]))[0] == 0
    assert combine_poses(np.array([(0.4, 1.0, 5.0)]))[0] == 0.4


# --- flags ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "flag",
    [
        ("--gsd", 0.4),
        ("--gsd", 0),
        ("--bands", 1),
        ("--tile", 512),
        ("--rectify",),
        ("--rectify", "--fill"),
        ("--overwrite",),
    ],
    ids=str,
)
def test_a_flag_for_images_is_refused_for_a_folder(predict, flag):
    assert_refused(predict("--data", "data", *flag), flag[0], "IMAGE")


def test_a_calibration_is_refused_for_images(predict, tmp_path):
    (tmp_path / "c.json").write_text(json.dumps({"ARG": {"agl": 1.1, "scale": 1.0}}))
    image = town(tmp_path / "town.tif")
    assert_refused(predict(image, "--calibration", tmp_path / "c.json"), "--calibration", "--data")


def test_a_calibration_of_other_cities_is_refused(predict, tmp_path):
    write_competition(tmp_path / "data", per_city=1, cities=("SEA",))
    (tmp_path / "c.json").write_text(json.dumps({"ARG": {"agl": 1.1, "scale": 1.0}}))
    result = predict("--data", tmp_path / "data", "--calibration", tmp_path / "c.json", out=tmp_path / "s.tar.gz")
    assert_refused(result, "c.json", "ARG", "SEA")


def test_more_weights_than_checkpoints_are_refused(predict, tmp_path):
    image = town(tmp_path / "town.tif")
    assert_refused(predict(image, "--checkpoint-weights", 0.5, 0.3), "--checkpoint-weights", "2 weights")
    assert predict(image, "--checkpoint-weights", 0.5)[0] == 0


def test_flags_of_another_split_are_refused(call, tmp_path):
    write_competition(tmp_path / "data")
    ids = read_test_table(tmp_path / "data").id
    common = ("--data", tmp_path / "data", "--out", tmp_path / "folds.csv", "--num-folds", 2)
    assert_refused(call(folds.main, *common, "--threshold", 0.1), "--threshold", "--split cluster")
    assert_refused(call(folds.main, *common, "--split", "group", "--seed", 3), "--seed")
    assert call(folds.main, *common, "--seed", 3)[0] == 0
    (tmp_path / "data" / "places.csv").write_text("id,place\n" + "".join(f"{i},{n}\n" for n, i in enumerate(ids)))
    assert_refused(call(folds.main, *common, "--split", "cluster", "--encoder", "resnet18"), "--encoder", "places.csv")


def test_impossible_numbers_are_user_errors():
    with pytest.raises(UserError, match="metres per pixel"):
        check_gsd(float("nan"), "--gsd")
