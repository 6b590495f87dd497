"""Released runs: the mean of checkpoints in half the bytes, and the run in the repository."""

import json
import shutil

import pandas as pd
import pytest
import torch
from helpers import RELEASED, assert_user_error, config_of, run
from safetensors.torch import load_file, save_file

from geopose.cli import UserError
from geopose.io.tables import read_test_table
from geopose.runs.folder import checkpoint_paths, read_manifest
from geopose.runs.release import release
from geopose.runs.verify import check_hashes, check_score
from geopose.scoring.evaluate import evaluate
from geopose.synthetic.dataset import Options, make_dataset
from geopose.training.runner import train


@pytest.fixture(scope="module")
def trained(tiny_data, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("trained") / "run"
    train(config_of(tiny_data, run_dir, "train.epochs=3", "train.keep_checkpoints=2"))
    return run_dir


def test_weights_are_the_mean_of_the_checkpoints_in_float16(trained, tmp_path):
    release(trained, tmp_path / "released")
    (path,) = checkpoint_paths(tmp_path / "released")
    states, mean = [load_file(p) for p in checkpoint_paths(trained)], load_file(path)
    assert len(states) == 2
    for key, value in mean.items():
        if value.is_floating_point():
            assert value.dtype == torch.float16
            torch.testing.assert_close(value.float(), (states[0][key] + states[1][key]) / 2, rtol=1e-3, atol=1e-7)
    assert path.stat().st_size < 0.55 * checkpoint_paths(trained)[0].stat().st_size


def test_a_mean_with_a_run_of_another_network_is_refused(trained, tmp_path):
    with pytest.raises(UserError, match=r"model.safetensors: .* it belongs to another model config"):
        release(trained, tmp_path / "released", [RELEASED])
    assert not (tmp_path / "released").exists()


def test_a_released_run_is_a_run(tiny_data, trained, tmp_path):
    out = tmp_path / "runs" / "released"
    done = run("-m", "geopose", "release", "--run", trained, "--out", out)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in out.parent.iterdir()] == ["released"]
    manifest = read_manifest(out)
    assert manifest["released"]["mean_of"] == read_manifest(trained)["checkpoints"]
    assert manifest["released"]["trained_on"]["precision"] == read_manifest(trained)["precision"]
    assert (manifest["device"], manifest["precision"]) == ("cpu", "fp32")  # what verify uses, on every machine
    assert f"validation R2 {manifest['checkpoints'][0]['r2']:.4f}" in done.stdout
    assert all(same for same, _ in [*check_hashes(out), *check_score(out)])
    pd.testing.assert_frame_equal(pd.read_csv(out / "metrics.csv"), pd.read_csv(trained / "metrics.csv"))
    tarball = tmp_path / "out.tar.gz"
    predicted = run("predict.py", "--data", tiny_data, "--runs", out, "--tta", "none", "--out", tarball)
    assert predicted.returncode == 0, predicted.stderr
    again = run("-m", "geopose", "verify", "--run", out, "--retrain")
    assert_user_error(again, "mean of another run's checkpoints")


def test_a_run_released_twice_keeps_the_record_of_its_training(trained, tmp_path):
    first = release(trained, tmp_path / "first")
    second = release(tmp_path / "first", tmp_path / "second", [trained])
    assert second["released"]["before"] == first["released"]
    assert second["released"]["trained_on"] == first["released"]["trained_on"]
    assert second["released"]["mean_of"] == first["checkpoints"]


@pytest.mark.parametrize(("weights", "factor"), [([], 1.5), ([1.0, 2.0], 5 / 3)])
def test_the_mean_of_two_runs_counts_both_equally_or_by_their_weights(trained, tmp_path, weights, factor):
    """One checkpoint of another run weighs as much as two of this run together, unless weights are given."""
    release(trained, tmp_path / "first")
    (mean,) = checkpoint_paths(tmp_path / "first")
    other = tmp_path / "other"
    shutil.copytree(tmp_path / "first", other)
    (doubled,) = checkpoint_paths(other)
    save_file({key: 2 * v if v.is_floating_point() else v for key, v in load_file(mean).items()}, doubled)
    manifest = release(trained, tmp_path / "both", [other], weights)
    assert list(manifest["released"]["and_of"]) == [str(other)]
    assert manifest["released"].get("run_weights", []) == weights
    both = load_file(checkpoint_paths(tmp_path / "both")[0])
    for key, value in load_file(mean).items():
        if value.is_floating_point():
            torch.testing.assert_close(both[key].float(), factor * value.float(), rtol=5e-3, atol=1e-5)


def test_no_folder_is_overwritten_or_left_incomplete(trained, tmp_path):
    (tmp_path / "taken").mkdir()
    assert_user_error(run("-m", "geopose", "release", "--run", trained, "--out", tmp_path / "taken"), "already exists")
    words = ("--out", tmp_path / "new", "--run-weights", "1", "2")
    assert_user_error(run("-m", "geopose", "release", "--run", trained, *words), "2 weights for 1 runs")
    broken = tmp_path / "broken"
    broken.mkdir()
    manifest = json.dumps(read_manifest(trained) | {"checkpoints": [{"file": "lost.safetensors", "r2": 0.5}]})
    (broken / "manifest.json").write_text(manifest)
    done = run("-m", "geopose", "release", "--run", broken, "--out", tmp_path / "new" / "run")
    assert_user_error(done, "lost.safetensors missing")
    partly = shutil.copytree(trained, tmp_path / "partly")
    (partly / "train.log").unlink()
    done = run("-m", "geopose", "release", "--run", partly, "--out", tmp_path / "new" / "run")
    assert_user_error(done, f"{partly / 'train.log'} missing")
    (tmp_path / "file").touch()
    done = run("-m", "geopose", "release", "--run", trained, "--out", tmp_path / "file" / "run")
    assert_user_error(done, f"{tmp_path / 'file'}: is a file")
    assert not (tmp_path / "new").exists()


def test_the_run_in_the_repository_predicts_unseen_cities(tmp_path):
    """It is small, matches its manifest, and predicts tiles of a seed that its training did not use."""
    (checkpoint,) = checkpoint_paths(RELEASED)
    assert checkpoint.stat().st_size <= 12e6
    assert next(check_hashes(RELEASED))[0]
    make_dataset(tmp_path / "data", Options(train=4, test=8, size=256, seed=11))
    tarball = tmp_path / "out.tar.gz"
    command = ["predict.py", "--data", tmp_path / "data", "--runs", RELEASED, "--tta", "none", "--out", tarball]
    done = run(*command)
    assert done.returncode == 0, done.stderr
    assert len(read_test_table(tmp_path / "data")) == 8
    assert evaluate(tmp_path / "data" / "truth", tarball).scores["final_r2"] > 0.5
