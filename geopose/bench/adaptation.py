"""What learning from unlabelled images costs: steps of training with and without them, and of a translation network."""

import time
from functools import partial
from statistics import median

import numpy as np

from geopose.adaptation.colours import ColourTransfer
from geopose.adaptation.config import load_translate_config
from geopose.adaptation.images import PairDataset, find_targets
from geopose.bench.inputs import CONFIG, Inputs, train_settings
from geopose.bench.step import ends_of_batches
from geopose.bench.table import Row, format_seconds
from geopose.config import load_config
from geopose.io.rasters import read_rgb
from geopose.io.tables import read_train_table

SETTINGS = ["train.steps_per_epoch=8", "train.precision=fp32", "data.batch_size=4", "augment.crop_px=128"]
TIE = ["loss.feature_tie_weight=1"]
TRANSLATION = "configs/translate/small.yaml"
STEPS = ["train.epochs=1", "train.steps_per_epoch=8"]


def bench_adaptation(inputs: Inputs) -> list[Row]:
    """Processor times of training on four crops of 128 px, also with four unlabelled ones, and of a translation."""
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
    """Median step of a translation network, reading a pair of its crops, and translating a tile by each method."""
    from geopose.adaptation.networks import Generator, translate_rgb
    from geopose.adaptation.runner import TranslationRunner

    config = load_translate_config(TRANSLATION, STEPS)
    table, folder = read_train_table(inputs.small), inputs.small.parent / "translation"
    targets = find_targets(inputs.small / "test", table, config.data.crop_px, None, ())
    pairs = PairDataset(table.rgb, targets, (), config.data.crop_px, config.seed)
    folder.mkdir()
    step = seconds_per_step(TranslationRunner, config, folder, pairs, table.rgb[:1])
    generator, rgb = Generator(config.network.width, config.network.blocks), read_rgb(table.rgb[0])
    calls = {"reading a pair of crops": lambda: pairs[0], "a tile by gan": lambda: translate_rgb(generator, rgb)}
    for method in ("fda", "histogram"):
        transfer = ColourTransfer(method, config.colour, targets, (), config.seed)
        calls[f"a tile by {method}"] = partial(transfer, rgb, table.id[0])
    times = {"a step of gan": step} | {what: median_processor_time(call) for what, call in calls.items()}
    return [Row(f"translation, {what}", format_seconds(seconds), "", None, "") for what, seconds in times.items()]


def seconds_per_step(kind: type, *arguments) -> float:
    """Median processor time between the ends of two batches of training by a runner of this kind."""
    return median(np.diff(ends_of_batches(kind, time.process_time, *arguments)[1:]))


def median_processor_time(function) -> float:
    """Median processor time of five calls, after one that does not count."""
    times = [time.process_time()]
    for _ in range(6):
        function()
        times.append(time.process_time())
    return median(np.diff(times[1:]))
