"""Agreement with preferences, calibration, RewardBench's sections, best of n: laws and independent computations."""

import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bactrian.evaluate.reward_agreement import (
    BINS,
    agreement,
    best_of,
    calibration,
    expected_best,
    powers,
    sections,
)
from bactrian.evaluate.statistics import pass_at_k

grades = st.sampled_from([-1.0, 0.0, 0.25, 0.5, 1.0, 3.0])
answers = st.lists(st.tuples(grades, grades), min_size=1, max_size=7)


def over_all_draws(rewards: list[float], scores: list[float], k: int) -> float:
    """By enumeration: every draw's best answers, ties sharing."""
    found = []
    for drawn in itertools.combinations(range(len(rewards)), k):
        top = max(rewards[i] for i in drawn)
        best = [scores[i] for i in drawn if rewards[i] == top]
        found.append(sum(best) / len(best))
    return sum(found) / len(found)


@given(answers, st.data())
def test_best_of_k_is_the_mean_over_all_draws(given_answers: list[tuple[float, float]], data: st.DataObject) -> None:
    rewards, scores = (list(each) for each in zip(*given_answers, strict=True))
    k = data.draw(st.integers(1, len(rewards)))
    distinct = [reward + i * 1e-6 for i, reward in enumerate(rewards)]
    assert expected_best(distinct, scores, k) == pytest.approx(over_all_draws(distinct, scores, k))
    if len(set(rewards)) == 1:
        assert expected_best(rewards, scores, k) == pytest.approx(sum(scores) / len(scores))


@given(st.lists(st.booleans(), min_size=1, max_size=12), st.data())
def test_best_of_k_by_the_truth_is_pass_at_k(right: list[bool], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(right)))
    scores = [float(each) for each in right]
    assert expected_best(scores, scores, k) == pytest.approx(pass_at_k(len(right), sum(right), k))
    assert expected_best([0.0] * len(scores), scores, k) == pytest.approx(sum(scores) / len(scores))


def test_best_of_one_gains_nothing_and_a_good_reward_gains() -> None:
    draw = random.Random(3)
    truths = [[float(draw.random() < 0.4) for _ in range(8)] for _ in range(60)]
    knowing = [([s + draw.gauss(0, 0.3) for s in scores], scores) for scores in truths]
    one, many = best_of(knowing, 1), best_of(knowing, 8)
    assert one.gain == pytest.approx(0) and one.score == pytest.approx(one.single) == pytest.approx(one.oracle)
    assert many.gain_interval[0] > 0.2 and many.single < many.score <= many.oracle
    assert many.interval[0] < many.score < many.interval[1]
    blind = [([draw.random() for _ in scores], scores) for scores in truths]
    assert abs(best_of(blind, 4).gain) < 0.15
    with pytest.raises(ValueError, match="k = 9"):
        best_of(knowing, 9)
    assert powers(8) == [1, 2, 4, 8] and powers(6) == [1, 2, 4, 6] and powers(1) == [1]


def test_agreement_counts_ties_as_told() -> None:
    rewards = [(2.0, 1.0), (0.0, 0.0), (-1.0, 1.0), (5.0, 1.0)]
    half, strict = agreement("x", rewards), agreement("x", rewards, "wrong")
    assert (half.accuracy, strict.accuracy, half.ties) == (2.5 / 4, 2 / 4, 1)
    assert half.margin == pytest.approx(0.75) and half.chosen == 1.5 and half.rejected == 0.75
    assert half.interval[0] < half.accuracy < half.interval[1]


def test_a_true_bradley_terry_model_is_calibrated_and_a_louder_one_is_not() -> None:
    draw = random.Random(1)
    margins = []
    for _ in range(20_000):
        size = abs(draw.gauss(0, 1.5))
        margins.append(size if draw.random() < 1 / (1 + math.exp(-size)) else -size)
    true, loud = calibration(margins), calibration([3 * margin for margin in margins])
    assert true.error < 0.02 < 0.08 < loud.error and true.loss < loud.loss and true.brier < loud.brier
    assert sum(each.pairs for each in true.bins) == len(margins) and len(true.bins) <= BINS
    for each in true.bins:
        assert each.low <= each.confidence <= each.high
        assert each.interval[0] - 0.02 <= each.confidence <= each.interval[1] + 0.02
    nothing = calibration([0.0, 0.0])
    assert nothing.loss == pytest.approx(math.log(2)) and nothing.brier == 0.25 and nothing.error == 0


@given(st.lists(st.floats(-800, 800), min_size=1, max_size=20))
def test_calibration_of_any_margins_is_bounded(margins: list[float]) -> None:
    found = calibration(margins)
    assert 0 <= found.error <= 1 and 0 <= found.brier <= 1 and found.loss >= 0
    assert sum(each.pairs for each in found.bins) == len(margins)


def group(name: str, right: int, n: int) -> object:
    return agreement(name, [(1.0, 0.0)] * right + [(0.0, 1.0)] * (n - right))


def test_rewardbench_sections_weigh_as_published() -> None:
    """Within Reasoning the maths subset weighs as much as all code together; elsewhere pairs weigh alike."""
    groups = [
        group("alpacaeval-easy", 90, 100),
        group("mt-bench-med", 20, 40),
        group("math-prm", 1, 4),
        group("hep-python", 8, 10),
        group("hep-rust", 9, 30),
        group("elsewhere", 0, 9),
    ]
    found = {each.name: each for each in sections(groups)}  # type: ignore[arg-type]
    assert set(found) == {"Chat", "Reasoning"}
    assert found["Chat"].accuracy == pytest.approx(110 / 140)
    assert found["Reasoning"].accuracy == pytest.approx((0.25 + 17 / 40) / 2)
    assert found["Chat"].missing == ("alpacaeval-length", "alpacaeval-hard", "mt-bench-easy")
    alone = sections([group("math-prm", 1, 4)])  # type: ignore[list-item]
    assert alone[0].accuracy == 0.25
