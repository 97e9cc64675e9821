"""The confidence from which a judge may be trusted: calibrated on people's labels, with a guarantee, or infinite.

With probability at least 1 - delta over the calibration items, the judge disagrees with people on at most a share alpha
of what it accepts (Jung et al., Trust or Escalate, ICLR 2025, section 2). The promise is about one item drawn from each
prompt: items of one prompt count as one, whichever way they are judged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import ArrayLike
from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, ValidationError, model_validator

from bactrian.errors import BactrianError
from bactrian.errors.wording import misfits
from bactrian.judge.calibration.bounds import check_levels, least_n, upper_bound
from bactrian.judge.calibration.search import (
    METHODS,
    SPLIT,
    Flags,
    Floats,
    ThresholdSearch,
    halving,
    quantile_search,
    search,
)

NullIsInfinite = Annotated[
    float,
    BeforeValidator(lambda value: math.inf if value is None else value),
    PlainSerializer(lambda value: value if math.isfinite(value) else None, when_used="json"),
]


class CalibrationRecord(BaseModel):
    """A frozen record that goes to plain JSON and comes back checked; an infinite threshold is null there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def to_json(self) -> dict[str, Any]:
        return self.model_dump(mode="json")

    @classmethod
    def from_json(cls, data: object, where: str) -> Self:
        """What `to_json` gave.

        Args:
            where: the file, for messages.

        Raises:
            BactrianError: a field is missing, unknown or of the wrong kind, or the numbers contradict each other.
        """
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            first = misfits(error, cls, data)[0]
            field = ".".join(map(str, first.path))
            told = f"found {first.found}, expected {first.expected}" if first.found else first.expected
            raise BactrianError(f"{where}{f', field {field}' if field else ''}: {told}") from None


class ThresholdTest(CalibrationRecord):
    """One test of one threshold: what it accepted, how much of that was wrong, and how large the risk may be.

    level: the probability with which `bound` may be too low.
    """

    value: float
    n: int
    errors: int
    level: float
    bound: float
    trusted: bool


class Threshold(CalibrationRecord):
    """A judge's verdict is accepted where its confidence is at least `value`; infinite: the judge always abstains.

    n, errors, bound: of the items that `value` accepts; 0, 0 and 1 where it is infinite. `bound` is never above alpha
    otherwise. labelled: items that the calibration was made on, one for each prompt. curve: all tests that were made,
    from the strictest threshold. stopped: why the search ended, for people.
    """

    value: NullIsInfinite
    n: int
    errors: int
    bound: float
    alpha: float
    delta: float
    method: str
    labelled: int
    curve: tuple[ThresholdTest, ...]
    stopped: str

    @property
    def calibrated(self) -> bool:
        return math.isfinite(self.value)

    def accepts(self, confidences: ArrayLike) -> Flags:
        """Where the verdict may be used: confidence at least `value`, and above 0 (0 is a judge that says nothing)."""
        given = np.asarray(confidences, dtype=np.float64)
        return np.asarray((given >= self.value) & (given > 0))

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        """A threshold whose bound fails is no threshold, wherever it comes from."""
        if not self.calibrated:
            return self
        tests = [test for test in self.curve if test.value == self.value and test.trusted]
        if not tests or (tests[0].n, tests[0].errors, tests[0].bound) != (self.n, self.errors, self.bound):
            raise ValueError(f"the threshold {self.value} is not among the tests that were passed")
        level = tests[0].level
        exact = float(upper_bound(self.errors, self.n, level))
        if level > self.delta or abs(exact - self.bound) > 1e-9 or self.bound > self.alpha:
            raise ValueError(
                f"{self.errors} errors in {self.n} items bound the risk by {exact:.4f} with delta {self.delta}; the "
                f"threshold says {self.bound:.4f}, and must be at most alpha = {self.alpha}"
            )
        return self


def calibrate(
    confidences: ArrayLike,
    wrong: ArrayLike,
    groups: Sequence[str],
    *,
    alpha: float,
    delta: float,
    method: str = "fixed_sequence",
    grid: Sequence[float] | None = None,
    least: int = 30,
    seed: int = 0,
) -> Threshold:
    """The lowest threshold that can be trusted; infinite where none can.

    Items that share a group count as one: one of them is drawn, with the seed and without a look at the labels. So
    more rows of the same prompts never tighten a bound.

    Args:
        confidences: [n], in [0, 1]; 0 is never accepted. wrong: [n], whether the verdict differs from people's.
        groups: [n], what the items are about (a hash of the prompt).
        alpha: the risk that is tolerated. delta: the probability with which the guarantee may fail.
        method: "fixed_sequence", "multi_start", "holm" or "split_fixed_sequence" (search.py).
        grid: thresholds to test, chosen before anybody saw a label; else quantiles of the confidences.
        least: thresholds that accept fewer items are not tested.

    Raises:
        BactrianError: arrays that do not fit, an unknown method, or fewer labels than any guarantee needs.
    """
    check_levels(alpha, delta)
    c, errs = check_items(confidences, wrong, groups)
    check_method(method)
    needed = items_needed(alpha, delta, least, method)
    kept = one_per_group(groups, seed)
    if len(kept) < needed:
        raise BactrianError(too_few(len(kept), needed, alpha, delta))
    return calibrate_kept(c[kept], errs[kept], alpha, delta, method, grid, least, seed)


