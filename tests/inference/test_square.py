"""Images whose pixels are not square on the ground: the same heights as of the same scene on square pixels."""

import json
from itertools import pairwise

import numpy as np
import pytest
import rasterio
import torch
from helpers import REPO, ok, run, write_tif
from rasterio.transform import from_origin
from rasterio.windows import Window

from geopose.config import BlendConfig
from geopose.geometry import Pose, stretch_pose, vertical_flow
from geopose.inference.calibration import Calibration
from geopose.inference.ensemble import Ensemble
from geopose.inference.ground_size import GroundPixel
from geopose.inference.scene import SceneOptions, predict_scene
from geopose.inference.scene_reader import SceneReader
from geopose.inference.square import SquareReader, sum_between
from geopose.io.rasters import read_agl

DEGREE_M = 111_320
RUN = REPO / "runs" / "synthetic_lite0" / "fold0"


@pytest.fixture(scope="module")
def ensemble():
    """The released run: a run of a few steps predicts no heights."""
    return Ensemble([RUN], BlendConfig(tta="none"), torch.device("cpu"), Calibration(), spread=True)


def town(side=192):
    """Grey ground and bright roofs with shadows: uint8 [3,side,side]."""
    rng = np.random.default_rng(1)
    image = 90 + 8 * rng.standard_normal((3, side, side))
    for _ in range(14):
        y, x = rng.integers(0, side - 40, 2)
        width, height = rng.integers(12, 38, 2)
        image[:, y + 6 : y + height + 6, x + 6 : x + width + 6] *= 0.5
        image[:, y : y + height, x : x + width] = rng.integers(120, 220, (3, 1, 1))
    return image.clip(1, 255).astype(np.uint8)


def square_reader(path, image, pixel, **profile):
    write_tif(path, image, **profile)
    raster = rasterio.open(path)
    return SquareReader(SceneReader(raster, path, ()), GroundPixel(*pixel))


# --- the two grids ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("edges", [[0, 1, 2, 3], [0.5, 2.25, 2.5, 7], [0, 7], [6.5, 7]])
def test_sums_between_edges_take_parts_of_pixels(edges):
    values = np.random.default_rng(0).uniform(size=(7, 3))
    fine = np.repeat(values, 100, axis=0) / 100
    expected = [fine[round(a * 100) : round(b * 100)].sum(axis=0) for a, b in pairwise(edges)]
    np.testing.assert_allclose(sum_between(values, np.array(edges), 0), expected)
    np.testing.assert_allclose(sum_between(values.T, np.array(edges), 1), np.transpose(expected))


@pytest.mark.parametrize("axis", [1, 2])
def test_whole_numbers_of_pixels_are_averaged(tmp_path, axis):
    image = town(48)
    fine = np.repeat(image, 2, axis=axis)
    pixel = (0.4, 0.2) if axis == 1 else (0.2, 0.4)
    reader = square_reader(tmp_path / "x.tif", fine, pixel)
    assert reader.shape == (48, 48) and reader.gsd_m == 0.4
    rgb, data = reader.read(Window(5, 7, 30, 20))
    np.testing.assert_array_equal(rgb, image[:, 7:27, 5:35])
    assert data.all()


@pytest.mark.parametrize("pixel", [(0.3, 0.4), (0.4, 0.3), (0.17, 0.4), (0.4, 0.39)])
def test_windows_give_what_the_whole_gives_and_strips_return_to_every_row(tmp_path, pixel):
    reader = square_reader(tmp_path / "x.tif", town(70)[:, :61], pixel)
    height, width = reader.shape
    whole, _ = reader.read(Window(0, 0, width, height))
    for window in (Window(3, 5, 20, 17), Window(width - 9, height - 8, 9, 8)):
        np.testing.assert_array_equal(reader.read(window)[0], whole[(slice(None), *window.toslices())])
    rows = []
    for start in range(0, height, 9):
        first, own = reader.restore(start, whole[:, start : start + 9].astype(np.float32))
        assert first == sum(part.shape[1] for part in rows)
        rows.append(own)
    together = np.concatenate(rows, axis=1)
    assert together.shape == (3, 61, 70)
    np.testing.assert_array_equal(together, reader.restore(0, whole.astype(np.float32))[1])


