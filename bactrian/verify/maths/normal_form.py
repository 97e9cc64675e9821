"""Whether two expressions are equal, decided exactly: as quotients of polynomials over the rationals.

Indeterminates are the unknowns, π, e, i and the square roots of primes (√12 = 2√3, so √2·√3 = √6). With i² = -1 and
√p² = p every polynomial has one form, because those roots are linearly independent over the rationals (Besicovitch
1940), so the difference is 0 as written or not at all. That π and e together are independent is not known; there, and
for functions and other roots of unknowns, nothing is decided.
"""

from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from math import isqrt

from bactrian.verify.maths.answer_tree import Call, Node, Num, Sym
from bactrian.verify.maths.arithmetic import OPERATIONS, Undefined, power

Monomial = tuple[tuple[str, int], ...]
"""Indeterminates with their exponents, sorted; a root's is written √p."""
Polynomial = dict[Monomial, Fraction]
Quotient = tuple[Polynomial, Polynomial]
TERMS_LIMIT, PRODUCTS_LIMIT, EXPONENT_LIMIT, RADICAND_LIMIT = 120, 3_000, 30, 10**8
RATIONAL_VALUED = frozenset(["abs", "floor", "ceil", "factorial", "binom", "gcd", "lcm", "max", "min"])
ONE: Polynomial = {(): Fraction(1)}


class Undecided(ArithmeticError):
    """The expression has no such form, or one that is too long."""


def equal(a: Node, b: Node) -> bool | None:
    """Whether a = b wherever both are defined (they may differ by removable points); None if not decided."""
    try:
        difference = crossed(quotient(a), quotient(b))
    except Undecided:
        return None
    names = indeterminates(difference)
    return not difference if not ("π" in names and "e" in names) else None


def crossed(a: Quotient, b: Quotient) -> Polynomial:
    """The numerator of a - b."""
    return plus(times(a[0], b[1]), times(b[0], a[1]), -1)


def proportion(a: Polynomial, b: Polynomial) -> Fraction | None:
    """The rational c with a = c·b, both not 0; None if there is none."""
    if not a or a.keys() != b.keys():
        return None
    first = next(iter(a))
    factor = a[first] / b[first]
    return factor if all(a[term] == factor * b[term] for term in a) else None


def indeterminates(polynomial: Polynomial) -> set[str]:
    return {name for term in polynomial for name, _ in term}


def quotient(node: Node) -> Quotient:
    """An expression as numerator and denominator, not reduced.

    Raises:
        Undecided: it has no such form.
    """
    if isinstance(node, Num):
        return constant(node.value), ONE
    if isinstance(node, Sym):
        if node.name in ("infty", "emptyset") or node.name.startswith("mathbb"):
            raise Undecided(node.name)
        return {((({"\\pi": "π", "pi": "π"}.get(node.name, node.name)), 1),): Fraction(1)}, ONE
    if not isinstance(node, Call):
        raise Undecided("no expression")
    if node.name in ("sqrt", "pow"):
        return raised(node)
    parts = [quotient(part) for part in node.args]
    if node.name in RATIONAL:
        above, below = RATIONAL[node.name](*parts)
        if not below:
            raise Undecided("division by zero")
        return above, below
    return computed(node.name, parts)


def constant(number: Fraction) -> Polynomial:
    return {(): number} if number else {}


def rational(form: Quotient) -> Fraction | None:
    """The number that a form is, if it is one."""
    if all(not part or list(part) == [()] for part in form):
        return form[0].get((), Fraction(0)) / form[1][()]
    return None


def computed(name: str, parts: list[Quotient]) -> Quotient:
    """A function of rational numbers, where its value is one."""
    numbers = [number for number in map(rational, parts) if number is not None]
    if len(numbers) < len(parts) or name not in RATIONAL_VALUED:
        raise Undecided(name)
    try:
        found = OPERATIONS[name](*numbers)
    except (TypeError, ValueError, Undefined):
        raise Undecided(name) from None
    return constant(found), ONE


