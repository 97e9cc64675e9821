"""Exact one-sided bounds on a risk of which errors were counted (Clopper & Pearson 1934).

Notation of the paper (Jung et al., Trust or Escalate, ICLR 2025): alpha is the risk that is tolerated, delta the
probability with which a calibration may fail. All functions take numbers or arrays of one shape.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr, betaincinv

from bactrian.errors import BactrianError


def upper_bound(errors: ArrayLike, n: ArrayLike, delta: ArrayLike) -> NDArray[np.float64]:
    """The largest risk r with P(Bin(n, r) <= errors) >= delta; 1 where all n were wrong, or n is 0.

    The true risk lies above it with probability delta at most. [...] like the arguments.
    """
    k, size = np.asarray(errors, dtype=np.float64), np.asarray(n, dtype=np.float64)
    all_wrong = k >= size
    bound = betaincinv(k + 1, np.where(all_wrong, 1.0, size - k), 1 - np.asarray(delta, dtype=np.float64))
    return np.asarray(np.where(all_wrong, 1.0, bound))


def p_value(errors: ArrayLike, n: ArrayLike, alpha: float) -> NDArray[np.float64]:
    """P(Bin(n, alpha) <= errors): how likely so few errors are where the risk is alpha; 1 where n is 0.

    It is at most delta exactly where `upper_bound` is at most alpha.
    """
    k, size = np.asarray(errors, dtype=np.float64), np.asarray(n, dtype=np.int64)
    return np.asarray(np.where(size == 0, 1.0, bdtr(k, np.maximum(size, 1), alpha)))


def least_n(alpha: float, delta: float, errors: int = 0) -> int:
    """Items that a bound of alpha takes with so many errors: the least n with P(Bin(n, alpha) <= errors) <= delta."""
    enough = errors + 1
    while p_value(errors, enough, alpha) > delta:
        enough *= 2
    fits = range(errors + 1, enough + 1)
    return fits[bisect_left(fits, True, key=lambda n: bool(p_value(errors, n, alpha) <= delta))]


def check_levels(alpha: float, delta: float) -> None:
    """
    Raises:
        BactrianError: alpha or delta is not between 0 and 1.
    """
    given: dict[str, Any] = {"alpha": alpha, "delta": delta}
    for name, value in given.items():
        if not 0 < value < 1:
            raise BactrianError(f"{name}: found {value}, expected a number above 0 and below 1")
