"""Your own images: any bands, depth and size, the same grid, tiles without seams, one pose."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
import torch
from helpers import RELEASED, assert_user_error, ok, run, write_tif
from rasterio.windows import Window
from rio_cogeo.cogeo import cog_validate

from geopose.config import BlendConfig
from geopose.inference.calibration import Calibration
from geopose.inference.ensemble import Ensemble
from geopose.inference.scene import (
    SceneOptions,
    combine_poses,
    drop_rows,
    predict_scene,
    predict_tile,
    pyramid,
    tile_side,
    tile_starts,
)
from geopose.inference.scene_reader import SceneReader
from geopose.io.rasters import read_agl, read_rgb
from geopose.io.tables import read_train_table
from geopose.synthetic.dataset import Options, make_dataset
from geopose.version import VERSION

GRID = {"crs": "EPSG:32617", "transform": rasterio.transform.from_origin(440000, 3350000, 0.4, 0.4)}


@pytest.fixture(scope="module")
def ensemble():
    """The released run: a network that has learned nothing predicts no heights."""
    return Ensemble([RELEASED], BlendConfig(tta="flips"), torch.device("cpu"), Calibration(), spread=True)


def write_scene(path, size=(150, 210), bands=3, dtype=np.uint8, **profile):
    rng = np.random.default_rng(5)
    small = rng.integers(0, 255, (bands, 12, 16)).astype(float)
    values = np.stack([np.kron(band, np.ones((size[0] // 12 + 1, size[1] // 16 + 1))) for band in small])
    values = values[:, : size[0], : size[1]]
    write_tif(path, (values * 40 + 1000 if dtype == np.uint16 else values).astype(dtype), **{**GRID, **profile})
    return path


def test_a_scene_keeps_its_grid_and_gets_heights_spread_and_pose(ensemble, tmp_path):
    image = write_scene(tmp_path / "town.tif")
    pose = predict_scene(image, tmp_path / "out", ensemble, SceneOptions(tile_px=64))
    with rasterio.open(tmp_path / "out" / "town_AGL.tif") as raster:
        assert (raster.crs.to_epsg(), raster.transform) == (32617, GRID["transform"])
        assert raster.dtypes == ("float32", "float32") and np.isnan(raster.nodata)
        assert raster.units == ("metre", "metre")
        assert raster.descriptions == ("height above ground", "spread over views and checkpoints")
        heights, spread = raster.read()
        tags = raster.tags()
    assert cog_validate(tmp_path / "out" / "town_AGL.tif", strict=True, quiet=True) == (True, [], [])
    assert heights.shape == (150, 210) and np.isfinite(heights).all() and (heights >= 0).all()
    assert (spread >= 0).all() and spread.max() > 0
    content = json.loads((tmp_path / "out" / "town_VFLOW.json").read_text())
    assert content == {
        "scale_px_per_m": pose.scale_px_per_m,
        "angle_rad": pose.angle_rad,
        "gsd_m": pytest.approx(0.4, rel=1e-3),
        "pose_from": "network",
        "network_scale_px_per_m": pose.scale_px_per_m,
        "network_angle_rad": pose.angle_rad,
    }
    assert {name: tags[f"GEOPOSE_{name.upper()}"] for name in content} == {k: str(v) for k, v in content.items()}
    assert tags["GEOPOSE_RUNS"] == str(ensemble.runs[0]) and tags["GEOPOSE_VERSION"] == VERSION


def test_one_tile_is_predicted_as_the_model_does(ensemble, tmp_path):
    image = write_scene(tmp_path / "town.tif", size=(96, 96))
    pose = predict_scene(image, tmp_path, ensemble, SceneOptions(tile_px=96))
    batch = {"image": torch.from_numpy(read_rgb(image).transpose(2, 0, 1))[None], "gsd_m": torch.tensor([pose.gsd_m])}
    expected = ensemble.predict(batch | {"city": [""], "id": [""]})
    heights = read_agl(tmp_path / "town_AGL.tif")
    np.testing.assert_allclose(heights, expected["agl_m"][0, 0].clamp(min=0), rtol=1e-4, atol=1e-4)
    assert heights.std() > 0.3
    assert pose.scale_px_per_m == pytest.approx(float(expected["scale_px_per_m"][0]), rel=1e-4)


def test_a_tile_counts_less_towards_its_edges(ensemble, tmp_path):
    """Two tiles share columns 32 to 63. A tile's weight is the distance of a pixel's outer side to its nearest edge."""
    image = write_scene(tmp_path / "town.tif", size=(64, 96))
    predict_scene(image, tmp_path, ensemble, SceneOptions(tile_px=64, gsd_m=0.4))
    sums = np.zeros((2, 64, 96))
    edge = np.minimum(np.arange(64), np.arange(64)[::-1]) + 1.0
    weight = np.minimum(edge[:, None], edge)
    for left in (0, 32):
        part = np.s_[:, left : left + 64]
        rgb = torch.from_numpy(read_rgb(image)[part].transpose(2, 0, 1).copy())
        batch = {"image": rgb[None], "gsd_m": torch.tensor([0.4]), "city": [""], "id": [""]}
        alone_m = ensemble.predict(batch)["agl_m"][0, 0].clamp(min=0).numpy()
        sums[:, :, left : left + 64] += np.stack([weight * alone_m, weight])
    np.testing.assert_allclose(read_agl(tmp_path / "town_AGL.tif"), sums[0] / sums[1], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("bands", "dtype"), [(1, np.uint8), (4, np.uint8), (8, np.uint16), (3, np.float32)])
def test_any_bands_and_depth(ensemble, tmp_path, bands, dtype):
    image = write_scene(tmp_path / "x.tif", size=(64, 70), bands=bands, dtype=dtype)
    predict_scene(image, tmp_path, ensemble, SceneOptions(tile_px=64))
    assert np.isfinite(read_agl(tmp_path / "x_AGL.tif")).all()
    with rasterio.open(image) as raster:
        rgb, data = SceneReader(raster, image, (min(bands, 2),)).read(Window(0, 0, 70, 64))
    assert rgb.shape == (3, 64, 70) and rgb.dtype == np.uint8 and data.all()
    if dtype != np.uint8:
        assert rgb.min() == 0 and rgb.max() == 255


def test_pixels_without_data_stay_unknown(ensemble, tmp_path):
    path = write_scene(tmp_path / "x.tif", nodata=0)
    with rasterio.open(path, "r+") as raster:
        raster.write(np.zeros((3, 40, 80), np.uint8), window=Window(100, 30, 80, 40))
    predict_scene(path, tmp_path, ensemble, SceneOptions(tile_px=64))
    unknown = np.isnan(read_agl(tmp_path / "x_AGL.tif"))
    assert unknown[30:70, 100:180].all() and unknown[:20].mean() < 0.1


def test_heights_do_not_depend_on_the_value_that_means_no_data(ensemble, tmp_path):
    heights_m = []
    for value in (0, 255):
        path = write_scene(tmp_path / f"{value}.tif", nodata=value)
        with rasterio.open(path, "r+") as raster:
            rgb = raster.read().clip(1, 254)
            rgb[:, :, 120:] = value
            raster.write(rgb)
        predict_scene(path, tmp_path, ensemble, SceneOptions(tile_px=64))
        heights_m.append(read_agl(tmp_path / f"{value}_AGL.tif"))
    assert np.isnan(heights_m[0][:, 120:]).all() and heights_m[0][:, :120].max() > 0
    np.testing.assert_array_equal(*heights_m)


def test_tiles_cover_everything_and_overlap_by_half():
    for length in (40, 64, 65, 100, 128, 1000):
        starts = tile_starts(length, 64)
        covered = np.zeros(length, int)
        side = tile_side(length, 64)
        for start in starts:
            assert start >= 0 and start + side <= length
            covered[start : start + side] += 1
        assert covered.min() >= 1 and max(np.diff(starts), default=0) <= 32
    weights = pyramid(6, 8)
    assert weights.min() > 0 and np.array_equal(weights, weights[::-1, ::-1]) and weights.argmax() // 8 in (2, 3)


@pytest.mark.parametrize("count", [1, 3, 4, 7])
def test_finished_rows_make_room_for_the_next(count):
    sums = np.random.default_rng(0).uniform(size=(3, 7, 5))
    expected = np.concatenate([sums[:, count:], np.zeros((3, count, 5))], axis=1)
    drop_rows(sums, count)
    np.testing.assert_array_equal(sums, expected)


def test_a_few_wrong_tiles_do_not_change_the_pose():
    good = [(1.0 + 0.01 * k, 0.05 * k - 0.1, 100.0) for k in range(5)]
    scale, angle = combine_poses(np.array([*good, (9.0, 3.0, 100.0), (0.1, 2.0, 0.0)]))
    assert scale == pytest.approx(1.03, abs=0.03)
    # The wrong angles, 2 and 3 rad, are ignored. The good ones, -0.1 to 0.1 rad, are on both sides of 0.
    assert np.sin(angle) == pytest.approx(0, abs=1e-9) and np.cos(angle) > 0


def test_directions_of_tiles_are_weighted_by_their_heights():
    _, angle = combine_poses(np.array([(1.0, 0.0, 1.0), (1.0, 0.3, 3.0), (1.0, 0.3, 0.0)]))
    mean = np.array([1, 0]) + 3 * np.array([np.cos(0.3), np.sin(0.3)])
    assert angle == pytest.approx(np.arctan2(mean[1], mean[0]))


def test_tiles_without_any_height_still_have_a_pose():
    scale, angle = combine_poses(np.array([(1.0, 0.1, 0.0), (2.0, 0.2, 0.0), (4.0, 0.3, 0.0)]))
    assert (scale, angle) == (2.0, pytest.approx(0.2))


def test_a_tile_counts_by_the_heights_of_its_data_and_by_its_certainty():
    """Heights below 0 count as 0. The direction (0.3, 0.4) has the length 0.5."""
    agl_m = torch.tensor([[[[2.0, 3.0], [-5.0, 7.0]]]])
    pose = {"direction": torch.tensor([[0.3, 0.4]]), "scale_px_per_m": torch.tensor([1.5])}
    always = SimpleNamespace(predict=lambda batch: {"agl_m": agl_m, "spread_m": agl_m / 10, **pose})
    data = np.array([[True, True], [True, False]])
    heights, spread, pose = predict_tile(always, np.zeros((3, 2, 2), np.uint8), 0.4, data, "town.tif")
    np.testing.assert_allclose(heights, [[2, 3], [0, 7]])
    np.testing.assert_allclose(spread, agl_m[0, 0] / 10)
    assert pose == pytest.approx((1.5, np.arctan2(0.3, 0.4), 0.5 * (2**2 + 3**2)))


def test_the_command_predicts_and_rectifies_images(tmp_path):
    image = write_scene(tmp_path / "town.tif", size=(80, 90))
    common = ("--runs", RELEASED, "--out", tmp_path / "out", "--tta", "none", "--device", "cpu")
    shown = ok(run("predict.py", image, *common, "--tile", 64, "--rectify"))
    assert "gsd 0.400 m" in shown and "hidden" in shown
    for name in ("AGL", "RECT", "RECT_AGL", "RECT_HIDDEN"):
        with rasterio.open(tmp_path / "out" / f"town_{name}.tif") as raster:
            assert raster.transform == GRID["transform"] and raster.shape == (80, 90)
            assert raster.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
            assert raster.units == ("metre" if "AGL" in name else None,) * raster.count
    files = (image, tmp_path / "out" / "town_AGL.tif", tmp_path / "out" / "town_VFLOW.json")
    ok(run("-m", "geopose", "rectify", *files, "--out", tmp_path / "again"))
    ours, again = (read_rgb(tmp_path / folder / "town_RECT.tif") for folder in ("out", "again"))
    np.testing.assert_array_equal(ours, again)

    write_tif(tmp_path / "plain.tif", np.zeros((3, 64, 64), np.uint8))
    assert_user_error(run("predict.py", tmp_path / "plain.tif", *common), "plain.tif", "--gsd")
    assert_user_error(run("predict.py", tmp_path / "none.tif", *common), "none.tif missing")
    assert_user_error(run("predict.py", image, *common, "--bands", 1, 9, 2, "--overwrite"), "--bands 1 9 2", "1 to 3")
    assert_user_error(run("predict.py", image, *common, "--gsd", -1), "--gsd")
    assert_user_error(run("predict.py", image, *common, "--data", tmp_path), "one of the three")


@pytest.mark.parametrize(("length", "side"), [(20, 20), (32, 32), (489, 480), (1000, 992), (1024, 1024), (5000, 1024)])
def test_tiles_are_whole_strides_and_cover_the_scene(length, side):
    """Padding looks like walls to the network, so an image of 489 px has two tiles of 480 px."""
    starts = tile_starts(length, 1024)
    assert tile_side(length, 1024) == side
    assert starts[0] == 0 and starts[-1] + side == length
    assert all(0 < step <= side / 2 + 1 for step in np.diff(starts))


def test_an_image_of_any_size_is_predicted_as_well_as_one_of_whole_strides(ensemble, tmp_path):
    """Heights of three synthetic tiles: their first 297 x 308 px, against the part of these that is 288 px square.

    Where the network pads with border pixels, they are a third worse.
    """
    make_dataset(tmp_path / "tiles", Options(train=12, test=4, size=320, seed=21), workers=1)
    errors_m = {297: [], 288: []}
    for tile in read_train_table(tmp_path / "tiles").query("city == 'JAX'").itertuples():
        image, agl_m = read_rgb(Path(tile.rgb)), read_agl(Path(tile.agl))
        for rows, columns in ((297, 308), (288, 288)):
            scene = tmp_path / f"{tile.id}_{rows}.tif"
            write_tif(scene, image[:rows, :columns].transpose(2, 0, 1), **GRID)
            predict_scene(scene, tmp_path, ensemble, SceneOptions(gsd_m=tile.gsd_m))
            heights = read_agl(tmp_path / f"{scene.stem}_AGL.tif")
            errors_m[rows].append(np.nanmean(np.abs(heights[:288, :288] - agl_m[:288, :288])))
    assert len(errors_m[288]) == 3
    assert np.mean(errors_m[297]) < 1.1 * np.mean(errors_m[288])
