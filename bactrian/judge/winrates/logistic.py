"""Logistic regression of soft outcomes, and its uncertainty by drawing prompts: what every number here is made with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from bactrian.errors import BactrianError

Floats = NDArray[np.float64]

RIDGE = 1e-6
"""Keeps the fit unique where a column says nothing; too small to move a number that anybody reads."""
STEPS = 200
LARGEST_STEP = 4.0


def fit_logistic(
    features: Floats,
    outcomes: Floats,
    weights: Floats | None = None,
    ridge: float | Floats = RIDGE,
    start: Floats | None = None,
) -> Floats:
    """Coefficients of logit E[outcome] = features · coefficients, by Newton's method.

    Args:
        features: [n, k]. There is no intercept beside them.
        outcomes: [n], in [0, 1]; a soft outcome p counts as p wins and 1 − p losses.
        weights: [n], not negative; 1 by default. How often a row was drawn, for a bootstrap.
        ridge: half of it times the squared coefficient is added to the loss; one number or [k].
        start: where to begin, [k]; the optimum does not depend on it.

    Returns: [k].

    Raises:
        BactrianError: it does not settle: some feature tells wins from losses without a fault.
    """
    rows, columns = features.shape
    counted = np.ones(rows) if weights is None else weights
    shrink = np.broadcast_to(np.asarray(ridge, dtype=np.float64), (columns,))
    found = np.zeros(columns) if start is None else start.astype(np.float64)
    for _ in range(STEPS):
        expected = expit(features @ found)
        slope = features.T @ (counted * (outcomes - expected)) - shrink * found
        spread = counted * expected * (1 - expected)
        step = np.linalg.solve((features * spread[:, None]).T @ features + np.diag(shrink + 1e-12), slope)
        largest = float(np.abs(step).max(initial=0.0))
        found = found + step * min(1.0, LARGEST_STEP / max(largest, LARGEST_STEP))
        if largest < 1e-8:
            return found
    raise BactrianError(
        f"win rates: a logistic model of {rows:,} comparisons did not settle in {STEPS} steps; found coefficients up "
        f"to {float(np.abs(found).max(initial=0.0)):.3g}. Expected both wins and losses for every model"
    )


@dataclass(frozen=True)
class ClusterDraws:
    """How often each row counts in each resample: rows of one cluster are drawn together.

    places: [n], the cluster of each row. clusters: how many there are.
    """

    places: NDArray[np.int64]
    clusters: int

    @classmethod
    def of(cls, names: Sequence[str]) -> ClusterDraws:
        """`names`: the cluster of each row, such as its prompt."""
        order = {name: place for place, name in enumerate(dict.fromkeys(names))}
        return cls(np.array([order[name] for name in names], dtype=np.int64), len(order))

    def refitted(self, statistic: Callable[[Floats], Floats], resamples: int, seed: int) -> Floats:
        """`statistic` of each resample's row weights, [resamples, k]: it is fitted anew on every one of them.

        The seed decides all; resample i of two calls with one seed draws the same clusters.
        """
        return np.array([statistic(times) for times in self.drawn(resamples, seed)])

    def drawn(self, resamples: int, seed: int) -> Iterator[Floats]:
        """How often each row counts, [n], in each of the resamples of `refitted`."""
        random = np.random.default_rng(seed)
        for _ in range(resamples):
            times = np.bincount(random.integers(self.clusters, size=self.clusters), minlength=self.clusters)
            yield times[self.places].astype(np.float64)


def percentile_interval(drawn: Floats, level: float = 0.95) -> tuple[float, float]:
    """The middle `level` of resampled values, [resamples]."""
    tail = (1 - level) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return float(low), float(high)
