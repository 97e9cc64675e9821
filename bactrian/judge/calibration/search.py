"""Which of many thresholds have a risk of at most alpha: multiple testing, on many calibration sets at once.

Axes: s calibration sets (1 in `thresholds.calibrate`, thousands in `splits`), n items, g thresholds of a grid. A grid
is in descending order, so coverage grows along it. Each threshold's hypothesis is that the risk of what it accepts is
above alpha; to reject it is to trust the threshold. Every method keeps the probability of trusting any wrong one at
delta (Angelopoulos et al., Learn then Test, 2021).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import count

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr

from bactrian.judge.calibration.bounds import least_n, p_value

POINTS = 20
"""Thresholds in a grid of quantiles."""
GOOD = 0.5
"""The risk, as a share of alpha, of a judge that the first test of a quantile grid is to pass as often as not."""
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class ThresholdSearch:
    """What was tested, each field [s, g] in the grid's order.

    grid: thresholds. n, errors: of what each accepts. levels: the share of delta that its test had. tested: whether its
    turn came. trusted: whether its hypothesis was rejected.
    """

    grid: Floats
    n: Ints
    errors: Ints
    levels: Floats
    tested: Flags
    trusted: Flags

    @property
    def chosen(self) -> Ints:
        """[s]: the place of the trusted threshold that accepts most, -1 where there is none."""
        last = self.trusted.shape[1] - 1 - np.argmax(self.trusted[:, ::-1], axis=1)
        return np.where(self.trusted.any(axis=1), last, -1)

    @property
    def thresholds(self) -> Floats:
        """[s]: the value of the chosen threshold, infinite where there is none."""
        place = self.chosen
        return np.where(place >= 0, self.grid[np.arange(len(place)), place], np.inf)


@dataclass(frozen=True)
class TestOutcome:
    """How thresholds fared in a procedure of tests, each field [s, g]."""

    levels: Floats
    tested: Flags
    trusted: Flags


def counts(confidences: Floats, wrong: Flags, members: Flags, grid: Floats) -> tuple[Ints, Ints]:
    """How many items of each set are accepted (confidence >= threshold, and > 0), and how many of them are wrong.

    Args:
        confidences, wrong: [s, n]. members: [s, n], which items count. grid: [s, g].

    Returns:
        n and errors, [s, g] each.
    """
    order = np.argsort(-confidences, axis=1, kind="stable")
    descending, missed = np.take_along_axis(confidences, order, axis=1), np.take_along_axis(wrong, order, axis=1)
    among = np.take_along_axis(members, order, axis=1) & (descending > 0)
    rows = zip(descending, grid, strict=True)
    places = np.stack([np.searchsorted(-items, -values, side="right") for items, values in rows])
    none = np.zeros((len(members), 1), dtype=np.int64)
    n = np.hstack([none, np.cumsum(among, axis=1)])
    errors = np.hstack([none, np.cumsum(among & missed, axis=1)])
    return np.take_along_axis(n, places, axis=1), np.take_along_axis(errors, places, axis=1)


def quantile_grid(confidences: Floats, members: Flags, first: Ints, points: int = POINTS) -> Floats:
    """Thresholds at evenly spaced ranks of each set's confidences, from rank `first` to the last; labels play no part.

    Args:
        confidences, members: [s, n]. first: [s]. points: g.

    Returns:
        [s, g], descending; infinite in sets with fewer than `first` confidences above 0.
    """
    descending = np.sort(np.where(members, confidences, 0.0), axis=1)[:, ::-1]
    total = (descending > 0).sum(axis=1, keepdims=True)
    steps = np.maximum(total - first[:, None], 0) * np.linspace(0, 1, points)
    ranks = np.rint(first[:, None] + steps).astype(np.int64)
    if not descending.size:
        return np.full(ranks.shape, np.inf)
    found = np.take_along_axis(descending, np.minimum(ranks, descending.shape[1]) - 1, axis=1)
    return np.where(total >= first[:, None], found, np.inf)


def first_ranks(
    confidences: Floats,
    members: Flags,
    alpha: float,
    delta: float,
    method: str,
    least: int,
    forgiven: int | None = None,
) -> Ints:
    """How many items the strictest threshold of a quantile grid shall accept: [s]. Labels play no part.

    A test of few items fails at the first unlucky error, and a fixed sequence ends there. So the first test is of
    `powerful_n` items, or of half of the items where that is fewer and enough for any test: this follows from alpha and
    delta alone. Where the order is learnt there is no first test to protect.

    Args:
        forgiven: to compare with: the first test is of so many items that it bears this many errors.
    """
    needed = max(least, least_n(alpha, delta))
    total = (members & (confidences > 0)).sum(axis=1)
    if method == SPLIT:
        return np.full(len(total), 2 * needed)
    strong = powerful_n(alpha, delta, least) if forgiven is None else least_n(alpha, delta, forgiven)
    return np.asarray(np.maximum(needed, np.minimum(min(strong, confidences.shape[1] + 1), total // 2)))


@cache
def powerful_n(alpha: float, delta: float, least: int) -> int:
    """Items of a test that a good judge passes as often as not: one whose risk is `GOOD` times alpha.

    Of the sizes from `least` on at which a test first bears one error more, the smallest at which that judge makes no
    more errors than that with a probability of one half.
    """
    sizes = ((errors, least_n(alpha, delta, errors)) for errors in count())
    return next(n for errors, n in sizes if n >= least and bdtr(errors, n, GOOD * alpha) >= 0.5)


def quantile_search(
    confidences: Floats,
    wrong: Flags,
    members: Flags,
    alpha: float,
    delta: float,
    method: str,
    least: int,
    rng: np.random.Generator,
    forgiven: int | None = None,
) -> ThresholdSearch:
    """`search` over a grid of quantiles of the confidences themselves; `forgiven` as in `first_ranks`."""
    first = first_ranks(confidences, members, alpha, delta, method, least, forgiven)
    grid = quantile_grid(confidences, members, first)
    return search(confidences, wrong, members, grid, alpha, delta, method, least, rng)


def search(
    confidences: Floats,
    wrong: Flags,
    members: Flags,
    grid: Floats,
    alpha: float,
    delta: float,
    method: str,
    least: int,
    rng: np.random.Generator,
) -> ThresholdSearch:
    """Tests a grid on each set of items, except thresholds that accept fewer than `least`, or than any bound needs.

    Args:
        confidences, wrong, members: [s, n]. grid: [s, g], descending. method: a name of METHODS or SPLIT.
        rng: draws the halves of "split_fixed_sequence".
    """
    learning = np.zeros_like(members)
    if method == SPLIT:
        learning = _halves(members, rng)
    n, errors = counts(confidences, wrong, members & ~learning, grid)
    again = np.hstack([np.zeros((len(grid), 1), dtype=bool), grid[:, 1:] == grid[:, :-1]])
    possible = (n >= max(least, least_n(alpha, delta))) & np.isfinite(grid) & ~again
    p = np.where(possible, p_value(errors, n, alpha), np.nan)
    if method == SPLIT:
        seen, seen_errors = counts(confidences, wrong, learning, grid)
        order = np.argsort(p_value(seen_errors, seen, alpha), axis=1, kind="stable")
        verdicts = _in_order(p, delta, order)
    else:
        verdicts = METHODS[method](p, delta)
    return ThresholdSearch(grid, n, errors, verdicts.levels, verdicts.tested, verdicts.trusted)


def halving(seed: int) -> np.random.Generator:
    """A stream of its own: halves must not be drawn with the numbers that drew the items under the same seed."""
    return np.random.default_rng([seed, 0x68616C66])


def fixed_sequence(p: Floats, delta: float) -> TestOutcome:
    """Down the grid, each test at all of delta, to the first that fails (Bauer 1991). p: [s, g], NaN is not tested."""
    possible = ~np.isnan(p)
    going = np.logical_and.accumulate(~possible | (p <= delta), axis=1)
    before = np.hstack([np.ones((len(p), 1), dtype=bool), going[:, :-1]])
    return TestOutcome(np.full(p.shape, delta), possible & before, possible & going)


def multi_start(p: Floats, delta: float, starts: int = 4) -> TestOutcome:
    """Fixed sequences from evenly spaced places of the grid, each at delta / starts (Learn then Test, section 2.3)."""
    tested, trusted = np.zeros(p.shape, dtype=bool), np.zeros(p.shape, dtype=bool)
    for first in np.unique(np.linspace(0, p.shape[1], starts, endpoint=False).astype(int)):
        found = fixed_sequence(p[:, first:], delta / starts)
        tested[:, first:] |= found.tested
        trusted[:, first:] |= found.trusted
    return TestOutcome(np.full(p.shape, delta / starts), tested, trusted)


def holm(p: Floats, delta: float) -> TestOutcome:
    """All thresholds, the smallest p first, at delta / (those not yet trusted), to the first that fails (Holm 1979)."""
    possible = ~np.isnan(p)
    order = np.argsort(np.where(possible, p, np.inf), axis=1, kind="stable")
    place = np.argsort(order, axis=1, kind="stable")
    left = np.maximum(possible.sum(axis=1, keepdims=True) - place, 1)
    levels = delta / left
    going = np.logical_and.accumulate(np.take_along_axis(possible & (p <= levels), order, axis=1), axis=1)
    return TestOutcome(levels, possible, np.take_along_axis(going, place, axis=1))


def _in_order(p: Floats, delta: float, order: Ints) -> TestOutcome:
    """A fixed sequence in an order learnt elsewhere."""
    place = np.argsort(order, axis=1, kind="stable")
    found = fixed_sequence(np.take_along_axis(p, order, axis=1), delta)
    tested, trusted = (np.take_along_axis(flags, place, axis=1) for flags in (found.tested, found.trusted))
    return TestOutcome(found.levels, tested, trusted)


def _halves(members: Flags, rng: np.random.Generator) -> Flags:
    """Of each set a random half, rounded down: [s, n]."""
    ranks = np.argsort(np.argsort(np.where(members, rng.random(members.shape), np.inf), axis=1), axis=1)
    return np.asarray(members & (ranks < members.sum(axis=1, keepdims=True) // 2))


SPLIT = "split_fixed_sequence"
"""The order is learnt on half of the items, by p-value, and tested on the other half."""
METHODS: dict[str, Callable[[Floats, float], TestOutcome]] = {
    "fixed_sequence": fixed_sequence,
    "multi_start": multi_start,
    "holm": holm,
}
