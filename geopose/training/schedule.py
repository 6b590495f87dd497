"""Learning rate schedule over a fixed number of epochs, or over as many as fit a time budget."""

import math


class Schedule:
    """Learning rate as a factor of the peak, by optimizer step, for torch's LambdaLR.

    The progress of a run goes from 0 to 1. `boundaries` holds the progress at the end of each planned epoch. A run on a
    time budget plans an epoch only when the previous one ends; the finished list is enough to repeat its schedule.
    """

    def __init__(self, kind: str, steps_per_epoch: int, warmup_steps: int, min_factor: float, boundaries: list[float]):
        self.kind, self.steps_per_epoch, self.warmup_steps = kind, steps_per_epoch, warmup_steps
        self.min_factor, self.boundaries = min_factor, boundaries

    def __call__(self, step: int) -> float:
        warmup = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        if self.kind != "cosine":
            return warmup
        cosine = 0.5 * (1 + math.cos(math.pi * self.progress(step)))
        return warmup * (self.min_factor + (1 - self.min_factor) * cosine)

    def progress(self, step: int) -> float:
        """Progress in [0, 1] after a number of optimizer steps."""
        epoch, inside = divmod(step, self.steps_per_epoch)
        if epoch >= len(self.boundaries):
            return self.boundaries[-1]
        start = self.boundaries[epoch - 1] if epoch else 0.0
        return start + (self.boundaries[epoch] - start) * inside / self.steps_per_epoch


def fixed_boundaries(epochs: int) -> list[float]:
    """Boundaries of a run with a known number of epochs."""
    return [(epoch + 1) / epochs for epoch in range(epochs)]


def next_boundary(boundaries: list[float], epoch_seconds: float, seconds_left: float) -> float:
    """End of the next epoch on a time budget.

    The progress that is left is divided among the epochs that still fit, at least one.
    """
    epochs_left = max(1, int(seconds_left / epoch_seconds))
    return boundaries[-1] + (1 - boundaries[-1]) / epochs_left
