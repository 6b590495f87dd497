"""The evaluate command on small real files, compared with a naive score."""

import json
import shutil
import tarfile

import numpy as np
import pytest
import rasterio
from helpers import assert_user_error, run, write_label, write_tif

from geopose.cli import UserError
from geopose.io.tables import find_labels
from geopose.scoring import evaluate as evaluate_module
from geopose.scoring.evaluate import evaluate, evaluate_complete, format_images
from geopose.scoring.submission import SubmissionWriter, encode_prediction, validate


@pytest.fixture
def pred(competition):
    """Imperfect predictions of the competition's truth/."""
    folder = competition.parent / "pred"
    folder.mkdir()
    rng = np.random.default_rng(7)
    for tile_id, agl_m, scale, angle in read_truth(competition / "truth"):
        guess = np.nan_to_num(agl_m) * 0.9 + rng.uniform(0, 4, agl_m.shape)
        write_label(folder, tile_id, guess, scale * 1.05, (angle + 0.1) % (2 * np.pi))
    return folder


def read_truth(folder):
    """(id, agl metres, px/m, rad) read without the package."""
    for path in sorted(folder.glob("*_AGL.tif")):
        with rasterio.open(path) as raster:
            agl_cm = raster.read(1).astype(np.float64)
        pose = json.loads(path.with_name(path.name.replace("AGL.tif", "VFLOW.json")).read_text())
        agl_m = np.where(agl_cm == 65535, np.nan, agl_cm / 100)
        yield path.name[: -len("_AGL.tif")], agl_m, pose["scale"] * 100, pose["angle"]


def naive(truth, pred, honest=False):
    """{city: (agl_r2, vflow_r2)} from whole arrays."""
    predicted = {row[0]: row[1:] for row in read_truth(pred)}
    pairs = {}
    for tile_id, *true in read_truth(truth):
        agl, flow = pairs.setdefault(tile_id[:3], ([], []))
        labels = [true, list(predicted[tile_id])]
        if honest:
            labels[1][0] = np.nan_to_num(labels[1][0])
        agl.append([labels[0][0], labels[1][0]])
        flow.append([h[..., None] * s * np.array([np.sin(a), np.cos(a)]) for h, s, a in labels])
    return {city: tuple(naive_r2(np.stack(x, axis=1)) for x in both) for city, both in pairs.items()}


def naive_r2(true_and_pred):
    true, pred = (x.ravel() for x in true_and_pred)
    total = np.nansum((true - np.nanmean(true)) ** 2)
    return 1 - np.nansum((pred - true) ** 2) / (total + 1e-4)


def assert_scores(scores, expected, prefix=""):
    for city, (agl_r2, vflow_r2) in expected.items():
        row = scores["cities"][city]
        # float32 metres represent centimetres with seven digits
        assert row[f"{prefix}agl_r2"] == pytest.approx(agl_r2, abs=1e-7)
        assert row[f"{prefix}vflow_r2"] == pytest.approx(vflow_r2, abs=1e-7)
    mean = np.mean([np.mean(pair) for pair in expected.values()])
    assert scores[f"{prefix or 'final_'}r2"] == pytest.approx(mean, abs=1e-7)


def naive_of_images(truth, pred, true_poses=False):
    """{id: (agl_r2, vflow_r2)} of every image for itself, from whole arrays."""
    predicted = {row[0]: row[1:] for row in read_truth(pred)}
    scores = {}
    for tile_id, *true in read_truth(truth):
        guess = [predicted[tile_id][0], *true[1:]] if true_poses else predicted[tile_id]
        flow = [h[..., None] * s * np.array([np.sin(a), np.cos(a)]) for h, s, a in (true, guess)]
        scores[tile_id] = (naive_r2((true[0], guess[0])), naive_r2(flow))
    return scores


def pack(folder, path, order):
    with tarfile.open(path, "w:gz") as tar:
        for file in sorted(folder.iterdir(), key=order):
            tar.add(file, arcname=file.name)
    return path


# --- scores -----------------------------------------------------------------------------------------------------


