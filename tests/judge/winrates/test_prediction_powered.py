"""Prediction-powered intervals: how often they hold, what a good judge saves, and the budget planned beforehand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bactrian.errors import BactrianError
from bactrian.judge.winrates.prediction_powered import correlation_of, label_budget, powered_rate


def verdicts(random: np.random.Generator, n: int, agreement: float, win: float = 0.6) -> tuple[np.ndarray, np.ndarray]:
    people = (random.random(n) < win).astype(float)
    return people, np.where(random.random(n) < agreement, people, 1 - people)


@pytest.mark.parametrize("agreement", [0.5, 0.85])
def test_95_of_100_intervals_hold_the_true_rate(agreement: float) -> None:
    random, held, widths = np.random.default_rng(11), 0, []
    for _ in range(400):
        people, judge = verdicts(random, 80, agreement)
        _, elsewhere = verdicts(random, 900, agreement)
        found = powered_rate(people, judge, elsewhere)
        held += found.interval[0] <= 0.6 <= found.interval[1]
        widths.append((found.interval[1] - found.interval[0]) / (found.classical[1] - found.classical[0]))
    assert 0.92 <= held / 400 <= 0.98
    # A judge at chance must not cost anything, a good one must save something.
    assert np.mean(widths) < (1.001 if agreement == 0.5 else 0.80)


def test_prompts_of_several_comparisons_are_one_draw() -> None:
    """Four copies of each comparison carry no more than one: the interval holds, and is that of the single ones."""
    random, held = np.random.default_rng(5), 0
    for _ in range(200):
        people, judge = verdicts(random, 40, 0.8)
        _, elsewhere = verdicts(random, 300, 0.8)
        four = [np.repeat(each, 4) for each in (people, judge, elsewhere)]
        here, there = [f"h{n // 4}" for n in range(160)], [f"t{n // 4}" for n in range(1200)]
        found = powered_rate(*four, here, there)
        held += found.interval[0] <= 0.6 <= found.interval[1]
    assert held / 200 >= 0.9
    assert found.interval == pytest.approx(powered_rate(people, judge, elsewhere).interval)


def test_a_biased_judge_does_not_bias_the_rate() -> None:
    random, rates = np.random.default_rng(2), []
    for _ in range(200):
        people, judge = verdicts(random, 60, 0.9)
        _, elsewhere = verdicts(random, 600, 0.9)
        lenient = [np.where(random.random(len(each)) < 0.3, 1.0, each) for each in (judge, elsewhere)]
        rates.append(powered_rate(people, *lenient).rate)
    assert np.mean(rates) == pytest.approx(0.6, abs=0.015)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.floats(0, 1)), min_size=2, max_size=20))
def test_without_further_verdicts_it_is_people_alone(pairs: list[tuple[float, float]]) -> None:
    people, judge = zip(*pairs, strict=True)
    found = powered_rate(people, judge, [])
    assert found.power == 0 and found.rate == pytest.approx(np.mean(people))
    assert found.interval == found.classical


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0], [1.0], [0.0]), "labels of 1 prompts"),
        (([1.0, 0.0], [1.0], [0.0]), "2 labels of people, 1 verdicts"),
        (([1.0, 0.0], [1.0, 0.0], [0.0], ["a", "b"], ["b"]), "1 prompts are in both parts, such as 'b'"),
    ],
)
def test_what_is_refused(arguments: tuple[list[float], ...], message: str) -> None:
    with pytest.raises(BactrianError, match=message):
        powered_rate(*arguments)


def test_the_budget_gives_the_width_that_was_planned() -> None:
    plan = label_budget(0.03, agreement=0.85, verdicts=20_000, win_rate=0.6)
    assert plan.labels < 0.65 * plan.without_judge
    random, halves = np.random.default_rng(3), []
    for _ in range(20):
        people, judge = verdicts(random, plan.labels, 0.85)
        _, elsewhere = verdicts(random, 20_000, 0.85)
        found = powered_rate(people, judge, elsewhere)
        halves.append((found.interval[1] - found.interval[0]) / 2)
    assert np.mean(halves) == pytest.approx(0.03, abs=0.001)


def test_a_judge_at_chance_saves_nothing_and_a_perfect_one_all_but_its_own_noise() -> None:
    chance = label_budget(0.05, 0.5, 5_000)
    assert chance.labels == chance.without_judge == 385
    assert label_budget(0.05, 1.0, 5_000).labels == 2
    assert correlation_of(1.0, 0.3) == pytest.approx(1) and correlation_of(0.5, 0.3) == pytest.approx(0)
    with pytest.raises(BactrianError, match=r"agreement: found 0\.4"):
        label_budget(0.05, 0.4, 100)
