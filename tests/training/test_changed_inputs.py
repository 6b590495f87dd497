"""A run whose data, folds, files or folder changed: it is refused in one line that names the change, or resumed."""

import shutil

import pytest
import torch
from helpers import FROM_IMAGENET, TINY_CONFIG, assert_user_error, config_of, run

from geopose.cli import UserError
from geopose.config import load_config
from geopose.inference.oof import assign_runs
from geopose.io.tables import read_train_table
from geopose.runs.folder import checkpoint_paths, read_manifest, write_manifest
from geopose.training.callbacks import LossCallback
from geopose.training.resume import STATE_FILE
from geopose.training.runner import train

SETTINGS = ["train.epochs=3", "train.keep_checkpoints=1"]


class Stopped(Exception):
    """Stands for a kill."""


@pytest.fixture(scope="module")
def interrupted(tiny_data, tmp_path_factory):
    """A folder with data and a run that was killed in its third epoch."""
    root = tmp_path_factory.mktemp("interrupted")
    shutil.copytree(tiny_data, root / "data")
    real, calls = LossCallback.on_batch_end, []

    def on_batch_end(self, runner):
        calls.append(1)
        if runner.epoch_step == 3:
            raise Stopped
        real(self, runner)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LossCallback, "on_batch_end", on_batch_end)
        with pytest.raises(Stopped):
            train(config_of(root / "data", root / "run", *SETTINGS))
    return root


@pytest.fixture
def root(interrupted, tmp_path, monkeypatch):
    """A copy of it. Its paths are relative, because a config names the data's folder."""
    shutil.copytree(interrupted, tmp_path / "root")
    path = tmp_path / "root" / "run" / "config.yaml"
    path.write_text(path.read_text().replace(str(interrupted), str(tmp_path / "root")))
    return tmp_path / "root"


def swap_folds(data) -> None:
    """Training tiles become validation tiles."""
    path = data / "folds.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], *(f"{line[:-1]}{1 - int(line[-1])}" for line in lines[1:])]) + "\n")


def change_label(data) -> None:
    label = next((data / "train").glob("*_VFLOW.json"))
    label.write_text(label.read_text().replace("}", "  }"))


@pytest.mark.parametrize(("change", "named"), [(swap_folds, "the folds in"), (change_label, "the data in")])
def test_an_unfinished_run_is_not_resumed_on_other_inputs(root, change, named):
    change(root / "data")
    with pytest.raises(UserError, match=rf"unfinished run, but {named} .* changed since its training began; .*remove"):
        train(config_of(root / "data", root / "run", *SETTINGS))


@pytest.fixture(scope="module")
def finished(interrupted, tmp_path_factory):
    root = tmp_path_factory.mktemp("finished")
    shutil.copytree(interrupted / "data", root / "data")
    for fold in (0, 1):
        train(config_of(root / "data", root / f"fold{fold}", "train.epochs=1", f"data.fold={fold}"))
    return root


@pytest.mark.parametrize(("change", "named"), [(swap_folds, "the folds in"), (change_label, "the data in")])
def test_a_finished_run_is_finished_only_for_its_inputs(finished, change, named):
    data = finished / "data"
    paths = [f"data.root={data}", f"data.folds={data / 'folds.csv'}", f"run.dir={finished / 'fold0'}"]
    command = ["train.py", FROM_IMAGENET, *paths, *TINY_CONFIG, "train.epochs=1"]
    assert "is finished" in run(*command).stdout
    kept = shutil.copytree(data, finished / "kept")
    change(data)
    try:
        assert_user_error(run(*command), "holds a finished run", named, "changed since its training began")
    finally:
        shutil.rmtree(data)
        kept.rename(data)


def test_a_finished_run_is_finished_only_for_its_start(finished, tmp_path):
    start = shutil.copytree(finished / "fold0", tmp_path / "start")
    data = finished / "data"
    paths = [f"data.root={data}", f"data.folds={data / 'folds.csv'}", f"run.dir={tmp_path / 'run'}"]
    settings = [*paths, *TINY_CONFIG, "train.epochs=1", f"train.start_from={start}"]
    train(load_config(FROM_IMAGENET, settings))
    command = ["train.py", FROM_IMAGENET, *settings]
    assert "is finished" in run(*command).stdout
    manifest = read_manifest(start)
    write_manifest(start, manifest | {"checkpoints": [manifest["checkpoints"][0] | {"sha256": "0" * 64}]})
    assert_user_error(run(*command), f"run holds a finished run, but {start}", "has other weights now; remove")
    shutil.rmtree(start)
    assert "is finished" in run(*command).stdout


