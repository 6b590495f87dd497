"""Ending a training on a time budget: how many steps fit, and the callback that measures and plans them."""

import time
from dataclasses import dataclass

import torch
from catalyst.core.callback import Callback, CallbackOrder
from torch import distributed

from geopose.training.schedule import Schedule

SETTLING_STEPS = 5  # the first steps, which keep the peak rate and whose speed is measured


@dataclass
class Pace:
    """Measured seconds of an optimizer step and of a validation, for planning on a time budget.

    A validation counts as 0 s until the first one. If it takes the rest of the budget, the training ends after it, and
    the schedule stays short of its end.
    """

    steps_per_epoch: int
    step_seconds: float = 0.0
    validation_seconds: float = 0.0

    def count_steps(self, seconds_left: float, rest: int) -> int:
        """Optimizer steps that fit into the time, at least 1. rest: those until the epoch's end, at least 1.

        The validation at the end of the training is not part of the time, but those before it are. No epoch begins
        when the validation before it would take all the time.
        """
        if seconds_left <= rest * self.step_seconds:
            return max(1, int(seconds_left / self.step_seconds))
        after = seconds_left - rest * self.step_seconds - self.validation_seconds
        if after <= 0:
            return rest
        epochs, seconds = divmod(after, self.steps_per_epoch * self.step_seconds + self.validation_seconds)
        last = min(self.steps_per_epoch, int(seconds / self.step_seconds))
        return rest + int(epochs) * self.steps_per_epoch + last


def plan_next(schedule: Schedule, pace: Pace, seconds_left: float) -> bool:
    """Plan a run's next steps on a time budget when it has done those of the plan. False: it must end now.

    Half of the steps that are left are planned at once, but none beyond the end of the epoch. So the plan becomes finer
    towards the end, and the last plan is a single step.
    """
    if schedule.boundaries[-1] == 1 or seconds_left <= 0:
        return False
    rest = pace.steps_per_epoch - schedule.steps[-1] % pace.steps_per_epoch
    steps_left = pace.count_steps(seconds_left, rest)
    schedule.plan(min(rest, max(1, steps_left // 2)), steps_left)
    return True


class BudgetCallback(Callback):
    """Ends training on a time budget, within a few steps. The schedule is planned ahead in parts, see plan_next.

    The last validation is not part of the budget.
    """

    def __init__(self, seconds: float):
        super().__init__(order=CallbackOrder.External)
        self.seconds = seconds

    def on_experiment_start(self, runner) -> None:
        self.start = time.monotonic()
        self.pace = Pace(runner.steps_per_epoch)

    def state(self) -> dict:
        return {"spent": time.monotonic() - self.start, "validation": self.pace.validation_seconds}

    def restore(self, state: dict) -> None:
        self.start = time.monotonic() - state["spent"]
        self.pace.validation_seconds = state["validation"]

    def on_epoch_start(self, runner) -> None:
        self.begin_part(runner)

    def begin_part(self, runner) -> None:
        """Measure from here."""
        self.part_start, self.first_step = time.monotonic(), runner.optimizer_steps

    def on_batch_end(self, runner) -> None:
        done, planned = runner.optimizer_steps, runner.schedule.steps
        if not runner.is_train_loader or done not in planned or done == self.first_step:
            return
        self.part_end = time.monotonic()
        self.pace.step_seconds = (self.part_end - self.part_start) / (done - self.first_step)
        if done == planned[-1] and not runner.is_last_batch:
            self.plan(runner)
        self.begin_part(runner)

    def on_epoch_end(self, runner) -> None:
        self.pace.validation_seconds = time.monotonic() - self.part_end
        if not self.plan(runner):
            runner.need_early_stop = True

    def plan(self, runner) -> bool:
        """Plan the next part. False if the training must end now."""
        seconds_left = self.start + self.seconds - time.monotonic()
        measured = torch.tensor([seconds_left, self.pace.step_seconds, self.pace.validation_seconds])
        if distributed.is_initialized():  # every rank plans by rank 0's clock
            measured = measured.to(runner.engine.device)
            distributed.broadcast(measured, 0)
        seconds_left, self.pace.step_seconds, self.pace.validation_seconds = measured.tolist()
        return plan_next(runner.schedule, self.pace, seconds_left)
