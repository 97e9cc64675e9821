"""Does a calibration keep its promise? The same experiment over many random splits of labelled items, vectorised.

Jung et al., Trust or Escalate, ICLR 2025, section 4: the guarantee success rate is the share of splits in which
agreement with people, on what was accepted of the other part, is at least 1 - alpha. That part is finite, so agreement
on it scatters about the truth, and a threshold whose risk is exactly alpha fails in half of the splits. So two more
rates stand beside it: against the risk on all items that there are, and, for synthetic judges, against the true risk.

Axes: m judges, s splits, n items.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binomtest

from bactrian.errors import BactrianError
from bactrian.judge.calibration.baselines import everything, heuristic, point_estimate, released
from bactrian.judge.calibration.cascades import ABSTAINS, JudgedItems, first_accepting
from bactrian.judge.calibration.search import METHODS, SPLIT, Flags, Floats, Ints, halving, quantile_search
from bactrian.judge.calibration.thresholds import check_items

TRIED = 3
"""Errors that the first test of a grid bore until its beginning was derived: a number tried on the recorded judges."""
JudgeRule = Callable[[Floats, Flags, Flags, float, float], Floats]
"""(confidences, wrong, members, alpha, delta) of one judge → thresholds [s]."""
FindThresholds = Callable[["CalibrationSets", float], Floats]
"""(sets, alpha) → thresholds of all judges [m, s]."""


@dataclass(frozen=True)
class CalibrationSets:
    """What many calibrations are made on.

    confidences, wrong: [m, s, n]; splits of the same items are views of the same rows. members: [s, n].
    """

    confidences: Floats
    wrong: Flags
    members: Flags


@dataclass(frozen=True)
class SplitResult:
    """What one way to find thresholds does on the items of each split.

    thresholds: [m, s]. decided: [m, s], the share of items that each judge decided. agreement: [s], NaN where nothing
    was accepted. cost: [s], of all calls, relative to the last judge on all items.
    """

    thresholds: Floats
    decided: Floats
    agreement: Floats
    cost: Floats

    @property
    def coverage(self) -> Floats:
        return np.asarray(self.decided.sum(axis=0))


@dataclass(frozen=True)
class GuaranteeRate:
    """The share of splits in which the promise was kept, with its exact 95 % interval.

    empty: splits in which nothing was accepted; they count as kept.
    """

    rate: float
    low: float
    high: float
    empty: int


def pool_of(judges: Sequence[JudgedItems], groups: Sequence[str]) -> tuple[Floats, Flags, Ints]:
    """Confidences and wrong, [m, n] each, and groups as numbers [n].

    Raises:
        BactrianError: no judge, or arrays that do not fit.
    """
    if not judges:
        raise BactrianError("judges: found none, expected at least one")
    items = [check_items(judge.confidences, judge.wrong, groups) for judge in judges]
    _, which = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    return np.stack([c for c, _ in items]), np.stack([w for _, w in items]), which.astype(np.int64)


def random_splits(groups: Ints, count: int, share: float, seed: int) -> tuple[Flags, Flags]:
    """Which items calibrate and which test in each split, [s, n] each: of each group one item, drawn anew each time.

    Args:
        groups: [n]. share: of the groups, that calibrate.
    """
    order = np.random.default_rng(seed).random((count, len(groups))).argsort(axis=1)
    place = order.argsort(axis=1)
    first = np.full((count, int(groups.max()) + 1), len(groups))
    np.minimum.at(first.T, groups, place.T)
    kept = place == first[:, groups]
    rank = np.take_along_axis(np.cumsum(np.take_along_axis(kept, order, axis=1), axis=1), place, axis=1)
    calibrates = rank <= round(share * first.shape[1])
    return kept & calibrates, kept & ~calibrates


def thresholds_in_turn(
    sets: CalibrationSets, rule: JudgeRule, alpha: float, deltas: Sequence[float], separate: int | None = None
) -> Floats:
    """Each judge on what those before it left, as `cascades.calibrate_cascade` does: [m, s].

    Args:
        deltas: [m]. separate: the seed that gives each judge random items of its own; None to share them.
    """
    judges = len(sets.confidences)
    parts = _parts(sets.members, judges, separate)
    found: list[Floats] = []
    for number in range(judges):
        left = parts[number]
        for earlier, values in zip(sets.confidences, found, strict=False):
            left = left & ~accepts(earlier, values)
        mine = rule(sets.confidences[number], sets.wrong[number], left, alpha, deltas[number])
        before = found[-1] if found else np.zeros(len(mine))
        found.append(np.where(np.isnan(mine), before, mine))
    return np.stack(found)


def accepts(confidences: Floats, thresholds: Floats) -> Flags:
    """[s, n]: as `Threshold.accepts`."""
    return np.asarray((confidences >= thresholds[:, None]) & (confidences > 0))


def calibrated(method: str, least: int, seed: int, forgiven: int | None = None) -> JudgeRule:
    """A method of search.py as a rule for one judge; `forgiven`: where its grid begins, as in `first_ranks`."""

    def rule(c: Floats, wrong: Flags, members: Flags, alpha: float, delta: float) -> Floats:
        return quantile_search(c, wrong, members, alpha, delta, method, least, halving(seed), forgiven).thresholds

    return rule


def strategies(judges: int, delta: float, least: int, seed: int) -> dict[str, FindThresholds]:
    """All ways to find thresholds that are compared, by name."""

    def strongest(rule: JudgeRule) -> FindThresholds:
        def only_last(sets: CalibrationSets, alpha: float) -> Floats:
            mine = rule(sets.confidences[-1], sets.wrong[-1], sets.members, alpha, delta)
            return np.stack([np.full(len(mine), np.inf)] * (judges - 1) + [mine])

        return only_last

    def cascade(rule: JudgeRule, share: float, separate: int | None = None) -> FindThresholds:
        def in_turn(sets: CalibrationSets, alpha: float) -> Floats:
            return thresholds_in_turn(sets, rule, alpha, [delta * share] * judges, separate)

        return in_turn

    found = {
        "no selection": strongest(everything),
        "heuristic": cascade(heuristic, 1.0),
        "point estimate": cascade(point_estimate, 1.0),
        "released": cascade(released, 1.0),
        "strongest only": strongest(calibrated("fixed_sequence", least, seed)),
    }
    for method in (*METHODS, SPLIT):
        found[method] = cascade(calibrated(method, least, seed), 1 / judges)
    if judges > 1:
        found["fixed_sequence, separate"] = cascade(calibrated("fixed_sequence", least, seed), 1 / judges, seed)
    found[f"fixed_sequence, from {TRIED} errors"] = cascade(
        calibrated("fixed_sequence", least, seed, TRIED), 1 / judges
    )
    return found


def outcome(confidences: Floats, wrong: Floats, members: Flags, thresholds: Floats, costs: ArrayLike) -> SplitResult:
    """What thresholds do on the items of each split.

    Args:
        confidences, wrong: [m, s, n] or [m, 1, n]; wrong may be probabilities. members: [s, n]. thresholds: [m, s].
        costs: of a call, of each judge [m] or of each judge and item [m, n].
    """
    flags = [accepts(c, values) for c, values in zip(confidences, thresholds, strict=True)]
    by = np.where(members, first_accepting(flags), -2)
    total = members.sum(axis=1)
    decided = np.stack([(by == judge).sum(axis=1) for judge in range(len(thresholds))])
    missed = sum(np.where(by == judge, wrong[judge], 0.0).sum(axis=1) for judge in range(len(thresholds)))
    accepted = decided.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        agreement = np.where(accepted > 0, 1 - missed / accepted, np.nan)
    price = np.asarray(costs, dtype=np.float64)
    price = price[:, None] if price.ndim == 1 else price
    spent = np.zeros(len(members))
    for judge, values in enumerate(thresholds):
        called = ((by >= judge) | (by == ABSTAINS)) & np.isfinite(values)[:, None]
        spent += np.where(called, price[judge], 0.0).sum(axis=1)
    return SplitResult(thresholds, decided / total, agreement, spent / np.where(members, price[-1], 0.0).sum(axis=1))


def guarantee_rate(agreement: Floats, alpha: float) -> GuaranteeRate:
    """How often agreement was at least 1 - alpha; a split with nothing accepted (NaN) has promised nothing."""
    empty = np.isnan(agreement)
    kept = int((empty | (agreement >= 1 - alpha - 1e-12)).sum())
    interval = binomtest(kept, len(agreement)).proportion_ci(0.95, method="exact")
    return GuaranteeRate(kept / len(agreement), float(interval.low), float(interval.high), int(empty.sum()))


def _parts(members: Flags, count: int, seed: int | None) -> list[Flags]:
    """For each judge [s, n]: all items, or a random part of its own."""
    if seed is None:
        return [members] * count
    drawn = np.where(members, np.random.default_rng([seed, count]).random(members.shape), np.inf)
    rank = drawn.argsort(axis=1).argsort(axis=1)
    return [members & (rank % count == number) for number in range(count)]
