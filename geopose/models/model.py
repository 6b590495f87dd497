"""The network: encoder, U-Net decoder, three heads."""

import math

import torch
from pytorch_toolbelt.inference.functional import pad_tensor_to_size
from pytorch_toolbelt.modules import UnetBlock, UNetDecoder, UnetResidualBlock
from pytorch_toolbelt.modules.interfaces import FeatureMapsSpecification
from torch import nn

from geopose.config import ModelConfig
from geopose.models.encoders import Encoder, create_encoder
from geopose.models.heads import DenseHead, DirectionHead, GradualUpsample

UNET_BLOCKS = {"plain": UnetBlock, "residual": UnetResidualBlock}


class PoseModel(nn.Module):
    """Geocentric pose of images of any size: pads to the encoder's coarsest stride inside and crops back.

    forward(image uint8 or float [B,3,H,W] in 0..255, gsd_m [B]) returns
    {"agl_m": [B,1,H,W] metres, "mag_px": [B,1,H,W] px, "direction": [B,2] (dx, dy), not normalised}, all float32.
    The scale is no head: geometry.fit_scale(mag_px, agl_m) gives it.
    """

    def __init__(self, encoder: Encoder, cfg: ModelConfig):
        super().__init__()
        self.encoder = encoder
        self.decoder = UNetDecoder(
            FeatureMapsSpecification(encoder.channels, encoder.strides),
            out_channels=tuple(cfg.decoder_channels),
            block_type=UNET_BLOCKS[cfg.decoder_block],
            upsample_block=cfg.upsample,
            activation=cfg.activation,
        )
        self.upsample = GradualUpsample(cfg.decoder_channels[0], cfg.head_channels, encoder.strides[0], cfg.activation)
        width = self.upsample.out_channels
        self.agl_head = DenseHead(width + 1, cfg.head_channels, cfg.activation)  # one plane more: gsd
        self.mag_head = DenseHead(width, cfg.head_channels, cfg.activation)
        self.direction_head = DirectionHead(encoder.channels[-1], cfg.activation, cfg.direction_dropout)

    def forward(self, image, gsd_m):
        coarsest = self.encoder.strides[-1]
        padded_size = tuple(math.ceil(side / coarsest) * coarsest for side in image.shape[-2:])
        image, inside = pad_tensor_to_size(image.float(), padded_size, mode="replicate")
        maps = self.encoder(image)
        features = self.upsample(self.decoder(maps)[0])
        gsd_plane = gsd_m.to(features.dtype).view(-1, 1, 1, 1).expand(-1, 1, *features.shape[-2:])
        return {
            "agl_m": self.agl_head(torch.cat([features, gsd_plane], dim=1))[tuple(inside)],
            "mag_px": self.mag_head(features)[tuple(inside)],
            "direction": self.direction_head(maps[-1]),
        }


def create_model(cfg: ModelConfig, load_weights: bool = True) -> PoseModel:
    """The network of a config. load_weights=False leaves the encoder random, for loading a checkpoint."""
    return PoseModel(create_encoder(cfg, load_weights), cfg)


def count_parameters(model: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
