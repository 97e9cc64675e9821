"""The set of real numbers that an answer stands for: intervals, unions, inequalities, x ≠ 3, |x| > 8, set-builder."""

from collections.abc import Iterable
from fractions import Fraction
from itertools import pairwise, product

from bactrian.verify.maths import real_sets
from bactrian.verify.maths.answer_tree import Bracketed, Call, Node, Quantity, Rel, Sym, negated, unknowns, walk
from bactrian.verify.maths.arithmetic import SamplePoint, Undefined, Value, close, real, value
from bactrian.verify.maths.breakpoints import zeros
from bactrian.verify.maths.normal_form import Undecided, quotient
from bactrian.verify.maths.real_sets import ALL, INFINITE, NOTHING, RealSet
from bactrian.verify.maths.sample_points import constant_value
from bactrian.verify.maths.scalars import endless

BARS_LIMIT, PLACES_LIMIT = 3, 24
HOLDS = {
    "<": lambda order: order < 0,
    ">": lambda order: order > 0,
    "≤": lambda order: order <= 0,
    "≥": lambda order: order >= 0,
    "≠": lambda order: order != 0,
    "=": lambda order: order == 0,
}


def is_set(node: Node) -> bool:
    """Whether it may stand for a set of numbers other than a list of them."""
    if isinstance(node, Rel):
        return any(op in "<>≤≥≠" for op in node.ops)
    if isinstance(node, Call):
        on_sets = node.name in ("union", "intersection", "minus_set", "such_that")
        return on_sets or (node.name in ("add", "neg") and any(is_set(part) for part in node.args))
    if isinstance(node, Bracketed):
        return (
            not node.opening and bool(node.items) and all(isinstance(item, Rel) and is_set(item) for item in node.items)
        )
    return isinstance(node, Sym) and node.name == "mathbbR"


def real_set(node: Node) -> RealSet | None:
    """The set that an answer stands for; None if it is none, or none that can be found out."""
    try:
        return found(node)
    except (Undecided, Undefined):
        return None


def variables(node: Node) -> frozenset[str]:
    """The unknowns that relations in it are about."""
    return frozenset(
        name for part in walk(node) if isinstance(part, Rel) for name in unknowns(part) if not name.startswith("infty")
    )


def found(node: Node) -> RealSet:
    """The numbers that solve it.

    Raises:
        Undecided: they cannot be told.
    """
    if isinstance(node, Quantity):
        return found(node.value)
    if isinstance(node, Sym):
        named = {"mathbbR": ALL, "emptyset": NOTHING}
        if node.name not in named:
            raise Undecided("no set")
        return named[node.name]
    if isinstance(node, Rel):
        return solved(node)
    if isinstance(node, Bracketed):
        return grouped(node)
    if not isinstance(node, Call):
        raise Undecided("no set")
    return combined(node)


def combined(node: Call) -> RealSet:
    parts = node.args
    if node.name == "union":
        return real_sets.union(map(found, parts))
    if node.name in ("intersection", "such_that"):
        return common(map(found, parts))
    without = node.name == "add" and isinstance(parts[1], Call) and parts[1].name == "neg"
    if node.name == "minus_set" or without:
        taken = parts[1].args[0] if without and isinstance(parts[1], Call) else parts[1]
        return real_sets.intersection(found(parts[0]), real_sets.complement(found(taken)))
    raise Undecided("no set")


def common(parts: Iterable[RealSet]) -> RealSet:
    total = ALL
    for part in parts:
        total = real_sets.intersection(total, part)
    return total


def grouped(node: Bracketed) -> RealSet:
    """An interval, a set of numbers, or conditions in a row: all of them, or, if none fulfils all, any."""
    if node.opening == "\\{":
        return real_sets.union(real_sets.point(number(item)) for item in node.items)
    if not node.opening:
        parts = [solved(item) for item in node.items if isinstance(item, Rel)]
        return common(parts) or real_sets.union(parts)
    if len(node.items) != 2:
        raise Undecided("no interval")
    low, high = map(number, node.items)
    if real_sets.compared(low, high) > 0:
        raise Undecided("an interval that runs backwards")
    return real_sets.interval(low, node.opening == "[", high, node.closing == "]")


def number(node: Node) -> Value:
    node = node.value if isinstance(node, Quantity) else node
    end = endless(node)
    if end:
        return end * INFINITE
    known = constant_value(node)
    if known is None:
        raise Undecided("an end that is no number")
    return known


def solved(relation: Rel) -> RealSet:
    """The solutions of a chain of relations in one unknown."""
    items = [item.value if isinstance(item, Quantity) else item for item in relation.items]
    names = frozenset(name for item in items for name in unknowns(item)) - {"infty"}
    if len(names) != 1 or ":" in relation.ops:
        raise Undecided("not of one unknown")
    parts = []
    for op, left, right in zip(relation.ops, items[:-1], items[1:], strict=True):
        if endless(left) or endless(right):
            if op not in "<>" or (endless(left) or -endless(right)) != (1 if op == ">" else -1):
                raise Undecided("an infinite bound")
            continue
        parts.append(solved_once(Call("add", (left, negated(right))), op, next(iter(names))))
    return common(parts)


def solved_once(difference: Node, op: str, name: str) -> RealSet:
    """Where a difference is <, ≤ … 0: tried between the places where its sign can change, and at them."""
    places = sorted_places(critical(difference, name))
    pieces: list[RealSet] = []
    ends = [-INFINITE, *places, INFINITE]
    for low, high in pairwise(ends):
        if holds(difference, op, name, between(low, high)):
            pieces.append(real_sets.interval(low, False, high, False))
    pieces += [real_sets.point(place) for place in places if holds(difference, op, name, place)]
    return real_sets.union(pieces)


def critical(difference: Node, name: str) -> list[Value]:
    """Zeros and poles with each absolute value taken for its argument and for the opposite."""
    bars = list(dict.fromkeys(part for part in walk(difference) if isinstance(part, Call) and part.name == "abs"))
    if len(bars) > BARS_LIMIT:
        raise Undecided("too many absolute values")
    places: list[Value] = []
    for signs in product((1, -1), repeat=len(bars)):
        plain = without_bars(difference, dict(zip(bars, signs, strict=True)))
        quotient(plain)  # raises Undecided for what is no quotient of polynomials
        places += zeros(plain, name)
    for bar in bars:
        places += zeros(bar.args[0], name)
    if len(places) > PLACES_LIMIT:
        raise Undecided("too many zeros")
    return places


def without_bars(node: Node, signs: dict[Call, int]) -> Node:
    if not isinstance(node, Call):
        return node
    if node in signs:
        inside = without_bars(node.args[0], signs)
        return inside if signs[node] > 0 else negated(inside)
    return Call(node.name, tuple(without_bars(part, signs) for part in node.args))


def sorted_places(places: list[Value]) -> list[Value]:
    ordered: list[Value] = []
    for place in sorted(places, key=real):
        if not ordered or real_sets.compared(ordered[-1], place):
            ordered.append(place)
    return ordered


def between(low: Value, high: Value) -> Value:
    if low == -INFINITE:
        return Fraction(0) if high == INFINITE else high - 1
    return low + 1 if high == INFINITE else real(low) + (real(high) - real(low)) / 2


def holds(difference: Node, op: str, name: str, at: Value) -> bool:
    try:
        there = value(difference, SamplePoint({name: at}, real=True))
    except Undefined:
        return False
    return bool(HOLDS[op](0 if close(there, Fraction(0)) else 1 if real(there) > 0 else -1))
