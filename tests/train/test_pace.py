"""When checkpoints are due, by a clock that the test moves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bactrian.train.pace import PRICE, SELDOM, SOON, Pace


class PaceClock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def saved(steps: int, step_seconds: float, cost: float, before: float = 0.0, until: float = 1e9) -> list[float]:
    """The times at which checkpoints are begun, seconds from the start of the process."""
    clock = PaceClock()
    pace, times = Pace(steps, None, cost=before, clock=clock), []
    for step in range(1, steps + 1):
        clock.now += step_seconds
        if clock.now - 100 > until:
            break
        if pace.due(step):
            times.append(clock.now - 100)
            with pace.saving(step):
                clock.now += cost
    return times


def test_the_first_comes_soon_and_the_rest_by_share_of_the_work() -> None:
    times = saved(1000, 1.0, 0.1)
    assert times[0] == SOON
    assert times[1] - times[0] == pytest.approx(20.1)  # 2 % of the steps


def test_long_runs_save_every_two_minutes() -> None:
    times = saved(100_000, 1.0, 0.5)
    assert times[2] - times[1] == pytest.approx(SELDOM + 0.5)


@given(st.integers(1, 2000), st.floats(0.01, 60), st.floats(0, 60))
def test_what_they_take_is_bounded_but_for_each_process_s_first(steps: int, step_seconds: float, cost: float) -> None:
    times = saved(steps, step_seconds, cost)
    assert cost * max(0, len(times) - 1) <= PRICE * (steps * step_seconds + cost * len(times)) + 1e-6


@given(st.floats(0.01, 60), st.floats(0, 60))
def test_whoever_is_killed_often_gets_as_far_as_a_checkpoint(step_seconds: float, cost: float) -> None:
    """A kill after any time that is enough for a start, a step and two checkpoints' time finds one written."""
    enough = max(SOON, cost) + step_seconds
    assert saved(10_000, step_seconds, cost, before=cost, until=enough + 1e-6)


def test_seconds_that_are_set_count_whatever_it_takes() -> None:
    clock = PaceClock()
    pace = Pace(100, 0.0, clock=clock)
    assert pace.due(1)
    with pace.saving(1):
        clock.now += 50
    assert pace.due(2)
    seldom = Pace(100, 60.0, clock=clock)
    clock.now += 6
    assert seldom.due(1)
    with seldom.saving(1):
        clock.now += 1
    clock.now += 59
    assert not seldom.due(99)
    clock.now += 1
    assert seldom.due(99)
