"""What learning from unlabelled images costs: steps of training with and without them, and of a translation network."""

import time
from statistics import median

import numpy as np

from geopose.adaptation.config import load_translate_config
from geopose.adaptation.images import PairDataset, find_targets
from geopose.bench.inputs import CONFIG, Inputs, train_settings
from geopose.bench.table import Row, format_seconds
from geopose.config import load_config
from geopose.io.rasters import read_rgb
from geopose.io.tables import read_train_table

SETTINGS = ["train.steps_per_epoch=8", "train.precision=fp32", "data.batch_size=4", "augment.crop_px=128"]
TIE = ["loss.feature_tie_weight=1"]
TRANSLATION = "configs/translate/small.yaml"
STEPS = ["train.epochs=1", "train.steps_per_epoch=8"]


def bench_adaptation(inputs: Inputs) -> list[Row]:
    """Processor times: of steps on four crops of 128 px, and on four unlabelled ones of the test half; of a translation."""
    return [*bench_steps(inputs), *bench_translation(inputs)]


def bench_steps(inputs: Inputs) -> list[Row]:
    """Median training step of the default's network with the tie of features, with unlabelled crops, and with both."""
    from geopose.training.runner import PoseRunner  # imports Catalyst, which takes seconds: for this item only

    root = inputs.small.parent
    shared = [*train_settings(root), *SETTINGS, f"run.dir={root / 'adaptation'}"]
    unlabelled = [f"train.unlabelled={inputs.small / 'test'}", "train.unlabelled_start_step=0"]
    plain = seconds_per_step(PoseRunner, load_config(CONFIG, shared))
    rows = []
    for what, settings in (("tie", TIE), ("unlabelled", unlabelled), ("both", [*unlabelled, *TIE])):
        seconds = seconds_per_step(PoseRunner, load_config(CONFIG, [*shared, *settings]))
        times = (format_seconds(seconds), format_seconds(plain))
        rows.append(Row(f"training step, {what} against neither", *times, seconds / plain, ""))
    return rows


def bench_translation(inputs: Inputs) -> list[Row]:
    """Median step of a translation network on its own crops, reading a pair of these, and translating a tile."""
    from geopose.adaptation.networks import translate_rgb
    from geopose.adaptation.runner import TranslationRunner, train_generator

    config = load_translate_config(TRANSLATION, STEPS)
    table, folder = read_train_table(inputs.small), inputs.small.parent / "translation"
    targets = find_targets(inputs.small / "test", table, config.data.crop_px, None, ())
    pairs = PairDataset(table.rgb, targets, (), config.data.crop_px, config.seed)
    step = seconds_per_step(TranslationRunner, config, folder, pairs, [])
    generator = train_generator(config, folder, pairs, [])
    rgb = read_rgb(table.rgb[0])
    times = {
        f"a step on {config.data.batch_size} pairs of crops": step,
        "reading a pair of crops": median_processor_time(lambda: pairs[0]),
        f"translating {rgb.shape[0]} x {rgb.shape[1]} px": median_processor_time(lambda: translate_rgb(generator, rgb)),
    }
    return [Row(f"translation, {what}", format_seconds(seconds), "", None, "") for what, seconds in times.items()]


def seconds_per_step(kind: type, *arguments) -> float:
    """Median processor time between the ends of two batches of training, over one epoch of a runner of this kind."""

    class TimedRunner(kind):
        def on_batch_end(self, runner) -> None:
            super().on_batch_end(runner)
            if self.is_train_loader:
                times.append(time.process_time())

    times: list[float] = []
    TimedRunner(*arguments).run()
    return median(np.diff(times[1:]))


def median_processor_time(function) -> float:
    """Median processor time of five calls, after one that does not count."""
    times = [time.process_time()]
    for _ in range(6):
        function()
        times.append(time.process_time())
    return median(np.diff(times[1:]))
