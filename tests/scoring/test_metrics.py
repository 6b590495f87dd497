"""The score, compared with a naive one that builds every flow field and does not use the package's sums."""

import numpy as np
import pytest
import torch

from geopose.scoring import metrics
from geopose.scoring.metrics import COLUMNS, PoseScores, height_sums


def flow_field(agl_m, scale, angle):
    """[H,W,2], by the challenge's formula."""
    agl_m = agl_m.astype(np.float64)
    return np.stack([agl_m * scale * np.sin(angle), agl_m * scale * np.cos(angle)], axis=-1)


def naive_r2(pred, true, honest):
    """R2 over all pixels of lists of arrays. The numerator skips predicted NaN, or counts it as 0 when honest."""
    p = np.concatenate([x.astype(np.float64).ravel() for x in pred])
    t = np.concatenate([x.astype(np.float64).ravel() for x in true])
    if honest:
        p = np.where(np.isnan(p), 0, p)
    known = t[~np.isnan(t)]
    return 1 - np.nansum((p - t) ** 2) / (np.sum((known - known.mean()) ** 2) + 1e-4)


def make_images(seed, count, bad=False, noise_m=3.0):
    """Per image: (agl, true agl, scale, true scale, angle, true angle)."""
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(count):
        true = rng.gamma(1.0, 8.0, (40, 50)).astype(np.float32)
        pred = (true * 0.9 + rng.normal(0, noise_m, true.shape)).astype(np.float32)
        true[rng.random(true.shape) < 0.05] = np.nan
        if bad:
            pred[rng.random(true.shape) < 0.1] = np.nan
        scale, angle = rng.uniform(0.3, 1.5), rng.uniform(0, 2 * np.pi)
        images.append((pred, true, scale * rng.uniform(0.9, 1.1), scale, angle + rng.normal(0, 0.2), angle))
    return images


def naive_scores(images, honest=False):
    pred, true = [x[0] for x in images], [x[1] for x in images]
    pred_flow = [flow_field(x[0], x[2], x[4]) for x in images]
    true_flow = [flow_field(x[1], x[3], x[5]) for x in images]
    return naive_r2(pred, true, honest), naive_r2(pred_flow, true_flow, honest)


def scored(cities):
    scores = PoseScores(list(cities))
    for city, images in cities.items():
        for image in images:
            scores.update(city, *image)
    return scores


@pytest.mark.parametrize("piece_px", [700, metrics.PIECE_PX])
@pytest.mark.parametrize("bad", [False, True])
@pytest.mark.parametrize("noise_m", [0.0, 0.001, 3.0, 300.0])
def test_agrees_with_the_naive_score(bad, noise_m, piece_px, monkeypatch):
    monkeypatch.setattr(metrics, "PIECE_PX", piece_px)  # 2000 px are two whole pieces and a remainder, or one piece
    cities = {city: make_images(seed, 3, bad, noise_m) for seed, city in enumerate(("ARG", "PAR"))}
    result = scored(cities).compute()
    for city, images in cities.items():
        row = result["cities"][city]
        for prefix, honest in (("", False), ("honest_", True)):
            agl_r2, vflow_r2 = naive_scores(images, honest)
            # This compares errors, not scores, because a relative test of 1 - error would hide a wrong small error.
            assert 1 - row[f"{prefix}agl_r2"] == pytest.approx(1 - agl_r2, rel=1e-9, abs=1e-15)
            assert 1 - row[f"{prefix}vflow_r2"] == pytest.approx(1 - vflow_r2, rel=1e-9, abs=1e-15)
            assert row[f"{prefix}r2"] == pytest.approx((agl_r2 + vflow_r2) / 2)
        assert row["bad_pixels"] == sum(int(np.isnan(x[0]).sum()) for x in images)
        assert row["images"] == 3
    assert result["final_r2"] == pytest.approx(np.mean([row["r2"] for row in result["cities"].values()]))
    assert result["honest_r2"] == pytest.approx(np.mean([row["honest_r2"] for row in result["cities"].values()]))


