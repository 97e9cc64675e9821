"""Thresholds without a guarantee, to measure the calibrated ones against: of many calibration sets at once.

Each takes one judge's confidences, wrong and members, [s, n] each, and alpha and delta; it returns thresholds, [s].
"""

from __future__ import annotations

import numpy as np

from bactrian.judge.calibration.bounds import p_value
from bactrian.judge.calibration.search import Flags, Floats, Ints, counts

RELEASED_POINTS, RELEASED_LEAST = 5000, 30


def everything(confidences: Floats, wrong: Flags, members: Flags, alpha: float, delta: float) -> Floats:
    """Accept all that the judge says anything about."""
    return np.full(len(members), np.finfo(np.float64).tiny)


def heuristic(confidences: Floats, wrong: Flags, members: Flags, alpha: float, delta: float) -> Floats:
    """Confidence taken at its word: accept from 1 - alpha."""
    return np.full(len(members), 1 - alpha)


def point_estimate(confidences: Floats, wrong: Flags, members: Flags, alpha: float, delta: float) -> Floats:
    """The lowest confidence from which at most a share alpha of the calibration items was wrong, without a bound."""
    grid = np.sort(np.where(members & (confidences > 0), confidences, np.inf), axis=1)
    n, errors = counts(confidences, wrong, members, grid[:, ::-1])
    good = (errors <= alpha * n) & (n > 0)
    lowest = good.shape[1] - 1 - np.argmax(good[:, ::-1], axis=1)
    return np.where(good.any(axis=1), grid[:, ::-1][np.arange(len(grid)), lowest], np.inf)


def released(confidences: Floats, wrong: Flags, members: Flags, alpha: float, delta: float) -> Floats:
    """The search as the paper's authors released it (February 2025), with its defects, which void the guarantee.

    Down 5,000 even steps of [0, 1], of which those stay that accept at least 30 items, it ends at the first whose
    *lower neighbour* fails: so the strictest is returned untested. The neighbour is taken to be 1 / (steps that stayed)
    away, which is further than the grid's own step. Without a step that accepts 30 items, the threshold is NaN, and
    `splits` takes that of the judge before, or 0.
    """
    steps = np.linspace(0, 1, RELEASED_POINTS)[::-1]
    n, _ = counts(confidences, wrong, members, np.broadcast_to(steps, (len(members), RELEASED_POINTS)))
    stays = n >= RELEASED_LEAST
    width = 1 / np.maximum(stays.sum(axis=1, keepdims=True), 1)
    below, errors = counts(confidences, wrong, members, steps - width)
    fails = stays & (_passing(below, errors, alpha) > delta)
    last = np.where(fails.any(axis=1), np.argmax(fails, axis=1), RELEASED_POINTS - 1)
    return np.where(stays.any(axis=1), steps[last], np.nan)


def _passing(n: Ints, errors: Ints, alpha: float) -> Floats:
    """p-values, each pair of numbers worked out once."""
    numbers = np.arange(int(n.max()) + 1)
    return np.asarray(p_value(numbers[:, None], numbers[None], alpha)[errors, n])
