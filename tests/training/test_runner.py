"""Training as a user configures it, on tiny files: what is kept, when it ends, what stops it."""

import errno
import math
import shutil
import time
import warnings

import pandas as pd
import pytest
import torch
from catalyst.core.runner import IRunner
from helpers import config_of
from safetensors.torch import load_file

from geopose.cli import UserError
from geopose.devices import tf32
from geopose.models.checkpoints import load_weights
from geopose.models.model import create_model
from geopose.runs.folder import checkpoint_paths, read_manifest
from geopose.training.callbacks import VALID_METRIC, LossCallback
from geopose.training.runner import PoseRunner, train
from geopose.training.steps import StepCallback


def test_the_best_checkpoints_are_kept_and_named_best_first(tiny_data, tmp_path):
    config = config_of(tiny_data, tmp_path / "run", "train.epochs=5", "train.keep_checkpoints=2")
    train(config)
    metrics = pd.read_csv(tmp_path / "run" / "metrics.csv").set_index("epoch")
    assert len(metrics) == 5
    best_epochs = metrics.valid_r2.sort_values(ascending=False).index[:2]
    kept = [path.name for path in checkpoint_paths(tmp_path / "run")]
    assert kept == [f"model.{epoch:04d}.safetensors" for epoch in best_epochs]
    assert sorted(p.name for p in (tmp_path / "run" / "checkpoints").glob("*.safetensors")) == sorted(kept)
    load_weights(create_model(config.model, load_weights=False), checkpoint_paths(tmp_path / "run")[0])


def test_catalyst_finds_all_parts_of_a_step(tiny_data, tmp_path):
    """Catalyst only warns ("No ``ICriterionCallback`` ...") where the loss or the optimizer step is missing."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="No ``I")
        train(config_of(tiny_data, tmp_path / "run", "train.epochs=1", "train.steps_per_epoch=1"))


def test_training_starts_from_another_run(tiny_data, tmp_path):
    still = ["optim.lr=1e-30", "optim.min_lr=0", "optim.weight_decay=0"]
    first, second = tmp_path / "first", tmp_path / "second"
    train(config_of(tiny_data, first, "seed=1"))
    train(config_of(tiny_data, second, "seed=2", f"train.start_from={first}", *still))
    before, after = (load_file(checkpoint_paths(run_dir)[0]) for run_dir in (first, second))
    weights = [name for name in before if name.endswith("weight")]
    assert weights and all(torch.equal(before[name], after[name]) for name in weights)
    assert read_manifest(second)["started_from"] == read_manifest(first)
    assert "started_from" not in read_manifest(first)
    other = config_of(tiny_data, tmp_path / "other", f"train.start_from={first}", "model.head_channels=4")
    with pytest.raises(UserError, match="belongs to another model config"):
        train(other)
    with pytest.raises(UserError, match="holds no finished run"):
        train(config_of(tiny_data, tmp_path / "none", f"train.start_from={tmp_path / 'nothing'}", "data.root=nowhere"))


@pytest.mark.parametrize("steps_per_epoch", [4, 100_000])
def test_a_time_budget_ends_within_steps_and_with_a_whole_schedule(tiny_data, tmp_path, steps_per_epoch):
    """Also where an epoch is much longer than the budget."""
    settings = ["train.max_minutes=0.1", "optim.min_lr=0", "optim.warmup_steps=0"]
    config = config_of(tiny_data, tmp_path / "run", *settings, f"train.steps_per_epoch={steps_per_epoch}")
    start = time.monotonic()
    train(config)
    assert 5 < time.monotonic() - start < 30
    manifest, table = read_manifest(tmp_path / "run"), pd.read_csv(tmp_path / "run" / "metrics.csv")
    steps, boundaries = manifest["schedule_steps"], manifest["schedule_boundaries"]
    assert len(steps) == len(boundaries) and steps[-1] == manifest["optimizer_steps"]
    assert boundaries[0] == 0 and boundaries[-1] > 0.7
    assert manifest["epochs"] == len(table) == math.ceil(steps[-1] / steps_per_epoch)
    assert manifest["crops_seen"] == 2 * manifest["optimizer_steps"]
    assert table.train_lr.iloc[-1] < 0.5 * config.optim.lr
    assert checkpoint_paths(tmp_path / "run")


def test_the_backward_pass_has_the_precision_of_the_forward_pass(tiny_data, tmp_path, monkeypatch):
    """torch's own default allows TF32 in convolutions. The gradients of a training in fp32 are float32."""
    real, seen = StepCallback.step, []

    def step(self, runner):
        seen.append((torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32))
        real(self, runner)

    monkeypatch.setattr(StepCallback, "step", step)
    with tf32(True):
        train(config_of(tiny_data, tmp_path / "run", "train.epochs=1"))
    assert set(seen) == {(False, False)}


def test_early_stopping_ends_training(tiny_data, tmp_path):
    """With a learning rate close to 0 the score does not change, and patience runs out."""
    overrides = ["train.epochs=30", "train.early_stop_patience=2", "optim.lr=1e-30", "optim.min_lr=0"]
    train(config_of(tiny_data, tmp_path / "run", *overrides, "model.encoder_weights=none"))
    assert read_manifest(tmp_path / "run")["epochs"] < 30


PLATEAU = ["optim.schedule=plateau", "optim.plateau_patience=1", "optim.warmup_steps=0"]


def test_plateau_halves_the_rate_when_the_score_rises_by_less_than_its_threshold(tiny_data, tmp_path):
    """Below 0, where a threshold relative to the score would take every score for a better one."""
    runner = PoseRunner(config_of(tiny_data, tmp_path / "run", *PLATEAU))
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler, rates = runner.get_scheduler(optimizer), []
    for score in (-3.0, -2.99995, -2.9, -2.9, -2.9, 0.5):
        scheduler.step(score)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == [1, 1, 1, 1, 0.5, 0.5]


