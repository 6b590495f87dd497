"""Many scenes in one job: shared, skipped when finished, resumed, and tabulated. The released run predicts."""

import io
import json
import sys

import numpy as np
import pandas as pd
import pytest
import rasterio
from helpers import RELEASED, half_written, run, write_tif

from geopose.cli import run_command
from geopose.inference import command
from geopose.inference.image_list import read_image_list
from geopose.inference.scene_records import SceneRecords

GRID = {"crs": "EPSG:32617", "transform": rasterio.transform.from_origin(440000, 3350000, 0.4, 0.4)}
SETTINGS = ("--runs", RELEASED, "--tta", "none", "--zooms", 1, "--device", "cpu")
LAUNCH = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
COLUMNS = ["image", "width", "height", "gsd_m", "angle_rad", "scale_px_per_m", "seconds"]


def town(path, seed=0, size=(64, 80)):
    """A small georeferenced image of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_tif(path, np.random.default_rng(seed).integers(1, 255, (3, *size), dtype=np.uint8), **GRID)
    return path


@pytest.fixture
def towns(tmp_path):
    """Three images and a list of them."""
    images = [town(tmp_path / "in" / f"{name}.tif", seed) for seed, name in enumerate("abc")]
    (tmp_path / "list.txt").write_text("\n".join(map(str, images)) + "\n\n")
    return images


@pytest.fixture
def predict(tmp_path, monkeypatch, capsys):
    """predict.py --images-from in this process. Returns its status, output, and lines on standard error."""

    def call(source=tmp_path / "list.txt", *words, out=tmp_path / "out"):
        monkeypatch.setattr(
            sys, "argv", ["predict.py", "--images-from", *map(str, (source, *SETTINGS, "--out", out, *words))]
        )
        with pytest.raises(SystemExit) as end:
            run_command(command.main)
        shown = capsys.readouterr()
        return end.value.code, shown.out, shown.err.splitlines()

    return call


def assert_refused(result, *words):
    """Status 2, one line on standard error that holds the words, and nothing printed."""
    status, out, errors = result
    assert (status, len(errors), out) == (2, 1, ""), result
    assert all(str(word) in errors[0] for word in words), errors


def times(out):
    """When each output was written."""
    return {file.name: file.stat().st_mtime_ns for file in out.iterdir() if file.is_file() and file.suffix != ".csv"}


def test_two_processes_share_the_scenes_and_one_of_them_ends_with_a_table(towns, tmp_path):
    out, bad = tmp_path / "out", tmp_path / "in" / "bad.tif"
    bad.write_bytes(b"II*\0 and no more")
    with (tmp_path / "list.txt").open("a") as stream:
        stream.write(f"{bad}\n")
    flags = ("--images-from", tmp_path / "list.txt", *SETTINGS, "--out", out)
    first = run(*LAUNCH, "predict.py", *flags)
    assert first.returncode != 0 and "Traceback" not in first.stdout
    assert "bad.tif: truncated or not an image" in first.stderr
    assert first.stdout.count("scenes.csv: 4 scenes, 3 predicted now, 1 failed") == 1
    table = pd.read_csv(out / "scenes.csv")
    assert list(table.image) == [*map(str, towns), str(bad)] and set(COLUMNS) <= set(table)
    assert list(table.status) == ["predicted"] * 3 + ["failed"] and "bad.tif" in table.error[3]
    assert (table.width[:3] == 80).all() and (table.height[:3] == 64).all() and (table.seconds[:3] > 0).all()
    for image, row in zip(towns, table.itertuples(), strict=False):
        pose = json.loads((out / f"{image.stem}_VFLOW.json").read_text())
        assert [row.gsd_m, row.angle_rad, row.scale_px_per_m] == [
            pytest.approx(pose[key], abs=6e-4) for key in ("gsd_m", "angle_rad", "scale_px_per_m")
        ]
    before = times(out)
    assert len(before) == 6

    bad.unlink()
    town(bad, 9)
    second = run(*LAUNCH, "predict.py", *flags)
    assert second.returncode == 0, second.stderr
    assert "4 scenes, 3 finished before" in second.stdout and "4 scenes, 1 predicted now, 0 failed" in second.stdout
    after = times(out)
    assert before.items() <= after.items() and len(after) == 8
    assert list(pd.read_csv(out / "scenes.csv").status) == ["finished before"] * 3 + ["predicted"]


def test_after_an_interruption_only_what_is_not_whole_is_predicted(towns, predict, tmp_path, monkeypatch):
    out, real = tmp_path / "out", command.predict_image

    def stop_after_b(image, *args):
        real(image, *args)
        if image.stem == "b":
            raise KeyboardInterrupt

    monkeypatch.setattr(command, "predict_image", stop_after_b)
    assert predict()[0] == 130  # all files of b are written, but nothing says that they are whole
    monkeypatch.setattr(command, "predict_image", real)
    before = times(out)
    assert set(before) == {f"{stem}_{kind}" for stem in "ab" for kind in ("AGL.tif", "VFLOW.json")}
    half_written(out)
    (left,) = [file for file in out.iterdir() if file.name.startswith(".part-")]
    left = left.rename(out / ".part-c_AGL-abcdefgh.tif.draft")
    other = out / ".part-c_AGL-1_AGL-abcdefgh.tif"  # another scene's
    other.touch()
    assert predict()[0] == 0
    after = times(out)
    assert after["a_AGL.tif"] == before["a_AGL.tif"] and after["b_AGL.tif"] > before["b_AGL.tif"]
    assert "c_VFLOW.json" in after and not left.exists() and other.exists()

    (out / "a_AGL.tif").unlink()
    status, shown, _ = predict()
    assert status == 0 and "3 scenes, 2 finished before" in shown and (out / "a_AGL.tif").exists()


def test_files_that_the_job_did_not_write_are_kept(towns, predict, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    own = out / "b_AGL.tif"
    own.write_bytes(b"mine")
    assert_refused(predict(), own, "exists", "--overwrite")
    assert own.read_bytes() == b"mine" and not (out / "a_AGL.tif").exists()
    assert predict(tmp_path / "list.txt", "--overwrite")[0] == 0
    first = times(out)
    assert_refused(predict(tmp_path / "list.txt", "--tile", 64), "a_AGL.tif", "other settings (tile)", "--overwrite")
    town(towns[2], 5)
    assert_refused(predict(), "c_AGL.tif", "other settings (image)")
    with own.open("ab") as stream:
        stream.write(b"more")
    assert_refused(predict(), own, "was changed after it was written")
    status, shown, _ = predict(tmp_path / "list.txt", "--overwrite")
    assert status == 0 and "3 scenes, 1 finished before" in shown
    assert times(out)["a_AGL.tif"] == first["a_AGL.tif"]


def test_a_scene_depends_on_the_files_beside_its_image(towns, tmp_path):
    records = SceneRecords(tmp_path / "out", {"tile": 64}, rectified=False)
    recipe = records.recipe(towns[0])
    (tmp_path / "in" / "a.tif.aux.xml").write_text("the statistics of a map viewer")
    (tmp_path / "in" / "ab.RPB").write_text("another image's")
    assert records.recipe(towns[0]) == recipe
    (tmp_path / "in" / "a.RPB").write_text("a pose")
    assert records.recipe(towns[0]) != recipe


def test_lists_and_patterns_name_images(towns, tmp_path, monkeypatch):
    assert read_image_list(str(tmp_path / "list.txt")) == towns
    assert read_image_list(str(tmp_path / "in" / "*.tif")) == towns
    odd = town(tmp_path / "in" / "x[1].tif")
    lines = f"{odd}\n{tmp_path / 'in' / '[ab].tif'}\n  {towns[0]}\n"
    (tmp_path / "mixed.txt").write_text(lines)
    assert read_image_list(str(tmp_path / "mixed.txt")) == [odd, towns[0], towns[1]]
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    assert read_image_list("-") == [odd, towns[0], towns[1]]


def test_bad_lists_are_one_line(towns, predict, tmp_path, monkeypatch):
    source = tmp_path / "bad.txt"

    def refused(content, *words):
        source.write_text(content)
        assert_refused(predict(source), *words)

    refused("\n \n", source, "names no image")
    refused(f"{towns[0]}\nnone.tif\n{tmp_path}\n", source, "2 of 3 images", "none.tif", tmp_path)
    refused(f"{tmp_path}/none*.tif", source, f"'{tmp_path}/none*.tif' matches no file")
    refused(f"{towns[0]}\n{town(tmp_path / 'other' / 'a.tif')}", towns[0], "other/a.tif", "a_AGL.tif")
    assert_refused(predict(tmp_path), tmp_path, "is a folder")
    assert_refused(predict(tmp_path / "none.txt"), "none.txt missing")
    assert_refused(predict(tmp_path / "*.none"), "*.none' matches no file")
    assert_refused(predict(towns[0]), towns[0], "not text")
    assert_refused(predict(tmp_path / "list.txt", towns[0]), "one of the three")
    assert_refused(predict(tmp_path / "list.txt", "--data", tmp_path), "one of the three")
    assert_refused(predict(tmp_path / "in" / "*.tif", out=tmp_path / "list.txt"), "list.txt", "needs a folder")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert_refused(predict("-"), "cannot share standard input")


def test_a_pattern_that_matches_what_the_job_wrote_resumes(towns, predict, tmp_path):
    folder = tmp_path / "in"
    assert predict(folder / "*.tif", "--rectify", out=folder)[0] == 0
    (folder / "b_AGL.tif").unlink()
    status, shown, _ = predict(folder / "*.tif", "--rectify", out=folder)
    assert status == 0 and "3 scenes, 2 finished before" in shown
    assert "3 scenes, 3 finished before" in predict(folder / "*.tif", out=folder)[1]
    (folder / ".scenes" / "b.json").unlink()
    assert_refused(predict(folder / "*.tif", out=folder), "b_AGL.tif", "is an input")


def test_rectifying_finished_scenes_does_not_predict_them_again(towns, predict, tmp_path):
    out, source = tmp_path / "out", tmp_path / "list.txt"
    source.write_text(f"{towns[0]}\n{towns[1]}\n")
    assert predict()[0] == 0
    before = times(out)
    for kind in ("AGL.tif", "VFLOW.json"):
        (out / f"b_{kind}").unlink()
    status, shown, _ = predict(source, "--rectify")
    after = times(out)
    assert status == 0 and shown.count("_VFLOW.json:") == 1, "only b is predicted"
    assert {name: after[name] for name in ("a_AGL.tif", "a_VFLOW.json")}.items() <= before.items()
    assert {"a_RECT.tif", "b_RECT.tif"} <= set(after) and after["b_AGL.tif"] > before["b_AGL.tif"]
    assert "2 scenes, 2 finished before" in predict()[1], "without --rectify nothing is missing"
    assert_refused(predict(source, "--rectify", "--fill"), "_RECT", "other settings (fill)", "--overwrite")
    status, shown, _ = predict(source, "--rectify", "--fill", "--overwrite")
    assert status == 0 and "_VFLOW.json:" not in shown
    assert times(out)["a_AGL.tif"] == before["a_AGL.tif"]
