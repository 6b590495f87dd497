"""The whole job through the real scripts, on tiny real files."""

import json
import sys
import tarfile

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import (
    DEFAULT,
    TINY,
    assert_user_error,
    make_folds,
    ok,
    predict,
    run,
    train,
    write_competition,
)
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from geopose.config import BlendConfig
from geopose.inference.calibration import Calibration, Factors, read_calibration
from geopose.inference.ensemble import Ensemble
from geopose.inference.tta import detail_beyond
from geopose.io.names import agl_name, city_of, vflow_name
from geopose.io.poses import read_vflow
from geopose.io.rasters import read_agl, read_rgb
from geopose.io.tables import read_folds, read_test_table, read_train_table
from geopose.runs import compare
from geopose.runs.folder import checkpoint_paths, read_manifest, run_config, usual_views


def test_the_job_ends_in_a_valid_scored_tarball(job):
    data, out = job / "data", job / "submission.tar.gz"
    assert "ok" in ok(run("-m", "geopose", "validate", out, "--data", data)).lower()
    ok(run("-m", "geopose", "evaluate", "--truth", data / "truth", "--pred", out, "--json", job / "score.json"))
    score = json.loads((job / "score.json").read_text())
    assert set(score["cities"]) == set(read_test_table(data).city)
    assert np.isfinite(score["final_r2"])
    assert score["final_r2"] == pytest.approx(score["honest_r2"])
    assert score["bad_pixels"] == 0


def test_a_run_folder_is_complete(job):
    run_dir = job / "runs" / "fold0"
    manifest = read_manifest(run_dir)
    assert (manifest["epochs"], manifest["optimizer_steps"], manifest["crops_seen"]) == (1, 2, 4)
    assert manifest["seed"] == 42
    assert manifest["packages"]["torch"] == torch.__version__.split("+")[0]
    assert "train.py" in manifest["command"][0]
    metrics = pd.read_csv(run_dir / "metrics.csv")
    assert len(metrics) == 1
    assert manifest["checkpoints"][0]["r2"] == pytest.approx(metrics.valid_r2[0], rel=1e-4)
    assert len(checkpoint_paths(run_dir)) == 1
    assert (run_dir / "config.yaml").exists()
    assert (run_dir / "train.log").read_text().count("\n") == 1
    events = EventAccumulator(str(run_dir / "tensorboard" / "valid")).Reload()
    cities = {name.removeprefix("valid_r2_") for name in metrics if name.startswith("valid_r2_")}
    assert {f"r2_{city}/epoch" for city in cities} <= set(events.Tags()["scalars"])
    assert {tag.split("/")[0] for tag in events.Tags()["images"]} == cities
    picture = events.Images(events.Tags()["images"][0])[0]
    assert picture.width == 4 * picture.height


@pytest.fixture(scope="module")
def unpacked(job):
    """The files of the job's tarball."""
    with tarfile.open(job / "submission.tar.gz") as tar:
        tar.extractall(job / "unpacked", filter="data")
    return job / "unpacked"


def test_the_heights_are_real(job, unpacked):
    """Otherwise the tests of this file would compare zeros with zeros."""
    folders = unpacked, job / "data" / "truth"
    ids = read_test_table(job / "data").id
    predicted_m, true_m = (np.stack([read_agl(folder / agl_name(i)) for i in ids]) for folder in folders)
    known = ~np.isnan(true_m)
    error_m = (predicted_m - true_m)[known]
    assert predicted_m.std() > 1
    assert 1 - np.square(error_m).mean() / true_m[known].var() > 0.3


def test_the_tarball_holds_what_the_model_predicts(job, unpacked):
    """The heights in the tarball are the model's to half a centimetre, and the pose is the same up to rounding."""
    table = read_test_table(job / "data")
    ensemble = Ensemble([job / "runs" / "fold0"], BlendConfig(tta="d4"), torch.device("cpu"), Calibration())
    predictions = list(ensemble.predict_tiles(table))
    assert [p.tile_id for p in predictions] == table.id.tolist()
    for p in predictions:
        agl_path = unpacked / agl_name(p.tile_id)
        assert np.abs(read_agl(agl_path) - np.maximum(p.agl_m, 0)).max() <= 0.005 + 1e-5
        label = read_vflow(unpacked / vflow_name(p.tile_id), agl_path)
        assert label.scale_px_per_m == pytest.approx(max(p.scale_px_per_m, 0), rel=1e-6)  # no scale is below 0
        assert label.angle_rad == pytest.approx(p.angle_rad, abs=1e-6)


