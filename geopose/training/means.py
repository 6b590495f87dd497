"""Means of a training's losses over an epoch and all of its processes."""

import torch

from geopose.training.processes import all_reduce_sum


class RunningMeans:
    """Means over the batches of an epoch and all ranks, as the metrics of a loader."""

    def __init__(self, *names: str):
        self.names, self.sums = names, torch.zeros(len(names) + 1, dtype=torch.float64)

    def add(self, *values: torch.Tensor, count: int = 1) -> torch.Tensor:
        """Add the values of one batch, which counts count times. Returns them on the CPU, float64."""
        found = torch.stack([value.detach() for value in values]).double().cpu()
        self.sums += count * torch.cat([found, torch.ones(1, dtype=torch.float64)])
        return found

    def compute(self, device: torch.device) -> dict[str, float]:
        """The means. They are 0 without a batch."""
        sums = all_reduce_sum(self.sums, device)
        return dict(zip(self.names, (sums[:-1] / sums[-1].clamp(min=1)).tolist(), strict=True))