def test_out_of_fold_runs_are_compared_by_content_and_not_by_path(finished, tmp_path):
    data = shutil.copytree(finished / "data", tmp_path / "data")
    runs = [shutil.copytree(finished / f"fold{fold}", tmp_path / f"fold{fold}") for fold in (0, 1)]
    table = read_train_table(data)
    shutil.copy(data / "folds.csv", tmp_path / "same.csv")
    path = runs[0] / "config.yaml"
    path.write_text(path.read_text().replace(str(finished / "data" / "folds.csv"), str(tmp_path / "same.csv")))
    assert set(assign_runs(runs, str(data), table)[0]) == {0, 1}

    (tmp_path / "same.csv").write_text((tmp_path / "same.csv").read_text() + "\n")
    with pytest.raises(UserError, match=r"fold0 was trained on other folds than .*same.csv holds now"):
        assign_runs(runs, str(data), table)
    change_label(data)
    with pytest.raises(UserError, match=r"fold0 was trained on other data than .*data holds now"):
        assign_runs(runs, str(data), table)


def test_a_missing_checkpoint_of_an_unfinished_run_is_named(root):
    (checkpoint,) = (root / "run" / "checkpoints").glob("*.safetensors")
    checkpoint.unlink()
    with pytest.raises(UserError, match=rf"{checkpoint.name} missing, but state.pt names it; restore it, or remove"):
        train(config_of(root / "data", root / "run", *SETTINGS))


def test_no_checkpoint_is_removed_before_the_state_that_drops_it(root, monkeypatch):
    """The state is not written after an epoch that beats the kept checkpoint: the old one must still be there."""

    def full_disk(*args):
        raise Stopped

    config = config_of(root / "data", root / "run", *SETTINGS)
    before = {path.name for path in (root / "run" / "checkpoints").glob("*.safetensors")}
    with monkeypatch.context() as patch:
        patch.setattr("geopose.training.runner.save_state", full_disk)
        patch.setattr("geopose.scoring.metrics.PoseScores.compute", perfect(config))
        with pytest.raises(Stopped):
            train(config)
    after = {path.name for path in (root / "run" / "checkpoints").glob("*.safetensors")}
    assert after == before | {"model.0003.safetensors"}
    train(config)
    kept = {path.name for path in checkpoint_paths(root / "run")}
    assert kept == {path.name for path in (root / "run" / "checkpoints").glob("*.safetensors")}


def perfect(config):
    """A PoseScores.compute that finds every prediction perfect."""
    city = {"agl_r2": 1.0, "vflow_r2": 1.0, "angle_error_deg": 0.0, "r2": 1.0}
    return lambda self: {"final_r2": 1.0, "cities": {"ARG": city}}


@pytest.mark.parametrize("size", [0, 1000, 100_000])
def test_a_damaged_state_is_one_line(root, size):
    path = root / "run" / STATE_FILE
    path.write_bytes(path.read_bytes()[:size])
    result = run("train.py", root / "run" / "config.yaml")
    assert_user_error(result, f"{path}: truncated or damaged", "remove it to train from the start")


def test_a_state_of_another_version_is_one_line(root):
    path = root / "run" / STATE_FILE
    state = torch.load(path, weights_only=True)
    del state["callbacks"]["manifest"]["inputs"]
    torch.save(state, path)
    with pytest.raises(UserError, match=r"state.pt: lacks 'inputs', so another version wrote it; remove it"):
        train(config_of(root / "data", root / "run", *SETTINGS))


def test_an_unfinished_run_resumes_in_another_folder(root):
    moved = root / "elsewhere" / "run"
    shutil.copytree(root / "run", moved)
    train(config_of(root / "data", moved, *SETTINGS))
    train(config_of(root / "data", root / "run", *SETTINGS))
    assert [c["sha256"] for c in read_manifest(moved)["checkpoints"]] == [
        c["sha256"] for c in read_manifest(root / "run")["checkpoints"]
    ]
    assert read_manifest(moved)["epochs"] == 3


def test_other_settings_are_named(root):
    with pytest.raises(UserError, match=r"other settings \(seed=1 \(was 42\), optim.lr=0.5 \(was [\d.]+\)\)"):
        train(config_of(root / "data", root / "run", *SETTINGS, "seed=1", "optim.lr=0.5"))
