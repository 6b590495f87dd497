"""A scene of any size needs bounded memory, whatever the machine, the environment and the scene's height."""

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from helpers import RELEASED, ok, run_alone, write_tif
from rasterio.env import get_gdal_config

from geopose.bench.process import MAKEFILE_ALLOCATOR
from geopose.bench.wide_scene import LARGE_MACHINE
from geopose.inference import rectify
from geopose.inference.scene import SceneOptions, combine_poses, predict_scene, rectify_scene
from geopose.inference.scene_reader import warn_of_wide_rows
from geopose.io.rasters import CACHE_BYTES

LARGE_BYTES = 13 * 2**30  # GDAL's default on a machine of 256 GB
WIDE_MB = 2200


class Flat:
    """Predicts a height of 1 m everywhere. caches: GDAL's limit in bytes at each tile."""

    runs = (RELEASED,)

    def __init__(self):
        self.caches = []

    def predict(self, batch):
        self.caches.append(get_gdal_config("GDAL_CACHEMAX"))
        heights_m = torch.ones_like(batch["image"][:, :1], dtype=torch.float32)
        pose = {"direction": torch.tensor([[0.0, 1.0]]), "scale_px_per_m": torch.tensor([1.0])}
        return {"agl_m": heights_m, "spread_m": heights_m, **pose}


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "x.tif"
    write_tif(path, np.full((3, 70, 80), 9, np.uint8))
    return path


def test_gdals_cache_is_limited_while_scenes_are_predicted_and_rectified(image, tmp_path, monkeypatch):
    caches, move = [], rectify.rectify

    def watched(*args):
        caches.append(get_gdal_config("GDAL_CACHEMAX"))
        return move(*args)

    monkeypatch.setattr(rectify, "rectify", watched)
    ensemble, out = Flat(), tmp_path / "out"
    words = [image, out / "x_AGL.tif", out / "x_VFLOW.json", "--out", tmp_path / "again"]
    monkeypatch.setattr("sys.argv", ["rectify", *map(str, words)])
    with rasterio.Env(GDAL_CACHEMAX=LARGE_BYTES):
        predict_scene(image, out, ensemble, SceneOptions(gsd_m=0.4, tile_px=64))
        rectify_scene(image, out, (), fill=False)
        rectify.main()
        assert get_gdal_config("GDAL_CACHEMAX") == LARGE_BYTES
    assert set(ensemble.caches) == {CACHE_BYTES} and caches == [CACHE_BYTES] * 2
    assert 100e6 < CACHE_BYTES < 500e6  # bytes: a smaller cache would decode a block again for every tile it touches


def test_a_wide_scene_needs_little_memory_on_a_large_machine():
    """The probe of `make bench` on two rows of tiles, where the allocator and GDAL would keep most."""
    code = (
        "import json, sys; from pathlib import Path; from geopose.bench import wide_scene as wide; "
        "wide.HIGH_PX, wide.NOISE_PX = 1000, range(9000, 9100); "
        "print(json.dumps(wide.probe_scene(Path(sys.argv[1]))))"
    )
    settings = MAKEFILE_ALLOCATOR | LARGE_MACHINE | {"OMP_NUM_THREADS": "1"}
    peaks_mb = json.loads(ok(run_alone("-c", code, RELEASED, **settings)))
    assert list(peaks_mb) == ["mb", "start", "predict 0", "predict 8", "rectify 0"]
    assert peaks_mb["start"] < peaks_mb["mb"] < WIDE_MB


def test_the_pose_of_many_tiles_needs_no_table_of_all_pairs():
    poses = np.random.default_rng(0).uniform(size=(3000, 3))
    tracemalloc.start()
    combine_poses(poses)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3e6  # a table of all pairs has 72 MB


@pytest.mark.parametrize(
    ("profile", "dtype", "warned"),
    [
        ({"tiled": True}, np.uint8, False),
        ({"blockysize": 1}, np.uint8, False),
        ({"blockysize": 1}, np.float64, True),
        ({"blockysize": 1, "count": 12}, np.uint8, True),
        ({"blockysize": 1, "count": 12, "interleave": "band"}, np.uint8, False),
        ({"blockysize": 3999}, np.uint8, True),
    ],
)
def test_an_image_whose_rows_do_not_fit_the_cache_is_named(tmp_path, capsys, profile, dtype, warned):
    path = tmp_path / "wide.tif"
    profile = {"width": 20_000, "height": 4000, "count": 3, "dtype": dtype, "compress": "deflate", **profile}
    with rasterio.open(path, "w", driver="GTiff", sparse_ok=True, **profile):
        pass
    with rasterio.open(path) as image:
        warn_of_wide_rows(image, path, 1024)
    shown = capsys.readouterr().err
    assert ("wide.tif: every tile decodes rows of full width again" in shown and "TILED=YES" in shown) == warned
    assert warned or not shown
    assert Path(path).stat().st_size < 1e6
