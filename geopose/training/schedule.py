"""Learning rate schedule over a fixed number of epochs, or over as many steps as fit a time budget."""

import math
from bisect import bisect_right


class Schedule:
    """Learning rate as a factor of the peak, by optimizer step, for torch's LambdaLR.

    The progress of a run goes from 0 to 1. `boundaries` holds the progress at the optimizer steps of `steps`, and
    between them it is linear. A run on a time budget plans the next of these steps only when it has reached the last
    one; the finished lists are enough to repeat its schedule.
    """

    def __init__(self, kind: str, warmup_steps: int, min_factor: float, steps: list[int], boundaries: list[float]):
        self.kind, self.warmup_steps, self.min_factor = kind, warmup_steps, min_factor
        self.steps, self.boundaries = steps, boundaries

    def __call__(self, step: int) -> float:
        warmup = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        if self.kind != "cosine":
            return warmup
        cosine = 0.5 * (1 + math.cos(math.pi * self.progress(step)))
        return warmup * (self.min_factor + (1 - self.min_factor) * cosine)

    def progress(self, step: int) -> float:
        """Progress in [0, 1] after a number of optimizer steps."""
        part = bisect_right(self.steps, step)
        if part == len(self.steps):
            return self.boundaries[-1]
        first, start = (self.steps[part - 1], self.boundaries[part - 1]) if part else (0, 0.0)
        return start + (self.boundaries[part] - start) * (step - first) / (self.steps[part] - first)

    def plan(self, count: int, steps_left: int) -> None:
        """Plan `count` more steps of the `steps_left` steps until the end."""
        done = self.boundaries[-1]
        self.steps.append(self.steps[-1] + count)
        self.boundaries.append(1.0 if count == steps_left else done + (1 - done) * count / steps_left)


def fixed_boundaries(epochs: int) -> list[float]:
    """Boundaries of a run with a known number of epochs."""
    return [(epoch + 1) / epochs for epoch in range(epochs)]


def epoch_ends(epochs: int, steps_per_epoch: int) -> list[int]:
    """Optimizer steps at the ends of epochs."""
    return [(epoch + 1) * steps_per_epoch for epoch in range(epochs)]