def test_plateau_lowers_the_rate_of_a_training(tiny_data, tmp_path):
    train(config_of(tiny_data, tmp_path / "run", *PLATEAU, "optim.lr=1e-30", "train.epochs=4"))
    rates = pd.read_csv(tmp_path / "run" / "metrics.csv").train_lr
    # The encoder's, not that of the layers that start from random weights. The score never changes.
    assert rates.tolist() == pytest.approx([1e-30, 1e-30, 1e-30, 0.5e-30])


def test_a_loss_that_is_not_finite_stops_with_the_tiles_named(tiny_data, tmp_path):
    config = config_of(tiny_data, tmp_path / "run", "train.epochs=50", "optim.lr=1e30", "optim.warmup_steps=0")
    with pytest.raises(UserError, match=r"(loss is|is not finite)"):
        train(config)
    assert not (tmp_path / "run" / "manifest.json").exists()


def test_accumulated_steps_are_counted_and_none_crosses_an_epoch(tiny_data, tmp_path):
    """Five batches at two a step make three steps: the last takes the single batch left."""
    config = config_of(
        tiny_data, tmp_path / "run", "train.epochs=2", "train.steps_per_epoch=5", "train.accumulation_steps=2"
    )
    steps = []

    class Counting(PoseRunner):
        def get_callbacks(self):
            callbacks = super().get_callbacks()
            callbacks["step"] = CountingSteps(config, VALID_METRIC)
            return callbacks

    class CountingSteps(StepCallback):
        def on_batch_end(self, runner):
            weights = runner.model.agl_head.output.weight
            before = weights.detach().clone()
            super().on_batch_end(runner)
            if runner.is_train_loader:
                steps.append(not torch.equal(before, weights))

    (tmp_path / "run").mkdir()
    Counting(config).run()
    assert steps == [False, True, False, True, True] * 2
    assert read_manifest(tmp_path / "run")["optimizer_steps"] == 6


def test_gradients_that_are_not_finite_stop_before_the_weights(tiny_data, tmp_path, monkeypatch):
    """The last good checkpoint stays, and what stopped the run names tiles and a way out."""
    real, calls = LossCallback.on_batch_end, []

    def on_batch_end(self, runner):
        real(self, runner)
        if runner.is_train_loader:
            calls.append(1)
        if len(calls) == 3 and runner.is_train_loader:  # the loss is finite, its gradient is not
            weight = runner.model.agl_head.output.weight
            runner.batch_metrics["loss"] = runner.batch_metrics["loss"] + (weight - weight.detach()).sqrt().sum()

    monkeypatch.setattr(LossCallback, "on_batch_end", on_batch_end)
    with pytest.raises(UserError, match=r"gradients are not finite at epoch 2, tiles \w{3}_\w+, .*fp32"):
        train(config_of(tiny_data, tmp_path / "run", "train.epochs=3"))
    state = load_file(tmp_path / "run" / "checkpoints" / "model.0001.safetensors")
    assert all(torch.isfinite(value).all() for value in state.values() if value.is_floating_point())


def test_a_process_that_fails_tells_why_in_one_line(tiny_data, tmp_path):
    folder = shutil.copytree(tiny_data, tmp_path / "data")
    bad = folder / "train" / "ARG_aaaaaa_RGB.tif"
    bad.write_bytes(bad.read_bytes()[:-3000])
    settings = ["train.gpus=2", "train.epochs=9", "data.fold=1"]
    with pytest.raises(UserError, match=r"ARG_aaaaaa_RGB.tif: truncated"):
        train(config_of(folder, tmp_path / "run", *settings))


def test_a_missing_image_is_skipped_on_request(tiny_data, tmp_path, capsys):
    folder = shutil.copytree(tiny_data, tmp_path / "data")
    (folder / "train" / "ARG_aaaaaa_RGB.tif").unlink()
    settings = ["train.epochs=1", "train.steps_per_epoch=1"]
    with pytest.raises(UserError, match=r"ARG_aaaaaa_RGB\.tif missing"):
        train(config_of(folder, tmp_path / "strict", *settings))
    train(config_of(folder, tmp_path / "run", *settings, "data.on_bad_tile=skip"))
    assert "skipped: " in capsys.readouterr().out
    assert read_manifest(tmp_path / "run")["epochs"] == 1


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "state.pt"), "state.pt: No space left"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB."), "CUDA out of memory; compute in bf16"),
    ],
    ids=["disk", "gpu"],
)
def test_what_a_user_can_mend_leaves_a_process_as_one_line(tiny_data, tmp_path, monkeypatch, error, told):
    """Of any other error only a traceback leaves one of several processes."""

    def fail(runner, *place):
        raise error

    monkeypatch.setattr(IRunner, "_run_local", fail)
    runner = PoseRunner(config_of(tiny_data, tmp_path / "run"))
    with pytest.raises(UserError, match=told):
        runner._run_local(0, 2)


def test_a_compiled_network_trains_and_keeps_its_weights_names(tiny_data, tmp_path, monkeypatch):
    """Traced, but run without the code generator, which takes minutes."""
    compile_real, compiled = torch.nn.Module.compile, []

    def compile_traced(module):
        compiled.append(module)
        compile_real(module, backend="eager")

    monkeypatch.setattr(torch.nn.Module, "compile", compile_traced)
    config = config_of(tiny_data, tmp_path / "run", "train.compile=true", "train.epochs=1", "train.steps_per_epoch=1")
    train(config)
    assert len(compiled) == 1
    load_weights(create_model(config.model, load_weights=False), checkpoint_paths(tmp_path / "run")[0])
