"""Several judges in a row, cheap to strong: each accepts what it is sure enough of and passes the rest on.

Jung et al., Trust or Escalate, ICLR 2025, section 3. Each of m judges is calibrated with delta / m, so that with
probability 1 - delta all their guarantees hold at once; the risk of what the cascade accepts is a mean of theirs, so it
is at most alpha too. What the last judge is not sure of is left to people.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import model_validator

from bactrian.errors import BactrianError
from bactrian.judge.calibration.bounds import check_levels
from bactrian.judge.calibration.search import Flags, Floats
from bactrian.judge.calibration.thresholds import (
    CalibrationRecord,
    Threshold,
    calibrate_kept,
    check_items,
    check_method,
    items_needed,
    one_per_group,
    too_few,
)

ABSTAINS = -1


@dataclass(frozen=True)
class JudgedItems:
    """What one judge said of the calibration items, all judges in the same order of items.

    confidences: [n], in [0, 1]; 0 where it said nothing. wrong: [n], whether it differs from people.
    """

    name: str
    confidences: ArrayLike
    wrong: ArrayLike


@dataclass(frozen=True)
class Price:
    """What a judge takes for a million tokens, in any one currency."""

    tokens_in: float
    tokens_out: float

    def of(self, tokens_in: ArrayLike, tokens_out: ArrayLike) -> Floats:
        """The price of calls, like the arguments."""
        read, written = np.asarray(tokens_in, dtype=np.float64), np.asarray(tokens_out, dtype=np.float64)
        return np.asarray((read * self.tokens_in + written * self.tokens_out) / 1e6)


class CascadeMember(CalibrationRecord):
    """A judge of a cascade, by name, and from which confidence it is trusted."""

    name: str
    threshold: Threshold


class Cascade(CalibrationRecord):
    """Calibrated judges, in the order in which they are asked.

    separate: whether each judge was calibrated on items of its own (the strict version). labelled: items in all, one
    for each prompt.
    """

    members: tuple[CascadeMember, ...]
    alpha: float
    delta: float
    separate: bool
    labelled: int

    @property
    def calibrated(self) -> bool:
        """Whether any judge may be trusted with anything."""
        return any(member.threshold.calibrated for member in self.members)

    def accepted_by(self, confidences: Sequence[ArrayLike]) -> NDArray[np.int64]:
        """Whose verdict counts: [n], the place of the judge, or ABSTAINS.

        Args:
            confidences: for each judge [n]; NaN where it was not asked, which it need not be once an earlier judge has
                accepted the item, nor ever where its threshold is infinite.

        Raises:
            BactrianError: not one array for each judge, or not all of one length.
        """
        given = [np.asarray(values, dtype=np.float64) for values in confidences]
        if len(given) != len(self.members) or len({values.shape for values in given}) > 1:
            raise BactrianError(
                f"confidences of a cascade: found shapes {[values.shape for values in given]}, expected one array for "
                f"each of {len(self.members)} judges, all of one length"
            )
        return first_accepting([m.threshold.accepts(c) for m, c in zip(self.members, given, strict=True)])

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        """Each judge has its share of delta, and tolerates no more than the cascade."""
        names = [member.name for member in self.members]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"judges {names}: expected at least one, each with a name of its own")
        for member in self.members:
            share = member.threshold.delta * len(names)
            if member.threshold.alpha > self.alpha or share > self.delta * (1 + 1e-9):
                raise ValueError(f"judge {member.name}: calibrated for more risk than its share of the cascade's")
        return self


@dataclass(frozen=True)
class CascadeResult:
    """What a cascade did with n items.

    composition: the share that each judge decided, of all items. coverage: their sum. agreement: with people, on what
    was accepted; NaN where nothing was. relative_cost: of all calls made, to asking the last judge about all items; NaN
    where that costs nothing.
    """

    composition: dict[str, float]
    coverage: float
    agreement: float
    relative_cost: float


def calibrate_cascade(
    judges: Sequence[JudgedItems],
    groups: Sequence[str],
    *,
    alpha: float,
    delta: float,
    method: str = "fixed_sequence",
    grid: Sequence[float] | None = None,
    least: int = 30,
    separate: bool = False,
    seed: int = 0,
) -> Cascade:
    """Thresholds one after the other: each judge on the items that none before it accepted.

    By default all judges share the items, as in the paper; then later judges see a sample that the labels had a say in.
    With `separate`, each judge has random items of its own, and its guarantee is exact. A judge that cannot be
    calibrated, or that too few items are left for, has an infinite threshold and is passed over.

    Raises:
        BactrianError: judges of different lengths, or as `thresholds.calibrate`.
    """
    check_levels(alpha, delta)
    check_method(method)
    if not judges:
        raise BactrianError("judges of a cascade: found none, expected at least one")
    items = [check_items(judge.confidences, judge.wrong, groups) for judge in judges]
    kept = one_per_group(groups, seed)
    share = delta / len(judges)
    parts = _parts(kept, len(judges) if separate else 1, seed)
    needed = items_needed(alpha, share, least, method)
    if len(parts[0]) < needed:
        raise BactrianError(too_few(len(kept), needed * len(parts), alpha, share))
    members: list[CascadeMember] = []
    for number, (judge, (confidences, wrong)) in enumerate(zip(judges, items, strict=True)):
        mine = parts[number % len(parts)]
        for member, (earlier, _) in zip(members, items, strict=False):
            mine = mine[~member.threshold.accepts(earlier[mine])]
        threshold = calibrate_kept(confidences[mine], wrong[mine], alpha, share, method, grid, least, seed)
        members.append(CascadeMember(name=judge.name, threshold=threshold))
    return Cascade(members=tuple(members), alpha=alpha, delta=delta, separate=separate, labelled=len(kept))


def first_accepting(accepts: Sequence[Flags]) -> NDArray[np.int64]:
    """The place of the first judge that accepts each item, or ABSTAINS: [..., n], of flags [..., n] for each judge."""
    stacked = np.stack(accepts)
    return np.where(stacked.any(axis=0), np.argmax(stacked, axis=0), ABSTAINS)


def cascade_result(
    cascade: Cascade, judges: Sequence[JudgedItems], costs: Mapping[str, ArrayLike] | None = None
) -> CascadeResult:
    """What a cascade does with items whose labels are known.

    Args:
        judges: as for `calibrate_cascade`, on other items.
        costs: what a call costs, of each judge [n] or one number; equal where there is none. A judge is called on what
            no judge before it accepted, and never where its threshold is infinite.

    Raises:
        BactrianError: judges other than the cascade's, or no cost for one of them.
    """
    names = [member.name for member in cascade.members]
    if [judge.name for judge in judges] != names:
        raise BactrianError(f"judges of a cascade: found {[judge.name for judge in judges]}, expected {names}")
    missing = [name for name in names if costs is not None and name not in costs]
    if missing:
        raise BactrianError(f"costs of judges: found {sorted(costs or {})}, expected {missing[0]} among them")
    by = cascade.accepted_by([judge.confidences for judge in judges])
    right = np.stack([~np.asarray(judge.wrong, dtype=bool) for judge in judges])
    accepted = by != ABSTAINS
    return CascadeResult(
        composition={name: float(np.mean(by == place)) for place, name in enumerate(names)},
        coverage=float(accepted.mean()),
        agreement=float(right[by[accepted], np.flatnonzero(accepted)].mean()) if accepted.any() else float("nan"),
        relative_cost=relative_cost(cascade, by, costs or dict.fromkeys(names, 1.0)),
    )


def relative_cost(cascade: Cascade, by: NDArray[np.int64], costs: Mapping[str, ArrayLike]) -> float:
    """The cost of all calls, escalated ones too, over that of asking the last judge everything; NaN if it is free.

    Args:
        by: [n], from `Cascade.accepted_by`. costs: of each judge's calls, [n] or one number.
    """
    spent = 0.0
    for place, member in enumerate(cascade.members):
        if member.threshold.calibrated:
            called = (by >= place) | (by == ABSTAINS)
            spent += float(np.broadcast_to(np.asarray(costs[member.name], dtype=np.float64), by.shape)[called].sum())
    last = float(np.broadcast_to(np.asarray(costs[cascade.members[-1].name], dtype=np.float64), by.shape).sum())
    return spent / last if last else float("nan")


def _parts(kept: NDArray[np.int64], count: int, seed: int) -> list[NDArray[np.int64]]:
    """The items in `count` random parts of nearly one size, the smallest first."""
    if count == 1:
        return [kept]
    order = np.random.default_rng([seed, count]).permutation(kept)
    return sorted(np.array_split(order, count), key=len)
