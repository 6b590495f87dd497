"""The heads: dense height and flow magnitude, and the image-wide direction and scale."""

import torch
from pytorch_toolbelt.modules.activations import instantiate_activation_block
from torch import nn


class GradualUpsample(nn.Sequential):
    """Features [B,C,h,w] to [B,channels,times*h,times*w], times a power of 2.

    Each doubling is: upsample x2, 3x3 convolution, norm, activation.
    """

    def __init__(self, in_channels: int, channels: int, times: int, activation: str):
        layers = []
        while times > 1:
            layers += [
                nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
                nn.Conv2d(in_channels, channels, 3, padding=1, bias=False),
                nn.BatchNorm2d(channels),
                instantiate_activation_block(activation, inplace=True),
            ]
            in_channels, times = channels, times // 2
        super().__init__(*layers)
        self.out_channels = in_channels


class DenseHead(nn.Module):
    """Features [B,C,h,w] to one plane [B,1,stride*h,stride*w], enlarged bilinearly.

    The last layer runs in float32, because bfloat16 has steps of half a metre at 100 m. Its output is multiplied by
    unit.
    """

    def __init__(self, in_channels: int, channels: int, stride: int, unit: float, activation: str):
        super().__init__()
        self.stride, self.unit = stride, unit
        self.hidden = nn.Sequential(
            nn.Conv2d(in_channels, channels, 3, padding=1), instantiate_activation_block(activation, inplace=True)
        )
        self.output = nn.Conv2d(channels, 1, 3, padding=1)

    def forward(self, features):
        hidden = self.hidden(features)
        with torch.autocast(hidden.device.type, enabled=False):
            plane = self.unit * self.output(hidden.float())
            if self.stride == 1:
                return plane
            return nn.functional.interpolate(plane, scale_factor=self.stride, mode="bilinear", align_corners=False)


def pool(maps: list):
    """Spatial means of maps [B,C,h,w], concatenated: [B, sum of C]."""
    return torch.cat([feature_map.mean((-2, -1)) for feature_map in maps], dim=1)


class PooledDirectionHead(nn.Module):
    """Encoder maps [B,C,h,w] to the flow direction [B,2] (dx, dy). It is not normalised; the loss pulls it to length 1.

    The recipe pools the last map only. in_channels is the sum of the maps' channels.
    """

    def __init__(self, in_channels: int, activation: str, dropout: float):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(in_channels, in_channels),
            instantiate_activation_block(activation, inplace=True),
            nn.Linear(in_channels, 2),
        )

    def forward(self, maps: list):
        return self.layers(pool(maps)).float()


class PooledScaleHead(nn.Module):
    """Encoder maps [B,C,h,w] and gsd_m [B] to the image's scale [B] in px/m. It starts at 1.

    The scale is one number for the whole image, but it is visible only where a wall is seen. As a factor of all
    magnitudes it also reaches pixels without a wall. A sensor's gsd grows with its off-nadir angle, so gsd predicts
    much of the scale. A table over gsd with linear interpolation adds a term to the logarithm of the scale; a smooth
    function would not fit where the range of another sensor begins. The table uses native_gsd_m [B], the gsd before any
    resizing, and the result is converted to the gsd of the pixels. in_channels is the sum of the maps' channels.

    What the image says is misleading where images look unlike the training data: it made the scale of real images too
    large. dropout is the share of training images whose scale comes from the table alone. In predictions the image's
    term counts 1 - dropout, its mean weight in training. With 1 the table alone decides.
    """

    # AdamW moves a weight by about the learning rate per step. The table must cover a range of 3 in some hundred steps.
    TABLE_PACE = 10.0

    def __init__(self, in_channels: int, activation: str, dropout: float = 0.0):
        super().__init__()
        self.dropout = dropout
        self.layers = nn.Sequential(
            nn.Linear(in_channels, in_channels),
            instantiate_activation_block(activation, inplace=True),
            nn.Linear(in_channels, 1),
        )
        nn.init.zeros_(self.layers[-1].weight)
        nn.init.zeros_(self.layers[-1].bias)
        self.register_buffer("gsd_knots_m", torch.linspace(0.30, 0.60, 31), persistent=False)
        self.table = nn.Parameter(torch.zeros(len(self.gsd_knots_m)))

    def forward(self, maps: list, gsd_m, native_gsd_m):
        with torch.autocast(self.table.device.type, enabled=False):  # bfloat16 would change the scale by 0.4 %
            by_gsd = self.near_knots(native_gsd_m) @ (self.TABLE_PACE * self.table)
        by_image = self.layers(pool(maps)).float()[:, 0] * self.weight_of_image(by_gsd)
        native_scale = (by_image + by_gsd).exp()
        return native_scale * native_gsd_m.float() / gsd_m.float()

    def weight_of_image(self, by_gsd):
        """Weight of the image's term: one for all predictions, and 0 or 1 for each of the training images [B]."""
        if self.training and self.dropout:
            return (torch.rand_like(by_gsd) >= self.dropout).float()
        return 1.0 - self.dropout

    def near_knots(self, gsd_m):
        """Interpolation weights [B,K] of the knots for gsd_m [B]. They sum to 1; outside the table its end counts."""
        knots_m = self.gsd_knots_m
        inside_m = gsd_m.float().clamp(knots_m[0], knots_m[-1])[:, None]
        return (1 - (inside_m - knots_m).abs() / (knots_m[1] - knots_m[0])).clamp(min=0)


