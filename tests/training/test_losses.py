"""Losses: unknown targets contribute nothing, and values agree with plain numpy."""

import numpy as np
import pytest
import torch

from geopose.config import LossConfig
from geopose.training.losses import PIXEL_LOSSES, R2_FLOOR, PoseLoss, city_r2_loss, dense_loss, log_scale


def huber(error, delta):
    error = np.abs(error)
    return np.where(error <= delta, 0.5 * error**2, delta * (error - 0.5 * delta))


def test_huber_is_the_mean_over_known_pixels_alone():
    rng = np.random.default_rng(0)
    prediction, target = rng.normal(0, 20, (2, 3, 1, 8, 9)).astype(np.float32)
    target[0, 0, :3] = np.nan
    known = ~np.isnan(target)
    expected = huber(prediction[known] - target[known], 5.0).mean()
    actual = dense_loss("huber", torch.from_numpy(prediction), torch.from_numpy(target), 5.0)
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


@pytest.mark.parametrize("options", [{}, {"trim": 0.2}, {"focal_gamma": 1.0}], ids=str)
@pytest.mark.parametrize("kind", PIXEL_LOSSES)
def test_unknown_pixels_change_neither_loss_nor_gradient(kind, options):
    target = torch.randn(1, 1, 6, 6)
    target[..., :2] = torch.nan
    a = torch.randn(1, 1, 6, 6)
    b = a.clone()
    b[..., :2] += 100
    a.requires_grad_(), b.requires_grad_()
    loss_a, loss_b = (dense_loss(kind, x, target, 1.0, **options) for x in (a, b))
    loss_a.backward(), loss_b.backward()
    assert loss_a == loss_b
    assert torch.equal(a.grad, b.grad)
    assert (a.grad[..., :2] == 0).all()


@pytest.mark.parametrize("trim", [0.0, 0.2])
def test_a_batch_without_any_known_pixel_costs_nothing(trim):
    prediction, target = torch.ones(1, 1, 4, 4, requires_grad=True), torch.full((1, 1, 4, 4), torch.nan)
    loss = dense_loss("huber", prediction, target, 1.0, trim)
    loss.backward()
    assert loss == 0
    assert (prediction.grad == 0).all()
    target[0, 0, 1, 2] = 4.0  # a single known pixel counts whole
    assert dense_loss("l1", prediction, target, 1.0, trim) == 3.0


def test_pose_loss_is_the_weighted_sum_of_its_parts_and_zero_for_the_truth():
    agl_m = torch.rand(2, 1, 8, 8) * 50
    batch = {
        "agl_m": agl_m,
        "scale_px_per_m": torch.tensor([0.5, 2.0]),
        "angle_rad": torch.tensor([1.0, 4.0]),
        "city": ["ARG", "JAX"],
    }
    truth = {
        "agl_m": agl_m,
        "mag_px": agl_m * torch.tensor([0.5, 2.0]).view(2, 1, 1, 1),
        "direction": torch.stack([torch.sin(batch["angle_rad"]), torch.cos(batch["angle_rad"])], dim=-1),
    }
    assert PoseLoss(LossConfig())(truth, batch)["loss"] < 1e-6

    weights = LossConfig(agl_weight=2, mag_weight=3, cosine_weight=5, direction_mse_weight=7)
    wrong = {"agl_m": agl_m + 1, "mag_px": truth["mag_px"] - 2, "direction": -truth["direction"]}
    parts = PoseLoss(weights)(wrong, batch)
    np.testing.assert_allclose(parts["loss_agl"], 0.5, rtol=1e-5)
    np.testing.assert_allclose(parts["loss_mag"], 2.0, rtol=1e-5)
    np.testing.assert_allclose(parts["loss_cosine"], 2.0, rtol=1e-5)
    expected = sum(w * float(parts[k]) for w, k in ((2, "loss_agl"), (3, "loss_mag"), (5, "loss_cosine")))
    np.testing.assert_allclose(parts["loss"], expected + 7 * float(parts["loss_direction"]), rtol=1e-5)


