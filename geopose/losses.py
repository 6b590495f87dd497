"""The training loss. A NaN target means unknown: it contributes neither to a sum nor to its count."""

import torch
from torch import nn
from torch.nn import functional as F

from geopose.config import LossConfig
from geopose.geometry import flow_direction, magnitude


def masked_huber(prediction, target, delta: float):
    """Mean Huber loss over the known pixels of target; 0, with a gradient of 0, when none is known.

    prediction, target [B,1,H,W], in float32; target may hold NaN. Returns a scalar.
    """
    known = ~torch.isnan(target)
    target = torch.where(known, target, prediction.detach())
    loss = F.huber_loss(prediction.float(), target.float(), reduction="none", delta=delta)
    return (loss * known).sum() / known.sum().clamp(min=1)


def direction_cosine(direction, target):
    """Mean of 1 - cosine between directions [B,2]."""
    return (1 - F.cosine_similarity(direction.float(), target.float(), dim=-1)).mean()


class PoseLoss(nn.Module):
    """Weighted sum of Huber on height and magnitude, 1 - cosine and squared error on direction.

    forward(outputs of PoseModel, batch with agl_m [B,1,H,W], scale_px_per_m [B], angle_rad [B]) returns
    {"loss": scalar, "loss_agl", "loss_mag", "loss_cosine", "loss_direction"}; the parts are unweighted.
    Source: second-place write-up of the Overhead Geopose Challenge.
    """

    def __init__(self, cfg: LossConfig):
        super().__init__()
        self.cfg = cfg

    def forward(self, outputs, batch):
        cfg = self.cfg
        target_direction = flow_direction(batch["angle_rad"])
        target_mag_px = magnitude(batch["agl_m"], batch["scale_px_per_m"][:, None])
        parts = {
            "loss_agl": masked_huber(outputs["agl_m"], batch["agl_m"], cfg.agl_delta_m),
            "loss_mag": masked_huber(outputs["mag_px"], target_mag_px, cfg.mag_delta_px),
            "loss_cosine": direction_cosine(outputs["direction"], target_direction),
            "loss_direction": F.mse_loss(outputs["direction"].float(), target_direction.float()),
        }
        weights = (cfg.agl_weight, cfg.mag_weight, cfg.cosine_weight, cfg.direction_mse_weight)
        total = sum(weight * part for weight, part in zip(weights, parts.values(), strict=True))
        return {"loss": total, **parts}
