"""The training loss. A NaN target means unknown: it adds nothing to a sum and nothing to its count."""

import math

import torch
from pytorch_toolbelt.losses.functional import wing_loss
from torch import nn
from torch.nn import functional as F

from geopose.config import LossConfig
from geopose.geometry import fit_scale, flow_direction, magnitude

R2_FLOOR = 1.0  # m2 or px2: keeps flat crops, whose heights hardly vary, from outweighing all others
LOSS_PARTS = ("loss_agl", "loss_mag", "loss_cosine", "loss_direction", "loss_scale")


def log_cosh(error):
    """log(cosh(error)) per element, in a form that does not overflow."""
    return error + F.softplus(-2.0 * error) - math.log(2.0)


# Loss per pixel of (prediction, target, delta): float32 tensors of one shape without NaN.
PIXEL_LOSSES = {
    "huber": lambda p, t, delta: F.huber_loss(p, t, reduction="none", delta=delta),
    "smooth_l1": lambda p, t, delta: F.smooth_l1_loss(p, t, reduction="none", beta=delta),
    "l1": lambda p, t, delta: F.l1_loss(p, t, reduction="none"),
    "mse": lambda p, t, delta: F.mse_loss(p, t, reduction="none"),
    "log_cosh": lambda p, t, delta: log_cosh(p - t),
    "wing": lambda p, t, delta: wing_loss(p, t, width=delta, reduction="none"),
}


def dense_loss(kind: str, prediction, target, delta: float, trim: float = 0.0, focal_gamma: float = 0.0, weight=None):
    """Mean loss over the known pixels of target. It is 0, with a gradient of 0, when no pixel is known.

    prediction, target [B,1,H,W]; target may hold NaN; computed in float32. trim is the share of each image's known
    pixels that is left out, the pixels with the largest loss. focal_gamma > 0 multiplies a pixel's loss by
    tanh(error / delta) ** gamma, which reduces the weight of pixels that are nearly right. weight [B,1,H,W] makes the
    mean a weighted one and applies before the other two. Returns a scalar.
    """
    prediction, target, known = _fill_unknown(prediction, target)
    loss = PIXEL_LOSSES[kind](prediction, target, delta)
    if weight is not None:
        weight = torch.where(known, weight, 0.0)
        loss = loss * weight * (known.sum() / weight.sum().clamp(min=1e-6))
    if focal_gamma:
        loss = loss * torch.tanh((prediction - target).detach().abs() / delta) ** focal_gamma
    if trim:
        return _trimmed_mean(loss.flatten(1), known.flatten(1), trim)
    return (loss * known).sum() / known.sum().clamp(min=1)


def city_r2_loss(prediction, target, cities: list[str]):
    """1 - R2 over the known pixels of each city's images in the batch, averaged over the cities.

    R2_FLOOR is added to the variance of the truth. With a much smaller floor, a flat crop with errors of 1 m would
    count thousands of times as much as a crop of a downtown.
    prediction, target [B,1,H,W]; cities: one name per image. Returns a scalar.
    Source: the first-place solution of the Overhead Geopose Challenge.
    """
    prediction, target, known = _fill_unknown(prediction, target)
    losses = []
    for city in sorted(set(cities)):
        rows = [index for index, name in enumerate(cities) if name == city]
        p, t, k = prediction[rows], target[rows], known[rows]
        count = k.sum().clamp(min=1)
        mean = (t * k).sum() / count
        # Means, not sums: sums of squares over large batches could overflow.
        error = ((p - t).square() * k).sum() / count
        spread = ((t - mean).square() * k).sum() / count
        losses.append(error / (spread + R2_FLOOR))
    return torch.stack(losses).mean()


def direction_losses(direction, target, weight):
    """Weighted means of 1 - cosine and of the squared error of directions [B,2]. weight [B] must not be all zero."""
    direction, target = direction.float(), target.float()
    weight = weight / weight.sum()
    cosine = 1 - F.cosine_similarity(direction, target, dim=-1)
    return (cosine * weight).sum(), ((direction - target).square().mean(-1) * weight).sum()


def lean_weight(target_mag_px, lean_px: float):
    """Weight of each image's direction [B]: m / (m + lean_px), where m is the mean known magnitude [B,1,H,W].

    Flat ground does not show in which direction buildings lean. Below the ground, m is negative and counts as 0. With
    lean_px = 0 every image has the same weight.
    """
    if not lean_px:
        return torch.ones_like(target_mag_px[:, 0, 0, 0])
    known = ~torch.isnan(target_mag_px)
    mean_px = torch.where(known, target_mag_px, 0.0).flatten(1).sum(1) / known.flatten(1).sum(1).clamp(min=1)
    mean_px = mean_px.clamp(min=0)  # labels may lie below the ground
    return mean_px / (mean_px + lean_px) + 1e-6


