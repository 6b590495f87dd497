"""The tiles and the run that the measurements use."""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from geopose.bench.process import run_geopose
from geopose.data.store import prepare
from geopose.synthetic.dataset import Options, make_dataset

CONFIG = "configs/lite0_synthetic.yaml"  # the default; its runs start from the released run
LARGE_PX, CROP_PX = 2048, 768
LARGE_TEST = 4  # test tiles of the large competition folder


@dataclass(frozen=True)
class Inputs:
    """Competition folders of large and of small tiles, a run of two steps on the small ones, and a trained run.

    They are made in the folder root when a measurement asks for them. This takes minutes and is not measured. given: a
    trained run; None uses the run of two steps in its place.
    """

    root: Path
    given: Path | None

    @cached_property
    def large(self) -> Path:
        return render(self.root / "large", Options(train=2, test=LARGE_TEST, size=LARGE_PX, rgb_format="j2k"))

    @cached_property
    def small(self) -> Path:
        folder = render(self.root / "small", Options(train=8, test=20, size=512, rgb_format="j2k"))
        run_geopose("folds", "--data", folder, "--out", self.root / "folds.csv", "--num-folds", 2)
        return folder

    @cached_property
    def run(self) -> Path:
        settings = [*train_settings(self.small.parent), f"run.dir={self.root / 'run'}", "train.steps_per_epoch=2"]
        run_geopose("train", CONFIG, *settings)
        return self.root / "run"

    @cached_property
    def trained(self) -> Path:
        return self.given or self.run


def render(folder: Path, options: Options) -> Path:
    """A competition folder with prepared tiles."""
    make_dataset(folder, options)
    prepare(folder, os.cpu_count())
    return folder


def train_settings(root: Path) -> list[str]:
    """Settings that make CONFIG train one epoch on the small tiles."""
    data = [f"data.root={root / 'small'}", f"data.folds={root / 'folds.csv'}", "data.fold=0"]
    return [*data, "train.max_minutes=null", "train.epochs=1"]