@pytest.mark.parametrize("kind", [*PIXEL_LOSSES, "r2"])
@pytest.mark.parametrize(
    "options", [{}, {"log_height": True}, {"trim": 0.3}, {"focal_gamma": 2.0}, {"tall_m": 10.0}], ids=str
)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_outputs_at_200_m_stay_finite(kind, options, dtype):
    values = torch.linspace(-5, 200, 64).view(1, 1, 8, 8)
    outputs = {"agl_m": values.to(dtype), "mag_px": values.flip(3).to(dtype), "direction": torch.eye(2)[:1].to(dtype)}
    outputs = {key: value.requires_grad_() for key, value in outputs.items()}
    batch = {
        "agl_m": values.flip(2).clamp(min=0),
        "scale_px_per_m": torch.tensor([2.0]),
        "angle_rad": torch.tensor([0.0]),
        "city": ["ARG"],
    }
    losses = PoseLoss(LossConfig(agl=kind, mag=kind, scale_weight=1.0, **options))(outputs, batch)
    losses["loss"].backward()
    assert all(torch.isfinite(value) for value in losses.values())
    assert all(torch.isfinite(value.grad).all() for value in outputs.values())


def known_values(kind, error, delta):
    """Textbook formulas, in numpy."""
    a = np.abs(error)
    wing_rest = delta - delta * np.log(1 + delta / 0.5)
    return {
        "huber": huber(error, delta),
        "smooth_l1": huber(error, delta) / delta,
        "l1": a,
        "mse": error**2,
        "log_cosh": np.log(np.cosh(error)),
        "wing": np.where(a < delta, delta * np.log(1 + a / 0.5), a - wing_rest),
    }[kind]


@pytest.mark.parametrize("kind", PIXEL_LOSSES)
def test_losses_are_the_textbooks(kind):
    rng = np.random.default_rng(1)
    prediction, target = rng.normal(0, 4, (2, 2, 1, 5, 7))
    target[0, 0, 0] = np.nan
    error = (prediction - target)[~np.isnan(target)]
    actual = dense_loss(kind, torch.from_numpy(prediction), torch.from_numpy(target), 3.0)
    np.testing.assert_allclose(actual, known_values(kind, error, 3.0).mean(), rtol=1e-5)


def test_trimming_drops_the_worst_known_pixels_of_each_image():
    target = torch.zeros(2, 1, 1, 10)
    target[1, ..., 5:] = torch.nan  # the second image knows five pixels
    prediction = torch.tensor([[1.0, 2, 3, 4, 5, 6, 7, 8, 9, 100], [10, 20, 30, 40, 500, 9, 9, 9, 9, 9]]).view(
        2, 1, 1, 10
    )
    expected = (sum(range(1, 9)) + 10 + 20 + 30 + 40) / (8 + 4)
    assert float(dense_loss("l1", prediction, target, 1.0, trim=0.2)) == pytest.approx(expected)


def test_focal_weights_fade_what_is_right():
    target, prediction = torch.tensor([[7.0, 2.0], [7.1, 32.0]]).view(2, 1, 1, 1, 2)
    expected = (0.1 * np.tanh(0.1 / 5) ** 2 + 30 * np.tanh(30 / 5) ** 2) / 2
    assert float(dense_loss("l1", prediction, target, 5.0, focal_gamma=2.0)) == pytest.approx(expected, rel=1e-5)


def test_tall_pixels_weigh_more_in_heights_and_magnitudes():
    rng = np.random.default_rng(2)
    agl_m, predicted_m, predicted_px = rng.uniform(0, 90, (3, 2, 1, 6, 5)).astype(np.float32)
    agl_m[0, 0, :2] = np.nan
    agl_m[1, 0, 0] = -3.0  # below ground, which does not make a pixel count less than ground does
    scale = np.array([0.5, 2.0], np.float32)
    outputs = {"agl_m": predicted_m, "mag_px": predicted_px, "direction": np.eye(2, dtype=np.float32)}
    batch = {"agl_m": agl_m, "scale_px_per_m": scale, "angle_rad": np.zeros(2, np.float32)}
    outputs, batch = ({key: torch.from_numpy(value) for key, value in d.items()} for d in (outputs, batch))
    parts = PoseLoss(LossConfig(agl="l1", mag="mse", tall_m=20.0))(outputs, batch | {"city": ["ARG", "JAX"]})
    known = ~np.isnan(agl_m)
    weight = 1 + np.maximum(agl_m[known], 0) / 20
    error_m, error_px = predicted_m - agl_m, predicted_px - agl_m * scale[:, None, None, None]
    np.testing.assert_allclose(parts["loss_agl"], np.average(np.abs(error_m[known]), weights=weight), rtol=1e-5)
    np.testing.assert_allclose(parts["loss_mag"], np.average(error_px[known] ** 2, weights=weight), rtol=1e-5)


