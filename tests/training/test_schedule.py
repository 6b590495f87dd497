"""The learning-rate schedule, by epochs and by a time budget."""

import pytest

from geopose.training.schedule import Schedule, fixed_boundaries, next_boundary


def test_cosine_falls_from_the_peak_to_the_floor_after_warmup():
    schedule = Schedule("cosine", 10, 5, 0.1, fixed_boundaries(4))
    factors = [schedule(step) for step in range(41)]
    assert factors[0] == pytest.approx(0.2)
    assert factors[4] > 0.9
    assert factors[5:] == sorted(factors[5:], reverse=True)
    assert factors[20] == pytest.approx(0.55)
    assert factors[40] == pytest.approx(0.1)
    assert schedule(1000) == pytest.approx(0.1)


def test_constant_only_warms_up():
    schedule = Schedule("constant", 10, 4, 0.1, fixed_boundaries(2))
    assert [schedule(step) for step in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]


def test_a_time_budget_is_filled_and_not_much_overrun():
    """Epochs of varying length on a budget of 100 s: progress reaches 1 exactly, within an epoch of the budget."""
    boundaries, clock = [0.0], 0.0
    for epoch in range(1000):
        seconds = 9 if epoch % 3 else 12
        clock += seconds
        if boundaries[-1] >= 1:
            break
        boundaries.append(next_boundary(boundaries, seconds, 100 - clock))
    assert boundaries[-1] == 1
    assert sorted(boundaries) == boundaries
    assert 85 <= clock <= 112


def test_a_budget_schedule_repeats_from_its_boundaries():
    boundaries = [0.0, 0.3, 0.5, 1.0]
    first, again = (Schedule("cosine", 7, 3, 0.0, list(boundaries)) for _ in range(2))
    assert [first(step) for step in range(30)] == [again(step) for step in range(30)]
    assert first.progress(6) == 0
    assert first.progress(14) == pytest.approx(0.3)
    assert first.progress(28) == 1
