"""Where a function of one unknown may change its form: zeros inside its absolute values, roots and logarithms."""

import math
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import combinations, islice, pairwise

import mpmath

from bactrian.verify.maths.answer_tree import Call, Node, Num, Sym, UnreadableAnswer, negated, unknowns, walk
from bactrian.verify.maths.arithmetic import SamplePoint, Undefined, Value, real, value
from bactrian.verify.maths.normal_form import Polynomial, Undecided, quotient

PLACES_LIMIT, TURNING_LIMIT, DEGREE_LIMIT, DIVISORS_LIMIT = 16, 12, 8, 200
BRANCHING = frozenset(["abs", "sqrt", "root", "ln", "log", "pow", "arcsin", "arccos"])
GRID = [sign * scale * Fraction(10) ** power for sign in (-1, 1) for power in range(-3, 5) for scale in (1, 3)]


def breakpoints(sides: Sequence[Node], name: str, base: Mapping[str, Value]) -> list[Fraction]:
    """Of two expressions in an unknown, the others having the values of `base`; sorted, at most PLACES_LIMIT."""
    found = dict[Fraction, None]()
    for side in sides:
        for node in islice(turning(side), TURNING_LIMIT):
            if name not in unknowns(node):
                continue
            others = {other: Num(base[other]) for other in unknowns(node) - {name}}
            for place in zeros(put(node, others), name):
                found[place if isinstance(place, Fraction) else nearest(place)] = None
    if found:
        for side in sides:
            numbers = [node.value for node in walk(side) if isinstance(node, Num)]
            found.update(dict.fromkeys(sign * number for number in numbers for sign in (1, -1)))
    return sorted(list(found)[:PLACES_LIMIT])


def nearest(place: Value) -> Fraction:
    return Fraction(str(mpmath.nstr(place, 30))) if abs(place) < 1e30 else Fraction(0)


def turning(side: Node) -> Iterator[Node]:
    """Expressions at whose zeros another one changes its course."""
    for node in walk(side):
        if not isinstance(node, Call):
            continue
        if node.name in ("max", "min"):
            yield from (Call("add", (a, negated(b))) for a, b in combinations(node.args, 2))
        elif node.name in ("floor", "ceil"):
            yield from (Call("add", (node.args[0], Num(Fraction(-step)))) for step in (0, 1, -1, 7))
        elif node.name in ("arcsin", "arccos"):
            yield from (Call("add", (node.args[0], Num(Fraction(step)))) for step in (1, -1))
        elif node.name == "pow":
            exponent = node.args[1]
            if not isinstance(exponent, Num) or exponent.value.denominator != 1:
                yield node.args[0]
        elif node.name in BRANCHING:
            yield node.args[0]


def put(node: Node, values: Mapping[str, Node]) -> Node:
    """An expression with values for some of its unknowns."""
    if isinstance(node, Sym):
        return values.get(node.name, node)
    if isinstance(node, Call):
        return Call(node.name, tuple(put(part, values) for part in node.args))
    return node


def zeros(node: Node, name: str) -> list[Value]:
    """Real zeros and poles of an expression in one unknown; where it is no quotient of polynomials, changes of sign."""
    try:
        return [place for part in quotient(node) for place in real_roots(coefficients(part, name))]
    except Undecided:
        return changes_of_sign(node, name)


def coefficients(polynomial: Polynomial, name: str) -> list[Value]:
    """From the constant one upwards.

    Raises:
        Undecided: for another unknown in it.
    """
    found: dict[int, Value] = {}
    for term, factor in polynomial.items():
        degree, number = 0, factor
        for each, exponent in term:
            if each == name:
                degree = exponent
            else:
                number = real(number) * indeterminate(each) ** exponent
        found[degree] = (
            number + found[degree]
            if degree in found and isinstance(number, type(found[degree]))
            else (real(number) + real(found[degree]) if degree in found else number)
        )
    if max(found, default=0) > DEGREE_LIMIT:
        raise Undecided("a high degree")
    return [found.get(degree, Fraction(0)) for degree in range(max(found, default=0) + 1)]


def indeterminate(name: str) -> Value:
    if name[0] == "√":
        return mpmath.sqrt(int(name[1:]))
    if name not in ("π", "e"):
        raise Undecided(f"another unknown, {name}")
    return mpmath.pi() if name == "π" else mpmath.e()


def real_roots(given: list[Value]) -> list[Value]:
    """Of a polynomial: rational ones exactly, those of a quadratic by its formula, others to working precision."""
    found: list[Value] = []
    left = list(given)
    if all(isinstance(factor, Fraction) for factor in left):
        for candidate in rational_candidates(left):
            while len(left) > 2 and horner(left, candidate) == 0:
                found.append(candidate)
                left = deflated(left, candidate)
    if len(left) <= 1:
        return found
    if len(left) == 2:
        a, b = left[1], left[0]
        return [*found, -b / a if isinstance(a, Fraction) and isinstance(b, Fraction) else -real(b) / real(a)]
    if len(left) == 3:
        c, b, a = map(real, left)
        under = b * b - 4 * a * c
        return [*found, *((-b + sign * mpmath.sqrt(under)) / (2 * a) for sign in (1, -1) if under >= 0)]
    try:
        roots = mpmath.polyroots([real(factor) for factor in reversed(left)], maxsteps=100, extraprec=200)
    except mpmath.libmp.NoConvergence:
        raise Undecided("roots that do not converge") from None
    return [*found, *(mpmath.re(root) for root in roots if abs(mpmath.im(root)) < mpmath.mpf(10) ** -20)]


def rational_candidates(given: list[Fraction]) -> list[Fraction]:
    """What can be a rational root: a divisor of the constant coefficient over one of the leading."""
    scale = math.lcm(*(factor.denominator for factor in given))
    lowest = next((int(factor * scale) for factor in given if factor), 0)
    zero = [Fraction(0)] if given and given[0] == 0 else []
    above, below = divisors(lowest), divisors(int(given[-1] * scale))
    signed = {Fraction(sign * a, b) for a in above for b in below for sign in (1, -1)}
    return zero + sorted(signed)


def divisors(number: int) -> list[int]:
    number = abs(number)
    return [d for d in range(1, min(number, DIVISORS_LIMIT) + 1) if number % d == 0] if number else []


def horner(given: Sequence[Fraction], at: Fraction) -> Fraction:
    total = Fraction(0)
    for factor in reversed(given):
        total = total * at + factor
    return total


def deflated(given: Sequence[Fraction], root: Fraction) -> list[Fraction]:
    """Divided by x - root, which it must be a multiple of."""
    found = [given[-1]]
    for factor in list(reversed(given))[1:-1]:
        found.append(factor + root * found[-1])
    return found[::-1]


def changes_of_sign(node: Node, name: str) -> list[Value]:
    """Places between the points of a grid where the sign changes, by bisection."""
    signs = [(place, sign_at(node, name, place)) for place in sorted(GRID)]
    known = [(place, sign) for place, sign in signs if sign is not None]
    found: list[Value] = []
    for (low, below), (high, above) in pairwise(known):
        if below != above:
            for _ in range(40):
                middle = (low + high) / 2
                sign = sign_at(node, name, middle)
                if sign is None:
                    break
                low, high = (middle, high) if sign == below else (low, middle)
            found.append(((low + high) / 2).limit_denominator(10**9))
    return found


def sign_at(node: Node, name: str, place: Fraction) -> bool | None:
    try:
        with mpmath.workdps(20):
            return bool(real(value(node, SamplePoint({name: place}, real=True))) > 0)
    except (Undefined, UnreadableAnswer):
        return None
