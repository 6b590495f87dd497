"""The geometry laws, the recipe and the released run also work on the cities of an independent generator."""

import tarfile

import cv2
import numpy as np
import other_cities
import pytest
from helpers import REPO, make_folds, ok, predict, run, train
from sklearn.metrics import roc_auc_score

from geopose import geometry
from geopose.geometry import Pose
from geopose.io.names import agl_name
from geopose.io.rasters import read_agl
from geopose.io.tables import read_test_table


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Eight train and four test tiles of 128 px."""
    root = tmp_path_factory.mktemp("other")
    other_cities.make_folder(root, train=8, test=4, size_px=128, seed=1)
    return root


@pytest.mark.parametrize("angle_rad", [0.4, 2.0, 3.5, 5.9])
def test_its_building_lean_follows_our_convention(angle_rad):
    """Tall pixels, moved along their flow, land on cells of the same height. Along another flow they do not."""
    rng = np.random.default_rng(3)
    block, pose, size_px = other_cities.draw_block("ATL", 480, 0.5, rng), Pose(angle_rad, 0.9, 0.5), 256
    _, agl_m = other_cities.photograph(block, size_px, pose.scale_px_per_m, pose.angle_rad, rng)
    margin = (480 - size_px) // 2
    rows, cols = np.mgrid[margin : margin + size_px, margin : margin + size_px]

    def share_on_buildings(seen: Pose) -> float:
        """Share of the tall pixels that land on cells of at least their own height, with a tolerance of one level."""
        x, y = geometry.ground_position(cols, rows, agl_m, seen)
        building_m = cv2.dilate(block.height_m, np.ones((3, 3)))[np.rint(y).astype(int), np.rint(x).astype(int)]
        return float((building_m > agl_m - 0.7)[agl_m > 5].mean())

    assert (agl_m > 5).sum() > 5000
    assert share_on_buildings(pose) > 0.999
    assert share_on_buildings(Pose(pose.angle_rad + np.pi, 0.9, 0.5)) < 0.6
    assert share_on_buildings(Pose(pose.angle_rad, 1.8, 0.5)) < 0.6


def test_the_default_recipe_accepts_its_folder(folder, tmp_path):
    out = tmp_path / "submission.tar.gz"
    make_folds(folder, tmp_path / "folds.csv")
    ok(train(folder, tmp_path / "folds.csv", tmp_path / "fold0"))
    ok(predict(folder, tmp_path / "fold0", out, "--tta", "none"))
    assert "final" in ok(run("-m", "geopose", "evaluate", "--truth", folder / "truth", "--pred", out))


def test_the_released_run_finds_its_buildings(folder, tmp_path):
    """It was trained only on the tiles of our generator, but it also predicts larger heights for buildings here."""
    out = tmp_path / "submission.tar.gz"
    ok(predict(folder, REPO / "runs/synthetic_lite0/fold0", out, "--tta", "none"))
    heights_m, tall = [], []
    with tarfile.open(out) as tar:
        tar.extractall(tmp_path, filter="data")
    for tile_id in read_test_table(folder).id:
        truth_m = read_agl(folder / "truth" / agl_name(tile_id))
        known = np.isfinite(truth_m)
        heights_m.append(read_agl(tmp_path / agl_name(tile_id))[known])
        tall.append(truth_m[known] > 2)
    assert roc_auc_score(np.concatenate(tall), np.concatenate(heights_m)) > 0.8