def test_finished_work_is_skipped_and_other_settings_are_refused(job):
    data, folds, run_dir = job / "data", job / "folds.csv", job / "runs" / "fold0"
    before = checkpoint_paths(run_dir)[0].stat().st_mtime_ns
    assert "is finished" in ok(train(data, folds, run_dir))
    assert checkpoint_paths(run_dir)[0].stat().st_mtime_ns == before
    assert_user_error(train(data, folds, run_dir, "seed=7"), "holds a finished run with other settings", "run.dir=")

    out = job / "submission.tar.gz"
    written = out.stat().st_mtime_ns
    assert "up to date" in ok(predict(data, run_dir, out, "--tta", "d4"))
    assert out.stat().st_mtime_ns == written


def test_the_same_seed_trains_and_predicts_the_same_bytes(job):
    data, run_dir = job / "data", job / "runs" / "again"
    ok(train(data, job / "folds.csv", run_dir))
    first, again = checkpoint_paths(job / "runs" / "fold0")[0], checkpoint_paths(run_dir)[0]
    assert first.read_bytes() == again.read_bytes()
    ok(predict(data, run_dir, job / "again.tar.gz", "--tta", "d4"))
    assert (job / "again.tar.gz").read_bytes() == (job / "submission.tar.gz").read_bytes()


@pytest.fixture(scope="module")
def other_fold(job):
    """A second run on the other fold, in bf16 with a moving average of its weights."""
    run_dir = job / "runs" / "fold1"
    overrides = ["data.fold=1", "train.precision=bf16", "train.ema_decay=0.9", "train.epochs=2"]
    ok(train(job / "data", job / "folds.csv", run_dir, *overrides))
    return run_dir


def test_many_runs_blend(job, other_fold):
    runs = [job / "runs" / "fold0", other_fold]
    flags = ["--tta", "flips", "--zooms", 0.8, 1, "--combine", "median", "--run-weights", 1, 2, "--average-weights"]
    blend = run("predict.py", "--data", job / "data", "--runs", *runs, "--out", job / "blend.tar.gz", *flags)
    assert "2 models x 6 views" in ok(blend)
    wrong = run("predict.py", "--data", job / "data", "--runs", *runs, "--out", job / "x.tar.gz", "--run-weights", 1)
    assert_user_error(wrong, "--run-weights", "1 weights for 2 runs")
    command = ("predict.py", "--data", job / "data", "--runs", runs[0], "--out", job / "x.tar.gz")
    wrong = run(*command, "--zooms", 1, 0.5, "--zoom-weights", 3)
    assert_user_error(wrong, "--zoom-weights", "1 weights for 2 sizes of views")
    assert_user_error(run(*command, "--zoom-weights", 3), "--zoom-weights without --zooms")
    assert_user_error(run(*command, "--zooms", 1, 1), "name each size once")


