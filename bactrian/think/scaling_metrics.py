"""How well test-time compute is controlled, and what it buys: Control, Scaling, Performance [Muennighoff et al. 2025].

A run is a method at one setting: for each question its thinking tokens and whether it was right. Intervals (95 %,
percentile) are of a bootstrap over questions, drawn alike for all runs, so that runs on the same questions are paired.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Interval = tuple[float, float]
UNIT = "percentage points per 1,000 thinking tokens"
"""Of Scaling. The paper names none; its figures fit this one [unverified: our choice]."""
RESAMPLES = 2_000
APART = 0.01
"""Runs whose mean tokens differ by less than this share have no slope between them: it would be noise over nothing."""


@dataclass(frozen=True)
class MethodRun:
    """One method at one setting, a number for each question, in the same order for all runs.

    tokens: [Q] thinking tokens. right: [Q] 1 for a right answer, 0 for any other, or a share.
    within: share of the answers whose thinking was within the bounds asked for.
    least, most: those bounds, for the mean.
    """

    tokens: Floats
    right: Floats
    within: float = 1.0
    least: float = 0.0
    most: float = float("inf")


@dataclass(frozen=True)
class IntervalEstimate:
    """A number and its 95 % interval; None where it is not defined."""

    value: float | None
    interval: Interval | None


@dataclass(frozen=True)
class Curve:
    """What a method's runs say together.

    control: mean over runs of the share of answers within bounds: no run can hide one answer behind another.
    control_of_means: share of the runs whose mean tokens are within bounds, the paper's definition.
    scaling: mean slope of accuracy over all pairs of runs, in UNIT. per_doubling: the same over log₂ of the tokens, in
    percentage points. performance: the best run's accuracy.
    """

    control: float
    control_of_means: float
    scaling: IntervalEstimate
    per_doubling: IntervalEstimate
    performance: IntervalEstimate


def curve(runs: Sequence[MethodRun], seed: int = 0, resamples: int = RESAMPLES) -> Curve:
    """
    Raises:
        ValueError: if there are no runs, or they are not of the same questions.
    """
    tokens, right = _means(runs, np.arange(_questions(runs))[None, :])
    drawn_tokens, drawn_right = _means(runs, _draws(runs, seed, resamples))
    inside = [run.least <= mean <= run.most for run, mean in zip(runs, tokens[0], strict=True)]
    return Curve(
        control=float(np.mean([run.within for run in runs])),
        control_of_means=float(np.mean(inside)),
        scaling=_estimate(1e5 * slopes(tokens, right), 1e5 * slopes(drawn_tokens, drawn_right)),
        per_doubling=_estimate(100 * slopes(_log2(tokens), right), 100 * slopes(_log2(drawn_tokens), drawn_right)),
        performance=_estimate(right.max(axis=1), drawn_right.max(axis=1)),
    )


def slopes(tokens: Floats, right: Floats) -> Floats:
    """Mean over pairs of runs of (f(b) − f(a)) / (b − a); both [R, P] → [R]; not a number where no two runs differ.

    >>> 100_000 * slopes(np.array([[1000.0, 2000, 4000]]), np.array([[0.40, 0.50, 0.56]]))
    array([6.11111111])
    """
    found = []
    for a, b in combinations(range(tokens.shape[1]), 2):
        across = tokens[:, b] - tokens[:, a]
        apart = np.abs(across) > APART * np.maximum(np.abs(tokens[:, a]), np.abs(tokens[:, b]))
        found.append(np.where(apart, (right[:, b] - right[:, a]) / np.where(apart, across, 1.0), np.nan))
    if not found:
        return np.full(len(tokens), np.nan)
    stacked = np.stack(found)
    counts = (~np.isnan(stacked)).sum(axis=0)
    sums = np.nansum(stacked, axis=0)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def accuracy_at(tokens: Floats, right: Floats, at: Floats) -> Floats:
    """Accuracy of a curve at given tokens, by straight lines over the logarithm between its runs; [R, P], [R] → [R].

    Not a number outside the curve: nothing is extrapolated.
    """
    found = np.full(len(tokens), np.nan)
    for row, (xs, ys, x) in enumerate(zip(_log2(tokens), right, _log2(at), strict=True)):
        order = np.argsort(xs)
        if xs[order[0]] <= x <= xs[order[-1]]:
            found[row] = np.interp(x, xs[order], ys[order])
    return found


def at_equal_tokens(
    sequential: Sequence[MethodRun], other: MethodRun, seed: int = 0, resamples: int = RESAMPLES
) -> IntervalEstimate:
    """Accuracy of the sequential curve at the other run's mean tokens, less the other run's
    accuracy.

    Raises:
        ValueError: if they are not of the same questions.
    """
    runs = [*sequential, other]

    def difference(rows: np.ndarray) -> Floats:
        tokens, right = _means(runs, rows)
        return accuracy_at(tokens[:, :-1], right[:, :-1], tokens[:, -1]) - right[:, -1]

    return _estimate(difference(np.arange(_questions(runs))[None, :]), difference(_draws(runs, seed, resamples)))


def _questions(runs: Sequence[MethodRun]) -> int:
    counts = {len(each) for run in runs for each in (run.tokens, run.right)}
    if len(counts) != 1 or 0 in counts:
        raise ValueError(f"expected runs on the same questions, found {sorted(counts)} of them")
    return counts.pop()


def _draws(runs: Sequence[MethodRun], seed: int, resamples: int) -> np.ndarray:
    """[R, Q] numbers of questions, drawn with replacement."""
    n = _questions(runs)
    return np.random.default_rng(seed).integers(n, size=(resamples, n))


def _means(runs: Sequence[MethodRun], rows: np.ndarray) -> tuple[Floats, Floats]:
    """Mean tokens and accuracy of each run on each draw of questions, [R, P] each."""
    return (
        np.stack([run.tokens[rows].mean(axis=1) for run in runs], axis=1),
        np.stack([run.right[rows].mean(axis=1) for run in runs], axis=1),
    )


def _log2(tokens: Floats) -> Floats:
    """log₂, with less than one token counted as one: a budget of nothing has a place on the axis too."""
    found: Floats = np.log2(np.maximum(tokens, 1.0))
    return found


def _estimate(values: Floats, drawn: Floats) -> IntervalEstimate:
    known = drawn[~np.isnan(drawn)]
    if np.isnan(values[0]) or len(known) < len(drawn) / 2:
        return IntervalEstimate(None, None)
    low, high = np.quantile(known, [0.025, 0.975])
    return IntervalEstimate(float(values[0]), (float(low), float(high)))
