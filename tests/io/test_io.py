"""Files and units, and one line for every fault."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import rasterio
from helpers import run, write_competition, write_tables, write_tif
from rasterio.windows import Window

from geopose.cli import UserError, one_line
from geopose.io.files import write_bytes, writing
from geopose.io.names import label_of, rgb_name
from geopose.io.poses import encode_vflow, parse_vflow, read_vflow
from geopose.io.rasters import (
    agl_to_cm,
    decode_agl,
    encode_agl,
    encode_rgb,
    image_size,
    raster_like,
    read_agl,
    read_rgb,
    read_rgb_thumbnail,
)
from geopose.io.tables import check_labels, find_labels, read_folds, read_test_table, read_train_table, write_csv

VRT = """<VRTDataset rasterXSize="64" rasterYSize="64"><SRS>EPSG:32617</SRS>
<GeoTransform>440000, 0.4, 0, 3350000, 0, -0.4</GeoTransform>
<GCPList Projection="EPSG:32617"><GCP Id="1" Pixel="0" Line="0" X="440000" Y="3350000"/>
<GCP Id="2" Pixel="64" Line="0" X="440025.6" Y="3350000"/><GCP Id="3" Pixel="0" Line="64" X="440000" Y="3349974.4"/>
</GCPList><VRTRasterBand dataType="Byte" band="1"><SimpleSource><SourceFilename relativeToVRT="1">a.tif</SourceFilename>
<SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"""


def fault(function, *arguments) -> str:
    """The error's text, checked to be one line."""
    with pytest.raises(UserError) as caught:
        function(*arguments)
    text = str(caught.value)
    assert text == one_line(text)
    return text


# --- units ------------------------------------------------------------------------------------------------------


def test_centimetre_and_metre_labels_agree(tmp_path):
    agl_m = np.array([[0.0, 1.25, 30.5], [np.nan, 655.34, 0.01]], np.float32)
    write_tif(tmp_path / "a_AGL.tif", np.array([[0, 125, 3050], [65535, 65534, 1]], np.uint16))
    write_tif(tmp_path / "b_AGL.tif", agl_m)
    (tmp_path / "a.json").write_text('{"scale": 0.0125, "angle": 1.5}')
    (tmp_path / "b.json").write_text('{"scale": 1.25, "angle": 1.5}')
    for name in "ab":
        read = read_agl(tmp_path / f"{name}_AGL.tif")
        assert read.dtype == np.float32
        assert np.allclose(read, agl_m, equal_nan=True)
        label = read_vflow(tmp_path / f"{name}.json", tmp_path / f"{name}_AGL.tif")
        assert label.scale_px_per_m == pytest.approx(1.25)
        assert label.angle_rad == 1.5


def test_mixed_units_are_refused(competition):
    table = read_train_table(competition)
    check_labels(table)
    write_tif(competition / "train" / "JAX_aaaaaa_AGL.tif", np.ones((24, 32), np.float32))
    text = fault(check_labels, table)
    assert "JAX_aaaaaa_AGL.tif" in text
    assert "one unit" in text


def test_other_height_dtypes_are_refused(tmp_path):
    write_tif(tmp_path / "a_AGL.tif", np.ones((4, 4), np.int32))
    assert "int32" in fault(read_agl, tmp_path / "a_AGL.tif")
    write_tif(tmp_path / "b_AGL.tif", np.ones((2, 4, 4), np.uint16))
    assert "2 bands" in fault(read_agl, tmp_path / "b_AGL.tif")


def test_heights_round_trip_within_half_a_centimetre(tmp_path):
    agl_m = np.random.default_rng(0).uniform(0, 655.34, (64, 64)).astype(np.float32)
    agl_m[0, :5] = np.nan
    path = tmp_path / "a_AGL.tif"
    write_bytes(path, encode_agl(agl_m))
    read = read_agl(path)
    assert np.array_equal(np.isnan(read), np.isnan(agl_m))
    assert np.nanmax(np.abs(read - agl_m)) <= 0.005 + 1e-4
    label = parse_vflow(encode_vflow(1.2345678, 2.5), "a.json")
    assert label.scale_px_per_m == pytest.approx(1.2345678, rel=1e-12)
    assert label.angle_rad == 2.5


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_heights_are_rounded_to_centimetres_and_refused_above_the_limit(dtype):
    agl_m = np.array([[-3.0, 0.0, 0.004, 655.33, 655.34, np.nan]], dtype)
    assert agl_to_cm(agl_m).tolist() == [[0, 0, 0, 65533, 65534, 65535]]
    for too_high in (655.35, 655.36, 1e6, np.inf):
        with pytest.raises(ValueError, match="at most"):
            encode_agl(np.array([[too_high]], dtype))
    assert agl_to_cm(np.full((2, 2), np.nan)).tolist() == [[65535] * 2] * 2


