"""Lean removal on files and in blocks: towers land on their footprints, and blocks give what the whole gives."""

import cv2
import numpy as np
import pytest
import rasterio
from helpers import assert_user_error, run, write_label, write_tif

from geopose.geometry import Pose, image_position
from geopose.inference import fill
from geopose.inference import rectify as module
from geopose.inference.rectify import Rectified, fill_hidden, rectify, rectify_files
from geopose.inference.scene_reader import SceneReader
from geopose.inference.surface import settle
from geopose.io.poses import read_vflow
from geopose.io.rasters import read_agl, read_rgb


@pytest.mark.parametrize("angle", [0.0, 0.7, 2.0, 3.3, 5.1])
def test_a_roof_lands_on_its_footprint(angle):
    footprint = np.zeros((90, 120), bool)
    footprint[40:60, 50:80] = True
    pose = Pose(angle, 1.3, 0.4)
    agl_m = np.zeros(footprint.shape, np.float32)
    rows, columns = np.nonzero(footprint)
    x, y = image_position(columns, rows, 12.0, pose)
    agl_m[np.rint(y).astype(int), np.rint(x).astype(int)] = 12.0
    ground = rectify(np.zeros((*agl_m.shape, 3), np.uint8), agl_m, pose.scale_px_per_m, angle)
    landed = ground.agl_m == 12
    assert (landed & footprint).sum() / (landed | footprint).sum() > 0.9


def test_nothing_moves_without_lean():
    rng = np.random.default_rng(0)
    rgb, agl_m = rng.integers(0, 256, (9, 7, 3), dtype=np.uint8), rng.uniform(0, 50, (9, 7)).astype(np.float32)
    ground = rectify(rgb, agl_m, 0.0, 1.0)
    np.testing.assert_array_equal(ground.rgb, rgb)
    np.testing.assert_array_equal(ground.agl_m, agl_m)
    assert not ground.hidden.any()


@pytest.mark.parametrize("angle", [0.4, 1.9, 3.6, 5.5])
def test_blocks_give_what_the_whole_gives(tmp_path, monkeypatch, angle):
    rng = np.random.default_rng(3)
    rgb, agl_m = rng.integers(0, 256, (161, 140, 3), dtype=np.uint8), np.zeros((161, 140))
    agl_m[5:20, 10:20], agl_m[30:84, 5:70], agl_m[50:54, 2:9] = 9.0, 4.2, np.nan
    agl_m[100:140, 20:90] = 12.0
    agl_m = cv2.GaussianBlur(agl_m, (0, 0), 3) + rng.uniform(0, 0.4, agl_m.shape)  # ramps, rough slopes and gaps
    write_tif(tmp_path / "x_RGB.tif", rgb.transpose(2, 0, 1))
    write_label(tmp_path, "x", agl_m, 1.3, angle)
    agl, pose = tmp_path / "x_AGL.tif", read_vflow(tmp_path / "x_VFLOW.json", tmp_path / "x_AGL.tif")
    monkeypatch.setattr(module, "BLOCK_PX", 29)
    for name, px in {"FILL_PX": 6, "WIDEST_PX": 4, "LOW_PX": 9}.items():
        monkeypatch.setattr(fill, name, px)
    source = tmp_path / "x_RGB.tif"
    whole = rectify(rgb, read_agl(agl), pose.scale_px_per_m, pose.angle_rad)
    assert (settle(read_agl(agl), pose.scale_px_per_m, pose.angle_rad) != read_agl(agl)).mean() > 0.02
    for filled in (False, True):
        with rasterio.open(source) as image:
            share = rectify_files(SceneReader(image, source, ()), agl, tmp_path / "out", "x", pose, filled)
        assert share == pytest.approx(whole.hidden.mean()) and share > 0.02
        expected = fill_hidden(whole) if filled else whole
        np.testing.assert_array_equal(read_rgb(tmp_path / "out" / "x_RECT.tif"), expected.rgb)
        np.testing.assert_array_equal(read_agl(tmp_path / "out" / "x_RECT_AGL.tif"), expected.agl_m)
        with rasterio.open(tmp_path / "out" / "x_RECT_HIDDEN.tif") as raster:
            np.testing.assert_array_equal(raster.read(1), expected.hidden)


def test_filling_changes_hidden_pixels_only():
    rgb, agl_m = np.full((40, 40, 3), 90, np.uint8), np.full((40, 40), 2.0, np.float32)
    hidden = np.zeros((40, 40), bool)
    hidden[10:20, 15:25] = True
    rgb[hidden], agl_m[hidden], agl_m[30, 30] = 0, np.nan, np.nan
    filled = fill_hidden(Rectified(rgb, agl_m, hidden))
    assert (filled.rgb[hidden] == 90).all() and (filled.agl_m[hidden] == 2).all()
    assert np.isnan(filled.agl_m[30, 30]), "a pixel of unknown height is visible, so it is not filled"
    np.testing.assert_array_equal(filled.rgb[~hidden], rgb[~hidden])
    np.testing.assert_array_equal(filled.hidden, hidden)


