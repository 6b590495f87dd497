"""Work that is interrupted at any moment resumes and reaches exactly the result of an uninterrupted run."""

import random
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import torch
from accelerate.state import AcceleratorState
from helpers import REPO, assert_user_error, config_of, half_written, run

from geopose import devices
from geopose.cli import UserError
from geopose.config import save_config
from geopose.io.names import agl_name, vflow_name
from geopose.io.tables import read_test_table
from geopose.models import checkpoints
from geopose.runs.folder import checkpoint_paths, read_manifest, write_manifest
from geopose.runs.verify import SAME_R2, check_training, validation_r2
from geopose.training import callbacks
from geopose.training.callbacks import LossCallback
from geopose.training.resume import STATE_FILE
from geopose.training.runner import train

LONG = ["train.epochs=4", "train.ema_decay=0.9", "train.early_stop_patience=9", "train.keep_checkpoints=2"]


@pytest.fixture(scope="module")
def whole(tiny_data, tmp_path_factory):
    """A run that was never interrupted."""
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    train(config_of(tiny_data, run_dir, *LONG))
    return run_dir


def assert_same_run(run_dir: Path, whole: Path) -> None:
    """The same checkpoints, bit for bit, the same metrics, nothing of a state left."""
    assert [p.name for p in checkpoint_paths(run_dir)] == [p.name for p in checkpoint_paths(whole)]
    for ours, theirs in zip(checkpoint_paths(run_dir), checkpoint_paths(whole), strict=True):
        assert ours.read_bytes() == theirs.read_bytes()
    pd.testing.assert_frame_equal(pd.read_csv(run_dir / "metrics.csv"), pd.read_csv(whole / "metrics.csv"))
    kept = sorted(p.name for p in (run_dir / "checkpoints").iterdir())
    assert kept == sorted(p.name for p in (whole / "checkpoints").iterdir())
    assert not (run_dir / STATE_FILE).exists() and not list(run_dir.rglob(".*"))
    ours, theirs = read_manifest(run_dir), read_manifest(whole)
    assert (ours["epochs"], ours["optimizer_steps"]) == (theirs["epochs"], theirs["optimizer_steps"])


class Broken(Exception):
    """Stands for a kill."""


def break_at(monkeypatch, owner, name: str, call: int) -> None:
    """Make a method raise at its n-th call, before it does anything."""
    real, calls = getattr(owner, name), []

    def method(*args, **kwargs):
        calls.append(1)
        if len(calls) == call:
            raise Broken
        return real(*args, **kwargs)

    monkeypatch.setattr(owner, name, method)


@pytest.mark.parametrize(
    ("owner", "name", "call"),
    [
        (LossCallback, "on_batch_end", 2),  # in the first epoch: nothing to resume from
        (LossCallback, "on_batch_end", 9),  # in the middle of the second epoch
        (checkpoints, "save", 3),  # before a checkpoint is written
        (torch, "save", 2),  # before a state is written
        (callbacks, "write_manifest", 1),  # when all is trained
    ],
    ids=lambda value: str(value) if isinstance(value, (str, int)) else "",
)
def test_training_resumes_to_the_same_weights(tiny_data, tmp_path, whole, monkeypatch, owner, name, call):
    config = config_of(tiny_data, tmp_path / "run", *LONG)
    with monkeypatch.context() as patch:
        break_at(patch, owner, name, call)
        with pytest.raises(Broken):
            train(config)
    assert not (tmp_path / "run" / "manifest.json").exists()
    train(config)
    assert_same_run(tmp_path / "run", whole)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_training_on_a_gpu_resumes_and_scores_as_recorded(tiny_data, tmp_path, monkeypatch, precision):
    """Two runs on a GPU do not have the same bits, so the score counts here."""
    AcceleratorState._reset_state(True)  # a process has one precision, and the tests before this one had another
    settings = [*LONG, "train.device=cuda", f"train.precision={precision}"]
    config = config_of(tiny_data, tmp_path / "run", *settings)
    with monkeypatch.context() as patch:
        break_at(patch, LossCallback, "on_batch_end", 9)
        with pytest.raises(Broken):
            train(config)
    train(config)
    manifest = read_manifest(tmp_path / "run")
    assert (manifest["epochs"], manifest["optimizer_steps"], manifest["precision"]) == (4, 8, precision)
    assert len(pd.read_csv(tmp_path / "run" / "metrics.csv")) == 4
    assert validation_r2(tmp_path / "run") == pytest.approx(manifest["checkpoints"][0]["r2"], abs=SAME_R2)


def test_a_state_half_written_never_counts(tiny_data, tmp_path, whole, monkeypatch):
    config, real = config_of(tiny_data, tmp_path / "run", *LONG), torch.save
    saved = []

    def save(value, stream):
        saved.append(1)
        real(value, stream)
        if len(saved) == 3:
            stream.truncate(1000)
            raise Broken

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", save)
        with pytest.raises(Broken):
            train(config)
    train(config)
    assert_same_run(tmp_path / "run", whole)