def test_no_data_keeps_its_pixels(tmp_path):
    image = np.full((3, 40, 60), 100, np.uint8)
    image[:, 10:25, 21:34] = 0
    reader = square_reader(tmp_path / "x.tif", image, (0.2, 0.5), nodata=0)
    rgb, data = reader.read(Window(0, 0, 24, 40))
    assert (rgb[:, data] == 100).all() and not data[12:20, 10:13].any()
    _, own = reader.restore(0, np.ones((2, 40, 24), np.float32))
    np.testing.assert_array_equal(np.isnan(own), [image[0] == 0] * 2)


@pytest.mark.parametrize("angle", [0.0, 1.0, 2.5, 4.0])
def test_the_flow_of_a_stretched_grid_is_the_stretched_flow(angle):
    pose, heights = Pose(angle, 1.3, 0.4), np.array([[10.0]])
    stretched = stretch_pose(pose, 2.0, 1.0)
    expected = vertical_flow(heights, pose.scale_px_per_m, pose.angle_rad)[:, 0, 0] * [2, 1]
    flow = vertical_flow(heights, stretched.scale_px_per_m, stretched.angle_rad)[:, 0, 0]
    np.testing.assert_allclose(flow, expected, atol=1e-9)
    assert stretched.scale_px_per_m * stretched.gsd_m == pytest.approx(1.3 * 0.4)


# --- whole scenes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["degrees", "wide", "high"])
def test_heights_are_those_of_square_pixels(ensemble, tmp_path, capsys, kind):
    image = town()
    square = {"crs": "EPSG:32617", "transform": from_origin(500000, 3355000, 0.4, 0.4)}
    step, (x, y) = 0.4 / DEGREE_M, {"degrees": (2, 1), "wide": (1, 2), "high": (3, 1)}[kind]
    grid = {"crs": "EPSG:32617", "transform": from_origin(500000, 3355000, 0.4 / x, 0.4 / y)}
    if kind == "degrees":
        grid = {"crs": "EPSG:4326", "transform": from_origin(24, 60, step, step)}
    write_tif(tmp_path / "square.tif", image, **square)
    write_tif(tmp_path / "other.tif", image.repeat(x, axis=2).repeat(y, axis=1), **grid)
    pose = predict_scene(tmp_path / "square.tif", tmp_path, ensemble, SceneOptions(tile_px=128))
    assert "pixels" not in capsys.readouterr().out
    other = predict_scene(tmp_path / "other.tif", tmp_path, ensemble, SceneOptions(tile_px=128))
    assert "pixels are" in capsys.readouterr().out

    expected, heights = (read_agl(tmp_path / f"{name}_AGL.tif") for name in ("square", "other"))
    assert expected.max() > 2
    heights = heights[::y, ::x][:192, :192]
    assert np.abs(heights - expected).mean() < 0.05 * expected.mean()
    flow, other_flow = (vertical_flow(np.ones((1, 1)), p.scale_px_per_m, p.angle_rad)[:, 0, 0] for p in (pose, other))
    np.testing.assert_allclose(other_flow, flow * [x, y], rtol=0.05, atol=0.02)
    with rasterio.open(tmp_path / "other_AGL.tif") as agl, rasterio.open(tmp_path / "other.tif") as own:
        assert agl.shape == own.shape and agl.transform == own.transform and agl.crs == own.crs


def test_the_command_says_so_and_rectifies_on_the_own_grid(tmp_path):
    grid = {"crs": "EPSG:32617", "transform": from_origin(500000, 3355000, 0.2, 0.4)}
    write_tif(tmp_path / "x.tif", town(96).repeat(2, axis=2), **grid)
    flags = ("--runs", RUN, "--out", tmp_path / "out", "--tta", "none", "--device", "cpu", "--rectify")
    shown = ok(run("predict.py", tmp_path / "x.tif", *flags))
    assert "0.200 m wide and 0.400 m high" in shown
    for name in ("AGL", "RECT", "RECT_AGL"):
        with rasterio.open(tmp_path / "out" / f"x_{name}.tif") as raster:
            assert raster.shape == (96, 192) and raster.transform == grid["transform"]
    pose = json.loads((tmp_path / "out" / "x_VFLOW.json").read_text())
    assert pose["gsd_m"] == pytest.approx((0.2 * 0.4) ** 0.5, rel=1e-3)  # of a square with the area of a pixel
