"""Optimizer steps by their formulas: clipped gradients, two learning rates, AdamW's settings, the moving average."""

from contextlib import contextmanager

import pytest
import torch
from helpers import config_of
from safetensors.torch import load_file
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from geopose.runs.folder import checkpoint_paths
from geopose.training.runner import PoseRunner


@contextmanager
def recorded_steps():
    """A list that gets, for each optimizer step, its parameters before and after it and their gradients."""
    steps = []

    def before(optimizer, args, kwargs):
        known = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        steps.append({id(p): [p.detach().clone(), p.grad.clone()] for p in known})

    def after(optimizer, args, kwargs):
        for p in (p for group in optimizer.param_groups for p in group["params"]):
            if id(p) in steps[-1]:
                steps[-1][id(p)].append(p.detach().clone())

    hooks = [register_optimizer_step_pre_hook(before), register_optimizer_step_post_hook(after)]
    try:
        yield steps
    finally:
        for hook in hooks:
            hook.remove()


def train_recorded(config, run_dir) -> list[dict]:
    """Train. Returns for each step: name of a weight -> its value before the step, its gradient, its value after."""
    run_dir.mkdir()
    runner = PoseRunner(config)
    with recorded_steps() as steps:
        runner.run()
    names = {id(p): name for name, p in runner.model.named_parameters()}
    return [{names[key]: values for key, values in step.items()} for step in steps]


def test_a_step_is_adamws_with_clipped_gradients_and_two_rates(tiny_data, tmp_path):
    settings = ["optim.lr=1e-3", "optim.fresh_lr_factor=3", "optim.eps=1e-3", "optim.weight_decay=10"]
    settings += ["optim.warmup_steps=0", "optim.schedule=constant", "optim.grad_clip_norm=0.05"]
    config = config_of(tiny_data, tmp_path / "run", *settings, "train.epochs=1", "train.steps_per_epoch=1")
    (step,) = train_recorded(config, tmp_path / "run")
    squares = sum(float(gradient.double().square().sum()) for _, gradient, _ in step.values())
    assert squares**0.5 == pytest.approx(0.05, rel=1e-3)
    assert {name.startswith("encoder.") for name in step} == {True, False}
    for name, (before, gradient, after) in step.items():
        rate = 1e-3 if name.startswith("encoder.") else 3e-3
        expected = before * (1 - rate * 10) - rate * gradient / (gradient.abs() + 1e-3)
        torch.testing.assert_close(after, expected, rtol=1e-5, atol=1e-7, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("decay", [0.5, 0.999])
def test_the_moving_average_follows_the_weights_quickly_at_first(tiny_data, tmp_path, decay):
    settings = ["optim.lr=1e-2", f"train.ema_decay={decay}", "train.epochs=1", "train.steps_per_epoch=4"]
    steps = train_recorded(config_of(tiny_data, tmp_path / "run", *settings), tmp_path / "run")
    kept = load_file(checkpoint_paths(tmp_path / "run")[0])
    for name, (average, *_) in steps[0].items():
        for number, step in enumerate(steps, start=1):
            share = min(decay, 1 - number ** (-2 / 3))  # 0 at the first step: the initial weights are forgotten
            average = share * average + (1 - share) * step[name][2]
        torch.testing.assert_close(kept[name], average, rtol=1e-4, atol=1e-6)


def test_accumulated_batches_count_as_their_mean(tiny_data, tmp_path):
    """The gradient of a step over two batches is the mean of the gradients of steps over each of them."""
    recorded = {}
    for count in (1, 2):
        settings = ["optim.lr=1e-30", "optim.min_lr=0", "train.epochs=1", f"train.accumulation_steps={count}"]
        run_dir = tmp_path / str(count)
        recorded[count] = train_recorded(config_of(tiny_data, run_dir, *settings), run_dir)
    (first, second), (both,) = recorded[1], recorded[2]
    for name, (_, gradient, _) in both.items():
        expected = (first[name][1] + second[name][1]) / 2
        torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-5)
