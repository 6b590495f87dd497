"""Pixels without data, however a file says it, and heights that are no heights."""

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from helpers import assert_user_error, ok, run, write_competition, write_tif
from rasterio.enums import ColorInterp

from geopose.cli import UserError
from geopose.data.store import prepare
from geopose.io.nodata import no_data
from geopose.io.rasters import decode_agl, read_agl, read_rgb
from geopose.io.tables import find_bad_tiles, read_train_table

HOLE = np.s_[3:7, 5:11]
FLOAT_MIN = float(np.finfo(np.float32).min)


def missing_of(path, bands):
    with rasterio.open(path) as raster:
        return no_data(raster, bands, raster.read(bands))


def holed(dtype, fill, bands=3):
    values = np.full((bands, 16, 20), 7, dtype)
    values[:, *HOLE] = fill
    return values


@pytest.fixture
def hole():
    mask = np.zeros((16, 20), bool)
    mask[HOLE] = True
    return mask


@pytest.mark.parametrize(
    ("dtype", "fill", "tag"),
    [
        (np.uint8, 0, 0),
        (np.uint8, 255, 255),
        (np.int16, -9999, -9999),
        (np.float32, -9999, -9999),
        (np.float32, FLOAT_MIN, FLOAT_MIN),
        (np.float32, np.nan, np.nan),
        (np.float32, np.nan, None),
        (np.float32, np.inf, None),
        (np.float64, -np.inf, -9999),
        (np.float64, -1e300, -1e300),
    ],
)
def test_a_value_is_no_data_by_its_tag_or_by_itself(tmp_path, hole, dtype, fill, tag):
    write_tif(tmp_path / "x.tif", holed(dtype, fill), nodata=tag)
    np.testing.assert_array_equal(missing_of(tmp_path / "x.tif", (3, 1, 2)), [hole] * 3)


@pytest.mark.parametrize("internal", [True, False])
@pytest.mark.parametrize("tag", [None, 9])
def test_a_mask_beside_the_bands_counts_together_with_a_tag(tmp_path, hole, internal, tag):
    values = holed(np.uint8, 7)
    values[:, 0, 0] = 9
    write_tif(tmp_path / "x.tif", values, nodata=tag)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=internal), rasterio.open(tmp_path / "x.tif", "r+") as raster:
        raster.write_mask(~hole)
    assert (tmp_path / "x.tif.msk").exists() != internal
    hole[0, 0] = tag is not None
    np.testing.assert_array_equal(missing_of(tmp_path / "x.tif", (1, 2, 3)), [hole] * 3)


def test_an_alpha_band_counts_together_with_a_tag(tmp_path, hole):
    values = holed(np.uint8, 7, bands=4)
    values[3], values[:3, 0, 0] = np.where(hole, 0, 255), 9
    write_tif(tmp_path / "x.tif", values, nodata=9)
    with rasterio.open(tmp_path / "x.tif", "r+") as raster:
        raster.colorinterp = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha]
    hole[0, 0] = True
    np.testing.assert_array_equal(missing_of(tmp_path / "x.tif", (1, 2, 3)), [hole] * 3)


def test_only_the_bands_that_are_read_count(tmp_path, hole):
    values = holed(np.uint16, 0, bands=4)
    values[3] = 50  # infrared has data everywhere
    write_tif(tmp_path / "x.tif", values, nodata=0)
    np.testing.assert_array_equal(missing_of(tmp_path / "x.tif", (1, 2, 3)), [hole] * 3)
    assert not missing_of(tmp_path / "x.tif", (4,)).any()


# --- heights ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("fill", "tag"), [(-9999, -9999), (FLOAT_MIN, FLOAT_MIN), (0, 0), (np.inf, None)])
def test_heights_that_a_file_calls_no_data_are_unknown(tmp_path, hole, dtype, fill, tag):
    path = tmp_path / "x_AGL.tif"
    write_tif(path, holed(dtype, fill, bands=1), nodata=tag)
    expected = np.where(hole, np.nan, np.float32(7))
    np.testing.assert_array_equal(read_agl(path), expected)
    np.testing.assert_array_equal(decode_agl(path.read_bytes(), "x").agl_m, expected)


