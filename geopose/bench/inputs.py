"""The tiles and the run that the measurements use."""

import os
from dataclasses import dataclass
from pathlib import Path

from geopose.bench.process import run_geopose
from geopose.data.store import prepare
from geopose.synthetic.dataset import Options, make_dataset

CONFIG = "configs/lite0_synthetic.yaml"  # the default; its runs start from the released run
LARGE_PX, CROP_PX = 2048, 768
LARGE_TEST = 4  # test tiles of the large competition folder


@dataclass(frozen=True)
class Inputs:
    """Competition folders of large and of small tiles, a run of two steps on the small ones, and a trained run."""

    large: Path
    small: Path
    run: Path
    trained: Path


def make_inputs(root: Path, trained: Path | None) -> Inputs:
    """Render the tiles and train the run in the folder root. This takes minutes and is not measured.

    trained: a trained run; None uses the run of two steps in its place.
    """
    make_dataset(root / "large", Options(train=2, test=LARGE_TEST, size=LARGE_PX, rgb_format="j2k"))
    make_dataset(root / "small", Options(train=8, test=20, size=512, rgb_format="j2k"))
    for tiles in ("large", "small"):
        prepare(root / tiles, os.cpu_count())
    run_geopose("folds", "--data", root / "small", "--out", root / "folds.csv", "--num-folds", 2)
    run_geopose("train", CONFIG, *train_settings(root), f"run.dir={root / 'run'}", "train.steps_per_epoch=2")
    return Inputs(root / "large", root / "small", root / "run", trained or root / "run")


def train_settings(root: Path) -> list[str]:
    """Settings that make CONFIG train one epoch on the small tiles."""
    data = [f"data.root={root / 'small'}", f"data.folds={root / 'folds.csv'}", "data.fold=0"]
    return [*data, "train.max_minutes=null", "train.epochs=1"]
