"""Self-training as a whole, on rendered tiles: what changes the student, what does not, resuming, several processes."""

import shutil

import pandas as pd
import pytest
import torch
from helpers import DEFAULT, TINY, make_folds, ok, run_together

from geopose.cli import UserError
from geopose.config import load_config
from geopose.io.tables import read_train_table
from geopose.runs.folder import checkpoint_paths, read_manifest
from geopose.runs.verify import check_hashes
from geopose.training.resume import STATE_FILE
from geopose.training.runner import train
from geopose.training.self_training import SelfTrainingCallback

LENGTH = [
    "train.epochs=2",
    "train.ema_decay=0.9",
    "train.keep_checkpoints=2",
    "optim.lr=1e-4",
    "train.snapshot_epochs=0",
]


@pytest.fixture(scope="module")
def data(rendered, tmp_path_factory):
    """Rendered tiles with folds. The test half, which has other places, is a competition folder of its own too."""
    root = tmp_path_factory.mktemp("adapt")
    shutil.copytree(rendered, root / "data")
    make_folds(root / "data", root / "folds.csv")
    return root


def settings_of(data, run_dir, *overrides) -> list[str]:
    """Two epochs of two steps of the released network, whose heights are real."""
    paths = [f"data.root={data / 'data'}", f"data.folds={data / 'folds.csv'}", f"run.dir={run_dir}"]
    return [*paths, *TINY, *LENGTH, *overrides]


def train_on(data, run_dir, images, *overrides):
    """Train with unlabelled images from the first step. Returns the bytes of the checkpoints, best first."""
    adapt = [f"train.unlabelled={images}", "train.unlabelled_start_step=0"] if images else []
    train(load_config(DEFAULT, settings_of(data, run_dir, *adapt, *overrides)))
    return {path.name: path.read_bytes() for path in checkpoint_paths(run_dir)}


@pytest.fixture(scope="module")
def plain(data):
    """Checkpoints without unlabelled images."""
    return train_on(data, data / "plain", None)


@pytest.fixture(scope="module")
def adapted(data):
    """Checkpoints of a run that was never interrupted; its unlabelled images are data's own test half."""
    return train_on(data, data / "adapted", data / "data" / "test")


def test_unlabelled_images_change_the_student_and_are_on_record(data, plain, adapted):
    assert adapted != plain
    metrics = pd.read_csv(data / "adapted" / "metrics.csv")
    assert (metrics.train_loss_unlabelled > 0).all()
    assert metrics.train_agreeing_share.between(0.05, 0.999).all(), "some pixels agree and some do not"
    manifest = read_manifest(data / "adapted")["data"]
    assert manifest["unlabelled_images"] == 4 and len(manifest["unlabelled"]) == 64
    assert read_manifest(data / "plain")["data"]["unlabelled_images"] == 0
    assert all(same for same, _ in check_hashes(data / "adapted"))


def test_without_weight_a_run_is_one_without_unlabelled_images(data, plain):
    assert train_on(data, data / "weightless", data / "data", "train.unlabelled_weight=0") == plain


def test_nothing_changes_before_the_teacher_is_warm(data, plain):
    late = train_on(data, data / "late", data / "data" / "test", "train.unlabelled_start_step=2")
    assert late["model.0001.safetensors"] == plain["model.0001.safetensors"]
    assert late["model.0002.safetensors"] != plain["model.0002.safetensors"]
    first, second = pd.read_csv(data / "late" / "metrics.csv").train_loss_unlabelled
    assert first == 0 and second > 0


def test_only_images_count_and_no_label(data):
    """Labels removed, labels of garbage, other images."""
    results = []
    for name in ("removed", "garbage", "images"):
        other = shutil.copytree(data / "data", data / name)
        files = read_train_table(other)
        for path in (*files.agl, *files.vflow):
            (other / path).write_text("garbage")
        if name == "removed":
            shutil.rmtree(other / "truth")
            for path in (*files.agl, *files.vflow):
                (other / path).unlink()
        if name == "images":
            first, *rest = sorted(files.rgb)
            for path in rest:
                shutil.copy(first, path)
        results.append(train_on(data, data / f"run-{name}", other, "train.epochs=1"))
    assert results[0] == results[1]
    assert results[0] != results[2]