def test_agrees_with_the_naive_score(competition, pred):
    result = evaluate(competition / "truth", pred)
    assert_scores(result.scores, naive(competition / "truth", pred))
    assert (result.failed, result.unknown, result.scores["bad_pixels"]) == ({}, [], 0)
    assert result.scores["honest_r2"] == result.scores["final_r2"]
    row = result.scores["cities"]["OMA"]
    assert row["angle_error_deg"] == pytest.approx(np.degrees(0.1), rel=1e-6)
    assert row["images"] == 2


def test_truth_as_prediction_scores_one(competition):
    result = evaluate(competition, competition / "truth")  # a competition folder's truth/
    assert result.scores["final_r2"] == 1.0


@pytest.mark.parametrize(
    "order",
    [lambda f: f.name, lambda f: (f.suffix == ".tif", f.name), lambda f: (f.suffix == ".json", f.name)],
    ids=["pairs", "poses first", "heights first"],
)
def test_tarball_in_any_order_scores_like_its_folder(competition, pred, tmp_path, order):
    tarball = pack(pred, tmp_path / "s.tar.gz", order)
    assert evaluate(competition, tarball).scores == evaluate(competition, pred).scores


def test_unknown_predicted_pixels_lower_the_honest_score(competition, pred):
    path = pred / "JAX_aaaaaa_AGL.tif"
    with rasterio.open(path) as raster:
        agl_cm = raster.read(1)
    agl_cm[5:9, 3:13] = 65535
    write_tif(path, agl_cm)
    scores = evaluate(competition, pred).scores
    assert_scores(scores, naive(competition / "truth", pred))
    assert_scores(scores, naive(competition / "truth", pred, honest=True), "honest_")
    assert scores["bad_pixels"] == scores["cities"]["JAX"]["bad_pixels"] == 40
    assert scores["honest_r2"] < scores["final_r2"]


def test_float_metres_score_like_centimetres(competition, pred, tmp_path):
    """Truth and predictions may each have the units of the older release."""
    for source in (competition / "truth", pred):
        folder = tmp_path / f"{source.name}_metres"
        folder.mkdir()
        for tile_id, agl_m, scale, angle in read_truth(source):
            write_tif(folder / f"{tile_id}_AGL.tif", agl_m.astype(np.float32))
            (folder / f"{tile_id}_VFLOW.json").write_text(json.dumps({"scale": scale, "angle": angle}))
    expected = naive(competition / "truth", pred)
    for truth in (competition / "truth", tmp_path / "truth_metres"):
        for guess in (pred, tmp_path / "pred_metres"):
            assert_scores(evaluate(truth, guess).scores, expected)


def test_a_submission_of_the_truth_is_valid_and_scores_one(competition, tmp_path):
    path = tmp_path / "s.tar.gz"
    with SubmissionWriter(path) as writer:
        for tile_id, agl_m, scale, angle in read_truth(competition / "truth"):
            writer.add_encoded(tile_id, encode_prediction(tile_id, np.nan_to_num(agl_m), scale, angle))
    assert validate(path, competition) == []
    assert evaluate(competition, path).scores["final_r2"] == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("name", ["ATL_bbbbbb_AGL.tif", "ATL_bbbbbb_VFLOW.json"])
def test_missing_file_fails_its_city(competition, pred, name):
    whole = evaluate(competition, pred).scores
    (pred / name).unlink()
    result = evaluate(competition, pred)
    assert list(result.failed) == ["ATL_bbbbbb"]
    assert result.scores["cities"]["ATL"]["r2"] == 0
    assert result.scores["cities"]["JAX"] == whole["cities"]["JAX"]
    assert result.scores["final_r2"] == pytest.approx(whole["final_r2"] - whole["cities"]["ATL"]["r2"] / 4)


def test_nan_pose_fails_its_city(competition, pred):
    (pred / "ATL_aaaaaa_VFLOW.json").write_text('{"scale": NaN, "angle": 1.0}')
    result = evaluate(competition, pred)
    assert list(result.failed) == ["ATL_aaaaaa"]
    assert result.scores["cities"]["ATL"]["r2"] == result.scores["cities"]["ATL"]["honest_r2"] == 0


def test_unknown_predictions_are_reported(competition, pred):
    expected = evaluate(competition, pred).scores
    write_label(pred, "PAR_zzzzzz", np.ones((24, 32)), 1.0, 1.0)
    result = evaluate(competition, pred)
    assert sorted(result.unknown) == ["PAR_zzzzzz_AGL.tif", "PAR_zzzzzz_VFLOW.json"]
    assert result.scores == expected


