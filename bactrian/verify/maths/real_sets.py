"""Sets of real numbers as unions of intervals: union, intersection, complement, equality.

Endpoints are exact where they are rational, else known to 60 digits and equal when 45 of them agree.
"""

from collections.abc import Iterable
from functools import cmp_to_key
from typing import NamedTuple

import mpmath

from bactrian.verify.maths.arithmetic import Value, close, real


class Interval(NamedTuple):
    """From `low` to `high`, each in it or not; a single point has both in it."""

    low: Value
    closed_low: bool
    high: Value
    closed_high: bool


RealSet = tuple[Interval, ...]
"""Disjoint, in order, with gaps between them."""
INFINITE = mpmath.inf
NOTHING: RealSet = ()
ALL: RealSet = (Interval(-INFINITE, False, INFINITE, False),)


def compared(a: Value, b: Value) -> int:
    """-1, 0 or 1 as a is less than b, equal to it, or greater."""
    x, y = real(a), real(b)
    if x == y or (mpmath.isfinite(x) and mpmath.isfinite(y) and close(a, b)):
        return 0
    return -1 if x < y else 1


def interval(low: Value, closed_low: bool, high: Value, closed_high: bool) -> RealSet:
    """The set of one interval, empty if nothing is in it."""
    order = compared(low, high)
    if order > 0 or (order == 0 and not (closed_low and closed_high)):
        return NOTHING
    return (Interval(low, closed_low, high, closed_high),)


def point(at: Value) -> RealSet:
    return (Interval(at, True, at, True),)


def union(parts: Iterable[RealSet]) -> RealSet:
    """Overlapping and touching intervals become one."""
    merged: list[Interval] = []
    for piece in sorted((piece for part in parts for piece in part), key=cmp_to_key(by_beginning)):
        if merged and touching(merged[-1], piece):
            merged[-1] = joined(merged[-1], piece)
        else:
            merged.append(piece)
    return tuple(merged)


def by_beginning(a: Interval, b: Interval) -> int:
    return compared(a.low, b.low) or b.closed_low - a.closed_low


def touching(a: Interval, b: Interval) -> bool:
    """Whether b, which begins no earlier, leaves no gap after a."""
    order = compared(b.low, a.high)
    return order < 0 or (order == 0 and (b.closed_low or a.closed_high))


def joined(a: Interval, b: Interval) -> Interval:
    order = compared(b.high, a.high)
    if order < 0:
        return a
    closed = b.closed_high or (order == 0 and a.closed_high)
    return Interval(a.low, a.closed_low, b.high, closed)


def complement(of: RealSet) -> RealSet:
    low, closed, found = -INFINITE, False, list[Interval]()
    for piece in of:
        found += interval(low, closed, piece.low, not piece.closed_low and mpmath.isfinite(real(piece.low)))
        low, closed = piece.high, not piece.closed_high
    if mpmath.isfinite(real(low)) or not of:
        found += interval(low, closed, INFINITE, False)
    return tuple(found)


def intersection(a: RealSet, b: RealSet) -> RealSet:
    return complement(union((complement(a), complement(b))))


def equal(a: RealSet, b: RealSet) -> bool:
    return len(a) == len(b) and all(
        (x.closed_low, x.closed_high) == (y.closed_low, y.closed_high)
        and compared(x.low, y.low) == compared(x.high, y.high) == 0
        for x, y in zip(a, b, strict=True)
    )
