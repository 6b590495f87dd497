"""The network: encoder, decoder, upsampling to the heads' stride, and the heads."""

import math

import torch
from pytorch_toolbelt.inference.functional import pad_tensor_to_size
from pytorch_toolbelt.modules import FPNDecoder, UnetBlock, UNetDecoder, UnetResidualBlock
from pytorch_toolbelt.modules.interfaces import FeatureMapsSpecification
from torch import nn

from geopose.cli import UserError
from geopose.config import ModelConfig
from geopose.models.depthwise import fast_depthwise
from geopose.models.encoders import Encoder, create_encoder
from geopose.models.heads import (
    AttentionDirectionHead,
    DenseHead,
    GradualUpsample,
    PooledDirectionHead,
    PooledScaleHead,
    StandingDirectionHead,
)
from geopose.models.refiner import Refiner
from geopose.models.tone import even_tone

DENSE_DIRECTION_HEADS = {"attention": AttentionDirectionHead, "standing": StandingDirectionHead}
UNET_BLOCKS = {"plain": UnetBlock, "residual": UnetResidualBlock}
CITY_DROPOUT = 0.1  # share of training images whose city is withheld, so that the slot of unknown cities is trained


class PoseModel(nn.Module):
    """Geocentric pose of images of any size. It pads to the encoder's coarsest stride and crops the result.

    model(image uint8 or float [B,3,H,W] in 0..255, gsd_m [B], city: B names, native_gsd_m [B]) returns
    {"agl_m": [B,1,H,W] metres, "mag_px": [B,1,H,W] px, "direction": [B,2] (dx, dy), not normalised}, all float32.
    native_gsd_m is the gsd before the image was resized; None means that it was not resized. With cfg.scale_head there
    is also "scale_px_per_m" [B], the factor that all magnitudes of an image share. The pose still comes from the
    planes: geometry.fit_scale(mag_px, agl_m) gives the scale.
    """

    def __init__(self, encoder: Encoder, cfg: ModelConfig):
        super().__init__()
        self.cfg, self.encoder = cfg, encoder
        self.kept_parts: list[str] = []
        self.decoder = create_decoder(encoder, cfg)
        finest = self.decoder.get_output_spec().channels[0]
        finer, rest = divmod(encoder.strides[0], cfg.head_stride)
        if rest:
            raise UserError(
                f"model.head_stride={cfg.head_stride} must divide {encoder.strides[0]}, the decoder's stride"
            )
        self.upsample = GradualUpsample(finest, cfg.head_channels, finer, cfg.activation)
        width = self.upsample.out_channels
        conditions = cfg.gsd_plane + (len(cfg.cities) + 1 if cfg.cities else 0)
        shape = (cfg.head_channels, cfg.head_stride, cfg.head_unit, cfg.activation)
        self.agl_head = DenseHead(width + conditions, *shape)
        self.mag_head = DenseHead(width, *shape)
        refined = (width, 2, cfg.refiner_channels, cfg.head_stride, cfg.head_unit, cfg.activation)
        self.refiner = Refiner(*refined) if cfg.refiner_channels else None
        pooled = sum(encoder.channels[-cfg.direction_maps :])
        self.scale_head = PooledScaleHead(pooled, cfg.activation, cfg.scale_dropout) if cfg.scale_head else None
        if cfg.direction_head in DENSE_DIRECTION_HEADS:
            self.direction_head = DENSE_DIRECTION_HEADS[cfg.direction_head](finest, cfg.activation)
        else:
            self.direction_head = PooledDirectionHead(pooled, cfg.activation, cfg.direction_dropout)

    def train_only(self, parts: list[str]) -> None:
        """Keep all other parts as they are, batch norms included. Without parts, all are trained.

        Raises UserError for an unknown part.
        """
        known = [name for name, _ in self.named_children()]
        for part in parts:
            if part not in known:
                raise UserError(f"train.parts: {part} is no part of this model; its parts are {', '.join(known)}")
        self.kept_parts = [name for name in known if parts and name not in parts]
        for name in self.kept_parts:
            self.get_submodule(name).requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True):
        super().train(mode)
        for name in self.kept_parts:
            self.get_submodule(name).eval()
        return self

    def __call__(self, image, gsd_m, city: list[str], native_gsd_m=None):
        """Names become numbers here, because a compiled forward is compiled again for every other list of names."""
        return super().__call__(image, gsd_m, self.number_cities(city, image.device), native_gsd_m)

    def number_cities(self, city: list[str], device: torch.device) -> torch.Tensor:
        """Places of cities in cfg.cities [B]. Unknown cities get the number after the last one."""
        known = {name: index for index, name in enumerate(self.cfg.cities)}
        return torch.tensor([known.get(name, len(known)) for name in city], device=device)

    def forward(self, image, gsd_m, city_index, native_gsd_m=None):
        image = image.float()
        if self.cfg.even_tone:
            image = even_tone(image)
        coarsest = self.encoder.strides[-1]
        padded_size = tuple(math.ceil(side / coarsest) * coarsest for side in image.shape[-2:])
        # Padding has the mean colour of the encoder's pretraining. For the first layer it is zero, as the padding of
        # its convolutions is. Repeated or mirrored pixels would look like walls.
        centred, inside = pad_tensor_to_size(image - self.encoder.mean, padded_size)
        image, inside = centred + self.encoder.mean, tuple(inside)
        with fast_depthwise(image.device):
            maps = self.encoder(image)
        decoded = self.decoder(maps)[0]
        features = self.upsample(decoded)
        agl_m = self.agl_head(torch.cat([features, *self.condition_planes(features, gsd_m, city_index)], dim=1))
        mag_px = self.mag_head(features)
        if self.refiner:
            agl_m, mag_px = self.refiner(features, image, torch.cat([agl_m, mag_px], dim=1)).split(1, dim=1)
        if self.cfg.direction_head in DENSE_DIRECTION_HEADS:
            direction = self.direction_head(decoded, agl_m)
        else:
            direction = self.direction_head(maps[-self.cfg.direction_maps :])
        outputs = {"agl_m": agl_m[inside], "mag_px": mag_px[inside], "direction": direction}
        if self.scale_head:
            native_gsd_m = gsd_m if native_gsd_m is None else native_gsd_m
            outputs["scale_px_per_m"] = self.scale_head(maps[-self.cfg.direction_maps :], gsd_m, native_gsd_m)
            outputs["mag_px"] = outputs["mag_px"] * outputs["scale_px_per_m"][:, None, None, None]
        return outputs

    def condition_planes(self, features, gsd_m, city_index) -> list:
        """Extra inputs of the height head as planes [B,C,H,W]: gsd in metres, and the city as one-hot."""
        planes = [gsd_m.to(features).view(-1, 1)] if self.cfg.gsd_plane else []
        if self.cfg.cities:
            unknown = len(self.cfg.cities)
            if self.training:
                withheld = torch.rand(city_index.shape, device=city_index.device) < CITY_DROPOUT
                city_index = torch.where(withheld, unknown, city_index)
            planes.append(nn.functional.one_hot(city_index, unknown + 1).to(features))
        return [plane[:, :, None, None].expand(-1, -1, *features.shape[-2:]) for plane in planes]


def create_decoder(encoder: Encoder, cfg: ModelConfig) -> nn.Module:
    """The decoder that cfg names, on all maps of the encoder."""
    spec = FeatureMapsSpecification(encoder.channels, encoder.strides)
    if cfg.decoder == "fpn":
        return FPNDecoder(spec, out_channels=cfg.decoder_channels[0])
    return UNetDecoder(
        spec,
        out_channels=tuple(cfg.decoder_channels),
        block_type=UNET_BLOCKS[cfg.decoder_block],
        upsample_block=cfg.upsample,
        # By default toolbelt aligns corners, which shifts maps by up to half a pixel towards the borders.
        upsample_kwargs={"align_corners": False} if cfg.upsample == "bilinear" else None,
        activation=cfg.activation,
    )


def create_model(cfg: ModelConfig, load_weights: bool = True) -> PoseModel:
    """The network of a config. load_weights=False leaves the encoder random, for loading a checkpoint."""
    return PoseModel(create_encoder(cfg, load_weights), cfg)


def count_parameters(model: nn.Module) -> int:
    """Number of parameters, frozen ones included."""
    return sum(p.numel() for p in model.parameters())
