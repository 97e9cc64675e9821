"""Promises over many splits: kept by what is calibrated, on judges of known risk; broken by what is not."""

from functools import cache

import numpy as np
import pytest
from scipy.stats import binomtest

from bactrian.judge.calibration.baselines import point_estimate, released
from bactrian.judge.calibration.bounds import upper_bound
from bactrian.judge.calibration.cascades import JudgedItems, calibrate_cascade, cascade_result
from bactrian.judge.calibration.search import METHODS, SPLIT, Flags, Floats
from bactrian.judge.calibration.splits import (
    CalibrationSets,
    calibrated,
    guarantee_rate,
    outcome,
    pool_of,
    random_splits,
    strategies,
    thresholds_in_turn,
)
from bactrian.judge.calibration.synthetic_judges import SYNTHETIC

DELTA = 0.1
SETS, ITEMS = 500, 300


@cache
def synthetic(number: int) -> tuple[CalibrationSets, Floats, Floats]:
    """Calibration sets drawn independently; of many more items, confidences and the agreement from each of them up."""
    rng = np.random.default_rng(number)
    confidences, wrong = SYNTHETIC[number].items(rng, (SETS, ITEMS))
    later, risks = SYNTHETIC[number].draw(rng, (100_000,))
    order = np.argsort(-later[0])
    agreement = 1 - np.cumsum(risks[0, order]) / np.arange(1, 100_001)
    everyone = np.ones((SETS, ITEMS), dtype=bool)
    return CalibrationSets(confidences, wrong, everyone), later[0, order], np.append(np.nan, agreement)


def true_agreement(number: int, thresholds: Floats) -> Floats:
    """Of one judge's thresholds [1, s]: [s], NaN where they accept nothing."""
    _, descending, agreement = synthetic(number)
    return agreement[np.searchsorted(-descending, -thresholds[0], side="right")]


@pytest.mark.parametrize("method", [*METHODS, SPLIT])
@pytest.mark.parametrize("number", range(len(SYNTHETIC) - 1))
def test_the_promise_is_kept_against_the_true_risk(method: str, number: int) -> None:
    sets, _, _ = synthetic(number)
    for alpha in (0.1, 0.2):
        found = thresholds_in_turn(sets, calibrated(method, 30, 0), alpha, [DELTA])
        rate = guarantee_rate(true_agreement(number, found), alpha)
        kept = round(rate.rate * SETS)
        assert binomtest(kept, SETS, 1 - DELTA, alternative="less").pvalue > 0.01
    assert rate.empty < SETS or SYNTHETIC[number].name == "confidence says nothing"


def test_baselines_break_the_promise_on_the_same_sets() -> None:
    for rule, number in ((point_estimate, 0), (released, 2)):
        sets = synthetic(number)[0]
        few = CalibrationSets(sets.confidences[:, :100], sets.wrong[:, :100], sets.members[:100])
        thresholds = thresholds_in_turn(few, rule, 0.1, [DELTA])
        assert guarantee_rate(true_agreement(number, thresholds), 0.1).high < 1 - DELTA


def test_confidence_that_says_nothing_is_accepted_in_few_sets_at_most() -> None:
    sets, _, _ = synthetic(3)
    thresholds = thresholds_in_turn(sets, calibrated("holm", 30, 0), 0.2, [DELTA])
    assert np.isfinite(thresholds).mean() < DELTA


