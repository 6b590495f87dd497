"""The comparison of precisions, and predictions that are not finite."""

import re

import pytest
import torch
from helpers import assert_user_error, ok, run

from geopose.config import BlendConfig
from geopose.inference.calibration import Calibration
from geopose.inference.ensemble import Ensemble, NotFiniteError
from geopose.io.tables import read_test_table
from geopose.models.checkpoints import save_weights
from geopose.models.nonfinite import count_nonfinite
from geopose.runs.folder import checkpoint_paths


def test_the_audit_compares_precisions_on_the_validation_tiles(job):
    shown = ok(run("-m", "geopose", "precision", "--run", job / "runs" / "fold0", "--tiles", 2, "--device", "cpu"))
    lines = {line.split()[0]: line.split()[1:] for line in shown.splitlines()[1:]}
    assert list(lines) == ["fp32", "bf16"]
    assert [float(x) for x in lines["fp32"][1:]] == [0, 0]
    assert 0 < float(lines["bf16"][1]) < 5
    assert abs(float(lines["fp32"][0]) - float(lines["bf16"][0])) < 0.2


def test_values_that_are_not_finite_are_counted_by_layer():
    layers = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
    with count_nonfinite(layers) as counts:
        layers(torch.ones(4, 3))
    assert counts == {}
    layers[0].weight.data[1] = float("inf")
    with count_nonfinite(layers) as counts:
        layers(torch.ones(4, 3))
    assert next(iter(counts)) == "0" and counts["0"] == 4
    layers(torch.ones(4, 3))
    assert counts["0"] == 4  # values are no longer counted


def test_a_prediction_that_is_not_finite_names_tile_and_layer(job, tmp_path):
    """With one NaN weight in a copy of a run, the precision command and the prediction both name the layer."""
    run_dir = tmp_path / "run"
    source = job / "runs" / "fold0"
    (run_dir / "checkpoints").mkdir(parents=True)
    for name in ("config.yaml", "manifest.json"):
        (run_dir / name).write_bytes((source / name).read_bytes())
    model = Ensemble([source], BlendConfig(), torch.device("cpu"), Calibration()).members[0].load()
    model.agl_head.hidden[0].weight.data[0] = float("nan")
    save_weights(model, run_dir / "checkpoints" / checkpoint_paths(source)[0].name)

    table = read_test_table(job / "data")
    ensemble = Ensemble([run_dir], BlendConfig(tta="none"), torch.device("cpu"), Calibration())
    with pytest.raises(NotFiniteError, match=rf"{table.id[0]}: not finite in fp32.*agl_head.hidden.0"):
        next(ensemble.predict_tiles(table))
    command = ("predict.py", "--data", job / "data", "--runs", run_dir, "--out", tmp_path / "out.tar.gz")
    assert_user_error(run(*command, "--device", "cpu"), "agl_head.hidden.0")
    assert not (tmp_path / "out.tar.gz").exists()
    audit = run("-m", "geopose", "precision", "--run", run_dir, "--device", "cpu")
    assert audit.returncode == 1
    assert re.search(r"fp32 .*not finite", audit.stdout) and re.search(r"agl_head.hidden.0: \d+ values", audit.stdout)
