"""Losses of an unpaired translation."""

import torch
from torch.nn.functional import conv2d, cross_entropy

SOBEL = ((-1.0, 0.0, 1.0), (-2.0, 0.0, 2.0), (-1.0, 0.0, 1.0))


def patch_nce(queries: list[torch.Tensor], keys: list[torch.Tensor], temperature: float) -> torch.Tensor:
    """Contrastive loss: a place of the translated image must resemble the same place of the original, and no other one.

    queries and keys: unit vectors [B,N,C], one pair per feature map. Returns the mean over the maps.
    Source: Park et al., ECCV 2020, equation 4.
    """
    losses = []
    for query, key in zip(queries, keys, strict=True):
        alike = query @ key.mT / temperature
        same = torch.arange(alike.shape[1], device=alike.device).expand(len(alike), -1)
        losses.append(cross_entropy(alike.transpose(1, 2), same))
    return torch.stack(losses).mean()


def edge_loss(image: torch.Tensor, translated: torch.Tensor) -> torch.Tensor:
    """1 - correlation of the strengths of all edges of two images [B,3,H,W], mean over the batch.

    Light and dark may swap, but edges must not move. 0 for equal images, 1 for images that have nothing in common.
    """
    first, second = (standardise(edge_strength(x.float())) for x in (image, translated))
    return 1 - (first * second).mean()


def edge_strength(image: torch.Tensor) -> torch.Tensor:
    """Length of the brightness gradient [B,1,h,w] of images [B,3,H,W], without a border of 1 px."""
    across = torch.tensor(SOBEL, device=image.device)
    kernels = torch.stack([across, across.T])[:, None]
    return conv2d(image.mean(dim=1, keepdim=True), kernels).square().sum(dim=1, keepdim=True).add(1e-6).sqrt()


def standardise(planes: torch.Tensor) -> torch.Tensor:
    """Planes [B,1,H,W] with mean 0 and variance 1 each."""
    variance, mean = torch.var_mean(planes, dim=(1, 2, 3), keepdim=True, correction=0)
    return (planes - mean) / (variance + 1e-6).sqrt()


def realness_loss(opinion: torch.Tensor, wanted: float) -> torch.Tensor:
    """Least squares of a discriminator's opinion against 1 (the target) or 0 (translated)."""
    return (opinion.float() - wanted).square().mean()
