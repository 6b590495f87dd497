"""Training steps with unlabelled images and with the tie of features, compared with a step without."""

import time
from statistics import median

import numpy as np

from geopose.bench.inputs import CONFIG, Inputs, train_settings
from geopose.bench.table import Row, format_seconds
from geopose.config import load_config

SETTINGS = ["train.steps_per_epoch=8", "train.precision=fp32", "data.batch_size=4", "augment.crop_px=128"]
TIE = ["loss.feature_tie_weight=1"]


def bench_adaptation(inputs: Inputs) -> list[Row]:
    """Median processor time of a step on four crops of 128 px, and on four unlabelled ones of the test half."""
    unlabelled = [f"train.unlabelled={inputs.small / 'test'}", "train.unlabelled_start_step=0"]
    plain = seconds_per_step(inputs, [])
    rows = []
    for what, settings in (("tie", TIE), ("unlabelled", unlabelled), ("both", [*unlabelled, *TIE])):
        seconds = seconds_per_step(inputs, settings)
        times = (format_seconds(seconds), format_seconds(plain))
        rows.append(Row(f"training step, {what} against neither", *times, seconds / plain, ""))
    return rows


def seconds_per_step(inputs: Inputs, settings: list[str]) -> float:
    """Median processor time between the ends of two batches, over one epoch."""
    from geopose.training.runner import PoseRunner  # imports Catalyst, which takes seconds: for this item only

    class TimedRunner(PoseRunner):
        def on_batch_end(self, runner) -> None:
            super().on_batch_end(runner)
            if self.is_train_loader:
                times.append(time.process_time())

    times: list[float] = []
    root = inputs.small.parent
    run_dir = f"run.dir={root / 'adaptation'}"
    TimedRunner(load_config(CONFIG, [*train_settings(root), *SETTINGS, *settings, run_dir])).run()
    return float(median(np.diff(times[1:])))
