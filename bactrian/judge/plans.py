"""Cascades planned over opinions that are there already: which thresholds, how much is decided, at what cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bactrian.errors import BactrianError
from bactrian.judge.bills import JudgePrice
from bactrian.judge.calibrated import CALIBRATION, JudgeCalibration
from bactrian.judge.calibration.cascades import Cascade
from bactrian.judge.calibration_run import Levels, calibrated_cascade, expected_of
from bactrian.judge.labelled import LabelledPairs, pair_digest, read_labelled
from bactrian.judge.opinions import Opinion
from bactrian.judge.recorded import RecordedJudge


@dataclass(frozen=True)
class PlannedCascade:
    """Thresholds at one risk, or why there are none; what the cascade does with the pairs that calibrated it."""

    alpha: float
    cascade: Cascade | None
    expected: Mapping[str, Any]
    fault: str = ""

    def record(self) -> dict[str, Any]:
        thresholds = self.cascade.to_json() if self.cascade else None
        return {"alpha": self.alpha, "cascade": thresholds, "expected": dict(self.expected), "fault": self.fault}


def read_recorded(source: Path) -> tuple[LabelledPairs, dict[str, JudgePrice]]:
    """Labelled pairs with what judges said of them, and the prices that are known: those of a calibration.

    Raises:
        BactrianError: nothing is recorded of any judge.
    """
    labelled = read_labelled(source)
    if not labelled.judges:
        raise BactrianError(f"{source}: found no judge's probabilities in the rows; expected judge_probs or judges")
    if not (source / CALIBRATION).is_file():
        return labelled, {}
    return labelled, {judge.name: judge.priced for judge in JudgeCalibration.read(source).judges}


def planned_judges(
    labelled: LabelledPairs, asked: Sequence[str], prices: Mapping[str, JudgePrice], source: str
) -> list[str]:
    """Judges in the order of asking: those named, or all, by the price of what is recorded.

    Of one price they are asked in the order of the calibration, or of the rows.

    Raises:
        BactrianError: one that is named has no opinions in the rows, or is named twice.
    """
    if unknown := [name for name in asked if name not in labelled.judges]:
        raise BactrianError(f"{source}: found no judge {unknown[0]!r}, expected some of {', '.join(labelled.judges)}")
    if len(set(asked)) < len(asked):
        raise BactrianError(f"--judge: found {', '.join(asked)}, expected each once")
    costs = {
        name: sum(prices[name].of(each.recorded[name]) for each in labelled.pairs if name in each.recorded)
        if name in prices
        else 0.0
        for name in labelled.judges
    }
    as_they_stand = [name for name in dict.fromkeys([*prices, *labelled.judges]) if name in labelled.judges]
    return list(asked) or sorted(as_they_stand, key=costs.__getitem__)


def plan_cascade(
    labelled: LabelledPairs, judges: Sequence[str], prices: Mapping[str, JudgePrice], levels: Levels, seed: int = 0
) -> PlannedCascade:
    """A cascade at these levels, of what is recorded of the judges."""
    opinions = {pair_digest(each.pair): each.recorded for each in labelled.pairs}
    said: dict[str, list[Opinion]] = {}
    for name in judges:
        heard: dict[int, Opinion] = {}
        RecordedJudge(name, opinions).compare([each.pair for each in labelled.pairs], heard.__setitem__)
        said[name] = [heard[place] for place in range(len(labelled.pairs))]
    try:
        cascade = calibrated_cascade(labelled.pairs, said, levels, seed)
    except BactrianError as error:
        return PlannedCascade(levels.alpha, None, {}, str(error))
    known = {name: prices.get(name, JudgePrice()) for name in judges}
    return PlannedCascade(levels.alpha, cascade, expected_of(cascade, labelled.pairs, said, known))
