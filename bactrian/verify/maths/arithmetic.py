"""The value of an answer's tree where its symbols have given values: exact where it is rational, else to 60 digits.

Sizes are bounded before anything is computed, so the work is too. Callers set mpmath's precision.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import mpmath

from bactrian.verify.maths.answer_tree import Call, Large, Node, Num, Sym, UnreadableAnswer

Value = Any
"""A Fraction while the value is rational, else an mpmath number."""
TOLERANCE = mpmath.mpf(10) ** -45
BITS_LIMIT = 20_000
"""Of a rational value, and of what an exponent may make."""
SIZE_LIMIT = 1e4
"""Of the argument of a function that grows or oscillates."""


class Undefined(ArithmeticError):
    """Division by zero and the like: no value at this point."""


@dataclass(frozen=True)
class SamplePoint:
    """Values of symbols by their names. `real`: what is not real has no value; `bits`: what is larger has none either.

    Beyond so many bits rounding would have eaten what a difference of large numbers leaves.
    """

    values: Mapping[str, Value] = field(default_factory=dict)
    real: bool = False
    bits: int = BITS_LIMIT

    def symbol(self, name: str) -> Value:
        if name in ("\\pi", "pi"):
            return mpmath.pi()
        if name == "e":
            return mpmath.e()
        if name == "i":
            return mpmath.mpc(0, 1)
        if name not in self.values:
            raise UnreadableAnswer(f"no value has {name}")
        return self.values[name]


def close(a: Value, b: Value) -> bool:
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        return a == b
    x, y = real(a), real(b)
    return bool(abs(x - y) <= TOLERANCE * max(1, abs(x), abs(y)))


def real(number: Value) -> Value:
    """An mpmath number."""
    return mpmath.mpf(number.numerator) / number.denominator if isinstance(number, Fraction) else number


def value(node: Node, point: SamplePoint) -> Value:
    """The value of an expression at a point.

    Raises:
        Undefined: it has none there.
        UnreadableAnswer: it has none anywhere, or is too large.
    """
    if isinstance(node, Num):
        return node.value
    if isinstance(node, Sym):
        return point.symbol(node.name)
    if not isinstance(node, Call):
        raise UnreadableAnswer(f"a {type(node).__name__} inside an expression")
    operate = OPERATIONS.get(node.name)
    if operate is None:
        raise UnreadableAnswer(f"unknown operation {node.name}")
    try:
        return bounded(operate(*[value(part, point) for part in node.args]), point)
    except (ZeroDivisionError, OverflowError, mpmath.libmp.NoConvergence) as error:
        raise Undefined(str(error)) from None
    except (TypeError, ValueError) as error:
        if isinstance(error, UnreadableAnswer):
            raise
        raise Undefined(str(error)) from None


def bounded(result: Value, point: SamplePoint) -> Value:
    """The result, if it is of a size that can be worked with, and real where that is asked."""
    if isinstance(result, Fraction):
        if max(result.numerator.bit_length(), result.denominator.bit_length()) > BITS_LIMIT:
            raise Large("a number too large")
        return result
    if point.real and isinstance(result, mpmath.mpc):
        if abs(result.imag) > TOLERANCE * max(1, abs(result.real)):
            raise Undefined("not real")
        result = result.real
    if not mpmath.isfinite(result):
        raise Undefined("not finite")
    if result and abs(mpmath.mag(result)) > point.bits:
        raise Large("a number too large")
    return result


def power(base: Value, exponent: Value) -> Value:
    if isinstance(exponent, Fraction) and isinstance(base, Fraction):
        if exponent.denominator == 1 and base.numerator:
            bits = max(base.numerator.bit_length(), base.denominator.bit_length())
            if abs(exponent) * bits > BITS_LIMIT:
                raise Large("a power too large")
            return base ** int(exponent)
        if base == 0:
            return Fraction(exponent == 0) if exponent >= 0 else divide(Fraction(1), base)
        if base < 0 and exponent.denominator % 2:  # the real root, as school mathematics has it
            size = power(-base, exponent)
            return -size if exponent.numerator % 2 else size
    base, exponent = real(base), real(exponent)
    if abs(exponent) * max(1, abs(mpmath.mag(base)) if base else 1) > BITS_LIMIT:
        raise Large("a power too large")
    return mpmath.power(base, exponent)


def divide(a: Value, b: Value) -> Value:
    if b == 0:
        raise Undefined("division by zero")
    if not isinstance(b, Fraction) and abs(b) < TOLERANCE:
        raise Large("a divisor that may be 0 but for rounding")
    return a / b if isinstance(a, Fraction) and isinstance(b, Fraction) else real(a) / real(b)


def add(a: Value, b: Value) -> Value:
    return a + b if isinstance(a, Fraction) and isinstance(b, Fraction) else real(a) + real(b)


def multiply(a: Value, b: Value) -> Value:
    return a * b if isinstance(a, Fraction) and isinstance(b, Fraction) else real(a) * real(b)


def root(a: Value, degree: Value = Fraction(2)) -> Value:
    """Of an even degree the principal one, which may be imaginary; of an odd degree the real one."""
    if isinstance(a, Fraction) and isinstance(degree, Fraction) and degree.denominator == 1 and degree > 0:
        return power(a, 1 / degree)
    return mpmath.power(real(a), 1 / real(degree))


def whole(number: Value, limit: int = 2_000) -> int:
    """A number as a whole one.

    Raises:
        UnreadableAnswer: if it is none, or beyond the limit.
    """
    if not isinstance(number, Fraction) or number.denominator != 1 or abs(number) > limit:
        raise Large("expected a whole number of moderate size")
    return int(number)


def logarithm(a: Value, base: Value = Fraction(10)) -> Value:
    if real(a) == 0 or real(base) in (0, 1):
        raise Undefined("a logarithm of 0")
    return mpmath.log(real(a)) / mpmath.log(real(base))


def moderate(function: Any) -> Any:
    """The function of mpmath, for arguments of moderate size."""

    def apply(argument: Value) -> Value:
        if abs(real(argument)) > SIZE_LIMIT:
            raise Large("an argument too large")
        return function(real(argument))

    return apply


def rounding(function: str) -> Any:
    def apply(number: Value) -> Value:
        if isinstance(number, Fraction):
            return Fraction(getattr(math, function)(number))
        return Fraction(int(getattr(mpmath, function)(number)))

    return apply


OPERATIONS: Mapping[str, Any] = {
    "add": add,
    "mul": multiply,
    "div": divide,
    "pow": power,
    "neg": lambda a: -a,
    "percent": lambda a: a,
    "deg": lambda a: real(a) * mpmath.pi() / 180,
    "abs": abs,
    "sqrt": root,
    "root": root,
    "floor": rounding("floor"),
    "ceil": rounding("ceil"),
    "factorial": lambda a: Fraction(math.factorial(whole(a))) if a >= 0 else divide(Fraction(1), Fraction(0)),
    "binom": lambda n, k: Fraction(math.comb(whole(n), whole(k))),
    "gcd": lambda *a: Fraction(math.gcd(*map(whole, a))),
    "lcm": lambda *a: Fraction(math.lcm(*map(whole, a))),
    "max": lambda *a: max(a, key=real),
    "min": lambda *a: min(a, key=real),
    "ln": lambda a: logarithm(a, mpmath.e()),
    "log": logarithm,
    **{
        name: moderate(getattr(mpmath, name))
        for name in ("exp", "sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh")
    },
    **{f"arc{name}": moderate(getattr(mpmath, f"a{name}")) for name in ("sin", "cos", "tan")},
}
