"""Prepared copies: they have the same pixels, are made once, and are not used after their source has changed."""

import os
from pathlib import Path

import numpy as np
import pytest
import rasterio
from helpers import DEFAULT, assert_user_error, half_written, run, write_competition, write_tif
from rasterio.windows import Window

from geopose.cli import UserError
from geopose.config import AugmentConfig, ModelConfig, load_config
from geopose.data.dataset import CropDataset, split_fold
from geopose.data.store import advise_preparing, is_prepared, prefer_prepared, prepare, prepared_path
from geopose.io.names import city_of
from geopose.io.rasters import encode_prepared, encode_rgb, read_agl, read_rgb
from geopose.io.tables import read_test_table, read_train_table


@pytest.fixture
def folder(tmp_path):
    write_competition(tmp_path / "data", size=(300, 280))
    return tmp_path / "data"


def test_copies_hold_the_same_pixels_in_tiles_of_256_px(folder):
    made, faults = prepare(folder, 1)
    sources, copies = read_train_table(folder), prefer_prepared(read_train_table(folder), folder)
    assert (made, faults) == (3 * 8, [])
    for source, copy in zip(sources.itertuples(), copies.itertuples(), strict=True):
        assert Path(copy.rgb).is_relative_to(folder / "prepared" / "train")
        np.testing.assert_array_equal(read_rgb(copy.rgb), read_rgb(source.rgb))
        np.testing.assert_array_equal(read_agl(copy.agl), read_agl(source.agl))
        with rasterio.open(copy.rgb) as raster:
            assert raster.block_shapes == [(256, 256)] * 3
        window = Window(20, 250, 37, 41)
        np.testing.assert_array_equal(read_rgb(copy.rgb, window), read_rgb(source.rgb)[250:291, 20:57])
    assert prefer_prepared(read_test_table(folder), folder).rgb.str.contains("prepared/test").all()


def test_j2k_and_float_heights_are_copied_exactly(tmp_path):
    rng = np.random.default_rng(1)
    rgb, agl_m = rng.integers(0, 255, (70, 50, 3), dtype=np.uint8), rng.uniform(0, 90, (70, 50)).astype(np.float32)
    agl_m[3] = np.nan
    (tmp_path / "a.j2k").write_bytes(encode_rgb(rgb, "j2k"))
    write_tif(tmp_path / "b.tif", agl_m)
    for name in ("a.j2k", "b.tif"):
        (tmp_path / f"copy_{name}.tif").write_bytes(encode_prepared(tmp_path / name))
    np.testing.assert_array_equal(read_rgb(tmp_path / "copy_a.j2k.tif"), rgb)
    np.testing.assert_array_equal(read_agl(tmp_path / "copy_b.tif.tif"), agl_m)


def test_a_changed_source_is_read_itself_and_prepared_again(folder):
    prepare(folder, 1)
    source = Path(read_train_table(folder).rgb[0])
    write_tif(source, np.full((3, 300, 280), 7, np.uint8))
    assert prefer_prepared(read_train_table(folder), folder).rgb[0] == str(source)
    assert prepare(folder, 1) == (1, [])
    assert is_prepared(source, prepared_path(folder, source))
    assert (read_rgb(prepared_path(folder, source)) == 7).all()


def test_a_source_of_the_same_time_and_another_size_is_prepared_again(folder):
    prepare(folder, 1)
    source = Path(read_train_table(folder).rgb[0])
    times = source.stat().st_atime_ns, source.stat().st_mtime_ns
    write_tif(source, np.full((3, 300, 280), 7, np.uint8))
    os.utime(source, ns=times)  # as rsync -a, cp -p and unpacked archives leave it
    assert prefer_prepared(read_train_table(folder), folder).rgb[0] == str(source)
    assert prepare(folder, 1) == (1, [])
    assert (read_rgb(prefer_prepared(read_train_table(folder), folder).rgb[0]) == 7).all()


def test_a_read_only_folder_is_refused_with_a_way_out(folder, monkeypatch):
    links = folder.parent / "links"
    links.mkdir()
    for entry in folder.iterdir():
        (links / entry.name).symlink_to(entry)
    monkeypatch.setattr(os, "access", lambda path, mode: folder not in (Path(path), *Path(path).parents))
    with pytest.raises(UserError, match=rf"{folder}: read-only; .*ln -s {folder}/\* data/data/.*DATA=data/data"):
        prepare(folder, 1)
    assert prepare(links, 1) == (3 * 8, [])
    assert prefer_prepared(read_train_table(links), links).rgb.str.startswith(f"{links}/prepared/train/").all()
    assert not (folder / "prepared").exists()
    (links / "prepared").rename(folder / "prepared")
    assert prepare(folder, 1) == (0, [])