def test_sizes_are_combined_with_their_weights(job):
    row = read_test_table(job / "data").iloc[0]
    image = torch.from_numpy(np.ascontiguousarray(read_rgb(row.rgb).transpose(2, 0, 1)))
    batch = {"image": image[None], "gsd_m": torch.tensor([row.gsd_m]).float(), "city": [row.city], "id": [row.id]}

    def predicted(zooms, zoom_weights=()):
        blend = BlendConfig(tta="none", zooms=zooms, zoom_weights=zoom_weights)
        return Ensemble([job / "runs" / "fold0"], blend, torch.device("cpu"), Calibration()).predict(batch)

    whole, half, both = predicted((1.0,)), predicted((0.5,)), predicted((0.5, 1.0), (1.0, 3.0))
    assert not torch.allclose(whole["agl_m"], half["agl_m"], rtol=0.01)
    resolution = 0.5 / run_config(job / "runs" / "fold0").model.dense_stride
    sharpened = half["agl_m"] + detail_beyond(whole["agl_m"], resolution)
    joined = 0.75 * whole["agl_m"].clamp(min=0) + 0.25 * sharpened.clamp(min=0)
    torch.testing.assert_close(both["agl_m"], joined)
    torch.testing.assert_close(both["scale_px_per_m"], whole["scale_px_per_m"])  # only from the views nearest to size 1
    # The direction is a sum of both, so it lies between them.
    parts = torch.linalg.solve(torch.stack([whole["direction"][0], half["direction"][0]], dim=1), both["direction"][0])
    assert (parts > 0).all()


def test_out_of_fold_predictions_cover_the_training_half(job, other_fold):
    data, runs, out = job / "data", [job / "runs" / "fold0", other_fold], job / "oof"
    command = ("-m", "geopose", "oof", "--data", data, "--out", out, "--device", "cpu")
    assert_user_error(run(*command, "--runs", runs[0]), "no finished run for folds [1]")
    shown = ok(run(*command, "--runs", *runs))
    table = read_train_table(data)
    assert all((out / agl_name(i)).exists() and (out / vflow_name(i)).exists() for i in table.id)

    ok(run("-m", "geopose", "evaluate", "--truth", data / "train", "--pred", out, "--json", job / "cv.json"))
    scores = json.loads((out / "scores.json").read_text())
    assert json.loads((job / "cv.json").read_text())["final_r2"] == pytest.approx(scores["final_r2"], abs=1e-9)

    # A fold's tiles are predicted by the run that was not trained on them.
    folds = read_folds(job / "folds.csv", table)
    tile = table[(folds.reindex(table.id) == 1).to_numpy()].iloc[:1]
    # The views are those that predictions have by default, or the calibration would be that of another predictor.
    ensemble = Ensemble([other_fold], BlendConfig(**usual_views(runs)), torch.device("cpu"), Calibration())
    by_other = next(ensemble.predict_tiles(tile))
    stored_m = read_agl(out / agl_name(by_other.tile_id))
    assert np.abs(stored_m - np.maximum(by_other.agl_m, 0)).max() <= 0.005 + 1e-5

    written = (out / agl_name(table.id[0])).stat().st_mtime_ns
    assert ok(run(*command, "--runs", *runs)) == shown
    assert (out / agl_name(table.id[0])).stat().st_mtime_ns == written
    assert_user_error(
        run(*command, "--runs", *runs, "--tta", "flips"), "holds predictions of other images, checkpoints or views"
    )
    ok(predict(data, other_fold, job / "calibrated.tar.gz", "--calibration", out / "calibration.json"))
    with tarfile.open(job / "calibrated.tar.gz") as tar:
        tar.extractall(job / "calibrated", filter="data")
    factors = read_calibration(out / "calibration.json")
    assert any(factors.factors(city) != Factors() for city in table.city)
    for plain in ensemble.predict_tiles(read_test_table(data)):
        own, agl_path = factors.factors(city_of(plain.tile_id)), job / "calibrated" / agl_name(plain.tile_id)
        assert np.abs(read_agl(agl_path) - np.maximum(own.agl * plain.agl_m, 0)).max() <= 0.005 + 1e-5
        label = read_vflow(job / "calibrated" / vflow_name(plain.tile_id), agl_path)
        assert label.scale_px_per_m == pytest.approx(max(own.scale * plain.scale_px_per_m, 0), rel=1e-5)


