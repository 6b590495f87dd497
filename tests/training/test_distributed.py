"""Several processes on one job over gloo: the same score, the same tarball, an end with a message."""

import shutil
import subprocess
import sys

import pandas as pd
import pytest
from helpers import RELEASED, REPO, ok, run, run_together

from geopose.io.names import city_of
from geopose.io.tables import read_train_table
from geopose.runs.folder import checkpoint_paths, read_manifest
from geopose.runs.verify import check_score

LAUNCH = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")


@pytest.fixture(scope="module")
def shards(rendered, tmp_path_factory):
    """A folder with data and folds: fold 1 has five tiles."""
    root = tmp_path_factory.mktemp("ranks")
    shutil.copytree(rendered, root / "data")
    ids = read_train_table(root / "data").id
    rows = [f"{i},{city_of(i)},{int(number < 5)}" for number, i in enumerate(ids)]
    (root / "folds.csv").write_text("\n".join(["id,city,fold", *rows]) + "\n")
    return root


def settings_of(shards, run_dir, *overrides) -> list[str]:
    """A short training by the default's settings from the released run, with real heights and five validation tiles."""
    data = [f"data.root={shards / 'data'}", f"data.folds={shards / 'folds.csv'}", "data.fold=1", "data.batch_size=2"]
    length = [
        "train.max_minutes=null",
        "train.epochs=2",
        "train.steps_per_epoch=2",
        "augment.crop_px=64",
        "optim.lr=1e-5",
        "optim.warmup_steps=0",
    ]
    start = [f"train.start_from={RELEASED}", "train.start_share=0"]
    place = ["train.device=cpu", "train.precision=fp32", f"run.dir={run_dir}"]
    return [str(REPO / "configs/lite0_synthetic.yaml"), *data, *length, *start, *place, *overrides]


def assert_one_score(run_dir) -> None:
    """The ranks recorded the score that one process computes for the best checkpoint. Its heights are real."""
    manifest = read_manifest(run_dir)
    assert manifest["processes"] == 2 and manifest["data"]["valid_tiles"] == 5
    assert manifest["crops_seen"] == 16, "two ranks, epochs, steps and crops"
    assert len(pd.read_csv(run_dir / "metrics.csv")) == 2
    assert len(checkpoint_paths(run_dir)) == 2
    assert all(same for same, _ in check_score(run_dir)), list(check_score(run_dir))


@pytest.mark.parametrize("way", ["torchrun", "train.gpus=2"])
def test_ranks_score_an_uneven_number_of_tiles_once_each(shards, way):
    """Once with the moving average and once without it."""
    run_dir = shards / way
    settings = settings_of(shards, run_dir)
    if way == "torchrun":
        ok(run(*LAUNCH, "train.py", *settings))
    else:
        ok(run("train.py", *settings, way, "train.ema_decay=null"))
    assert_one_score(run_dir)
    assert min(kept["r2"] for kept in read_manifest(run_dir)["checkpoints"]) > 0.3, "the heights are not real"


def test_a_rank_that_predicts_nonsense_changes_the_score(shards):
    """Without this, the test above could compare zeros with zeros."""
    script = shards / "nonsense.py"
    script.write_text(
        "import os\n"
        "from geopose.cli import run_command\n"
        "from geopose.training import runner\n"
        "from geopose.training.command import main\n"
        "real = runner.forward_zoomed\n"
        "def nonsense(*args):\n"
        "    outputs = real(*args)\n"
        "    return outputs | {'agl_m': outputs['agl_m'] + 5.0}\n"
        "if os.environ['RANK'] == '1':\n"
        "    runner.forward_zoomed = nonsense\n"
        "run_command(main)\n"
    )
    run_dir = shards / "nonsense"
    for done in run_together(script, *settings_of(shards, run_dir)):
        ok(done)
    with pytest.raises(AssertionError, match="validation R2 of"):
        assert_one_score(run_dir)


def test_ranks_train_in_the_precision_that_the_first_one_measured(shards):
    """Rank 1 would choose bf16. Each rank notes its precisions in a file."""
    script = shards / "measured.py"
    script.write_text(
        "import os\n"
        "from pathlib import Path\n"
        "from geopose import devices\n"
        "from geopose.cli import run_command\n"
        "from geopose.training import runner\n"
        "from geopose.training.command import main\n"
        "rank, real = os.environ['RANK'], runner.autocast\n"
        "def autocast(device, precision):\n"
        f"    Path({str(shards)!r}, rank).write_text(precision)\n"
        "    return real(device, precision)\n"
        "runner.autocast = autocast\n"
        "devices.is_faster_in_bf16 = lambda device: rank == '1'\n"
        "run_command(main)\n"
    )
    settings = settings_of(shards, shards / "measured", "train.precision=auto", "train.epochs=1")
    for done in run_together(script, *settings):
        ok(done)
    assert [(shards / rank).read_text() for rank in "01"] == ["fp32", "fp32"]


def test_ranks_predict_one_tarball(shards):
    out, single = shards / "two.tar.gz", shards / "one.tar.gz"
    flags = ["--data", shards / "data", "--runs", RELEASED, "--zooms", 1, "--tta", "flips", "--device", "cpu"]
    ok(run("predict.py", *flags, "--out", single))
    shown = [ok(done) for done in run_together("predict.py", *flags, "--out", out)]
    assert ["valid;" in text for text in shown] == [True, False]
    assert out.read_bytes() == single.read_bytes()


def test_a_rank_that_dies_ends_the_job_with_its_message(shards):
    bad = shards / "data" / "test" / sorted(p.name for p in (shards / "data" / "test").iterdir())[1]
    content = bad.read_bytes()
    bad.write_bytes(content[:80])
    try:
        flags = ["--data", shards / "data", "--runs", RELEASED, "--out", shards / "bad.tar.gz", "--tta", "none"]
        command = [sys.executable, *LAUNCH, "predict.py", *map(str, flags)]
        result = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False, timeout=300)
    finally:
        bad.write_bytes(content)
    assert result.returncode != 0
    assert f"{bad.name}: truncated" in result.stderr
    assert not (shards / "bad.tar.gz").exists()