def calibrate_kept(
    confidences: Floats,
    wrong: Flags,
    alpha: float,
    delta: float,
    method: str,
    grid: Sequence[float] | None,
    least: int,
    seed: int,
) -> Threshold:
    """`calibrate` on items that are already one for each group, however few; too few give an infinite threshold."""
    c, errs, everyone = confidences[None], wrong[None], np.ones((1, len(confidences)), dtype=bool)
    rng = halving(seed)
    if grid is None:
        found = quantile_search(c, errs, everyone, alpha, delta, method, least, rng)
    else:
        found = search(c, errs, everyone, _given(grid)[None], alpha, delta, method, least, rng)
    return _threshold(found, alpha, delta, method, len(confidences), max(least, least_n(alpha, delta)))


def items_needed(alpha: float, delta: float, least: int, method: str) -> int:
    """How many labelled items of different prompts a calibration takes at the very least."""
    return max(least, least_n(alpha, delta)) * (2 if method == SPLIT else 1)


def too_few(found: int, needed: int, alpha: float, delta: float) -> str:
    return (
        f"found labels for {found} prompts, expected {needed} or more: with fewer, even a judge that is never wrong "
        f"cannot be trusted with alpha = {alpha} and delta = {delta:g}. Label more prompts, or allow more risk"
    )


def check_items(confidences: ArrayLike, wrong: ArrayLike, groups: Sequence[str]) -> tuple[Floats, Flags]:
    """The two as arrays [n].

    Raises:
        BactrianError: lengths differ, a confidence is outside [0, 1], or there is no item at all.
    """
    c, errs = np.asarray(confidences, dtype=np.float64), np.asarray(wrong, dtype=bool)
    if not c.ndim == errs.ndim == 1 or not len(c) == len(errs) == len(groups):
        raise BactrianError(
            f"calibration items: found {c.shape} confidences, {errs.shape} verdicts and {len(groups)} groups, expected "
            f"as many of each"
        )
    if not len(c):
        raise BactrianError("calibration items: found none with a label; ties between annotators are no labels")
    outside = np.flatnonzero(~((c >= 0) & (c <= 1)))
    if len(outside):
        raise BactrianError(
            f"calibration item {outside[0] + 1}, confidence: found {c[outside[0]]}, expected a number from 0 to 1"
        )
    return c, errs


def check_method(method: str) -> None:
    """
    Raises:
        BactrianError: there is no such method.
    """
    if method not in (*METHODS, SPLIT):
        raise BactrianError(f"method: found {method!r}, expected one of: {', '.join((*METHODS, SPLIT))}")


def one_per_group(groups: Sequence[str], seed: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Places of one item of each group, drawn at random, in ascending order."""
    _, which = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(which))
    _, first = np.unique(which[order], return_index=True)
    return np.sort(order[first])


def _given(grid: Sequence[float]) -> Floats:
    values = np.asarray(grid, dtype=np.float64)
    if values.ndim != 1 or not len(values) or not bool(np.all((values > 0) & (values <= 1))):
        raise BactrianError(f"grid: found {list(grid)!r:.60}, expected thresholds above 0 and at most 1")
    return np.unique(values)[::-1]


def _threshold(found: ThresholdSearch, alpha: float, delta: float, method: str, labelled: int, first: int) -> Threshold:
    bounds = upper_bound(found.errors, found.n, found.levels)[0]
    rows = zip(found.grid[0], found.n[0], found.errors[0], found.levels[0], bounds, found.trusted[0], strict=True)
    curve = tuple(
        ThresholdTest(value=value, n=n, errors=errors, level=level, bound=bound, trusted=trusted)
        for (value, n, errors, level, bound, trusted), tested in zip(rows, found.tested[0], strict=True)
        if tested
    )
    place = int(found.chosen[0])
    value, n, errors, bound = math.inf, 0, 0, 1.0
    if place >= 0:
        value, bound = float(found.grid[0, place]), float(bounds[place])
        n, errors = int(found.n[0, place]), int(found.errors[0, place])
    return Threshold(
        value=value,
        n=n,
        errors=errors,
        bound=bound,
        alpha=alpha,
        delta=delta,
        method=method,
        labelled=labelled,
        curve=curve,
        stopped=_why(curve, labelled, first),
    )


def _why(curve: tuple[ThresholdTest, ...], labelled: int, first: int) -> str:
    failed = [test for test in curve if not test.trusted]
    if not curve:
        return f"no threshold was tested: none accepts {first} of the {labelled} items"
    if not failed:
        return "every threshold of the grid was trusted"
    worst = failed[0]
    return (
        f"at threshold {worst.value:.4g}, {worst.errors} of {worst.n} verdicts are wrong, and the risk may be "
        f"{worst.bound:.3f}"
    )