def test_variants_and_seeds_are_trained_and_tabulated(job, monkeypatch):
    other = {"config": DEFAULT, "settings": ["loss.agl=wing"]}
    plan = {"config": DEFAULT, "budget": TINY, "seeds": [1, 2], "variants": {"default": [], "wing": other}}
    listed, out = job / "plan.yaml", job / "table"
    listed.write_text(json.dumps(plan))
    words = ("--data", job / "data", "--folds", job / "folds.csv", "--runs", job / "variants", "--out", out)
    with monkeypatch.context() as patch:  # forked processes start sooner than those of the command
        patch.setattr(compare, "run_process", lambda *words: ok(run("-m", "geopose", *words)))
        patch.setattr(sys, "argv", ["compare", str(listed), *map(str, words)])
        assert not compare.main()
    table = pd.read_csv(out.with_suffix(".csv"))
    assert list(zip(table.variant, table.seed, strict=True)) == [(v, s) for s in (1, 2) for v in ("default", "wing")]
    assert (table.optimizer_steps == 2).all() and table.score.nunique() == 4
    np.testing.assert_allclose(table[["r2_ARG", "r2_ATL", "r2_JAX", "r2_OMA"]].mean(axis=1), table.score)
    mean = table.groupby("variant").score.mean()
    unexplained = (1 - mean["wing"]) / (1 - mean["default"])
    page = out.with_suffix(".md").read_text().splitlines()
    assert page[0] == f"# Variants of {listed}" and page[2].startswith("Commit ")
    row = next(line for line in page if line.startswith("| wing"))
    assert f"| `loss.agl=wing` | {mean['wing']:.4f} |" in row and f"| {unexplained:.2f} |" in row
    tarball = job / "variants" / "wing-seed2" / "submission.tar.gz"
    truth = job / "data" / "truth"
    ok(run("-m", "geopose", "evaluate", "--truth", truth, "--pred", tarball, "--json", job / "wing.json"))
    assert json.loads((job / "wing.json").read_text())["final_r2"] == pytest.approx(table.score.iloc[3], abs=1e-6)
    listed.write_text(json.dumps(plan | {"variants": {"wing": other}}))
    assert "is finished" in ok(run("-m", "geopose", "compare", listed, *words[:-1], job / "again"))

    words = ("--data", job / "data", "--folds", job / "folds.csv", "--runs", job / "typo", "--out", out)
    listed.write_text(json.dumps(plan | {"variants": {"first": [], "late": ["loss.agll=wing"]}}))
    assert_user_error(run("-m", "geopose", "compare", listed, *words), "loss.agll", "did you mean loss.agl")
    listed.write_text(json.dumps(plan | {"sedes": [1]}))
    assert_user_error(run("-m", "geopose", "compare", listed, *words), "sedes")
    assert not (job / "typo").exists()


def test_a_folder_of_other_cities_trains_predicts_and_scores_in_the_same_way(tmp_path):
    """Files of another writer: .tif images, and cities that the challenge does not have."""
    data = tmp_path / "data"
    write_competition(data, size=(96, 128), cities=("SEA", "BOS"))
    make_folds(data, tmp_path / "folds.csv")
    ok(train(data, tmp_path / "folds.csv", tmp_path / "run"))
    ok(predict(data, tmp_path / "run", tmp_path / "out.tar.gz", "--tta", "d2"))
    ok(run("-m", "geopose", "evaluate", "--truth", data / "truth", "--pred", tmp_path / "out.tar.gz"))


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("train.py", "configs/nothing.yaml"), ["no such file", "lite0_synthetic.yaml"]),
        (("train.py", DEFAULT, "train.epohcs=2"), ["train.epohcs", "did you mean train.epochs"]),
        (("train.py", DEFAULT, "data.root=/nowhere"), ["/nowhere", "make data"]),
        (("train.py", DEFAULT, "train.precision=fp16", "train.device=cpu"), ["fp16", "GPU"]),
        (("predict.py", "--data", "/nowhere", "--runs", "/nowhere"), ["/nowhere", "make data"]),
        (("predict.py", "--data", "/nowhere"), ["no finished run", "make train"]),
        (("predict.py",), ["--data", "--help"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_users_mistake_is_one_line_and_status_2(command, words, tmp_path):
    own_run = [f"run.dir={tmp_path / 'run'}"] if command[0] == "train.py" else []  # runs/ may hold a finished one
    assert_user_error(run(*command, *own_run), *words)
