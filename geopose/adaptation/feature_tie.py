"""A tie of the encoder's last features to those of its pretrained weights, so that training on one kind of images does
not lose what makes the encoder see others.

The recipe is the feature constraint of SynRS3D (arXiv 2406.18151). Two things differ here. The loss is a mean over all
places and not over those that count, so it fades out as they become fewer. And the encoders here have batch norms,
where that of SynRS3D has none: the pretrained one normalises by the statistics of the batch, as the trained one does,
so that both are equal when training starts from the pretrained weights.
"""

from dataclasses import replace

import torch
from torch import nn
from torch.nn import functional as F

from geopose.config import ModelConfig
from geopose.models.encoders import create_encoder
from geopose.models.model import PoseModel

TIED_BELOW = 0.8


class FeatureTie:
    """The pretrained encoder, frozen, and the last features that a model has computed."""

    def __init__(self, cfg: ModelConfig, device: torch.device):
        encoder = create_encoder(replace(cfg, encoder_drop_path=0.0)).requires_grad_(False)
        self.pretrained = encoder.to(device=device, memory_format=torch.channels_last)

    def watch(self, model: PoseModel) -> None:
        """Keep the features of every forward pass of a model from now on."""
        model.encoder.register_forward_hook(self.keep)

    def keep(self, encoder: nn.Module, images: tuple, maps: list) -> None:
        """A forward hook of the encoder."""
        self.image, self.features = images[0].detach(), maps[-1]

    def loss(self):
        """tie_loss of the last forward pass. Computed under the caller's autocast."""
        with torch.no_grad():
            wanted = self.pretrained(self.image)[-1]
        return tie_loss(self.features, wanted)


def tie_loss(features, wanted):
    """Mean over the places of maps [B,C,h,w] of 1 - cosine similarity, in float32. Places above TIED_BELOW count 0."""
    cosine = F.cosine_similarity(features.float(), wanted.float(), dim=1)
    return ((1 - cosine) * (cosine < TIED_BELOW)).mean()