def test_a_time_budget_counts_the_time_before_an_interruption(tiny_data, tmp_path, monkeypatch):
    """A budget that was used up before only lets the training do the steps that were planned already."""
    config = config_of(tiny_data, tmp_path / "run", "train.max_minutes=1", "train.steps_per_epoch=5")
    start, path = time.monotonic(), tmp_path / "run" / STATE_FILE
    with monkeypatch.context() as patch:
        break_at(patch, LossCallback, "on_batch_end", 11)  # 5 batches and 4 validation tiles in the first epoch
        with pytest.raises(Broken):
            train(config)
    state = torch.load(path, weights_only=True)
    assert 0 < state["callbacks"]["budget"]["spent"] < time.monotonic() - start
    state["callbacks"]["budget"]["spent"] = 3600.0
    torch.save(state, path)
    train(config)
    manifest, planned = read_manifest(tmp_path / "run"), state["scheduler"]["lr_lambdas"][0]["steps"]
    assert manifest["schedule_steps"] == planned and planned[-1] == manifest["optimizer_steps"] > 5
    checks = list(check_training(tmp_path / "run"))
    assert len(checks) == len(manifest["checkpoints"]) and all(same for same, _ in checks)


def test_a_resumed_training_keeps_the_precision_that_it_measured(tiny_data, tmp_path, monkeypatch):
    """The machine is slower in bf16 at the second measurement, for example because it is busy. There is no average."""
    settings = ["train.epochs=2", "train.precision=auto", "train.ema_decay=null"]
    config = config_of(tiny_data, tmp_path / "run", *settings)
    with monkeypatch.context() as patch:
        patch.setattr(devices, "is_faster_in_bf16", lambda device: True)
        break_at(patch, LossCallback, "on_batch_end", 9)
        with pytest.raises(Broken):
            train(config)
    monkeypatch.setattr(devices, "is_faster_in_bf16", lambda device: False)
    train(config)
    assert read_manifest(tmp_path / "run")["precision"] == "bf16"


def test_a_run_names_the_origin_it_began_from_when_the_origin_was_replaced(tiny_data, tmp_path, whole, monkeypatch):
    origin, run_dir = tmp_path / "origin", tmp_path / "run"
    shutil.copytree(whole, origin)
    config = config_of(tiny_data, run_dir, *LONG, f"train.start_from={origin}")
    with monkeypatch.context() as patch:
        break_at(patch, LossCallback, "on_batch_end", 9)
        with pytest.raises(Broken):
            train(config)
    write_manifest(origin, read_manifest(origin) | {"seed": 7})
    train(config)
    assert read_manifest(run_dir)["started_from"] == read_manifest(whole)


