"""Losses: unknown targets contribute nothing, and values agree with plain numpy."""

import numpy as np
import torch

from geopose.config import LossConfig
from geopose.losses import PoseLoss, masked_huber


def huber(error, delta):
    error = np.abs(error)
    return np.where(error <= delta, 0.5 * error**2, delta * (error - 0.5 * delta))


def test_huber_is_the_mean_over_known_pixels_alone():
    rng = np.random.default_rng(0)
    prediction, target = rng.normal(0, 20, (2, 3, 1, 8, 9)).astype(np.float32)
    target[0, 0, :3] = np.nan
    known = ~np.isnan(target)
    expected = huber(prediction[known] - target[known], 5.0).mean()
    actual = masked_huber(torch.from_numpy(prediction), torch.from_numpy(target), 5.0)
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


def test_unknown_pixels_change_neither_loss_nor_gradient():
    target = torch.randn(1, 1, 6, 6)
    target[..., :2] = torch.nan
    a = torch.randn(1, 1, 6, 6)
    b = a.clone()
    b[..., :2] += 100
    a.requires_grad_(), b.requires_grad_()
    loss_a, loss_b = masked_huber(a, target, 1.0), masked_huber(b, target, 1.0)
    loss_a.backward(), loss_b.backward()
    assert loss_a == loss_b
    assert torch.equal(a.grad, b.grad)
    assert (a.grad[..., :2] == 0).all()


def test_a_batch_without_any_known_pixel_costs_nothing():
    prediction = torch.ones(1, 1, 4, 4, requires_grad=True)
    loss = masked_huber(prediction, torch.full((1, 1, 4, 4), torch.nan), 1.0)
    loss.backward()
    assert loss == 0
    assert (prediction.grad == 0).all()


def test_pose_loss_is_the_weighted_sum_of_its_parts_and_zero_for_the_truth():
    agl_m = torch.rand(2, 1, 8, 8) * 50
    batch = {"agl_m": agl_m, "scale_px_per_m": torch.tensor([0.5, 2.0]), "angle_rad": torch.tensor([1.0, 4.0])}
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


def test_half_precision_outputs_at_200_m_stay_finite():
    outputs = {"agl_m": torch.zeros(1, 1, 4, 4, dtype=torch.float16), "mag_px": torch.zeros(1, 1, 4, 4).half()}
    outputs["direction"] = torch.tensor([[1.0, 0.0]]).half()
    batch = {
        "agl_m": torch.full((1, 1, 4, 4), 200.0),
        "scale_px_per_m": torch.tensor([2.0]),
        "angle_rad": torch.tensor([0.0]),
    }
    assert all(torch.isfinite(value) for value in PoseLoss(LossConfig())(outputs, batch).values())