def test_the_way_out_of_a_read_only_folder_leads_to_another_one(tmp_path, monkeypatch):
    """The folder is named data/<name> itself."""
    monkeypatch.chdir(tmp_path)
    write_competition(Path("data/geopose"), per_city=1)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(
        UserError, match=r"data/geopose: read-only; .*/\* data/geopose-links/.*DATA=data/geopose-links:"
    ):
        prepare("data/geopose", 1)


def test_a_copy_that_was_cut_off_is_made_again(folder):
    prepare(folder, 1)
    source = Path(read_train_table(folder).rgb[0])
    copy = prepared_path(folder, source)
    for length in (0, 5, 1000):
        copy.write_bytes(copy.read_bytes()[:length])
        os.utime(copy, ns=(0, source.stat().st_mtime_ns))
        assert prepare(folder, 1) == (1, [])


def test_a_second_run_makes_only_what_is_missing(folder):
    prepare(folder, 1)
    prepared_path(folder, read_test_table(folder).rgb[2]).unlink()
    half_written(folder / "prepared" / "test")
    assert prepare(folder, 1) == (1, [])
    assert prepare(folder, 1) == (0, [])
    assert not list(folder.rglob(".*"))


@pytest.mark.parametrize(("half", "files"), [("train", 2 * 8), ("test", 8)])
def test_a_half_without_a_table_is_left_out(folder, half, files):
    other = {"train": "test", "test": "train"}[half]
    (folder / f"geopose_{other}.csv").unlink()
    assert prepare(folder, 1) == (files, [])


def test_a_bad_file_is_named_and_the_others_are_made(folder):
    bad = Path(read_train_table(folder).agl[3])
    bad.write_bytes(bad.read_bytes()[:60])
    result = run("-m", "geopose", "prepare", "--data", folder, "--workers", 2)
    assert result.returncode == 1
    assert bad.name in result.stderr and "Traceback" not in result.stderr
    assert "23 files made" in result.stdout and "1 failed" in result.stdout
    assert not prepared_path(folder, bad).exists()


def test_user_errors_are_one_line(tmp_path, folder):
    assert_user_error(run("-m", "geopose", "prepare", "--data", tmp_path / "none"), "no such folder")
    assert_user_error(run("-m", "geopose", "prepare", "--data", folder, "--workers", 0), "--workers")


def test_training_reads_the_copies_and_draws_the_same_crops(folder, tmp_path):
    ids = read_train_table(folder).id
    folds = tmp_path / "folds.csv"
    folds.write_text("id,city,fold\n" + "".join(f"{i},{city_of(i)},{n % 2}\n" for n, i in enumerate(ids)))
    settings = [f"data.root={folder}", f"data.folds={folds}", "data.fold=0"]
    config = load_config(DEFAULT, settings)

    def draws():
        table, _, _ = split_fold(config)
        return table, [CropDataset(table, AugmentConfig(crop_px=64), ModelConfig(), seed=3)[n] for n in range(6)]

    (sources, before), _ = draws(), prepare(folder, 1)
    copies, after = draws()
    assert not sources.rgb.equals(copies.rgb)
    for one, other in zip(before, after, strict=True):
        assert one["image"].equal(other["image"])


def test_the_hint_appears_only_where_prepare_would_help(folder, tmp_path, capsys):
    for table in (read_train_table(folder), read_test_table(folder)):
        advise_preparing(table)
        assert capsys.readouterr().err == ""
        slow = table.assign(rgb=table.rgb.str.replace(".tif", ".j2k"))
        advise_preparing(slow)
        assert "8 of 8 training images are .j2k, where" in (told := capsys.readouterr().err)
        assert f"'make prepare DATA={folder}' makes copies" in told
        advise_preparing(slow.assign(rgb=[str(tmp_path / "images" / Path(path).name) for path in slow.rgb]))
        assert capsys.readouterr().err == "", "only a competition folder can be prepared"


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="only Linux lists open files")
def test_the_number_of_open_files_does_not_grow(folder):
    prepare(folder, 1)
    table = prefer_prepared(read_train_table(folder), folder)
    crops = CropDataset(table, AugmentConfig(crop_px=64), ModelConfig(), seed=0)

    def open_files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    crops[0]
    before = open_files()
    for draw in range(20 * len(crops)):
        crops[draw]
    assert open_files() <= before
