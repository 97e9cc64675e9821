"""Thresholds of one judge: never one whose bound fails, items of a prompt count once, plain JSON there and back."""

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bactrian.errors import BactrianError
from bactrian.judge.calibration.bounds import upper_bound
from bactrian.judge.calibration.search import METHODS, SPLIT
from bactrian.judge.calibration.thresholds import Threshold, calibrate

ALL_METHODS = [*METHODS, SPLIT]
Items = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], list[str]]


def judged(n: int, seed: int, risk_at_half: float = 0.5, risk_at_one: float = 0.02) -> Items:
    """A judge whose risk falls in a straight line with its confidence, uniform in [0.5, 1]."""
    rng = np.random.default_rng(seed)
    confidences = rng.uniform(0.5, 1, n)
    risk = risk_at_half + (risk_at_one - risk_at_half) * (confidences - 0.5) * 2
    return confidences, rng.random(n) < risk, [str(number) for number in range(n)]


@pytest.mark.parametrize("method", ALL_METHODS)
@given(seed=st.integers(0, 2**32 - 1), alpha=st.sampled_from([0.05, 0.1, 0.2, 0.3]), n=st.integers(120, 400))
@settings(max_examples=25)
def test_what_is_accepted_is_as_counted_and_its_bound_holds(method: str, seed: int, alpha: float, n: int) -> None:
    confidences, wrong, groups = judged(n, seed)
    found = calibrate(confidences, wrong, groups, alpha=alpha, delta=0.1, method=method)
    if not found.calibrated:
        assert (found.n, found.errors, found.bound) == (0, 0, 1.0)
        assert not found.accepts(confidences).any()
        return
    chosen = next(test for test in found.curve if test.value == found.value)
    assert chosen.trusted and float(upper_bound(found.errors, found.n, chosen.level)) == pytest.approx(found.bound)
    assert found.bound <= alpha and chosen.level <= 0.1
    assert all(test.bound <= alpha for test in found.curve if test.trusted)
    if method != SPLIT:
        assert found.n == found.accepts(confidences).sum() and found.errors == wrong[found.accepts(confidences)].sum()


def test_a_fixed_sequence_ends_at_its_first_failure() -> None:
    confidences, wrong, groups = judged(600, 0)
    found = calibrate(confidences, wrong, groups, alpha=0.2, delta=0.1)
    assert [test.trusted for test in found.curve] == [True] * (len(found.curve) - 1) + [False]
    assert found.value == found.curve[-2].value and f"{found.curve[-1].errors} of {found.curve[-1].n}" in found.stopped


@pytest.mark.parametrize("method", ALL_METHODS)
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=15)
def test_more_risk_never_accepts_less(method: str, seed: int) -> None:
    confidences, wrong, groups = judged(300, seed)
    grid = [0.9, 0.8, 0.7, 0.6, 0.5]
    values = [
        calibrate(confidences, wrong, groups, alpha=alpha, delta=0.1, method=method, grid=grid).value
        for alpha in (0.1, 0.2, 0.3, 0.4)
    ]
    if method != SPLIT:  # whose order, learnt by p-value, depends on alpha
        assert values == sorted(values, reverse=True)


@pytest.mark.parametrize("method", ALL_METHODS)
def test_confidences_that_say_nothing_are_trusted_with_nothing(method: str) -> None:
    confidences, wrong, groups = judged(400, 1)
    shuffled = np.random.default_rng(2).permutation(confidences)
    assert wrong.mean() > 0.2
    assert calibrate(shuffled, wrong, groups, alpha=0.15, delta=0.1, method=method).value == math.inf
    assert calibrate(confidences, wrong, groups, alpha=0.15, delta=0.1, method=method).calibrated


@pytest.mark.parametrize("method", ALL_METHODS)
@given(seed=st.integers(0, 2**32 - 1), copies=st.integers(2, 5))
@settings(max_examples=10)
def test_copies_of_rows_change_nothing(method: str, seed: int, copies: int) -> None:
    confidences, wrong, groups = judged(150, seed)
    options: dict[str, Any] = {"alpha": 0.25, "delta": 0.1, "method": method}
    once = calibrate(confidences, wrong, groups, **options)
    again = calibrate(np.repeat(confidences, copies), np.repeat(wrong, copies), np.repeat(groups, copies), **options)
    assert once.labelled == again.labelled == 150
    assert once == again