def test_few_tiles_are_held_at_once(monkeypatch):
    """Reading is never far ahead of scoring."""
    monkeypatch.setattr(evaluate_module.os, "cpu_count", lambda: 2)
    taken = 0

    def items():
        nonlocal taken
        for number in range(50):
            taken += 1
            yield number

    for done, result in enumerate(evaluate_module._map_bounded(lambda x: x * x, items())):
        assert result == done**2
        assert taken <= done + 6
    assert done == 49


# --- mistakes ---------------------------------------------------------------------------------------------------


def test_heights_of_another_size_are_refused(competition, pred):
    write_label(pred, "OMA_aaaaaa", np.ones((12, 16)), 1.0, 1.0)
    with pytest.raises(UserError, match=r"OMA_aaaaaa_AGL.tif: 12x16, but its truth is 24x32; "):
        evaluate(competition, pred)


def test_truth_of_two_units_is_refused(competition, pred):
    write_tif(competition / "truth" / "OMA_aaaaaa_AGL.tif", np.ones((24, 32), np.float32))
    with pytest.raises(UserError, match="one unit"):
        evaluate(competition, pred)


@pytest.mark.parametrize("name", ["ARG_aaaaaa_AGL.tif", "ARG_aaaaaa_VFLOW.json"])
def test_a_damaged_prediction_is_named(competition, pred, name):
    (pred / name).write_bytes(b"damaged")
    with pytest.raises(UserError, match=f"predicted {name}: "):
        evaluate(competition, pred)


def test_predictions_of_other_tiles_are_refused(competition, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="has no prediction for any tile"):
        evaluate(competition, tmp_path / "empty")


def test_a_damaged_tarball_is_named(competition, pred, tmp_path):
    path = pack(pred, tmp_path / "s.tar.gz", lambda f: f.name)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(UserError, match=r"s\.tar\.gz: damaged"):
        evaluate(competition, path)


# --- command ----------------------------------------------------------------------------------------------------


def test_the_command_prints_a_table_and_writes_json(competition, pred, tmp_path):
    (pred / "ATL_aaaaaa_AGL.tif").unlink()
    (pred / "ATL_bbbbbb_AGL.tif").unlink()
    out = tmp_path / "new" / "score.json"
    result = run("-m", "geopose", "evaluate", "--truth", competition / "truth", "--pred", pred, "--json", out)
    assert result.returncode == 0, result.stderr
    assert "warning: no complete prediction for ATL_aaaaaa, ATL_bbbbbb: ATL scores 0" in result.stderr
    for word in ("ARG", "ATL", "JAX", "OMA", "final", "honest", "bad pixels"):
        assert word in result.stdout
    single = run("-m", "geopose", "evaluate", "--truth", competition / "truth", "--pred", pred, "--each-image")
    assert "ATL_bbbbbb: ATL_aaaaaa, ATL_bbbbbb scores 0" in single.stderr
    scores = json.loads(out.read_text(), parse_constant=pytest.fail)  # NaN is not valid JSON
    assert list(scores) == ["cities", "final_r2", "honest_r2", "bad_pixels", "unscored_cities"]
    assert {"agl_r2", "vflow_r2", "r2"} <= set(scores["cities"]["ARG"])
    assert scores["cities"]["ATL"]["angle_error_deg"] is None
    assert find_labels(competition).id.size == 8


def hide_truth(competition, city):
    """Make every true height of a city unknown."""
    for path in (competition / "truth").glob(f"{city}_*_AGL.tif"):
        write_tif(path, np.full((24, 32), 65535, np.uint16))


def test_a_city_without_a_known_pixel_is_named(competition, pred, tmp_path):
    whole = evaluate(competition, pred).scores
    assert whole["unscored_cities"] == []
    hide_truth(competition, "JAX")
    out = tmp_path / "score.json"
    result = run("-m", "geopose", "evaluate", "--truth", competition / "truth", "--pred", pred, "--json", out)
    assert result.returncode == 0, result.stderr
    assert result.stderr == "warning: the truth of JAX has no known pixel: the mean is over the other cities\n"
    scores = json.loads(out.read_text())
    assert scores["unscored_cities"] == ["JAX"] and list(scores["cities"]) == ["ARG", "ATL", "OMA"]
    assert scores["final_r2"] == pytest.approx(np.mean([whole["cities"][c]["r2"] for c in ("ARG", "ATL", "OMA")]))