def test_heights_are_decoded_from_bytes_or_refused_by_name():
    agl_m = np.array([[1.0, np.nan], [2.5, 0.0]], np.float32)
    file = decode_agl(encode_agl(agl_m), "x_AGL.tif", (2, 2))
    assert np.array_equal(file.agl_m, agl_m, equal_nan=True)
    assert (file.centimetres, file.compression) == (True, "deflate")
    assert "x_AGL.tif: 2x2" in fault(decode_agl, encode_agl(agl_m), "x_AGL.tif", (4, 4))
    for broken in (b"", b"no image", encode_agl(np.random.default_rng(0).random((99, 99)))[:3000]):
        text = fault(decode_agl, broken, "x_AGL.tif")
        assert text.startswith("x_AGL.tif: truncated or not an image")
        assert "vsimem" not in text


# --- images -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["tif", "j2k"])
def test_both_image_formats_give_the_same_pixels_windows_and_thumbnails(tmp_path, suffix):
    rgb = np.random.default_rng(0).integers(0, 255, (96, 128, 3), dtype=np.uint8)
    path = tmp_path / rgb_name("JAX_a", suffix)
    write_bytes(path, encode_rgb(rgb, suffix))
    assert image_size(path) == (96, 128)
    assert np.array_equal(read_rgb(path), rgb)
    window = read_rgb(path, Window(col_off=30, row_off=20, width=50, height=40))
    assert np.array_equal(window, rgb[20:60, 30:80])
    thumbnail = read_rgb_thumbnail(path, 32)
    assert thumbnail.shape == (32, 32, 3)
    assert abs(thumbnail.mean() - rgb.mean()) < 3


def test_a_window_of_heights_is_that_part_of_the_whole(competition):
    path = competition / "train" / "ARG_aaaaaa_AGL.tif"
    window = read_agl(path, Window(col_off=5, row_off=1, width=10, height=8))
    assert np.array_equal(window, read_agl(path)[1:9, 5:15], equal_nan=True)


@pytest.mark.parametrize("suffix", ["tif", "j2k"])
def test_a_truncated_image_is_refused(tmp_path, suffix):
    rgb = np.random.default_rng(0).integers(0, 255, (256, 256, 3), dtype=np.uint8)
    content = encode_rgb(rgb, suffix)
    path = tmp_path / f"JAX_a_RGB.{suffix}"
    for length in (0, 20, len(content) // 2):
        path.write_bytes(content[:length])
        text = fault(read_rgb, path)
        assert path.name in text
        assert "again" in text


def test_image_of_other_bands_is_refused(tmp_path):
    write_tif(tmp_path / "a_RGB.tif", np.zeros((4, 8, 8), np.uint8))
    assert "4 bands" in fault(read_rgb, tmp_path / "a_RGB.tif")


# --- faults of a folder -----------------------------------------------------------------------------------------


def test_a_missing_or_empty_folder_and_a_missing_table_are_named(tmp_path, competition):
    assert "no such folder" in fault(read_train_table, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "empty" in fault(read_train_table, tmp_path / "empty")
    assert "make data" in fault(read_test_table, tmp_path / "empty")
    (competition / "metadata.csv").unlink()
    assert "metadata.csv missing" in fault(read_train_table, competition)


@pytest.mark.parametrize("name", ["JAX_aaaaaa_RGB.tif", "JAX_aaaaaa_AGL.tif", "JAX_aaaaaa_VFLOW.json"])
def test_a_missing_label_file_is_named(competition, name):
    (competition / "train" / name).unlink()
    text = fault(check_labels, read_train_table(competition))
    assert f"{name} missing" in text
    assert ";" in text


def test_size_of_image_and_heights_must_agree(competition):
    write_tif(competition / "train" / "OMA_bbbbbb_AGL.tif", np.ones((12, 32), np.uint16))
    text = fault(check_labels, read_train_table(competition))
    assert "OMA_bbbbbb_AGL.tif: 12x32, but its RGB is 24x32" in text


def test_truncated_heights_are_refused(competition):
    path = competition / "train" / "ARG_aaaaaa_AGL.tif"
    path.write_bytes(path.read_bytes()[:700])
    assert "ARG_aaaaaa_AGL.tif: truncated" in fault(read_agl, path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"angle": 1.0}', "scale is missing"),
        ('{"scale": 0.01}', "angle is missing"),
        ('{"scale": NaN, "angle": 1.0}', "scale is nan"),
        ('{"scale": 0.01, "angle": Infinity}', "angle is inf"),
        ('{"scale": "0.01", "angle": 1.0}', "finite number"),
        ('{"scale": true, "angle": 1.0}', "finite number"),
        ('{"scale": null, "angle": 1.0}', "finite number"),
        ("[1, 2]", "not a JSON object"),
        ('{"scale": 0.01,\n "angle": ', "not JSON"),
        ("", "not JSON"),
        ('{"scale": 1e400, "angle": 1}', "scale is inf"),
        ('{"scale": 1' + 400 * "0" + ', "angle": 1}', "scale is inf"),
        (100_000 * "[", "not JSON"),
    ],
)
def test_a_pose_that_cannot_be_used_is_named(competition, text, words):
    path = competition / "train" / "ARG_aaaaaa_VFLOW.json"
    path.write_text(text)
    message = fault(read_vflow, path, competition / "train" / "ARG_aaaaaa_AGL.tif")
    assert words in message
    assert "ARG_aaaaaa_VFLOW.json" in message


