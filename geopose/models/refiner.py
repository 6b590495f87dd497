"""The refiner: a small network that corrects the dense planes at full resolution, guided by the image."""

from itertools import pairwise

import torch
from pytorch_toolbelt.modules.activations import instantiate_activation_block
from torch import nn
from torch.nn import functional as F


class Refiner(nn.Module):
    """Adds a correction to planes [B,P,H,W], which were enlarged from the heads' stride and are soft at roof edges.

    It works at the heads' stride, on features [B,C,H/stride,W/stride] and on image and planes whose pixels are moved
    into channels, and moves its output's channels back into pixels. That is much cheaper than layers at full
    resolution. The last layer runs in float32, as in DenseHead, and starts at 0: a new refiner changes nothing.
    Source of the rearrangement: Shi et al. 2016, sub-pixel convolution.
    """

    def __init__(self, in_channels: int, planes: int, channels: int, stride: int, unit: float, activation: str):
        super().__init__()
        self.stride, self.unit = stride, unit
        widths = [in_channels + (3 + planes) * stride**2, channels, channels]
        layers = []
        for before, after in pairwise(widths):
            layers += [
                nn.Conv2d(before, after, 3, padding=1),
                instantiate_activation_block(activation, inplace=True),
            ]
        self.hidden = nn.Sequential(*layers)
        self.output = nn.Conv2d(channels, planes * stride**2, 3, padding=1)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, features, image, planes):
        """image [B,3,H,W] in 0..255, planes [B,P,H,W] in metres or px. Returns planes, float32."""
        fine = torch.cat([image / 127.5 - 1, planes / self.unit], dim=1)
        hidden = self.hidden(torch.cat([features, F.pixel_unshuffle(fine, self.stride)], dim=1))
        with torch.autocast(hidden.device.type, enabled=False):
            correction = self.output(hidden.float())
            return planes.float() + self.unit * F.pixel_shuffle(correction, self.stride)
