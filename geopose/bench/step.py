"""Training steps: the Catalyst loop compared with a bare PyTorch loop, and our depthwise gradients with oneDNN's."""

import time
from collections.abc import Callable
from statistics import median
from unittest import mock

import numpy as np
import torch

from geopose.bench.inputs import CONFIG, Inputs, train_settings
from geopose.bench.table import Row, format_seconds
from geopose.config import Config, load_config
from geopose.data.dataset import create_train_loader, split_fold
from geopose.devices import autocast, pick_precision
from geopose.models import model as model_module
from geopose.models.model import create_model
from geopose.training.losses import PoseLoss


def bench_step(inputs: Inputs) -> list[Row]:
    """Median training steps of the same model, loss, optimizer and crops, measured alternately."""
    root = inputs.small.parent
    settings = [*train_settings(root), f"run.dir={root / 'step'}", "train.steps_per_epoch=20"]
    config = load_config(CONFIG, settings)
    times = {"catalyst": [], "bare": [], "onednn": []}
    for _ in range(3):
        times["catalyst"].append(seconds_per_step_in_catalyst(config))
        times["bare"].append(seconds_per_step_bare(config))
        with mock.patch.object(model_module, "fast_depthwise", lambda device: torch.enable_grad()):
            times["onednn"].append(seconds_per_step_bare(config))
    catalyst, bare, onednn = (median(times[name]) for name in ("catalyst", "bare", "onednn"))
    comparisons = (
        ("Catalyst against a bare loop", catalyst, bare, catalyst / bare, "1.05 or less"),
        ("depthwise gradients ours against oneDNN's", bare, onednn, onednn / bare, "above 1"),
    )
    return [
        Row(f"training step, {what}", format_seconds(ours), format_seconds(common), ratio, goal)
        for what, ours, common, ratio, goal in comparisons
    ]


def seconds_per_step_in_catalyst(config: Config) -> float:
    """Median time between the ends of two batches, over one epoch of our training loop."""
    from geopose.training.runner import PoseRunner  # imports Catalyst, which takes seconds: for this item only

    return median(np.diff(ends_of_batches(PoseRunner, time.perf_counter, config)[2:]))


def ends_of_batches(kind: type, clock: Callable[[], float], *arguments) -> list[float]:
    """What the clock says at the end of each training batch, over the whole run of a runner of this kind."""

    class TimedRunner(kind):
        def on_batch_end(self, runner) -> None:
            super().on_batch_end(runner)
            if self.is_train_loader:
                times.append(clock())

    times: list[float] = []
    TimedRunner(*arguments).run()
    return times


def seconds_per_step_bare(config: Config) -> float:
    """Median time between the ends of two batches in a plain PyTorch loop, as short as possible."""
    device = torch.device("cpu")
    model = create_model(config.model).to(memory_format=torch.channels_last).train()
    criterion = PoseLoss(config.loss)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.optim.lr, fused=True)
    precision = pick_precision("auto", device)
    times = []
    for batch in create_train_loader(split_fold(config)[0], config):
        image = batch["image"].contiguous(memory_format=torch.channels_last)
        with autocast(device, precision):
            outputs = model(image, batch["gsd_m"], batch["city"])
        criterion(outputs, batch)["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
        times.append(time.perf_counter())
    return median(np.diff(times[2:]))