def test_a_pose_file_that_is_no_text_or_missing_is_named(competition):
    path = competition / "train" / "ARG_aaaaaa_VFLOW.json"
    path.write_bytes(b"\xff\xfe\x00\x81")
    assert "ARG_aaaaaa_VFLOW.json" in fault(read_vflow, path, path.with_name("ARG_aaaaaa_AGL.tif"))
    assert "ARG_aaaaaa_VFLOW.json" in fault(parse_vflow, b"\xff\xfe\x00\x81", "ARG_aaaaaa_VFLOW.json")
    path.unlink()
    assert "missing" in fault(read_vflow, path, path.with_name("ARG_aaaaaa_AGL.tif"))


def test_scores_may_read_nan_poses():
    pose = parse_vflow('{"scale": NaN, "angle": 1.0}', "x", finite=False)
    assert np.isnan(pose.scale_px_per_m)


# --- tables -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bare", [False, True])
def test_ids_with_and_without_city(tmp_path, bare):
    ids = ["ARG_YjKCSw", "JAX_bEijqv", "PAR_nANull", "NYC_1234567"]
    write_tables(tmp_path, ids, bare)
    train, test = read_train_table(tmp_path), read_test_table(tmp_path)
    assert list(train.columns) == ["id", "city", "gsd_m", "rgb", "agl", "vflow"]
    assert train.id.tolist() == test.id.tolist() == ids
    assert train.city.tolist() == ["ARG", "JAX", "PAR", "NYC"]
    assert train.gsd_m.tolist() == [0.35] * 4
    assert train.agl[1] == str(tmp_path / "train" / "JAX_bEijqv_AGL.tif")
    assert test.rgb[1] == str(tmp_path / "test" / "JAX_bEijqv_RGB.tif")


def test_an_id_that_one_table_lacks_is_named(tmp_path):
    write_tables(tmp_path, ["ARG_aaaaaa", "JAX_bbbbbb"])
    (tmp_path / "metadata.csv").write_text("id,city,gsd\nARG_aaaaaa,ARG,0.35\n")
    text = fault(read_train_table, tmp_path)
    assert "JAX_bbbbbb" in text
    assert "metadata.csv" in text


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("metadata.csv", "id,city,gsd\nARG_a,ARG,0.3\nARG_a,ARG,0.3\n", "ARG_a"),
        ("metadata.csv", "id,city,gsd\nARG_a,ARG,0.3\na,ARG,0.3\n", "ARG_a"),
        ("metadata.csv", "id,city\nARG_a,ARG\n", "no column gsd"),
        ("metadata.csv", "id,city,gsd\n", "no rows"),
        ("metadata.csv", "", "not a readable CSV"),
        ("metadata.csv", "id,city,gsd\nARG_a,ARG,-1\n", "impossible gsd"),
        ("metadata.csv", "id,city,gsd\nARG_a,ARG,many\n", "impossible gsd"),
        ("metadata.csv", "id,city,gsd\nARG_a,ARG,inf\n", "impossible gsd"),
        ("metadata.csv", "id,city,gsd\nARG_a,ARG,35\n", "at most 10"),
        ("geopose_train.csv", "id,agl,json,rgb\nARG_a,x,y,ARG_a_RGB.tif\nARG_a,x,y,ARG_a_RGB.tif\n", "ARG_a"),
        ("geopose_train.csv", "id,agl,json,rgb\nARG_a,x,y,JAX_b_RGB.tif\n", "must agree"),
        ("geopose_train.csv", "id,agl,rgb\nARG_a,x,ARG_a_RGB.tif\n", "no column json"),
    ],
)
def test_a_table_that_cannot_be_used_is_named(tmp_path, name, text, words):
    write_tables(tmp_path, ["ARG_a"])
    (tmp_path / name).write_text(text)
    message = fault(read_train_table, tmp_path)
    assert words in message
    assert name in message


