"""Weights of runs and checkpoints, averaged weights, calibration: on networks whose heights differ by known factors."""

import json
import shutil

import numpy as np
import pytest
import torch
from helpers import RELEASED, write_competition
from safetensors.torch import load_file, save_file

from geopose.config import BlendConfig
from geopose.inference.calibration import Calibration, Factors
from geopose.inference.ensemble import Ensemble
from geopose.io.tables import read_test_table
from geopose.runs.folder import checkpoint_paths, read_manifest

CPU = torch.device("cpu")
NONE = Calibration()


def make_run(folder, factors):
    """A run with one checkpoint per factor, best first: the released one with its heights multiplied by the factor.

    Its refiner does nothing, because its corrections are not proportional to heights. The multiplied weights are
    float32, because float16 would round them.
    """
    shutil.copytree(RELEASED, folder)
    (path,) = checkpoint_paths(folder)
    state, listed = load_file(path), read_manifest(folder)
    for number, factor in enumerate(factors):
        changed = {key: factor * value.float() for key, value in state.items() if key.startswith("agl_head.output")}
        assert len(changed) == 2
        changed |= {key: 0 * value for key, value in state.items() if key.startswith("refiner.output")}
        save_file(state | changed, path.with_name(f"{number}.safetensors"))
    kept = [{"file": f"{number}.safetensors", "r2": 0.5 - 0.1 * number} for number in range(len(factors))]
    (folder / "manifest.json").write_text(json.dumps(listed | {"checkpoints": kept}))
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs: of one checkpoint, and of two whose heights are 2 and 5 times as large."""
    root = tmp_path_factory.mktemp("runs")
    return [make_run(root / "one", [1]), make_run(root / "two", [2, 5])]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    root = tmp_path_factory.mktemp("tiles") / "data"
    write_competition(root, per_city=1, size=(64, 64), cities=("ARG", "JAX"))
    return read_test_table(root)


@pytest.fixture(scope="module")
def plain(runs, table):
    """Predictions of the first run."""
    tiles = list(Ensemble(runs[:1], BlendConfig(tta="none"), CPU, NONE).predict_tiles(table))
    assert all(tile.agl_m.std() > 0.1 and tile.scale_px_per_m > 0.1 for tile in tiles)
    return tiles


@pytest.mark.parametrize(
    ("settings", "factor"),
    [
        ({}, (1 + (2 + 5) / 2) / 2),
        ({"run_weights": (3.0, 1.0)}, (3 * 1 + (2 + 5) / 2) / 4),
        ({"checkpoint_weights": (3.0, 1.0)}, (1 + (3 * 2 + 5) / 4) / 2),
        ({"checkpoint_weights": (1.0,)}, (1 + 2) / 2),
        ({"run_weights": (1.0, 9.0), "checkpoint_weights": (1.0, 2.0)}, (1 + 9 * (2 + 2 * 5) / 3) / 10),
        ({"average_weights": True}, (1 + 3.5) / 2),
        ({"average_weights": True, "checkpoint_weights": (3.0, 1.0)}, (1 + (3 * 2 + 5) / 4) / 2),
        ({"combine": "median", "run_weights": (1.0, 3.0), "checkpoint_weights": (2.0, 1.0)}, 2),
    ],
    ids=str,
)
def test_runs_and_checkpoints_count_by_their_weights(runs, table, plain, settings, factor):
    blended = Ensemble(runs, BlendConfig(tta="none", **settings), CPU, NONE)
    for tile, alone in zip(blended.predict_tiles(table), plain, strict=True):
        np.testing.assert_allclose(tile.agl_m, factor * alone.agl_m, rtol=2e-3, atol=2e-3)
        assert tile.angle_rad == pytest.approx(alone.angle_rad, abs=1e-3)


def test_calibration_multiplies_heights_and_scale_of_its_cities(runs, table, plain):
    calibration = Calibration({"JAX": Factors(agl=1.25, scale=0.8)})
    ensemble = Ensemble(runs[:1], BlendConfig(tta="none"), CPU, calibration)
    for tile, alone, city in zip(ensemble.predict_tiles(table), plain, table.city, strict=True):
        agl, scale = (1.25, 0.8) if city == "JAX" else (1.0, 1.0)
        np.testing.assert_allclose(tile.agl_m, agl * alone.agl_m, rtol=1e-6)
        assert tile.scale_px_per_m == pytest.approx(scale * alone.scale_px_per_m, rel=1e-6)
