"""Encoders: timm networks and pytorch-toolbelt's B6/B7, as lists of feature maps with known channels and strides."""

import timm
import torch
from pytorch_toolbelt.modules import encoders as toolbelt
from torch import nn

from geopose.cli import UserError
from geopose.config import ModelConfig
from geopose.models.weights import load_lite0_weights

TOOLBELT_ENCODERS = {"B6Encoder": toolbelt.B6Encoder, "B7Encoder": toolbelt.B7Encoder}
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Encoder(nn.Module):
    """Images uint8 or float [B,3,H,W] in 0..255 to feature maps, fine to coarse; scales its own input.

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
    """The encoder that cfg names. load_weights=False skips pretrained weights (a checkpoint follows)."""
    weights = cfg.encoder_weights if load_weights else "none"
    if cfg.encoder in TOOLBELT_ENCODERS:
        network = TOOLBELT_ENCODERS[cfg.encoder](
            pretrained=weights == "download", layers=list(cfg.encoder_layers), activation=cfg.activation
        )
        mean, std = IMAGENET_MEAN, IMAGENET_STD
    else:
        if not timm.is_model(cfg.encoder):
            near = timm.list_models(f"*{cfg.encoder.split('_')[-1]}*")[:5]
            names = ", ".join([*near, *TOOLBELT_ENCODERS])
            raise UserError(f"model.encoder={cfg.encoder} is unknown; there are timm's names and {names}")
        # Swin insists on one image size unless told not to.
        options = {"strict_img_size": False} if cfg.encoder.startswith("swin") else {}
        backbone = timm.create_model(cfg.encoder, pretrained=weights == "download", features_only=True, **options)
        network = toolbelt.GenericTimmEncoder(channels_first(backbone), layers=list(cfg.encoder_layers))
        mean, std = backbone.pretrained_cfg["mean"], backbone.pretrained_cfg["std"]
    if weights == "packaged":
        if cfg.encoder != "tf_efficientnet_lite0":
            raise UserError(
                f"model.encoder_weights=packaged exists for tf_efficientnet_lite0 alone, not {cfg.encoder}; "
                "use none, download, or the path of a state dict"
            )
        load_lite0_weights(network.encoder)
    elif weights not in ("none", "download"):
        load_state_file(network, weights)
    freeze(network.encoder, cfg.encoder_frozen)
    return Encoder(network, mean, std)


def freeze(network: nn.Module, prefixes: list[str]) -> None:
    """Keep the parameters with these name prefixes as they are; batch norms still follow the data's statistics.

    Freezing the first, largest maps saves their backward pass. Raises UserError for a prefix that fits no parameter.
    """
    for prefix in prefixes:
        frozen = [parameter for name, parameter in network.named_parameters() if name.startswith(prefix)]
        if not frozen:
            parts = ", ".join(name for name, _ in network.named_children())
            raise UserError(f"model.encoder_frozen: no encoder weight starts with {prefix}; its parts are {parts}")
        for parameter in frozen:
            parameter.requires_grad_(False)


class ChannelsFirst(nn.Module):
    """A timm feature network whose maps are [B,H,W,C], with them as [B,C,H,W]."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network, self.feature_info = network, network.feature_info

    def forward(self, image):
        return [feature_map.permute(0, 3, 1, 2).contiguous() for feature_map in self.network(image)]


def channels_first(backbone: nn.Module) -> nn.Module:
    """The network itself, or a wrapper when its maps come as [B,H,W,C] (Swin's do)."""
    return ChannelsFirst(backbone) if getattr(backbone, "output_fmt", "NCHW") == "NHWC" else backbone


def load_state_file(network: nn.Module, path: str) -> None:
    """Load a state dict saved by torch.save, strictly; data only, no code is unpickled."""
    try:
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such file; model.encoder_weights takes none, packaged, download or a path"
        ) from None
    except RuntimeError as error:
        raise UserError(f"{path}: does not fit the encoder ({error})") from None
