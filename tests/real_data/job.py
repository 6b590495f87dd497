"""The challenge's job: folds, a training of B7 in two processes that is killed and resumed, and a submission."""

import os
import shlex
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd

from geopose.runs.folder import read_manifest
from geopose.training.resume import STATE_FILE

REPO = Path(__file__).parents[2]
CONFIG = "configs/b7_unet.yaml"
# What a CPU without network needs: no download, one small crop, one step. Tiles are validated whole, and at a smaller
# size where there is not enough memory: at full size one takes 7 GB in each process.
SETTINGS = (
    "train.device=cpu train.precision=fp32 model.encoder_weights=none data.batch_size=1 data.workers=0 "
    "train.steps_per_epoch=1 train.epochs=2 train.keep_checkpoints=1"
)


class Log:
    """Runs commands in the repository root, and keeps them and their output."""

    def __init__(self, work: Path):
        self.work, self.lines = work, []

    def say(self, line: str) -> None:
        """Print and keep a line, without the paths of the folder and of the repository."""
        line = line.rstrip().replace(f"{self.work}/", "").replace(f"{REPO}/", "")
        self.lines.append(line)
        print(line, flush=True)

    def run(self, *words: str, kill_when: Path | None = None) -> None:
        """Run a command to its end, which must be good, or kill all its processes when a file appears."""
        self.say(f"$ {shlex.join(words)}")
        start = time.monotonic()
        process = subprocess.Popen(
            words, cwd=REPO, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
        while kill_when and not kill_when.exists() and process.poll() is None:
            time.sleep(0.1)
        if kill_when and process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        for line in process.communicate()[0].splitlines():
            self.say(line)
        if kill_when:
            assert process.returncode == -signal.SIGKILL, "the training ended before it could be killed"
            self.say(f"(killed with SIGKILL after {time.monotonic() - start:.0f} s)")
        else:
            assert process.returncode == 0, f"exit status {process.returncode}"
            self.say(f"({time.monotonic() - start:.0f} s)")


def run_job(data: Path, work: Path, crop_px: int, zoom: float) -> list[str]:
    """All commands in their order. Returns the lines of the log. Raises AssertionError for a wrong result."""
    log, run_dir = Log(work), work / "runs" / "b7_unet" / "fold0"
    files = set(data.rglob("*"))
    tiles = len(pd.read_csv(data / "geopose_train.csv"))
    folds = [f"DATA={data}", f"FOLDS={tiles // 2}"]  # two validation tiles: one for each process
    smaller = f"augment.crop_px={crop_px} model.input_zoom={zoom:g}"
    train = [f"CONFIG={CONFIG}", "GPUS=2", f"ARGS={SETTINGS} {smaller} run.dir={run_dir}"]
    log.run("make", "folds", *folds)
    log.run("make", "train", *folds, *train, kill_when=run_dir / STATE_FILE)
    assert not (run_dir / "manifest.json").exists()
    log.run("make", "train", *folds, *train)
    assert any("resuming after epoch 1" in line for line in log.lines)
    assert pd.read_csv(run_dir / "metrics.csv").epoch.tolist() == [1, 2]
    manifest = read_manifest(run_dir)
    assert (manifest["processes"], manifest["data"]["valid_tiles"], manifest["optimizer_steps"]) == (2, 2, 2)
    out = work / "submission.tar.gz"
    log.run("make", "submission", f"DATA={data}", f"RUNS={run_dir}", "TTA=none", f"OUT={out}")
    assert any(line.startswith("ok: ") for line in log.lines)
    assert set(data.rglob("*")) - files == {data / f"folds-stratified{tiles // 2}.csv"}
    return log.lines
