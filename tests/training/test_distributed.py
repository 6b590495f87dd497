"""Several processes on one job over gloo: the same score, the same tarball, an end with a message."""

import subprocess
import sys

import pandas as pd
import pytest
import torch
from helpers import CONFIG, REPO, TINY, ok, run, train, write_competition

from geopose.config import BlendConfig
from geopose.data.dataset import split_fold
from geopose.inference.calibration import Calibration
from geopose.inference.ensemble import Ensemble, score_predictions
from geopose.io.names import city_of
from geopose.io.tables import read_train_table
from geopose.runs.folder import checkpoint_paths, read_manifest, run_config

LAUNCH = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    root = tmp_path_factory.mktemp("ranks")
    write_competition(root / "data", per_city=3, size=(64, 80), cities=("ARG", "ATL", "JAX"))
    ids = read_train_table(root / "data").id
    rows = [f"{i},{city_of(i)},{int(number < 5)}" for number, i in enumerate(ids)]
    (root / "folds.csv").write_text("\n".join(["id,city,fold", *rows]) + "\n")
    ok(train(root / "data", root / "folds.csv", root / "one"))
    return root


def torchrun(*command) -> subprocess.CompletedProcess:
    return run(*LAUNCH, *command)


def score_in_this_process(run_dir) -> float:
    """R2 of a run's best checkpoint on its validation tiles, one after the other."""
    _, tiles, _ = split_fold(run_config(run_dir))
    best = BlendConfig(tta="none", checkpoint_weights=(1.0,))
    ensemble = Ensemble([run_dir], best, torch.device("cpu"), Calibration())
    return score_predictions(ensemble.predict_tiles(tiles), tiles)["final_r2"]


@pytest.mark.parametrize("way", ["torchrun", "train.gpus=2"])
def test_ranks_score_an_uneven_number_of_tiles_once_each(shards, way):
    run_dir = shards / way
    data = [f"data.root={shards / 'data'}", f"data.folds={shards / 'folds.csv'}", "data.fold=1"]
    settings = [*data, f"run.dir={run_dir}", *TINY, "train.precision=fp32"]
    ok(torchrun("train.py", CONFIG, *settings) if way == "torchrun" else run("train.py", CONFIG, *settings, way))
    manifest = read_manifest(run_dir)
    assert manifest["processes"] == 2 and manifest["data"]["valid_tiles"] == 5
    assert len(pd.read_csv(run_dir / "metrics.csv")) == 1
    assert len(checkpoint_paths(run_dir)) == 1
    assert manifest["checkpoints"][0]["r2"] == pytest.approx(score_in_this_process(run_dir), abs=1e-6)


def test_ranks_predict_one_tarball(shards):
    """torchrun gives each process one thread, and sums on two threads round otherwise: one for both."""
    out, single = shards / "two.tar.gz", shards / "one.tar.gz"
    flags = ["--data", shards / "data", "--runs", shards / "one", "--tta", "flips", "--device", "cpu"]
    ok(run("predict.py", *flags, "--out", single, OMP_NUM_THREADS="1"))
    shown = ok(torchrun("predict.py", *flags, "--out", out))
    assert shown.count("valid;") == 1
    assert out.read_bytes() == single.read_bytes()


def test_a_rank_that_dies_ends_the_job_with_its_message(shards):
    bad = shards / "data" / "test" / sorted(p.name for p in (shards / "data" / "test").iterdir())[1]
    content = bad.read_bytes()
    bad.write_bytes(content[:80])
    try:
        flags = ["--data", shards / "data", "--runs", shards / "one", "--out", shards / "bad.tar.gz", "--tta", "none"]
        command = [sys.executable, *LAUNCH, "predict.py", *map(str, flags)]
        result = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False, timeout=120)
    finally:
        bad.write_bytes(content)
    assert result.returncode != 0
    assert f"{bad.name}: truncated" in result.stderr
    assert not (shards / "bad.tar.gz").exists()