def raised(node: Call) -> Quotient:
    base = quotient(node.args[0])
    exponent = rational(quotient(node.args[1])) if node.name == "pow" else Fraction(1, 2)
    number = rational(base)
    if exponent is None or exponent.denominator > 2 or (number is None and exponent.denominator != 1):
        raise Undecided("a power")
    if number is not None:
        return powers_of_number(number, exponent)
    if abs(exponent) > EXPONENT_LIMIT:
        raise Undecided("a high power")
    if exponent < 0:
        if not base[0]:
            raise Undecided("division by zero")
        base = base[1], base[0]
    result: Quotient = (ONE, ONE)
    for _ in range(abs(int(exponent))):
        result = times(result[0], base[0]), times(result[1], base[1])
    return result


def powers_of_number(number: Fraction, exponent: Fraction) -> Quotient:
    if number == 0 and exponent <= 0:
        raise Undecided("0 to that power")
    if exponent.denominator == 1:
        return constant(power(number, exponent)), ONE
    root = square_root(number)
    whole = constant(power(number, Fraction((exponent - Fraction(1, 2)).numerator)))
    return times(root, whole), ONE


def square_root(number: Fraction) -> Polynomial:
    """√(a/b) = √(ab)/b as a rational times roots of primes (and i)."""
    under, outside, term = abs(number.numerator * number.denominator), Fraction(1, number.denominator), list[str]()
    if under == 0:
        return {}
    if isqrt(under) ** 2 == under:
        outside, under = outside * isqrt(under), 1
    if under > RADICAND_LIMIT:
        raise Undecided("a large radicand")
    prime = 2
    while prime * prime <= under:
        while under % (prime * prime) == 0:
            under, outside = under // prime**2, outside * prime
        if under % prime == 0:
            under //= prime
            term.append(f"√{prime}")
        prime += 1
    term += [f"√{under}"] if under > 1 else []
    term += ["i"] if number < 0 else []
    return {tuple((name, 1) for name in sorted(term)): outside}


def plus(a: Polynomial, b: Polynomial, sign: int = 1) -> Polynomial:
    total = dict(a)
    for term, factor in b.items():
        total[term] = total.get(term, Fraction(0)) + sign * factor
    return checked({term: factor for term, factor in total.items() if factor})


def times(a: Polynomial, b: Polynomial) -> Polynomial:
    if len(a) * len(b) > PRODUCTS_LIMIT:
        raise Undecided("too many terms")
    product: Polynomial = {}
    for left, x in a.items():
        for right, y in b.items():
            term, factor = reduced((*left, *right)) if left and right else (left or right, Fraction(1))
            product[term] = product.get(term, Fraction(0)) + x * y * factor
    return checked({term: factor for term, factor in product.items() if factor})


def checked(polynomial: Polynomial) -> Polynomial:
    if len(polynomial) > TERMS_LIMIT or any(
        max(factor.numerator.bit_length(), factor.denominator.bit_length()) > 4_000 for factor in polynomial.values()
    ):
        raise Undecided("too long")
    return polynomial


def reduced(factors: Iterable[tuple[str, int]]) -> tuple[Monomial, Fraction]:
    """A product of indeterminates with i² = -1 and √p² = p put in."""
    exponents: dict[str, int] = {}
    for name, exponent in factors:
        exponents[name] = exponents.get(name, 0) + exponent
    number = Fraction(1)
    for name in [name for name in exponents if name == "i" or name[0] == "√"]:
        number *= Fraction(-1 if name == "i" else int(name[1:])) ** (exponents[name] // 2)
        exponents[name] %= 2
    return tuple(sorted((name, exponent) for name, exponent in exponents.items() if exponent)), number


RATIONAL: Mapping[str, Callable[..., Quotient]] = {
    "add": lambda a, b: (
        (plus(a[0], b[0]), a[1]) if a[1] == b[1] else (plus(times(a[0], b[1]), times(b[0], a[1])), times(a[1], b[1]))
    ),
    "neg": lambda a: (times(a[0], constant(Fraction(-1))), a[1]),
    "mul": lambda a, b: (times(a[0], b[0]), times(a[1], b[1])),
    "div": lambda a, b: (times(a[0], b[1]), times(a[1], b[0])),
    "percent": lambda a: a,
}