def tall_weight(target_agl_m, tall_m: float):
    """Weight of each pixel's dense losses [B,1,H,W]: 1 + h / tall_m, where h >= 0 is its known height, otherwise 1.

    A network that cannot tell how tall a building is predicts a weighted mean of the heights that it may have. With
    equal weights, towers come out too low, since most buildings are low. With tall_m = 0 all weights are equal: None.
    """
    return 1 + target_agl_m.nan_to_num(0.0).clamp(min=0) / tall_m if tall_m else None


def log_scale(agl_m):
    """sign(h) log(1 + |h|): compresses large heights, is linear near 0, and is defined for negative predictions."""
    return torch.sign(agl_m) * torch.log1p(agl_m.abs())


class PoseLoss(nn.Module):
    """Weighted sum of dense losses on height and magnitude, and of losses on direction and, optionally, scale.

    forward(outputs of PoseModel, batch with agl_m [B,1,H,W], scale_px_per_m [B], angle_rad [B], city) returns
    {"loss": scalar} and the unweighted parts named by LOSS_PARTS.
    Source of the default: the second-place write-up of the Overhead Geopose Challenge.
    """

    def __init__(self, cfg: LossConfig):
        super().__init__()
        self.cfg = cfg

    def forward(self, outputs, batch):
        cfg = self.cfg
        agl_m, target_agl_m = outputs["agl_m"].float(), batch["agl_m"].float()
        target_mag_px = magnitude(target_agl_m, batch["scale_px_per_m"][:, None])
        target_direction = flow_direction(batch["angle_rad"])
        lean = lean_weight(target_mag_px, cfg.lean_px)
        cosine, direction_mse = direction_losses(outputs["direction"], target_direction, lean)
        tall = tall_weight(target_agl_m, cfg.tall_m)
        compared = (log_scale(agl_m), log_scale(target_agl_m)) if cfg.log_height else (agl_m, target_agl_m)
        values = (
            self.dense(cfg.agl, *compared, cfg.agl_delta_m, batch, tall),
            self.dense(cfg.mag, outputs["mag_px"].float(), target_mag_px, cfg.mag_delta_px, batch, tall),
            cosine,
            direction_mse,
            self.scale(outputs, batch, lean),
        )
        weights = (cfg.agl_weight, cfg.mag_weight, cfg.cosine_weight, cfg.direction_mse_weight, cfg.scale_weight)
        total = sum(weight * value for weight, value in zip(weights, values, strict=True))
        return {"loss": total, **dict(zip(LOSS_PARTS, values, strict=True))}

    def dense(self, kind: str, prediction, target, delta: float, batch, weight):
        """One plane's loss of the configured kind. weight [B,1,H,W] of the pixels, or None."""
        if kind == "r2":
            return city_r2_loss(prediction, target, batch["city"])
        return dense_loss(kind, prediction, target, delta, self.cfg.trim, self.cfg.focal_gamma, weight)

    def scale(self, outputs, batch, lean):
        """Weighted squared error of the scale head or, without one, of the least-squares scale. 0 if it has no weight.

        lean [B] weighs the images.
        """
        if not self.cfg.scale_weight:
            return outputs["agl_m"].new_zeros(())
        if "scale_px_per_m" in outputs:
            scale_px_per_m = outputs["scale_px_per_m"]
        else:
            scale_px_per_m = fit_scale(outputs["mag_px"], outputs["agl_m"])[:, 0]
        error = (scale_px_per_m - batch["scale_px_per_m"].float()).square()
        return (error * lean).sum() / lean.sum()


def _fill_unknown(prediction, target):
    """float32 prediction, target whose unknown pixels hold the prediction's values, and the mask of known pixels."""
    prediction, target = prediction.float(), target.float()
    known = ~torch.isnan(target)
    return prediction, torch.where(known, target, prediction.detach()), known


def _trimmed_mean(loss, known, trim: float):
    """Mean of loss [B,N] over known [B,N] without the share `trim` of the largest known values of each row."""
    ranked = torch.where(known, loss, torch.inf).sort(dim=1).values
    keep = known.sum(1) - (known.sum(1) * trim).floor().long()
    kept = torch.arange(loss.shape[1], device=loss.device) < keep[:, None]
    return torch.where(kept, ranked, 0.0).sum() / keep.sum().clamp(min=1)