def test_tiny_pose_errors_survive_cancellation():
    """Perfect heights and an angle error of 1e-6: the error is 1e-12 of the flow, and correct to nine digits."""
    images = [(t, t, s, s, a + 1e-6, a) for _, t, _, s, _, a in make_images(0, 3)]
    row = scored({"ARG": images}).compute()["cities"]["ARG"]
    flow = np.concatenate([flow_field(t, s, a).ravel() for _, t, _, s, _, a in images])
    known = flow[~np.isnan(flow)]
    total = np.sum((known - known.mean()) ** 2) + 1e-4
    error = sum(np.nansum((t.astype(np.float64) * s * 2 * np.sin(0.5e-6)) ** 2) for _, t, _, s, _, _ in images)
    scores = scored({"ARG": images})
    assert scores.sums[0, COLUMNS.index("flow_error")].item() == pytest.approx(error, rel=1e-9)
    assert 1 - row["vflow_r2"] == pytest.approx(error / total, abs=1e-15)


def test_perfect_prediction_scores_one():
    images = [(t, t, s, s, a, a) for _, t, _, s, _, a in make_images(0, 2)]
    row = scored({"ARG": images}).compute()["cities"]["ARG"]
    assert row["agl_r2"] == row["vflow_r2"] == row["honest_r2"] == 1.0
    assert row["angle_error_deg"] == row["scale_error_px_per_m"] == row["agl_rmse_m"] == 0.0


def test_a_case_computed_manually():
    """Heights of 0 and 10 m, predicted 0 and 8 m, and one unknown pixel; scale 1 px/m, straight down the image."""
    true, pred = np.array([[0.0, 10.0, np.nan]]), np.array([[0.0, 8.0, 99.0]])
    row = scored({"ARG": [(pred, true, 1.0, 1.0, 0.0, 0.0)]}).compute()["cities"]["ARG"]
    assert row["agl_r2"] == pytest.approx(1 - 4 / (50 + 1e-4))
    # Flow components: x 0 0, y 0 10; mean 2.5, total 3 * 2.5^2 + 7.5^2 = 75.
    assert row["vflow_r2"] == pytest.approx(1 - 4 / (75 + 1e-4))
    assert row["agl_rmse_m"] == pytest.approx(np.sqrt(2))


def test_standing_heights_do_not_depend_on_ground_and_count_unknown_predictions_as_0():
    """Heights of 10 and 30 m, predicted 8 and 15 m: weighted by the true height (80 + 450) / 40, and 1000 / 40."""
    true, pred = np.array([[0.0, 0.0, 10.0, 30.0, np.nan]]), np.array([[0.0, 5.0, 8.0, 15.0, 99.0]])
    row = scored({"ARG": [(pred, true, 1.0, 1.0, 0.0, 0.0)]}).compute()["cities"]["ARG"]
    assert (row["standing_m"], row["true_standing_m"]) == pytest.approx((13.25, 25))
    pred[0, 2] = np.nan
    row = scored({"ARG": [(pred, true, 1.0, 1.0, 0.0, 0.0)]}).compute()["cities"]["ARG"]
    assert (row["standing_m"], row["true_standing_m"]) == pytest.approx((11.25, 25))
    flat = scored({"ARG": [(pred, 0 * true, 1.0, 1.0, 0.0, 0.0)]}).compute()["cities"]["ARG"]
    assert np.isnan(flat["standing_m"]) and np.isnan(flat["true_standing_m"])


def test_nothing_is_clipped():
    true = np.array([[0.0, 1.0]])
    row = scored({"ARG": [(np.array([[100.0, -50.0]]), true, 1.0, 1.0, 0.0, 0.0)]}).compute()["cities"]["ARG"]
    assert row["agl_r2"] == pytest.approx(1 - (100**2 + 51**2) / (0.5 + 1e-4))


def test_the_floor_limits_the_score_of_flat_truth():
    true = np.zeros((4, 4))
    row = scored({"ARG": [(true + 0.01, true, 1.0, 1.0, 0.0, 0.0)]}).compute()["cities"]["ARG"]
    assert row["agl_r2"] == pytest.approx(1 - 16 * 1e-4 / 1e-4)


def test_bad_pixels_raise_only_the_official_score():
    (image,) = make_images(3, 1)
    spoiled = image[0].copy()
    worst = np.abs(image[0] - image[1]) > 4
    spoiled[worst] = np.nan
    honest, official = (scored({"ARG": [(p, *image[1:])]}).compute()["cities"]["ARG"] for p in (image[0], spoiled))
    assert official["agl_r2"] > honest["agl_r2"]
    assert official["honest_agl_r2"] < honest["agl_r2"]
    assert official["bad_pixels"] == worst.sum()
    infinite = np.where(np.isnan(spoiled), np.inf, spoiled)
    assert scored({"ARG": [(infinite, *image[1:])]}).compute()["cities"]["ARG"] == official