def test_truth_without_a_known_pixel_is_a_users_error(competition, pred):
    hide_truth(competition, "*")
    with pytest.raises(UserError, match=r"truth: no pixel of its heights is known"):
        evaluate(competition / "truth", pred)


@pytest.mark.parametrize("true_poses", [False, True])
def test_every_image_for_itself(competition, pred, true_poses):
    truth = competition / "truth"
    expected = naive_of_images(truth, pred, true_poses)
    rows = evaluate(truth, pred, each_image=True, true_poses=true_poses).scores["cities"]
    assert set(rows) == set(expected) and len(rows) == 8
    for tile_id, row in rows.items():
        assert (row["agl_r2"], row["vflow_r2"]) == pytest.approx(expected[tile_id], abs=1e-6)
        assert row["angle_error_deg"] == pytest.approx(0 if true_poses else np.degrees(0.1), abs=1e-6)
        assert (row["scale_error_px_per_m"] > 0) != true_poses


def test_true_poses_need_no_predicted_ones(competition, pred):
    whole = evaluate(competition / "truth", pred, true_poses=True).scores
    for path in pred.glob("*_VFLOW.json"):
        path.unlink()
    assert evaluate(competition / "truth", pred, true_poses=True).scores == whole
    next(pred.glob("ARG*_AGL.tif")).unlink()
    assert evaluate(competition / "truth", pred, true_poses=True).scores["cities"]["ARG"]["r2"] == 0


def test_a_mean_over_images_leaves_out_what_an_image_does_not_have(competition, pred):
    """Flat ground has no slope, and an image without a pose has no angle error."""
    slopes = [row["agl_slope"] for row in evaluate(competition, pred, each_image=True).scores["cities"].values()]
    write_tif(competition / "truth" / "ARG_aaaaaa_AGL.tif", np.zeros((24, 32), np.uint16))
    (pred / "OMA_bbbbbb_VFLOW.json").unlink()
    scores = evaluate(competition, pred, each_image=True).scores
    assert np.isnan(scores["cities"]["ARG_aaaaaa"]["agl_slope"])
    assert np.isnan(scores["cities"]["OMA_bbbbbb"]["angle_error_deg"])
    mean = format_images(scores).splitlines()[-1].split()
    assert mean[3:5] == [f"{np.mean(slopes[1:-1]):.2f}", f"{np.degrees(0.1):.2f}"]


def test_a_table_of_runs_needs_a_prediction_of_every_label(competition, pred):
    assert evaluate_complete(competition, pred) == evaluate(competition, pred).scores
    (pred / "ATL_aaaaaa_AGL.tif").unlink()
    with pytest.raises(UserError, match=r"pred: no complete prediction for ATL_aaaaaa; predict"):
        evaluate_complete(competition, pred)


def test_the_table_of_images(competition, pred):
    flags = ("--truth", competition / "truth", "--pred", pred, "--each-image")
    result = run("-m", "geopose", "evaluate", *flags)
    header, *rows, mean = result.stdout.strip().splitlines()
    assert result.returncode == 0 and header.split()[0] == "image" and len(rows) == 8
    expected = naive_of_images(competition / "truth", pred)
    for row in rows:
        tile_id, *values = row.split()
        np.testing.assert_allclose([float(v) for v in values[:2]], expected[tile_id], atol=6e-5)
    assert mean.split()[0] == "mean"
    np.testing.assert_allclose([float(v) for v in mean.split()[1:3]], np.mean(list(expected.values()), 0), atol=6e-5)


@pytest.mark.parametrize("missing", ["truth", "pred"])
def test_a_missing_folder_is_one_line(competition, pred, missing):
    shutil.rmtree(pred if missing == "pred" else competition / "truth")
    result = run("-m", "geopose", "evaluate", "--truth", competition / "truth", "--pred", pred)
    assert_user_error(result, missing, ";")