def direction_layers(in_channels: int, activation: str) -> nn.Sequential:
    """Layers from decoder features [B,C,h,w] to a direction per pixel [B,2,h,w]."""
    return nn.Sequential(
        nn.Conv2d(in_channels, in_channels, 3, padding=1),
        instantiate_activation_block(activation, inplace=True),
        nn.Conv2d(in_channels, 2, 1),
    )


class AttentionDirectionHead(nn.Module):
    """A direction per pixel, pooled with weights that are large where the predicted height changes, as at walls.

    forward(decoder features [B,C,h,w], agl_m [B,1,H,W]) returns [B,2]. The weights are a softmax over the absolute
    spatial gradient of the height, in float32. No gradient flows into the height.
    Source: an idea of the second-place write-up.
    """

    def __init__(self, in_channels: int, activation: str):
        super().__init__()
        self.dense = direction_layers(in_channels, activation)

    def forward(self, features, agl_m):
        direction = self.dense(features).float().flatten(2)
        agl_m = agl_m.detach().float()
        steep = nn.functional.pad((agl_m[..., 1:] - agl_m[..., :-1]).abs(), (0, 1))
        steep = steep + nn.functional.pad((agl_m[..., 1:, :] - agl_m[..., :-1, :]).abs(), (0, 0, 0, 1))
        steep = nn.functional.adaptive_avg_pool2d(steep, features.shape[-2:]).flatten(2)
        return (direction * steep.softmax(-1)).sum(-1)


class StandingDirectionHead(nn.Module):
    """A direction per pixel, averaged with the predicted height as weight.

    Only what stands leans: walls and roofs decide, and streets and shadows hardly count. Where a pixel does not show a
    direction, the head can predict a short vector, which then counts less than a long one.
    forward(decoder features [B,C,h,w], agl_m [B,1,H,W]) returns [B,2]. No gradient flows into the height.
    Source: the idea of attention of the second-place write-up, with heights in place of their gradients.
    """

    LEAST_M = 0.05  # weight of ground, so that an image without anything that stands has a direction as well
    MOST_M = 30.0  # so that one tower does not decide for all other buildings

    def __init__(self, in_channels: int, activation: str):
        super().__init__()
        self.dense = direction_layers(in_channels, activation)

    def forward(self, features, agl_m):
        direction = self.dense(features).float().flatten(2)
        weight = agl_m.detach().float().clamp(0.0, self.MOST_M) + self.LEAST_M
        weight = nn.functional.adaptive_avg_pool2d(weight, features.shape[-2:]).flatten(2)
        return (direction * weight).sum(-1) / weight.sum(-1)