@pytest.mark.parametrize("spoil", [{"scale": np.nan}, {"angle": np.nan}, {"scale": np.inf}])
def test_pose_that_is_not_finite_fails_its_city(spoil):
    good, other = make_images(0, 2), make_images(1, 2)
    pred, true, scale, true_scale, angle, true_angle = good[0]
    spoiled = (pred, true, spoil.get("scale", scale), true_scale, spoil.get("angle", angle), true_angle)
    result = scored({"ARG": [spoiled, good[1]], "JAX": other}).compute()
    assert result["cities"]["ARG"]["r2"] == result["cities"]["ARG"]["honest_r2"] == 0.0
    assert result["cities"]["JAX"]["agl_r2"] == pytest.approx(naive_scores(other)[0])
    assert result["final_r2"] == pytest.approx(result["cities"]["JAX"]["r2"] / 2)
    assert np.isfinite(result["cities"]["ARG"]["angle_error_deg"])


def test_missing_image_fails_its_city():
    scores = scored({"ARG": make_images(0, 2), "JAX": []})
    scores.add_missing("JAX")
    result = scores.compute()
    assert result["cities"]["JAX"]["r2"] == 0.0
    assert np.isnan(result["cities"]["JAX"]["angle_error_deg"])
    assert result["final_r2"] == result["cities"]["ARG"]["r2"] / 2


def test_sums_of_ranks_add_up():
    cities = {"ARG": make_images(0, 3, bad=True), "JAX": make_images(1, 4)}
    whole, first, second = scored(cities), PoseScores(list(cities)), PoseScores(list(cities))
    for rank, (city, image) in enumerate((c, i) for c, images in cities.items() for i in images):
        (first if rank % 2 else second).update(city, *image)
    first.sums += second.sums
    joined, expected = first.compute(), whole.compute()
    for city in cities:
        assert joined["cities"][city] == pytest.approx(expected["cities"][city], rel=1e-12)


def test_cities_without_known_pixels_are_excluded():
    unknown = np.full((3, 3), np.nan)
    scores = scored({"ARG": make_images(0, 1), "JAX": [(unknown + 1, unknown, 1.0, 1.0, 0.0, 0.0)], "OMA": []})
    assert list(scores.compute()["cities"]) == ["ARG"]
    with pytest.raises(ValueError, match="no image"):
        PoseScores(["ARG"]).compute()


DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_tensors_score_like_arrays(device, dtype):
    images = [
        (torch.tensor(image[0]).to(device, dtype), torch.tensor(image[1]).to(device), *map(torch.tensor, image[2:]))
        for image in make_images(0, 2, bad=True)
    ]
    as_arrays = [tuple(x.cpu().numpy() if x.ndim else x.item() for x in image) for image in images]
    row = scored({"ARG": images}).compute()["cities"]["ARG"]
    agl_r2, vflow_r2 = naive_scores(as_arrays)
    assert 1 - row["agl_r2"] == pytest.approx(1 - agl_r2, rel=1e-9)
    assert 1 - row["vflow_r2"] == pytest.approx(1 - vflow_r2, rel=1e-9)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="shape"):
        height_sums(np.zeros((2, 3)), np.zeros((3, 2)))


def test_angle_error_is_the_smaller_difference():
    true = np.array([[0.0, 10.0]])
    row = scored({"ARG": [(true, true, 1.2, 1.0, 0.05, 2 * np.pi - 0.05)]}).compute()["cities"]["ARG"]
    assert row["angle_error_deg"] == pytest.approx(np.degrees(0.1))
    assert row["scale_error_px_per_m"] == pytest.approx(0.2)


def test_errors_of_the_pose_are_means_over_images():
    scores, heights_m = PoseScores(["ARG"]), np.array([[0.0, 9.0]])
    for scale_error, angle_error in ((0.1, 0.2), (-0.3, -0.4), (0.2, 0.0)):
        scores.update("ARG", heights_m, heights_m, 1 + scale_error, 1.0, 2 + angle_error, 2.0)
    row = scores.compute()["cities"]["ARG"]
    assert row["angle_error_deg"] == pytest.approx(np.degrees(0.2)) and row["images"] == 3
    assert row["scale_error_px_per_m"] == pytest.approx(0.2)
