"""The learning-rate schedule, by epochs and by a time budget."""

from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from geopose.training import budget
from geopose.training.budget import SETTLING_STEPS, BudgetCallback, Pace, plan_next
from geopose.training.schedule import Schedule, epoch_ends, fixed_boundaries


def test_cosine_falls_from_the_peak_to_the_floor_after_warmup():
    schedule = Schedule("cosine", 5, 0.1, epoch_ends(4, 10), fixed_boundaries(4))
    factors = [schedule(step) for step in range(41)]
    assert factors[0] == pytest.approx(0.2)
    assert factors[4] > 0.9
    assert factors[5:] == sorted(factors[5:], reverse=True)
    assert factors[20] == pytest.approx(0.55)
    assert factors[40] == pytest.approx(0.1)
    assert schedule(1000) == pytest.approx(0.1)


def test_constant_only_warms_up():
    schedule = Schedule("constant", 4, 0.1, epoch_ends(2, 10), fixed_boundaries(2))
    assert [schedule(step) for step in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]


class Clocked:
    """A training in which only the clock moves: what BudgetCallback uses of a runner. Steps take 0.3 s or 0.5 s."""

    is_train_loader, need_early_stop, optimizer_steps = True, False, 0

    def __init__(self, monkeypatch, seconds: float, steps_per_epoch: int, validation_seconds: float):
        monkeypatch.setattr(budget, "time", SimpleNamespace(monotonic=lambda: self.clock))
        self.clock, self.seconds = 50.0, seconds
        self.steps_per_epoch, self.validation_seconds = steps_per_epoch, validation_seconds
        self.schedule = Schedule("cosine", 0, 0.0, [1, SETTLING_STEPS], [0.0, 0.0])
        self.engine = SimpleNamespace(device=torch.device("cpu"))
        self.begin()

    def begin(self, state=None) -> None:
        self.callback = BudgetCallback(self.seconds)
        self.callback.on_experiment_start(self)
        if state:
            self.callback.restore(state)

    def train_epoch(self) -> float:
        """Returns the time at which it was trained, before its validation."""
        self.callback.on_epoch_start(self)
        for step in range(1, self.steps_per_epoch + 1):
            self.clock += 0.3 if step % 3 else 0.5
            self.optimizer_steps += 1
            self.is_last_batch = step == self.steps_per_epoch
            self.callback.on_batch_end(self)
            if self.optimizer_steps == self.schedule.steps[-1]:
                break
        trained, self.is_train_loader = self.clock, False
        self.clock += self.validation_seconds
        self.callback.on_batch_end(self)
        self.is_train_loader = True
        self.callback.on_epoch_end(self)
        return trained


@pytest.mark.parametrize("steps_per_epoch", [20, 100, 10_000])
@pytest.mark.parametrize("validation_seconds", [0.0, 7.0])
@pytest.mark.parametrize("pause_seconds", [None, 1000.0], ids=["", "interrupted"])
def test_a_time_budget_is_kept_within_a_few_steps(monkeypatch, steps_per_epoch, validation_seconds, pause_seconds):
    """Steps of varying length on a budget of 100 s: progress rises to 1, and the rate falls without a jump."""
    training = Clocked(monkeypatch, 100.0, steps_per_epoch, validation_seconds)
    start = training.clock
    while not training.need_early_stop:
        trained = training.train_epoch()
        if pause_seconds and training.optimizer_steps == steps_per_epoch:
            state = training.callback.state()
            training.clock, start = training.clock + pause_seconds, start + pause_seconds
            training.begin(state)
            assert training.callback.state() == pytest.approx(state)
    schedule = training.schedule
    assert schedule.boundaries[-1] == 1
    assert schedule.boundaries == sorted(schedule.boundaries)
    assert 100 - max(1.5, 1.2 * validation_seconds) <= trained - start <= 101
    rates = [schedule(step) for step in range(training.optimizer_steps + 1)]
    assert rates[:SETTLING_STEPS] == [1] * SETTLING_STEPS
    assert max(a - b for a, b in pairwise(rates)) < 0.05
    assert rates[-1] == pytest.approx(0, abs=1e-9)


def test_every_rank_plans_by_the_first_ones_clock(monkeypatch):
    """40 s are left for steps of 0.5 s, whatever this rank has measured: half of 80 steps are planned."""
    training = Clocked(monkeypatch, 100.0, 1000, 0.0)
    training.callback.pace.step_seconds = 9.0
    monkeypatch.setattr(budget.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(budget.distributed, "broadcast", lambda own, rank: own.copy_(torch.tensor([40.0, 0.5, 7.0])))
    assert training.callback.plan(training)
    assert training.schedule.steps == [1, SETTLING_STEPS, SETTLING_STEPS + 40]
    assert training.callback.state()["validation"] == 7


@given(
    st.integers(1, 400), st.integers(1, 20), st.integers(1, 20), st.integers(0, 30), st.sampled_from([0.25, 1.0, 2.0])
)
def test_as_many_steps_fit_as_a_clock_counts(seconds_left, rest, steps_per_epoch, validation_seconds, step_seconds):
    """The last validation is not part of the time."""
    pace = Pace(steps_per_epoch, step_seconds, validation_seconds)
    counted, clock, until = 0, 0.0, rest
    while clock < seconds_left:
        fits = min(until, int((seconds_left - clock) / step_seconds))
        counted += fits
        if fits < until:
            break
        clock, until = clock + fits * step_seconds + validation_seconds, steps_per_epoch
    assert pace.count_steps(seconds_left, rest) == max(1, counted)


def test_a_budget_that_is_over_ends_at_once():
    schedule = Schedule("cosine", 0, 0.0, [1, SETTLING_STEPS], [0.0, 0.0])
    assert not plan_next(schedule, Pace(100, step_seconds=1.0), -0.1)
    assert schedule.steps == [1, SETTLING_STEPS]


def test_no_epoch_begins_whose_validation_takes_the_time_that_is_left():
    schedule = Schedule("cosine", 0, 0.0, [100], [0.5])
    pace = Pace(100, step_seconds=1.0, validation_seconds=30.0)
    assert plan_next(schedule, pace, 120.0)
    assert schedule.steps == [100, 150]
    while plan_next(schedule, pace, 120.0 + 100 - schedule.steps[-1]):
        pass
    assert (schedule.steps[-1], schedule.boundaries[-1]) == (200, 1)


def test_a_budget_schedule_repeats_from_its_boundaries():
    steps, boundaries = [7, 12, 28], [0.0, 0.3, 1.0]
    first, again = (Schedule("cosine", 3, 0.0, list(steps), list(boundaries)) for _ in range(2))
    assert [first(step) for step in range(30)] == [again(step) for step in range(30)]
    assert first.progress(6) == 0
    assert first.progress(12) == pytest.approx(0.3)
    assert first.progress(20) == pytest.approx(0.65)
    assert first.progress(28) == 1