def test_centimetres_of_the_files_nodata_are_unknown_unless_it_is_0(tmp_path, hole):
    for tag, unknown in ((40000, hole), (65535, hole & False), (0, hole & False)):
        write_tif(tmp_path / "x_AGL.tif", holed(np.uint16, 40000 if tag == 40000 else 0, bands=1), nodata=tag)
        np.testing.assert_array_equal(np.isnan(read_agl(tmp_path / "x_AGL.tif")), unknown)


@pytest.mark.parametrize("height_m", [-9999.0, -101.0, 1001.0, 32767.0])
def test_heights_outside_of_all_buildings_are_refused_by_name(tmp_path, height_m):
    write_tif(tmp_path / "x_AGL.tif", holed(np.float32, height_m, bands=1))
    with pytest.raises(UserError, match=f"x_AGL.tif: a height of {height_m:g} m.*nodata"):
        read_agl(tmp_path / "x_AGL.tif")
    for likely in (-100.0, 1000.0):
        write_tif(tmp_path / "x_AGL.tif", holed(np.float32, likely, bands=1))
        assert read_agl(tmp_path / "x_AGL.tif")[4, 7] == likely


# --- a folder of float labels with a tag, and the same folder with NaN --------------------------------------------


def in_float_metres(root: Path, unknown: float, tag: float | None) -> None:
    """Turn a folder's labels into float metres and px/m, with a value and a tag for unknown heights."""
    for path in sorted(root.glob("t*/*_AGL.tif")):
        with rasterio.open(path) as raster:
            values = raster.read(1)
        agl_m = np.where(values == 65535, unknown, values / 100).astype(np.float32)
        write_tif(path, agl_m, nodata=tag)
        vflow = path.with_name(path.name.replace("_AGL.tif", "_VFLOW.json"))
        pose = json.loads(vflow.read_text())
        vflow.write_text(json.dumps({"scale": pose["scale"] * 100, "angle": pose["angle"]}))


@pytest.fixture
def folders(tmp_path):
    """The same competition folder with NaN as unknown height, with tagged -9999, and with -9999 without a tag."""
    roots = {}
    for name, unknown, tag in (("nan", np.nan, None), ("tag", -9999, -9999), ("bare", -9999, None)):
        roots[name] = tmp_path / name
        write_competition(roots[name])
        in_float_metres(roots[name], unknown, tag)
    return roots


def test_evaluate_counts_tagged_pixels_as_unknown(folders, tmp_path):
    scores = {}
    for name in ("nan", "tag"):
        out = tmp_path / f"{name}.json"
        truth, pred = folders[name] / "truth", folders["nan"] / "train"
        ok(run("-m", "geopose", "evaluate", "--truth", truth, "--pred", pred, "--json", out))
        scores[name] = json.loads(out.read_text())
    assert scores["tag"] == scores["nan"]
    bare = run("-m", "geopose", "evaluate", "--truth", folders["bare"] / "truth", "--pred", folders["nan"] / "train")
    assert_user_error(bare, "_AGL.tif", "-9999 m", "nodata")


def test_training_and_prepared_copies_read_tagged_pixels_as_unknown(folders):
    tables = {name: read_train_table(root) for name, root in folders.items()}
    for mine, plain in zip(tables["tag"].agl, tables["nan"].agl, strict=True):
        np.testing.assert_array_equal(read_agl(mine), read_agl(plain))
    assert not find_bad_tiles(tables["tag"], 1)
    assert len(find_bad_tiles(tables["bare"], 1)) == len(tables["bare"])

    made, faults = prepare(folders["tag"], 1)
    assert made and not faults
    for source in tables["tag"].agl:
        copy = folders["tag"] / "prepared" / "train" / Path(source).name
        np.testing.assert_array_equal(read_agl(copy), read_agl(source))


def test_tiles_of_blue_green_red_are_read_and_copied_as_red_green_blue(competition):
    path = competition / "train" / "JAX_aaaaaa_RGB.tif"
    expected = read_rgb(path)
    write_tif(path, expected.transpose(2, 0, 1)[::-1], photometric="RGB")
    with rasterio.open(path, "r+") as raster:
        raster.colorinterp = [ColorInterp.blue, ColorInterp.green, ColorInterp.red]
    np.testing.assert_array_equal(read_rgb(path), expected)
    prepare(competition, 1)
    np.testing.assert_array_equal(read_rgb(competition / "prepared" / "train" / path.name), expected)