def test_a_flat_crop_does_not_outweigh_a_downtown_in_city_r2():
    """Errors of 1 m: the loss of a flat crop is near its squared error, and that of a downtown is not much smaller."""
    flat, downtown = torch.zeros(1, 1, 8, 8), torch.arange(64.0).view(1, 1, 8, 8)
    losses = [float(city_r2_loss(target + 1, target, ["ARG"])) for target in (flat, downtown)]
    assert losses[0] == pytest.approx(1 / R2_FLOOR) and losses[0] < 1000 * losses[1]


def test_city_r2_loss_is_one_minus_r2_of_each_city():
    rng = np.random.default_rng(2)
    prediction, target = rng.normal(5, 4, (2, 4, 1, 6, 6)).astype(np.float32)
    target[2, 0, :2] = np.nan
    cities, losses = ["A", "B", "A", "B"], []
    for rows in ([0, 2], [1, 3]):
        t, p = target[rows], prediction[rows]
        known = ~np.isnan(t)
        t, p = t[known].astype(np.float64), p[known]
        losses.append(((p - t) ** 2).mean() / (t.var() + R2_FLOOR))
    actual = city_r2_loss(torch.from_numpy(prediction), torch.from_numpy(target), cities)
    np.testing.assert_allclose(actual, np.mean(losses), rtol=1e-4)


def test_log_scale_is_odd_and_linear_near_zero():
    h = torch.tensor([-3.0, 0.0, 1e-4, 3.0, 200.0])
    torch.testing.assert_close(log_scale(h), torch.tensor([-np.log(4), 0.0, 1e-4, np.log(4), np.log(201)]).float())


def test_scale_loss_is_the_squared_error_of_the_fitted_scale():
    agl_m = torch.rand(1, 1, 8, 8) * 30
    outputs = {"agl_m": agl_m, "mag_px": 1.5 * agl_m, "direction": torch.tensor([[0.0, 1.0]])}
    batch = {
        "agl_m": agl_m,
        "scale_px_per_m": torch.tensor([1.0]),
        "angle_rad": torch.tensor([0.0]),
        "city": ["ARG"],
    }
    parts = PoseLoss(LossConfig(scale_weight=4.0, mag_weight=0.0))(outputs, batch)
    np.testing.assert_allclose(parts["loss_scale"], 0.25, rtol=1e-4)
    outputs["scale_px_per_m"] = torch.tensor([3.0])  # of a scale head: it answers for itself
    of_head = PoseLoss(LossConfig(scale_weight=4.0, mag_weight=0.0))(outputs, batch)
    np.testing.assert_allclose(of_head["loss_scale"], 4.0, rtol=1e-4)
    np.testing.assert_allclose(parts["loss"], 1.0, rtol=1e-4)


def test_flat_images_count_less_for_direction_and_scale():
    """Mean magnitudes of 6, 2, 0 and -4 px, over the known pixels: with lean_px = 2 the weights are 3/4, 1/2, 0, 0."""
    agl_m = torch.full((4, 1, 4, 4), 3.0)
    agl_m[0, :, 2:] = torch.nan
    agl_m[2] = 0.0
    agl_m[3] = -4.0
    batch = {
        "agl_m": agl_m,
        "scale_px_per_m": torch.tensor([2.0, 2 / 3, 1.0, 1.0]),
        "angle_rad": torch.zeros(4),
        "city": ["ARG", "ATL", "JAX", "OMA"],
    }
    outputs = {
        "agl_m": torch.zeros(4, 1, 4, 4),
        "mag_px": torch.zeros(4, 1, 4, 4),
        "direction": torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, -5.0], [0.0, -5.0]]),
        "scale_px_per_m": torch.tensor([2.0, 2 / 3 + 0.5, 9.0, 1.5]),
    }
    cosine, squared = np.array([1.0, 0.0, 2.0, 2.0]), np.array([1.0, 0.0, 18.0, 18.0])
    scale = np.array([0.0, 0.25, 64.0, 0.25])
    for lean_px, weight in ((2.0, np.array([0.75, 0.5, 0.0, 0.0])), (0.0, np.ones(4))):
        parts = PoseLoss(LossConfig(scale_weight=1.0, lean_px=lean_px))(outputs, batch)
        for name, values in (("loss_cosine", cosine), ("loss_direction", squared), ("loss_scale", scale)):
            assert float(parts[name]) == pytest.approx((values * weight).sum() / weight.sum(), rel=1e-3), name