def test_folds_must_hold_the_ids_of_the_training_tiles(tmp_path):
    write_tables(tmp_path, ["ARG_a", "JAX_b"])
    table, path = read_train_table(tmp_path), tmp_path / "folds.csv"
    assert "make folds" in fault(read_folds, path, table)
    for ids in (("ARG_a", "JAX_b"), ("a", "b")):
        path.write_text(f"id,city,fold\n{ids[0]},ARG,0\n{ids[1]},JAX,1\n")
        assert read_folds(path, table)[table.id].tolist() == [0, 1]
    path.write_text("id,city,fold\nARG_a,ARG,0\n")
    assert "JAX_b" in fault(read_folds, path, table)
    path.write_text("id,city,fold\nARG_a,ARG,0\nJAX_b,JAX,1\nJAX_c,JAX,1\n")
    assert "JAX_c" in fault(read_folds, path, table)
    path.write_text("id,city,fold\nARG_a,ARG,0\nJAX_b,JAX,half\n")
    assert "whole numbers" in fault(read_folds, path, table)
    assert f"{tmp_path}: is a folder; give a CSV file with the columns id, city, fold" in fault(
        read_folds, tmp_path, table
    )


def test_labels_of_a_folder(competition, tmp_path):
    ids = find_labels(competition / "train").id.tolist()
    assert find_labels(competition).id.tolist() == ids  # its truth/
    assert ids == read_train_table(competition).id.tolist()
    (tmp_path / "empty").mkdir()
    assert "_AGL.tif" in fault(find_labels, tmp_path / "empty")
    assert "no such folder" in fault(find_labels, tmp_path / "nowhere")
    assert label_of("JAX_a_AGL.tif") == ("JAX_a", "agl")
    assert label_of("JAX_a_VFLOW.json") == ("JAX_a", "vflow")
    assert label_of("_AGL.tif") is label_of("JAX_a_RGB.tif") is None


# --- writing ----------------------------------------------------------------------------------------------------


def test_writing_leaves_all_or_nothing(tmp_path):
    path = tmp_path / "sub" / "a.txt"
    write_bytes(path, b"old")
    with pytest.raises(KeyboardInterrupt), writing(path) as temporary:
        temporary.write_bytes(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    write_csv(pd.DataFrame({"id": ["a"]}), path)
    assert path.read_text() == "id\na\n"
    assert list(path.parent.iterdir()) == [path]


# --- the same faults, as a user of a command meets them ---------------------------------------------------------


def test_a_fault_ends_a_command_in_one_line(competition, tmp_path):
    shutil.copytree(competition / "truth", tmp_path / "pred")
    (tmp_path / "pred" / "ARG_aaaaaa_VFLOW.json").write_text(json.dumps({"angle": 1}))
    result = run("-m", "geopose", "evaluate", "--truth", competition / "truth", "--pred", tmp_path / "pred")
    assert result.returncode == 2
    assert len(result.stderr.strip().splitlines()) == 1
    assert "ARG_aaaaaa_VFLOW.json: scale is missing" in result.stderr


def test_the_helper_of_these_tests_writes_unknown_heights(tmp_path):
    ids = write_competition(tmp_path / "c", per_city=1, cities=("PAR",))
    assert ids == ["PAR_aaaaaa"]
    assert np.isnan(read_agl(tmp_path / "c" / "truth" / "PAR_aaaaaa_AGL.tif")).sum() == 64


def test_an_output_keeps_the_transform_of_an_image_that_also_has_gcps(tmp_path):
    write_tif(tmp_path / "a.tif", np.zeros((64, 64), np.uint8))
    (tmp_path / "a.vrt").write_text(VRT)
    with raster_like(tmp_path / "out.tif", tmp_path / "a.vrt", 1, np.float32) as raster:
        raster.write(np.zeros((1, 64, 64), np.float32))
    with rasterio.open(tmp_path / "a.vrt") as source, rasterio.open(tmp_path / "out.tif") as made:
        assert source.gcps[0] and not source.transform.is_identity
        assert made.transform == source.transform and made.crs == source.crs
