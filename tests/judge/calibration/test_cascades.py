"""Cascades over arrays: who decides what, what it costs, and that nothing is accepted without a bound."""

import json
import math
from typing import Any

import numpy as np
import pytest

from bactrian.errors import BactrianError
from bactrian.judge.calibration.cascades import (
    ABSTAINS,
    Cascade,
    JudgedItems,
    Price,
    calibrate_cascade,
    cascade_result,
)

NAMES = ("cheap", "middle", "strong")


def three_judges(n: int, seed: int, names: tuple[str, ...] = NAMES) -> list[JudgedItems]:
    rng = np.random.default_rng(seed)
    found = []
    for strength, name in enumerate(names):
        confidences = rng.uniform(0.5, 1, n)
        found.append(JudgedItems(name, confidences, rng.random(n) < (1 - confidences) / (strength + 1)))
    return found


def prompts(n: int) -> list[str]:
    return [str(number) for number in range(n)]


@pytest.mark.parametrize("separate", [False, True])
def test_each_judge_sees_what_the_ones_before_left(separate: bool) -> None:
    judges = three_judges(900, 0)
    cascade = calibrate_cascade(judges, prompts(900), alpha=0.2, delta=0.1, method="holm", separate=separate)
    assert [member.threshold.delta for member in cascade.members] == [pytest.approx(0.1 / 3)] * 3
    assert cascade.members[0].threshold.calibrated
    assert all(m.threshold.bound <= 0.2 for m in cascade.members if m.threshold.calibrated)
    left = [member.threshold.labelled for member in cascade.members]
    if separate:
        assert left[0] == 300 and max(left) <= 300
    else:
        assert left[0] == 900 and left[1] == 900 - cascade.members[0].threshold.n
        assert left[2] == left[1] - cascade.members[1].threshold.n
    again = Cascade.from_json(json.loads(json.dumps(cascade.to_json(), allow_nan=False)), "here")
    assert again == cascade


def by_hand(values: list[float]) -> Cascade:
    """A cascade with these thresholds; finite ones with a curve to match."""
    members = []
    for name, value in zip(NAMES, values, strict=True):
        confidences = np.full(60, value if math.isfinite(value) else 0.9)
        wrong = np.zeros(60) if math.isfinite(value) else np.ones(60)
        judges = [JudgedItems(name, confidences, wrong)]
        members.append(calibrate_cascade(judges, prompts(60), alpha=0.1, delta=0.01, grid=[confidences[0]]).members[0])
    return Cascade(members=tuple(members), alpha=0.1, delta=0.1, separate=True, labelled=60)


def test_who_decides_and_what_it_costs() -> None:
    cascade = by_hand([0.9, math.inf, 0.8])
    nan = math.nan
    confidences = [[0.95, 0.9, 0.6, 0.7], [1.0, nan, 1.0, 1.0], [nan, 0.1, 0.8, 0.7]]
    assert cascade.accepted_by(confidences).tolist() == [0, 0, 2, ABSTAINS]
    wrong = [[0, 1, 1, 1], [0, 0, 0, 0], [1, 1, 0, 0]]
    judges = [JudgedItems(name, c, w) for name, c, w in zip(NAMES, confidences, wrong, strict=True)]
    result = cascade_result(cascade, judges, {"cheap": 1.0, "middle": 100.0, "strong": [10.0, 20.0, 30.0, 40.0]})
    assert result.composition == {"cheap": 0.5, "middle": 0.0, "strong": 0.25}
    assert result.coverage == 0.75 and result.agreement == pytest.approx(2 / 3)
    assert result.relative_cost == pytest.approx((4 * 1.0 + 30.0 + 40.0) / 100.0)
    free = cascade_result(cascade, judges, {"cheap": 1.0, "middle": 1.0, "strong": 0.0})
    assert math.isnan(free.relative_cost)


def test_a_cascade_that_trusts_nobody_asks_nobody() -> None:
    judges = three_judges(100, 0)
    cascade = by_hand([math.inf] * 3)
    result = cascade_result(cascade, judges)
    assert not cascade.calibrated
    assert result.coverage == 0 and result.relative_cost == 0 and math.isnan(result.agreement)


def test_prices_are_per_million_tokens() -> None:
    assert Price(2.0, 8.0).of([1000, 0], [0, 500]).tolist() == pytest.approx([0.002, 0.004])


def test_a_judge_with_too_few_items_left_is_passed_over() -> None:
    judges = three_judges(120, 0)
    judges[0] = JudgedItems("cheap", np.linspace(0.5, 1, 120), np.zeros(120))
    cascade = calibrate_cascade(judges, prompts(120), alpha=0.1, delta=0.1)
    assert [member.threshold.calibrated for member in cascade.members] == [True, False, False]
    assert "no threshold was tested" in cascade.members[1].threshold.stopped


@pytest.mark.parametrize(("separate", "needed"), [(False, 33), (True, 99)])
def test_too_few_labels_for_a_cascade(separate: bool, needed: int) -> None:
    with pytest.raises(BactrianError, match=f"found labels for 30 prompts, expected {needed} or more"):
        calibrate_cascade(three_judges(30, 0), prompts(30), alpha=0.1, delta=0.1, separate=separate)


def test_a_cascade_that_contradicts_itself_is_not_read() -> None:
    data = by_hand([0.9, math.inf, 0.8]).to_json()
    twice: dict[str, Any] = data | {"members": [data["members"][0]] * 2}
    for changed, named in [
        (data | {"alpha": 0.05}, "more risk"),
        (data | {"delta": 0.02}, "more risk"),
        (data | {"members": []}, "at least one"),
        (twice, "a name of its own"),
    ]:
        with pytest.raises(BactrianError, match=named):
            Cascade.from_json(changed, "calibration.json")


def test_other_judges_or_lengths_are_refused() -> None:
    cascade = by_hand([0.9, math.inf, 0.8])
    with pytest.raises(BactrianError, match="expected one array for each of 3 judges"):
        cascade.accepted_by([[0.9], [0.9]])
    with pytest.raises(BactrianError, match="expected one array"):
        cascade.accepted_by([[0.9], [0.9], [0.9, 0.9]])
    with pytest.raises(BactrianError, match="judges of a cascade"):
        cascade_result(cascade, three_judges(50, 0, ("cheap", "strong", "middle")))
    with pytest.raises(BactrianError, match="middle among them"):
        cascade_result(cascade, three_judges(50, 0), {"cheap": 1.0, "strong": 2.0})
    with pytest.raises(BactrianError, match="at least one"):
        calibrate_cascade([], [], alpha=0.1, delta=0.1)
