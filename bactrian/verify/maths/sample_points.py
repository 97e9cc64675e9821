"""Whether two expressions have the same values, compared at many points, for where there is no exact decision.

The points are the same in every run: of sizes from 1e-3 to 1e4, of both signs, complex where i is about, whole where a
factorial asks for it, and before, between and beyond the places where an absolute value, a maximum, a root or a
logarithm changes its course. That two analytic expressions agree at all of them and differ is possible in theory only
(Schwartz 1980; Zippel 1979).
"""

import random
from collections.abc import Iterator, Mapping
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise

import mpmath

from bactrian.verify.maths.answer_tree import Call, Large, Node, Num, Sym, UnreadableAnswer, unknowns, walk
from bactrian.verify.maths.arithmetic import SamplePoint, Undefined, Value, close, real, value
from bactrian.verify.maths.breakpoints import breakpoints

SEED, FINER, BITS = 1729, 250, 400
"""FINER: digits to which a difference is looked at again, lest it is one of rounding. BITS: see Point."""
SCALES = (-3, -2, -1, 1, 2, 3, 4)
NAMES_LIMIT = 4
"""Unknowns whose breakpoints are looked for."""
ENOUGH = 3
"""Points at which two expressions must be seen to agree."""
WHOLE = frozenset(["factorial", "binom", "gcd", "lcm"])
Values = Mapping[str, Value]


def agree(a: Node, b: Node) -> bool:
    """Equal at all points at which both are defined, and defined at the same ones, but for single
    points.

    Unknowns are real and so must values be, unless i is about or nothing is real.

    Raises:
        Large: if all is too large.
    """
    names = tuple(sorted(unknowns(a) | unknowns(b)))
    if not names:
        return agree_at(a, b, SamplePoint()) is True
    imaginary = any(node == Sym("i") for side in (a, b) for node in walk(side))
    if not imaginary:
        verdict = agree_over(a, b, names, True)
        if verdict is not None:
            return verdict
    return agree_over(a, b, names, False) is True


def agree_over(a: Node, b: Node, names: tuple[str, ...], only_real: bool) -> bool | None:
    """Over all points; None where too few of them say anything."""
    seen = large = 0
    for values, generic in points(a, b, names, only_real):
        try:
            verdict = agree_at(a, b, SamplePoint(values, only_real, BITS), generic)
        except Large:
            large += 1
            continue
        if verdict is False:
            return False
        seen += verdict is True
    if not seen and large:
        raise Large("a value too large at all points")
    return True if seen >= ENOUGH else None


def agree_at(a: Node, b: Node, point: SamplePoint, generic: bool = True) -> bool | None:
    """Whether both have the same value there; None if that says nothing: none has one, or rounding decides.

    `generic`: the point is none of those at which a gap might be removed, so one value without the other differs.
    """
    x, y = defined(a, point), defined(b, point)
    if x is None or y is None:
        return None if x is y or not generic else False
    if close(x, y):
        return True
    if isinstance(x, Fraction) and isinstance(y, Fraction):
        return False
    coarse = distance(x, y)
    with mpmath.workdps(FINER):
        x, y = defined(a, point), defined(b, point)
        fine = distance(x, y) if x is not None and y is not None else coarse
    return None if fine < coarse * mpmath.mpf(10) ** -20 else False


def distance(x: Value, y: Value) -> Value:
    x, y = real(x), real(y)
    return abs(x - y) / max(abs(x), abs(y))


def defined(node: Node, point: SamplePoint) -> Value | None:
    try:
        return value(node, point)
    except Undefined:
        return None


def points(a: Node, b: Node, names: tuple[str, ...], only_real: bool) -> Iterator[tuple[Values, bool]]:
    """Values of the unknowns, and whether the point is generic."""
    counted = whole_names(a) | whole_names(b)
    for values in spread_points(names, counted):
        yield values, not counted
    if not only_real:
        yield from (({name: mpmath.mpc(x, y) for name in names}, True) for x, y in ((0.75, 1.5), (-1.25, 0.375)))
    for name in [name for name in names if name not in counted][:NAMES_LIMIT]:
        for base in spread_points(names, counted)[: 2 if len(names) > 1 else 1]:
            places = breakpoints((a, b), name, base)
            yield from (({**base, name: place}, True) for place in around(places))
            yield from (({**base, name: place}, False) for place in places)


@lru_cache(maxsize=64)
def spread_points(names: tuple[str, ...], counted: frozenset[str]) -> list[dict[str, Fraction]]:
    """First of the size of 1, all unknowns positive, all negative, then mixed; then of all sizes."""
    rng = random.Random(SEED)
    sizes = [(0, sign) for sign in (1, -1, 1, 0, 0, 0)] + [(scale, sign) for scale in SCALES for sign in (1, 0)]
    found = []
    for place, (scale, sign) in enumerate(sizes):
        values = {}
        for name in names:
            mixed = scale if sign or len(names) == 1 else rng.choice((0, *SCALES))
            size = Fraction(rng.randint(2_000, 30_000), 9_973) * Fraction(10) ** mixed
            signed = size * (sign or rng.choice((-1, 1)) if len(names) > 1 else (-1) ** place)
            values[name] = Fraction(rng.randint(1, 4 + place)) if name in counted else signed
        found.append(values)
    return found


def whole_names(node: Node) -> frozenset[str]:
    """Unknowns that must be whole: below a factorial, or in the exponent of a negative number."""
    found = frozenset[str]()
    for part in walk(node):
        if isinstance(part, Call) and part.name in WHOLE:
            found |= unknowns(part)
        if isinstance(part, Call) and part.name == "pow" and negative(part.args[0]):
            found |= unknowns(part.args[1])
    return found


def negative(node: Node) -> bool:
    if isinstance(node, Call) and node.name == "neg":
        return isinstance(node.args[0], Num)
    return isinstance(node, Num) and node.value < 0


def around(places: list[Fraction]) -> Iterator[Fraction]:
    """Before, between and beyond places, and close to each."""
    if not places:
        return
    yield from (places[0] - 1, places[0] - 10 * abs(places[0]) - 100)
    yield from (places[-1] + 1, places[-1] + 10 * abs(places[-1]) + 100)
    for low, high in pairwise(places):
        yield low + (high - low) * Fraction(4_373, 9_973)
    for place in places:
        yield from (place - Fraction(1, 9_973), place + Fraction(1, 9_967))


def constant_value(node: Node) -> Value | None:
    """The real value of an expression without unknowns; None if it has none."""
    try:
        found = value(node, SamplePoint(real=True))
    except (Undefined, UnreadableAnswer):
        return None
    return found
