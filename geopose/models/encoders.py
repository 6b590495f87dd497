"""Encoders: timm networks as lists of feature maps with known channels and strides."""

import timm
import torch
from pytorch_toolbelt.modules.encoders import GenericTimmEncoder
from torch import nn

from geopose.cli import UserError, list_some
from geopose.config import ModelConfig
from geopose.models.weights import LITE0, create_backbone, load_lite0_weights


class Encoder(nn.Module):
    """Images uint8 or float [B,3,H,W] in 0..255 to feature maps, fine to coarse. It normalises its own input.

    channels and strides describe the maps.
    """

    def __init__(self, network: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]):
        super().__init__()
        self.network = network
        spec = network.get_output_spec()
        self.channels, self.strides = spec.channels, spec.strides
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1) * 255, persistent=False)

    def forward(self, image):
        return self.network((image.float() - self.mean) / self.std)


def create_encoder(cfg: ModelConfig, load_weights: bool = True) -> Encoder:
    """The encoder that cfg names. load_weights=False skips pretrained weights, for loading a checkpoint."""
    weights = cfg.encoder_weights if load_weights else "none"
    name, _, tag = cfg.encoder.partition(".")
    if timm.is_model(name) and tag and cfg.encoder not in timm.list_pretrained(f"{name}.*"):
        raise UserError(f"model.encoder={cfg.encoder}: there are {list_some(timm.list_pretrained(f'{name}.*'), 9)}")
    if not timm.is_model(cfg.encoder):
        near = timm.list_models(f"*{cfg.encoder.split('_')[-1]}*")[:5] or [LITE0, "resnet34"]
        raise UserError(f"model.encoder={cfg.encoder} is unknown; timm has {', '.join(near)}, ...")
    if weights == "packaged" and cfg.encoder != LITE0:
        raise UserError(
            f"model.encoder_weights=packaged exists for {LITE0} only, not for {cfg.encoder}; "
            "use none, download, or the path of a weight file of timm"
        )
    options = {"drop_path_rate": cfg.encoder_drop_path} if cfg.encoder_drop_path else {}
    if cfg.encoder.startswith("swin"):
        options["strict_img_size"] = False  # otherwise Swin accepts one image size only
    backbone = create_backbone(cfg.encoder, weights, options)
    if cfg.encoder_layers[-1] >= len(backbone.feature_info):
        raise UserError(
            f"model.encoder_layers={list(cfg.encoder_layers)}: {cfg.encoder} has layers 0 to "
            f"{len(backbone.feature_info) - 1}"
        )
    network = GenericTimmEncoder(channels_first(backbone), layers=list(cfg.encoder_layers))
    if weights == "packaged":
        load_lite0_weights(network.encoder)
    freeze(network.encoder, cfg.encoder_frozen)
    return Encoder(network, backbone.pretrained_cfg["mean"], backbone.pretrained_cfg["std"])


def freeze(network: nn.Module, prefixes: list[str]) -> None:
    """Keep the parameters with these name prefixes as they are. Batch norms still follow the data's statistics.

    Freezing the first and largest maps saves their backward pass. Raises UserError for a prefix without parameters.
    """
    for prefix in prefixes:
        frozen = [parameter for name, parameter in network.named_parameters() if name.startswith(prefix)]
        if not frozen:
            parts = ", ".join(name for name, _ in network.named_children())
            raise UserError(f"model.encoder_frozen: no encoder weight starts with {prefix}; its parts are {parts}")
        for parameter in frozen:
            parameter.requires_grad_(False)


class ChannelsFirst(nn.Module):
    """A timm feature network with maps [B,H,W,C], wrapped so that it returns [B,C,H,W]."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network, self.feature_info = network, network.feature_info

    def forward(self, image):
        return [feature_map.permute(0, 3, 1, 2).contiguous() for feature_map in self.network(image)]


def channels_first(backbone: nn.Module) -> nn.Module:
    """The network itself, or a wrapper when its maps are [B,H,W,C], as those of Swin are."""
    return ChannelsFirst(backbone) if getattr(backbone, "output_fmt", "NCHW") == "NHWC" else backbone
