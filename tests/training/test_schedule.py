"""The learning-rate schedule, by epochs and by a time budget."""

from itertools import pairwise

import pytest

from geopose.training.budget import SETTLING_STEPS, Pace, plan_next
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


@pytest.mark.parametrize("steps_per_epoch", [20, 100, 10_000])
@pytest.mark.parametrize("validation_seconds", [0.0, 7.0])
def test_a_time_budget_is_kept_within_a_few_steps(steps_per_epoch, validation_seconds):
    """Steps of varying length on a budget of 100 s: progress rises to 1, and the rate falls without a jump."""
    schedule = Schedule("cosine", 0, 0.0, [1, SETTLING_STEPS], [0.0, 0.0])
    pace, clock, done = Pace(steps_per_epoch), 0.0, 0
    while True:
        start, first = clock, done
        for step in range(first, schedule.steps[-1]):
            clock += 0.3 if step % 3 else 0.5
        done = schedule.steps[-1]
        pace.step_seconds, trained = (clock - start) / (done - first), clock
        if done % steps_per_epoch == 0:
            clock += validation_seconds
            pace.validation_seconds = validation_seconds
        if not plan_next(schedule, pace, 100 - clock):
            break
    assert schedule.boundaries[-1] == 1
    assert schedule.boundaries == sorted(schedule.boundaries)
    assert 100 - max(1.5, 1.2 * validation_seconds) <= trained <= 101
    rates = [schedule(step) for step in range(done + 1)]
    assert max(a - b for a, b in pairwise(rates)) < 0.05
    assert rates[-1] == pytest.approx(0, abs=1e-9)


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
