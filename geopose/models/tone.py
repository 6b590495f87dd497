"""One tone for all images: a curve that brings the median brightness of every image near the same value."""

import math

import torch

MEDIAN = 0.45  # the brightness that medians are brought to, as a share of white: the mean of ImageNet
STRONGEST = 2.0  # exponents lie between 1 / STRONGEST and STRONGEST, so that night and fog keep their look


def even_tone(image):
    """image float [B,3,H,W] in 0..255, each with values raised to an exponent of its own. Black and white stay.

    Satellite images come with very different exposures, and networks raise dark ground. Black pixels, in all bands 0,
    often lie outside the scene and do not count for the median.
    """
    share = image / 255
    brightness = share.mean(1).flatten(1)
    inside = torch.where(brightness > 0, brightness, torch.nan)
    median = inside.nanmedian(1).values.nan_to_num(MEDIAN).clamp(1e-3, 1 - 1e-3)
    exponent = (math.log(MEDIAN) / median.log()).clamp(1 / STRONGEST, STRONGEST)
    return 255 * share ** exponent.view(-1, 1, 1, 1)