def cascade_items(n: int, seed: int) -> tuple[list[JudgedItems], list[str]]:
    confidences, wrong = SYNTHETIC[4].items(np.random.default_rng(seed), (n,))
    names = ("cheap", "middle", "strong")
    judges = [JudgedItems(name, c, w) for name, c, w in zip(names, confidences, wrong, strict=True)]
    return judges, [str(number // 2) if number < 20 else str(number) for number in range(n)]


@pytest.mark.parametrize("method", list(METHODS))
def test_vectorised_splits_are_the_cascade_that_a_user_gets(method: str) -> None:
    judges, groups = cascade_items(500, 0)
    confidences, wrong, which = pool_of(judges, groups)
    calibrates, tests = random_splits(which, 6, 0.6, 0)
    wide = (3, 6, 500)
    c, w = np.broadcast_to(confidences[:, None], wide), np.broadcast_to(wrong[:, None], wide)
    thresholds = strategies(3, DELTA, 30, 0)[method](CalibrationSets(c, w, calibrates), 0.2)
    result = outcome(c, w, tests, thresholds, [1.0, 3.0, 20.0])
    for split in range(6):
        mine, other = np.flatnonzero(calibrates[split]), np.flatnonzero(tests[split])
        picked = [JudgedItems(j.name, confidences[at, mine], wrong[at, mine]) for at, j in enumerate(judges)]
        cascade = calibrate_cascade(picked, [groups[at] for at in mine], alpha=0.2, delta=DELTA, method=method)
        assert [member.threshold.value for member in cascade.members] == thresholds[:, split].tolist()
        later = [JudgedItems(j.name, confidences[at, other], wrong[at, other]) for at, j in enumerate(judges)]
        by_hand = cascade_result(cascade, later, {"cheap": 1.0, "middle": 3.0, "strong": 20.0})
        assert by_hand.coverage == pytest.approx(result.coverage[split])
        assert by_hand.agreement == pytest.approx(result.agreement[split], nan_ok=True)
        assert by_hand.relative_cost == pytest.approx(result.cost[split])


def test_a_split_takes_one_item_of_each_prompt_on_one_side() -> None:
    _, groups = cascade_items(60, 0)
    _, which = np.unique(groups, return_inverse=True)
    calibrates, tests = random_splits(which, 50, 0.5, 1)
    assert not (calibrates & tests).any()
    for mine, other in zip(calibrates, tests, strict=True):
        assert len(which[mine]) == 25 and len(which[other]) == 25
        assert sorted(which[mine | other]) == list(range(50))
    assert len({mine.tobytes() for mine in calibrates}) == 50


def test_an_empty_split_has_kept_its_promise_and_is_counted() -> None:
    rate = guarantee_rate(np.array([np.nan, 0.9, 0.8, 0.85]), 0.1)
    assert (rate.rate, rate.empty) == (0.5, 1)
    assert rate.low < 0.5 < rate.high


def released_by_hand(confidences: Floats, wrong: Flags, alpha: float, delta: float) -> float:
    steps = [step for step in np.linspace(0, 1, 5000)[::-1] if (confidences >= step).sum() >= 30]
    for step in steps:
        accepted = confidences >= step - 1 / len(steps)
        if upper_bound(wrong[accepted].sum(), accepted.sum(), delta) > alpha:
            break
    return float(step)


@pytest.mark.parametrize("alpha", [0.05, 0.15, 0.3])
def test_released_search_as_by_hand(alpha: float) -> None:
    sets, _, _ = synthetic(0)
    c, w = sets.confidences[0, :3, :120], sets.wrong[0, :3, :120]
    found = released(c, w, np.ones((3, 120), dtype=bool), alpha, DELTA)
    assert found.tolist() == [released_by_hand(*items, alpha, DELTA) for items in zip(c, w, strict=True)]


def test_released_search_returns_a_threshold_whose_bound_fails() -> None:
    c = np.random.default_rng(0).uniform(0.5, 1, 200)
    wrong = np.ones(200, dtype=bool)
    threshold = released(c[None], wrong[None], wrong[None], 0.1, DELTA)[0]
    assert np.isfinite(threshold) and (c >= threshold).sum() >= 30
    few = np.arange(200)[None] < 20
    sets = CalibrationSets(c[None, None], wrong[None, None], few)
    assert thresholds_in_turn(sets, released, 0.1, [DELTA]).tolist() == [[0.0]]
