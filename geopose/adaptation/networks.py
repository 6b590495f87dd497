"""The networks of an unpaired translation: a generator that cannot move pixels by design, and a patch discriminator.

Source of the method: Park et al., Contrastive Learning for Unpaired Image-to-Image Translation (ECCV 2020), the
variant FastCUT. Differences: the generator adds to its input, and it halves and doubles sizes symmetrically.
"""

import math
from itertools import pairwise

import numpy as np
import torch
from pytorch_toolbelt.inference.functional import pad_tensor_to_size
from torch import nn
from torch.nn.functional import normalize
from torch.nn.utils.parametrizations import spectral_norm

from geopose.devices import tf32

STRIDE = 4  # the generator's coarsest
PROJECTED = 128  # length of the vectors that the contrastive loss compares


class Generator(nn.Module):
    """Images [B,3,H,W] in [-1, 1] to translated ones of the same size, and the feature maps of its encoder.

    The translation is the image plus what the network computes, at first nothing. Pooling over 2x2 pixels and bilinear
    enlargement without aligned corners keep every feature over the pixels that it was computed from, so no layer shifts
    or zooms. Sides are padded to multiples of STRIDE.
    """

    def __init__(self, width: int, blocks: int):
        super().__init__()
        self.channels = (width, 2 * width, 4 * width, 4 * width)
        half = blocks // 2
        self.encoder = nn.ModuleList(
            [
                convolution(3, width, 7),
                nn.Sequential(nn.AvgPool2d(2), convolution(width, 2 * width)),
                nn.Sequential(nn.AvgPool2d(2), convolution(2 * width, 4 * width)),
                nn.Sequential(*(ResidualBlock(4 * width) for _ in range(half))),
            ]
        )
        self.decoder = nn.Sequential(
            *(ResidualBlock(4 * width) for _ in range(blocks - half)),
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
            convolution(4 * width, 2 * width),
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
            convolution(2 * width, width),
        )
        self.output = nn.Conv2d(width, 3, 7, padding=3, padding_mode="reflect")
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def encode(self, image) -> list[torch.Tensor]:
        """Feature maps at strides 1, 2, 4 and 4."""
        maps = []
        for stage in self.encoder:
            image = stage(image)
            maps.append(image)
        return maps

    def forward(self, image):
        size = tuple(math.ceil(side / STRIDE) * STRIDE for side in image.shape[-2:])
        padded, inside = pad_tensor_to_size(image, size, mode="replicate")
        maps = self.encode(padded)
        change = self.output(self.decoder(maps[-1]))
        return image + change[tuple(inside)], maps


def convolution(inputs: int, outputs: int, side: int = 3) -> nn.Sequential:
    """Convolution that keeps the size, instance norm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, side, padding=side // 2, padding_mode="reflect"),
        nn.InstanceNorm2d(outputs, affine=True),
        nn.ReLU(inplace=True),
    )


class ResidualBlock(nn.Module):
    """Two convolutions whose result is added to their input."""

    def __init__(self, channels: int):
        super().__init__()
        self.layers = nn.Sequential(convolution(channels, channels), *convolution(channels, channels)[:2])

    def forward(self, maps):
        return maps + self.layers(maps)


class Translator(nn.Module):
    """A generator and what the contrastive loss needs of it.

    model(image [B,3,H,W] in [-1, 1], patches) returns {"translated": [B,3,H,W], "queries": .., "keys": ..}. Queries and
    keys are lists of [B,patches,PROJECTED], one per feature map: unit vectors of the translated and of the given image
    at the same random places. Keys have no gradient.
    """

    def __init__(self, generator: Generator):
        super().__init__()
        self.generator = generator
        self.projections = nn.ModuleList(
            nn.Sequential(nn.Linear(channels, PROJECTED), nn.ReLU(), nn.Linear(PROJECTED, PROJECTED))
            for channels in generator.channels
        )

    def forward(self, image, patches: int):
        translated, maps = self.generator(image)
        areas = [feature_map.shape[-2] * feature_map.shape[-1] for feature_map in maps]
        places = [torch.randperm(area, device=image.device)[:patches] for area in areas]
        with torch.no_grad():
            keys = self.project(maps, places)
        return {
            "translated": translated,
            "queries": self.project(self.generator.encode(translated), places),
            "keys": keys,
        }

    def project(self, maps, places) -> list[torch.Tensor]:
        """Unit vectors [B,N,PROJECTED] of each map [B,C,h,w] at its places [N]."""
        vectors = (feature_map.flatten(2)[:, :, where].mT for feature_map, where in zip(maps, places, strict=True))
        return [
            normalize(projection(v).float(), dim=-1) for projection, v in zip(self.projections, vectors, strict=True)
        ]


def create_discriminator(width: int) -> nn.Sequential:
    """Images [B,3,H,W] to a plane [B,1,h,w]: how much each patch of 46 px looks like the target. Spectral norm."""
    widths = (3, width, 2 * width, 4 * width)
    layers = []
    for inputs, outputs in pairwise(widths):
        layers += [spectral_norm(nn.Conv2d(inputs, outputs, 4, stride=2, padding=1)), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, spectral_norm(nn.Conv2d(widths[-1], 1, 4, padding=1)))


def to_signed(image: torch.Tensor) -> torch.Tensor:
    """Images uint8 as float32 in [-1, 1]."""
    return image.float() / 127.5 - 1


def to_bytes(image: torch.Tensor) -> np.ndarray:
    """One image [3,H,W] in [-1, 1] as uint8 [H,W,3]."""
    values = ((image.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return np.ascontiguousarray(values.permute(1, 2, 0).cpu().numpy())


@torch.inference_mode()
def translate_rgb(generator: Generator, rgb: np.ndarray) -> np.ndarray:
    """A translated image uint8 [H,W,3], computed on the generator's device in float32."""
    image = torch.from_numpy(np.ascontiguousarray(rgb.transpose(2, 0, 1)))[None]
    with tf32(False):
        return to_bytes(generator(to_signed(image.to(generator.output.weight.device)))[0][0])