def test_many_rows_of_few_prompts_are_few_items() -> None:
    confidences, wrong, _ = judged(500, 0)
    with pytest.raises(BactrianError, match="found labels for 10 prompts, expected 30 or more"):
        calibrate(confidences, wrong, [str(number % 10) for number in range(500)], alpha=0.2, delta=0.1)


@pytest.mark.parametrize(
    ("n", "alpha", "delta", "least", "method", "needed"),
    [
        (10, 0.1, 0.1, 1, "holm", 22),
        (21, 0.1, 0.1, 1, "fixed_sequence", 22),
        (29, 0.1, 0.1, 30, "fixed_sequence", 30),
        (58, 0.05, 0.05, 30, "multi_start", 59),
        (43, 0.1, 0.1, 1, SPLIT, 44),
    ],
)
def test_too_few_labels_are_refused_with_the_number_needed(
    n: int, alpha: float, delta: float, least: int, method: str, needed: int
) -> None:
    groups = [str(number) for number in range(n)]
    with pytest.raises(BactrianError, match=f"found labels for {n} prompts, expected {needed} or more"):
        calibrate(np.ones(n), np.zeros(n), groups, alpha=alpha, delta=delta, method=method, least=least)


def test_a_judge_that_is_never_wrong_needs_no_more_than_the_least() -> None:
    groups = [str(number) for number in range(22)]
    found = calibrate(np.full(22, 0.8), np.zeros(22), groups, alpha=0.1, delta=0.1, least=1)
    assert found.value == 0.8 and found.n == 22


def test_ties_only_and_other_bad_items() -> None:
    with pytest.raises(BactrianError, match="ties between annotators are no labels"):
        calibrate([], [], [], alpha=0.1, delta=0.1)
    with pytest.raises(BactrianError, match="item 2, confidence: found nan"):
        calibrate([0.9, math.nan], [0, 1], ["a", "b"], alpha=0.1, delta=0.1)
    with pytest.raises(BactrianError, match="as many of each"):
        calibrate([0.9, 0.8], [0], ["a", "b"], alpha=0.1, delta=0.1)
    with pytest.raises(BactrianError, match=r"found 'guess', expected one of: fixed_sequence.*split_fixed_sequence"):
        calibrate([0.9], [0], ["a"], alpha=0.1, delta=0.1, method="guess")
    with pytest.raises(BactrianError, match="thresholds above 0 and at most 1"):
        calibrate(np.ones(50), np.zeros(50), list(map(str, range(50))), alpha=0.1, delta=0.1, grid=[0.5, 0])


def test_a_judge_that_said_nothing_is_not_accepted() -> None:
    confidences = np.concatenate([np.full(60, 0.9), np.zeros(60)])
    groups = [str(number) for number in range(120)]
    found = calibrate(confidences, np.zeros(120), groups, alpha=0.1, delta=0.1)
    assert found.value == 0.9 and found.n == 60
    assert found.accepts([0.9, 0.0, math.nan, 0.89]).tolist() == [True, False, False, False]


@pytest.mark.parametrize("method", ALL_METHODS)
@pytest.mark.parametrize("alpha", [0.05, 0.25])
def test_json_and_back(method: str, alpha: float) -> None:
    found = calibrate(*judged(300, 3), alpha=alpha, delta=0.1, method=method)
    text = json.dumps(found.to_json(), allow_nan=False)
    assert Threshold.from_json(json.loads(text), "here") == found


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"errors": 0}, "not among the tests"),
        ({"value": 0.5}, "not among the tests"),
        ({"alpha": 0.01}, "must be at most alpha = 0.01"),
        ({"delta": 0.01}, "must be at most"),
        ({"n": "many"}, 'field n: found "many", expected a whole number'),
        ({"trust": 1}, "an unknown setting"),
    ],
)
def test_a_threshold_that_contradicts_itself_is_not_read(change: dict[str, Any], named: str) -> None:
    data = calibrate(*judged(300, 3), alpha=0.25, delta=0.1).to_json()
    with pytest.raises(BactrianError, match=f"calibration.json.*{named}"):
        Threshold.from_json(data | change, "calibration.json")


def test_a_bound_that_was_written_by_hand_is_not_read() -> None:
    data = calibrate(*judged(300, 3), alpha=0.25, delta=0.1).to_json()
    data["errors"], data["curve"] = 0, [test | {"errors": 0} for test in data["curve"]]
    with pytest.raises(BactrianError, match="bound the risk by"):
        Threshold.from_json(data, "calibration.json")
