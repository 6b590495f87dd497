"""Runs and tarballs can be reproduced, and differences are named."""

import shutil
import tracemalloc

import numpy as np
import pytest
from helpers import config_of, ok, run

from geopose.runs.folder import checkpoint_paths, read_manifest
from geopose.runs.verify import check_training, describe_difference
from geopose.scoring.submission import SubmissionWriter, encode_prediction
from geopose.training.runner import train


@pytest.fixture
def copied_run(job, tmp_path):
    return shutil.copytree(job / "runs" / "fold0", tmp_path / "run")


def test_a_run_and_its_tarball_verify(job):
    words = ("--run", job / "runs" / "fold0", "--tarball", job / "submission.tar.gz", "--retrain")
    shown = ok(run("-m", "geopose", "verify", *words))
    assert "DIFFERS" not in shown
    for what in ("bytes of", "data in", "folds in", "validation R2", "submission.tar.gz", "trained again"):
        assert what in shown


def test_differences_are_named_and_measured(job, copied_run, tmp_path):
    checkpoint = checkpoint_paths(copied_run)[0]
    content = bytearray(checkpoint.read_bytes())
    content[-2] ^= 0x40  # an exponent bit of the last weight
    checkpoint.write_bytes(bytes(content))
    result = run("-m", "geopose", "verify", "--run", copied_run)
    assert result.returncode == 1
    assert f"DIFFERS bytes of {checkpoint}" in result.stdout

    flags = ("--data", job / "data", "--runs", copied_run, "--tta", "d4", "--device", "cpu")
    ok(run("predict.py", *flags, "--out", tmp_path / "other.tar.gz"))
    same = describe_difference(job / "submission.tar.gz", job / "submission.tar.gz")
    assert same == "heights by up to 0.00 m, scales by 0.0000 px/m, angles by 0.000 degrees"
    other = describe_difference(job / "submission.tar.gz", tmp_path / "other.tar.gz")
    assert other.startswith("heights by up to") and other != same


def test_tarballs_are_compared_file_by_file(tmp_path):
    """A submission of the challenge takes gigabytes."""
    one, other, shorter = (tmp_path / f"{name}.tar.gz" for name in ("one", "other", "shorter"))
    rng = np.random.default_rng(0)
    with SubmissionWriter(one) as first, SubmissionWriter(other) as second, SubmissionWriter(shorter) as third:
        for number in range(120):
            agl_m = rng.uniform(0, 90, (200, 200))
            for tarball, more_m in ((first, 0), (second, number / 10)):
                tarball.add_encoded(f"ARG_{number}", encode_prediction(f"ARG_{number}", agl_m + more_m, 1.0, 2.0))
        third.add_encoded("ARG_0", encode_prediction("ARG_0", agl_m, 1.0, 2.0))
    tracemalloc.start()
    assert describe_difference(one, other).startswith("heights by up to 11.90 m, scales by 0.0000 px/m")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < one.stat().st_size / 2
    assert describe_difference(one, shorter) == "the files have other names, or another order"


@pytest.mark.parametrize("steps_per_epoch", [3, 1000], ids=["whole epochs", "an epoch cut short"])
def test_a_run_with_a_time_budget_is_repeated_from_its_manifest(tiny_data, tmp_path, steps_per_epoch):
    settings = ["train.max_minutes=0.05", f"train.steps_per_epoch={steps_per_epoch}", "train.accumulation_steps=2"]
    config = config_of(tiny_data, tmp_path / "run", *settings)
    train(config)
    checks = list(check_training(tmp_path / "run"))
    assert len(checks) == len(read_manifest(tmp_path / "run")["checkpoints"])
    assert all(same for same, _ in checks), checks