def test_an_unfinished_run_with_other_settings_is_refused(tiny_data, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        break_at(patch, LossCallback, "on_batch_end", 9)
        with pytest.raises(Broken):
            train(config_of(tiny_data, tmp_path / "run", *LONG))
    with pytest.raises(UserError, match="unfinished run with other settings"):
        train(config_of(tiny_data, tmp_path / "run", *LONG, "seed=1"))


def test_another_number_of_processes_does_not_resume(tiny_data, tmp_path, monkeypatch):
    """Its epochs would have other steps, so the training would end too early or too late."""
    config, path = config_of(tiny_data, tmp_path / "run", *LONG), tmp_path / "run" / STATE_FILE
    with monkeypatch.context() as patch:
        break_at(patch, LossCallback, "on_batch_end", 9)
        with pytest.raises(Broken):
            train(config)
    torch.save(torch.load(path, weights_only=True) | {"processes": 3}, path)
    with pytest.raises(UserError, match="was trained by 3 processes so far, and 1 would resume it; start 3"):
        train(config)
    assert path.exists()


def test_a_killed_process_resumes(tiny_data, tmp_path, whole):
    """Ctrl-C at the end of the first epoch, SIGKILL during two later ones, then the command again."""
    run_dir = tmp_path / "run"
    config = config_of(tiny_data, run_dir, *LONG)
    save_config(config, tmp_path / "settings.yaml")
    command = [sys.executable, "train.py", str(tmp_path / "settings.yaml")]
    draw = random.Random(11)

    def strike(blow: int, seconds: float) -> tuple[int, str]:
        """Start, wait for the end of an epoch and some more, and strike. An early end is no fault here."""
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a shell's background jobs ignore Ctrl-C
        process = subprocess.Popen(command, cwd=REPO, preexec_fn=heed, **pipes)
        while (line := process.stdout.readline()) and not line.startswith("epoch "):
            pass
        time.sleep(seconds)
        process.send_signal(blow)
        _, told = process.communicate()
        return process.returncode, told

    for _ in range(4):  # on a busy machine so short a training may be over before the blow falls
        status, told = strike(signal.SIGINT, 0)
        if status:
            break
        shutil.rmtree(run_dir)
    assert status == 130, told
    assert "run the same command to resume" in told and "Traceback" not in told
    for _ in range(2):
        strike(signal.SIGKILL, draw.uniform(0, 0.3))
    for folder in (run_dir, run_dir / "checkpoints"):  # what a kill during a write leaves
        half_written(folder)
    assert run(*command[1:]).returncode == 0
    assert_same_run(run_dir, whole)


def test_prediction_resumes_where_it_stopped(tiny_data, tmp_path, whole):
    """Tiles already predicted are kept; the tarball's bytes are those of a prediction in one go."""
    command = ["predict.py", "--data", tiny_data, "--runs", whole, "--tta", "none", "--device", "cpu"]
    assert run(*command, "--out", tmp_path / "whole.tar.gz").returncode == 0

    parts, out = tmp_path / ".broken.tar.gz.parts", tmp_path / "broken.tar.gz"
    first, second = (run(*command, "--out", out), None)
    assert first.returncode == 0 and not parts.exists()
    recipe = out.with_name("broken.tar.gz.json")
    parts.mkdir()
    shutil.move(recipe, parts / "recipe.json")
    subprocess.run(["tar", "-xzf", out, "-C", parts], check=True)
    ids = read_test_table(tiny_data).id.tolist()
    (parts / vflow_name(ids[0])).unlink()  # heights without their pose: a tile that was being written
    for tile_id in ids[3:]:
        (parts / agl_name(tile_id)).unlink()
        (parts / vflow_name(tile_id)).unlink()
    out.unlink()
    second = run(*command, "--out", out)
    assert "2 of 8 tiles are predicted already" in second.stdout
    assert out.read_bytes() == (tmp_path / "whole.tar.gz").read_bytes()
    assert not parts.exists()


def test_predictions_of_other_images_are_not_taken_for_these(tiny_data, tmp_path, whole):
    """The same ids, another image: neither a finished tarball nor parts of one count for it."""
    data = tmp_path / "data"
    shutil.copytree(tiny_data, data)
    out = tmp_path / "out.tar.gz"
    command = ["predict.py", "--data", data, "--runs", whole, "--tta", "none", "--device", "cpu", "--out", out]
    assert "valid" in run(*command).stdout
    assert "up to date" in run(*command).stdout
    first, second = read_test_table(data).rgb[:2]
    shutil.copy(second, first)
    before = out.read_bytes()
    assert "valid" in run(*command).stdout
    assert out.read_bytes() != before

    parts = tmp_path / ".out.tar.gz.parts"
    parts.mkdir()
    shutil.move(out.with_name("out.tar.gz.json"), parts / "recipe.json")
    subprocess.run(["tar", "-xzf", out, "-C", parts], check=True)
    out.unlink()
    shutil.copy(tiny_data / "test" / Path(first).name, first)
    result = run(*command)
    assert "predicted already" not in result.stdout
    assert out.read_bytes() == before


def test_a_full_disk_is_one_line_and_loses_nothing(tiny_data, tmp_path, whole):
    """No file may grow beyond 1 kB: what a full disk does to heights."""
    out = tmp_path / "out.tar.gz"
    command = f"ulimit -f 1; exec {sys.executable} predict.py --data {tiny_data} --runs {whole} --tta none --out {out}"
    result = subprocess.run(["bash", "-c", command], cwd=REPO, capture_output=True, text=True, check=False)
    assert_user_error(result, "resume")
    assert not out.exists()
    whole_again = run("predict.py", "--data", tiny_data, "--runs", whole, "--tta", "none", "--out", out)
    assert whole_again.returncode == 0, whole_again.stderr


@pytest.mark.parametrize("limit_kb", [2_000, 20_000], ids=["checkpoint", "state"])
def test_training_on_a_full_disk_is_one_line_and_resumes(tiny_data, tmp_path, whole, limit_kb):
    """No file may grow beyond the limit: the first checkpoint does, or else the state of the first epoch."""
    run_dir = tmp_path / "run"
    save_config(config_of(tiny_data, run_dir, *LONG), tmp_path / "settings.yaml")
    command = f"ulimit -f {limit_kb}; exec {sys.executable} train.py {tmp_path / 'settings.yaml'}"
    result = subprocess.run(["bash", "-c", command], cwd=REPO, capture_output=True, text=True, check=False)
    assert_user_error(result, "resume")
    assert not list(run_dir.rglob(f"{STATE_FILE}*")) and not (run_dir / "manifest.json").exists()
    assert run("train.py", tmp_path / "settings.yaml").returncode == 0
    assert_same_run(run_dir, whole)