class Broken(Exception):
    """Stands for a kill."""


def test_an_interrupted_run_resumes_to_the_same_weights(data, adapted, monkeypatch):
    real, calls = SelfTrainingCallback.on_batch_start, []

    def on_batch_start(self, runner):
        calls.append(1)
        if runner.epoch_step == 2 and runner.is_train_loader and runner.optimizer_steps == 3:
            raise Broken
        real(self, runner)

    with monkeypatch.context() as patch:
        patch.setattr(SelfTrainingCallback, "on_batch_start", on_batch_start)
        with pytest.raises(Broken):
            train_on(data, data / "again", data / "data" / "test")
    assert (data / "again" / STATE_FILE).exists()
    assert train_on(data, data / "again", data / "data" / "test") == adapted


def test_a_run_is_not_resumed_on_other_unlabelled_images(data, monkeypatch):
    images = shutil.copytree(data / "data", data / "changing")
    monkeypatch.setattr(SelfTrainingCallback, "on_loader_end", lambda self, runner: None)
    real = SelfTrainingCallback.on_loader_start

    def on_loader_start(self, runner):
        if runner.epoch_step == 2:
            raise Broken
        real(self, runner)

    with monkeypatch.context() as patch:
        patch.setattr(SelfTrainingCallback, "on_loader_start", on_loader_start)
        with pytest.raises(Broken):
            train_on(data, data / "changed", images)
    next((images / "test").glob("*_RGB.*")).unlink()
    with pytest.raises(
        UserError, match=r"unfinished run, but the images in .*changing changed since its training began"
    ):
        train_on(data, data / "changed", images)


def test_bf16_and_accumulated_steps_work(data):
    train_on(data, data / "bf16", data / "data", "train.precision=bf16", "train.accumulation_steps=2", "train.epochs=1")
    manifest = read_manifest(data / "bf16")
    assert manifest["precision"] == "bf16" and manifest["optimizer_steps"] == 1
    assert float(pd.read_csv(data / "bf16" / "metrics.csv").train_loss_unlabelled.iloc[0]) > 0


def test_two_processes_learn_from_their_own_crops_and_stay_equal(data):
    """Each rank notes its crops, its gradients of the unlabelled part, and its weights at the end."""
    script = data / "noted.py"
    script.write_text(
        "import os\n"
        "import torch\n"
        "from geopose.cli import run_command\n"
        "from geopose.training.command import main\n"
        "from geopose.training.self_training import SelfTrainingCallback\n"
        "rank, real, seen = os.environ['RANK'], SelfTrainingCallback.loss, []\n"
        "def loss(self, runner, batch):\n"
        "    seen.append(batch['plain'].clone())\n"
        "    return real(self, runner, batch)\n"
        "def on_experiment_end(self, runner):\n"
        "    weights = [p.detach().clone() for p in runner.engine.unwrap_model(runner.model).parameters()]\n"
        f"    torch.save((seen, weights), {str(data)!r} + '/noted' + rank)\n"
        "SelfTrainingCallback.loss, SelfTrainingCallback.on_experiment_end = loss, on_experiment_end\n"
        "run_command(main)\n"
    )
    adapt = [f"train.unlabelled={data / 'data' / 'test'}", "train.unlabelled_start_step=0", "loss.feature_tie_weight=1"]
    for done in run_together(script, DEFAULT, *settings_of(data, data / "ranks", *adapt)):
        ok(done)
    (crops, weights), (others, same) = (torch.load(data / f"noted{rank}") for rank in (0, 1))
    assert len(crops) == len(others) == 4
    assert not any(torch.equal(one, other) for one in crops for other in others)
    assert all(torch.equal(one, other) for one, other in zip(weights, same, strict=True)), "gradients are shared"
    assert read_manifest(data / "ranks")["processes"] == 2
