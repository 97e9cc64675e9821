"""From labelled pairs and what judges said of them to a calibration: thresholds, and how each judge did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bactrian.errors import BactrianError
from bactrian.judge.bills import JudgePrice, bill_of
from bactrian.judge.calibration.cascades import (
    Cascade,
    JudgedItems,
    calibrate_cascade,
    cascade_result,
)
from bactrian.judge.calibration.confidence_quality import confidence_quality
from bactrian.judge.calibration.thresholds import items_needed, too_few
from bactrian.judge.cascade_verdicts import sureness
from bactrian.judge.labelled import LabelledPair
from bactrian.judge.opinions import Opinion

Said = Mapping[str, Sequence[Opinion]]
"""Judge → its opinion of each labelled pair, cheap judges first."""


@dataclass(frozen=True)
class Levels:
    """How a cascade is calibrated; fields as the arguments of `calibrate_cascade`."""

    alpha: float
    delta: float
    method: str = "fixed_sequence"
    grid: Sequence[float] | None = None
    least: int = 30
    separate: bool = False


def check_enough(pairs: Sequence[LabelledPair], judges: int, levels: Levels) -> None:
    """Whether there are labels enough for any guarantee: asked before any judge is.

    Raises:
        BactrianError: there are not, and how many it takes.
    """
    share, parts = levels.delta / judges, judges if levels.separate else 1
    needed = items_needed(levels.alpha, share, levels.least, levels.method) * parts
    if (found := len({each.pair.group for each in pairs})) < needed:
        raise BactrianError(too_few(found, needed, levels.alpha, share))


def judged_items(name: str, pairs: Sequence[LabelledPair], opinions: Sequence[Opinion]) -> JudgedItems:
    """What one judge said, as arrays; where it said nothing its confidence is 0, and it is wrong."""
    return JudgedItems(
        name,
        np.array([sureness(each) for each in opinions]),
        np.array([said.preferred != each.label for each, said in zip(pairs, opinions, strict=True)]),
    )


def calibrated_cascade(pairs: Sequence[LabelledPair], said: Said, levels: Levels, seed: int = 0) -> Cascade:
    """The thresholds of these judges.

    Raises:
        BactrianError: as `calibrate_cascade`.
    """
    items = [judged_items(name, pairs, opinions) for name, opinions in said.items()]
    return calibrate_cascade(
        items,
        [each.pair.group for each in pairs],
        alpha=levels.alpha,
        delta=levels.delta,
        method=levels.method,
        grid=levels.grid,
        least=levels.least,
        separate=levels.separate,
        seed=seed,
    )


def about_judge(pairs: Sequence[LabelledPair], opinions: Sequence[Opinion], price: JudgePrice) -> dict[str, Any]:
    """How a judge did on the labelled pairs, whatever may be trusted of it."""
    told = [(said, said.preferred == each.label) for each, said in zip(pairs, opinions, strict=True) if not said.fault]
    changed = [said.order_changed for said, _ in told if said.order_changed is not None]
    first: dict[str, int] = {}
    for said in opinions:
        if said.fault:
            first[said.fault[:80]] = first.get(said.fault[:80], 0) + 1
    return {
        "pairs": len(opinions),
        "faults": len(opinions) - len(told),
        "faults_by_reason": first,
        "agreement": sum(right for _, right in told) / len(told) if told else 0.0,
        "order_changed": sum(changed) / len(changed) if changed else None,
        "mass": sum(said.mass for said, _ in told) / len(told) if told else None,
        "quality": _quality(pairs, opinions),
        "bill": asdict(bill_of(opinions, price)),
    }


def _quality(pairs: Sequence[LabelledPair], opinions: Sequence[Opinion]) -> dict[str, Any] | None:
    """Of the confidences where the judge said something; None where it never did."""
    told = [(each, said) for each, said in zip(pairs, opinions, strict=True) if not said.fault]
    if not told:
        return None
    found = confidence_quality(
        [said.confidence for _, said in told],
        [said.preferred != each.label for each, said in told],
        [each.pair.group for each, _ in told],
    )
    return found.to_json()


def expected_of(
    cascade: Cascade, pairs: Sequence[LabelledPair], said: Said, prices: Mapping[str, JudgePrice]
) -> dict[str, Any]:
    """What the cascade does with these very pairs: coverage, agreement, who decides, and what it costs.

    `relative_cost` and `cost_per_pair` are None where no price says what a judge costs.
    """
    items = [judged_items(name, pairs, opinions) for name, opinions in said.items()]
    costs = {name: np.array([prices[name].of(each) for each in opinions]) for name, opinions in said.items()}
    priced = all(values.sum() > 0 for values in list(costs.values())[-1:])
    found = cascade_result(cascade, items, costs if priced else None)
    by = cascade.accepted_by([item.confidences for item in items])
    spent = 0.0
    for place, (member, values) in enumerate(zip(cascade.members, costs.values(), strict=True)):
        if member.threshold.calibrated:
            spent += float(values[(by >= place) | (by < 0)].sum())
    return {
        "pairs": len(pairs),
        "coverage": found.coverage,
        "agreement": found.agreement if found.coverage else None,
        "composition": {**found.composition, "abstains": 1 - found.coverage},
        "relative_cost": found.relative_cost if priced else None,
        "cost_per_pair": spent / len(pairs) if priced else None,
    }