def test_command_keeps_the_grid_and_names_faults(tmp_path):
    rng = np.random.default_rng(0)
    transform = rasterio.transform.from_origin(440000, 3350000, 0.5, 0.5)
    write_tif(
        tmp_path / "x_RGB.tif", rng.integers(0, 256, (3, 20, 30), dtype=np.uint8), transform=transform, crs="EPSG:32617"
    )
    write_label(tmp_path, "x", rng.uniform(0, 9, (20, 30)), 0.8, 1.0)
    files = [tmp_path / name for name in ("x_RGB.tif", "x_AGL.tif", "x_VFLOW.json")]
    result = run("-m", "geopose", "rectify", *files, "--out", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    label = read_vflow(files[2], files[1])
    expected = rectify(read_rgb(files[0]), read_agl(files[1]), label.scale_px_per_m, label.angle_rad)
    np.testing.assert_array_equal(read_rgb(tmp_path / "out" / "x_RECT.tif"), expected.rgb)
    np.testing.assert_array_equal(read_agl(tmp_path / "out" / "x_RECT_AGL.tif"), expected.agl_m)
    with rasterio.open(tmp_path / "out" / "x_RECT_HIDDEN.tif") as raster:
        assert raster.transform == transform
        assert raster.crs.to_epsg() == 32617
        np.testing.assert_array_equal(raster.read(1), expected.hidden)

    write_label(tmp_path, "y", np.zeros((5, 5)), 0.8, 1.0)
    wrong = [files[0], tmp_path / "y_AGL.tif", tmp_path / "y_VFLOW.json"]
    assert_user_error(run("-m", "geopose", "rectify", *wrong, "--out", tmp_path / "out"), "5x5", "20x30")


@pytest.mark.parametrize("fill", [False, True])
def test_the_mask_says_where_the_image_without_lean_shows_something(tmp_path, fill):
    rgb, agl_m = np.full((3, 40, 50), 90, np.uint8), np.zeros((40, 50), np.float32)
    agl_m[10:20, 20:30], rgb[:, 30:, :15] = 6, 0
    write_tif(tmp_path / "x_RGB.tif", rgb, nodata=0)
    write_tif(tmp_path / "x_AGL.tif", agl_m)
    (tmp_path / "x_VFLOW.json").write_text('{"scale_px_per_m": 1, "angle_rad": 0}')
    files = [tmp_path / name for name in ("x_RGB.tif", "x_AGL.tif", "x_VFLOW.json")]
    flags = ["--fill"] if fill else []
    result = run("-m", "geopose", "rectify", *files, "--out", tmp_path / "out", *flags)
    assert result.returncode == 0, result.stderr
    with rasterio.open(tmp_path / "out" / "x_RECT_HIDDEN.tif") as raster:
        hidden = raster.read(1) > 0
    with rasterio.open(tmp_path / "out" / "x_RECT.tif") as raster:
        shown, image = raster.dataset_mask() > 0, raster.read()
    no_data = np.zeros((40, 50), bool)
    no_data[30:, :15] = True
    assert hidden[10:16, 20:30].all() and hidden.sum() == 60
    np.testing.assert_array_equal(shown, ~no_data if fill else ~no_data & ~hidden)
    assert (image[:, shown] == 90).all()
    assert not list((tmp_path / "out").glob("*.msk"))


def test_a_pixel_mixed_with_one_without_data_is_not_shown():
    rgba, agl_m = np.full((20, 40, 4), (90, 90, 90, 255), np.uint8), np.ones((20, 40), np.float32)
    rgba[:, 25:] = 0
    shown = rectify(rgba, agl_m, 0.5, np.pi / 2).rgb  # everything moves by half a pixel
    assert set(np.unique(shown[..., 3])) == {0, 255}
    assert (shown[shown[..., 3] == 255] == (90, 90, 90, 255)).all()


@pytest.mark.parametrize("unknown", [-9999.0, float(np.finfo(np.float32).min)])
def test_heights_that_a_file_calls_unknown_do_not_move(tmp_path, unknown):
    rgb, agl_m = np.random.default_rng(0).integers(0, 256, (3, 20, 30), dtype=np.uint8), np.full((20, 30), 2.0)
    agl_m[5:9, 5:9] = unknown
    write_tif(tmp_path / "x_RGB.tif", rgb)
    write_tif(tmp_path / "x_AGL.tif", agl_m.astype(np.float32), nodata=unknown)
    (tmp_path / "x_VFLOW.json").write_text('{"scale": 0.5, "angle": 1.5707963}')
    files = [tmp_path / name for name in ("x_RGB.tif", "x_AGL.tif", "x_VFLOW.json")]
    result = run("-m", "geopose", "rectify", *files, "--out", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    ground_m = read_agl(tmp_path / "out" / "x_RECT_AGL.tif")
    assert np.isnan(ground_m[5:9, 6:9]).all() and (ground_m[np.isfinite(ground_m)] == 2).all()

    write_tif(files[1], agl_m.astype(np.float32))
    assert_user_error(run("-m", "geopose", "rectify", *files, "--out", tmp_path / "again"), "x_AGL.tif", "nodata")


def paint(agl_m, hidden, bands=3):
    """Fill hidden pixels of an image whose colours are its heights in metres, and black where it is hidden."""
    rgb = np.repeat(np.where(hidden, 0, np.nan_to_num(agl_m, nan=77))[..., None], 3, axis=2).astype(np.uint8)
    data = np.where(hidden, 0, 255).astype(np.uint8)[..., None]
    return fill.paint_hidden(np.dstack([rgb, data])[..., :bands], np.where(hidden, np.nan, agl_m), hidden)


def test_a_hidden_pixel_without_low_ground_near_it_gets_what_is_there(monkeypatch):
    """A mountain that falls by 1 m a pixel: its low pixels are at its foot, further away than what is filled."""
    monkeypatch.setattr(fill, "FILL_PX", 6)
    monkeypatch.setattr(fill, "LOW_PX", 4)
    rows, columns = np.indices((81, 81)) - 40
    agl_m = (60 - np.hypot(rows, columns)).astype(np.float32)
    hidden = np.hypot(rows, columns) < 3
    rgb, filled_m = paint(agl_m, hidden)
    assert (np.abs(filled_m[hidden] - 57) < 2).all() and (np.abs(rgb[hidden].astype(int) - 57) < 3).all()
    np.testing.assert_array_equal(filled_m[~hidden], agl_m[~hidden])


def test_where_no_height_is_known_colours_are_painted_alone():
    agl_m, hidden = np.full((30, 30), np.nan, np.float32), np.zeros((30, 30), bool)
    hidden[10:14, 10:14] = True
    rgb, filled_m = paint(agl_m, hidden)
    assert (rgb == 77).all() and np.isnan(filled_m).all()


@pytest.mark.parametrize("bands", [3, 4])
def test_what_is_too_far_from_all_ground_stays_hidden(monkeypatch, bands):
    monkeypatch.setattr(fill, "FILL_PX", 6)
    agl_m, hidden = np.full((40, 40), 5, np.float32), np.zeros((40, 40), bool)
    hidden[:, 5:] = True
    rgb, filled_m = paint(agl_m, hidden, bands)
    assert (filled_m[:, :9] == 5).all() and (rgb[:, :9, :3] == 5).all()
    assert np.isnan(filled_m[:, 20:]).all() and (rgb[:, 20:] == 0).all()


@pytest.mark.parametrize("beside", ["a roof", "pixels without data"])
def test_hidden_ground_is_painted_with_ground_alone(beside):
    """A hidden strip between ground, on its right, and something that must not be copied, on its left."""
    rgb, agl_m, hidden = np.full((40, 60, 4), 90, np.uint8), np.zeros((40, 60), np.float32), np.zeros((40, 60), bool)
    hidden[:, 20:30] = True
    rgb[..., 3] = 255
    rgb[:, :20], agl_m[:, :20] = ((200, 200, 200, 255), 12.0) if beside == "a roof" else (0, 1.0)
    rgb[hidden], agl_m[hidden] = 0, np.nan
    filled, filled_m = fill.paint_hidden(rgb, agl_m, hidden)
    assert (filled[hidden] == (90, 90, 90, 255)).all() and (filled_m[hidden] == 0).all()
    np.testing.assert_array_equal(filled[~hidden], rgb[~hidden])


def test_a_pixel_is_low_unless_something_much_lower_is_near_it():
    agl_m = np.zeros((9, 200), np.float32)
    agl_m[:, :100], agl_m[:, 150:] = 2.5, 1.5
    expected = np.broadcast_to((np.arange(200) < 60) | (np.arange(200) >= 100), agl_m.shape)
    for turns in range(4):
        turned = np.rot90(agl_m, turns).copy()
        low = fill._low(turned, np.ones(turned.shape, bool))
        np.testing.assert_array_equal(low, np.rot90(expected, turns))
