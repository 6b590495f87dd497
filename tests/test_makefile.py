"""The targets of the Makefile pass paths with spaces and quotes on as they are."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import REPO

DATA, OUT, IMAGE = "my data", "the file's.tar.gz", 'a "new" town.tif'
# Root may write into read-only folders, unless it gives up this right.
AS_ORDINARY_USER = ["setpriv", "--bounding-set=-dac_override"] if os.getuid() == 0 else []
# Predicting takes longer than scoring.
SAYS_ITS_ARGUMENTS = (
    'import json, sys, time; time.sleep(0.3 * ("predict.py" in sys.argv)); print(json.dumps(sys.argv[1:]))'
)


@pytest.fixture
def make(tmp_path):
    """Runs make with an interpreter that only prints its arguments. Returns the arguments of each of its calls."""
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    python = venv / "bin" / "python"
    python.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{SAYS_ITS_ARGUMENTS}' \"$@\"\n")
    python.chmod(0o755)
    (venv / ".installed").touch()

    def run(target: str, *flags: str, folder: Path = REPO, **variables: str) -> list[list[str]]:
        given = [f"{name}={value}" for name, value in {"VENV": venv, **variables}.items()]
        command = [*AS_ORDINARY_USER, "make", "--silent", "-C", folder, target, *flags, *given]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 0 and not result.stderr, result.stderr
        return [json.loads(line) for line in result.stdout.splitlines() if line.startswith("[")]

    return run


@pytest.fixture
def root(tmp_path) -> Path:
    """An empty folder with the Makefile, for targets that remove files."""
    root = tmp_path / "root"
    root.mkdir()
    for name in ("Makefile", "requirements.txt"):
        (root / name).symlink_to(REPO / name)
    return root


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("data", ["--out", DATA]),
        ("folds", ["--data", DATA, "--out", f"{DATA}/folds-stratified10.csv"]),
        ("prepare", ["--data", DATA]),
        ("train", [f"data.root={DATA}", f"data.folds={DATA}/folds-stratified10.csv"]),
        ("predict", ["--data", DATA, "--out", OUT]),
        ("score", ["validate", OUT, "--data", DATA]),
        ("oof", ["--data", DATA]),
        ("ablation", ["--data", DATA, "--folds", f"{DATA}/folds-stratified10.csv"]),
        ("blend", ["blend", "configs/blend/lite0.yaml", "--data", DATA]),
        (
            "blend",
            ["configs/lite0_rdtsc.yaml", f"data.root={DATA}", "data.fold=1", "run.dir=runs/blend/lite0_rdtsc/fold1"],
        ),
        ("compare", ["--data", DATA, "--folds", f"{DATA}/folds-stratified10.csv"]),
        ("adapt", ["--data", DATA, "--test", "data/other", "--unlabelled", "data/other/train"]),
        ("splits", ["--data", DATA, "--folds", f"{DATA}/folds-stratified4.csv"]),
        ("demo", ["demo", IMAGE]),
        ("report", ["--data", DATA, "--pred", OUT]),
        ("verify", ["--run", "my run/fold0"]),
        ("submission", ["predict.py", "--data", DATA, "--out", OUT]),
    ],
)
def test_a_path_with_spaces_is_one_argument(make, target, words):
    calls = make(target, DATA=DATA, OUT=OUT, IMAGE=IMAGE, RUN="my run/fold0", RUNS="runs/a/fold0")
    assert any(set(words) <= set(call) for call in calls), calls


def test_a_submission_is_scored_after_it_was_predicted(make):
    predict, validate = make("submission", "--jobs=4", DATA=DATA, RUNS="runs/a/fold0")
    assert predict[0] == "predict.py" and validate[2] == "validate"


def test_real_images_replace_the_other_cities(make):
    calls = make("adapt", DATA=DATA, REAL="my town")
    assert {"my town", "my town/test", "true_labels", "runs/adapt_real", "docs/adapt_real"} < set(calls[-1])
    assert not any("tests.other_cities" in call or "data/other" in " ".join(call) for call in calls)


def test_existing_data_and_truth_are_found(make, tmp_path):
    data = tmp_path / "it's my data"
    (data / "truth").mkdir(parents=True)
    (data / "metadata.csv").touch()
    assert make("data", DATA=str(data)) == []
    (data / "folds-stratified10.csv").touch()
    assert make("folds", DATA=str(data)) == []
    assert ["evaluate", "--truth", f"{data}/truth"] == make("score", DATA=str(data))[1][2:5]


def test_only_the_default_data_is_made_when_it_is_missing(make, tmp_path):
    """A mistyped folder, or one that holds the archives only, must not be filled with rendered tiles."""
    for target in ("folds", "train", "submission", "splits", "compare"):
        calls = make(target, DATA=str(tmp_path / "mistyped"))
        assert calls and not [call for call in calls if "synthesize" in call]
        assert not (tmp_path / "mistyped").exists()
    if not (REPO / "data" / "synthetic" / "metadata.csv").exists():
        assert make("folds")[0][:3] == ["-m", "geopose", "synthesize"]


def test_folds_of_a_read_only_folder_lie_elsewhere(make, tmp_path):
    data = tmp_path / "read only"
    data.mkdir()
    beside, elsewhere = f"{data}/folds-cluster5.csv", "data/read only/folds-cluster5.csv"
    for mode, there, expected in ((0o755, False, beside), (0o555, False, elsewhere), (0o555, True, beside)):
        data.chmod(0o755)
        if there:
            Path(beside).touch()
        data.chmod(mode)
        calls = make("train", DATA=str(data), SPLIT="cluster", FOLDS="5")
        assert f"data.folds={expected}" in calls[-1]
        assert [call[call.index("--out") + 1] for call in calls if "--out" in call] == ([] if there else [expected])
    assert "--folds data/read only/folds-stratified4.csv" in " ".join(make("splits", DATA=str(data))[-1])


def test_lists_stay_lists_and_an_empty_image_is_none(make):
    (call,) = make("predict", RUNS="runs/a/fold0 runs/b/fold1")
    assert call[call.index("--runs") + 1 : call.index("--tta")] == ["runs/a/fold0", "runs/b/fold1"]
    assert make("demo", ARGS="--gsd 0.5") == [["-m", "geopose", "demo", "--gsd", "0.5"]]


def test_out_of_fold_predictions_are_of_the_runs_of_the_config(make, root):
    with pytest.raises(AssertionError, match=r"no run in runs/my_config/; train .*, or give RUNS"):
        make("oof", folder=root, CONFIG="configs/my_config.yaml")
    runs = [f"runs/my_config/fold{fold}" for fold in range(2)]
    for run in runs:
        (root / run).mkdir(parents=True)
    (call,) = make("oof", folder=root, CONFIG="configs/my_config.yaml")
    assert call[call.index("--runs") + 1 : call.index("--out")] == runs


def test_a_release_makes_no_stage_start_from_an_old_mean(make, root):
    kept, old = root / "runs" / "synthetic_lite0", root / "runs" / "lite0_walls" / "mean"
    (kept / "new").mkdir(parents=True)  # what the last command would have written
    old.mkdir(parents=True)
    calls = make("release", folder=root)
    assert not old.exists()
    walls, towers = ["runs/lite0_walls/fold0", "runs/lite0_walls/mean"], "runs/lite0_towers/mean"
    assert ["-m", "geopose", "release", "--run", walls[0], "--out", walls[1]] in calls
    assert any(call[-2:] == ["--out", towers] and call[5:7] == ["--others", walls[1]] for call in calls)


def test_clean_removes_no_archive_that_was_downloaded(make, root):
    submission, download = (root / name for name in ("the file's.tar.gz", "geopose_train.tar.gz"))
    for path in (submission, root / "the file's.tar.gz.json", root / "lost.tar.gz.json", download):
        path.touch()
    (root / ".the file's.tar.gz.parts").mkdir()
    make("clean", folder=root)
    assert {path.name for path in root.iterdir()} == {"Makefile", "requirements.txt", download.name}
