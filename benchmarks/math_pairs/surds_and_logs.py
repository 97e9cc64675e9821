"""Classes of expressions: surds, logarithms and exponentials."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import mpmath
from mpmath import exp, log, mpf, sqrt

from math_pairs.cases import Draw, MathCase, frac, plus, template

FREE = [2, 3, 5, 6, 7, 10, 11, 13, 14, 15]


@template("surds")
def simplified(d: Draw) -> MathCase:
    a, b = d.randint(2, 20), d.choice(FREE)
    v = a * sqrt(b)
    gold = d.of([rf"{a}\sqrt{{{b}}}"], [rf"{a} \sqrt{{{b}}}", rf"\sqrt{{{a * a * b}}}"])
    right = [
        (rf"\sqrt{{{a * a * b}}}", v),
        (rf"{a}\sqrt{{{b}}}", v),
        (rf"\sqrt{{{b}}}\cdot {a}", v),
        (rf"\frac{{{a * b}}}{{\sqrt{{{b}}}}}", a * b / sqrt(b)),
        (rf"{a}\cdot {b}^{{1/2}}", v),
        (rf"{a - 1}\sqrt{{{b}}}+\sqrt{{{b}}}", v),
        (rf"\sqrt{{{a * a}}}\sqrt{{{b}}}", v),
        (rf"{2 * a}\sqrt{{\frac{{{b}}}{{4}}}}", v),
    ]
    if b < 10:
        right.append((rf"{a}\sqrt{b}", v))
    wrong = [
        (rf"{a}\sqrt{{{b + 1}}}", a * sqrt(b + 1)),
        (rf"\sqrt{{{a * b}}}", sqrt(a * b)),
        (rf"{a + 1}\sqrt{{{b}}}", (a + 1) * sqrt(b)),
        (rf"{a}+\sqrt{{{b}}}", a + sqrt(b)),
        (rf"-{a}\sqrt{{{b}}}", -v),
        (rf"{a * b}", a * b),
        (rf"{a}\sqrt[3]{{{b}}}", a * mpmath.cbrt(b)),
        (rf"\frac{{\sqrt{{{b}}}}}{{{a}}}", sqrt(b) / a),
    ]
    return MathCase(gold, right, wrong, v)


@template("surds")
def rationalised(d: Draw) -> MathCase:
    b, c = d.choice(FREE), d.randint(1, 9)
    q = Fraction(c, b)
    v = c / sqrt(b)
    top = "" if q.numerator == 1 else str(q.numerator)
    clean = rf"\frac{{{top}\sqrt{{{b}}}}}{{{q.denominator}}}" if q.denominator > 1 else rf"{top}\sqrt{{{b}}}"
    gold = d.half(clean, d.choice([clean, rf"\frac{{{c}}}{{\sqrt{{{b}}}}}"]))
    right = [
        (clean, v),
        (rf"\frac{{{c}}}{{\sqrt{{{b}}}}}", v),
        (rf"\sqrt{{\frac{{{c * c}}}{{{b}}}}}", v),
        (rf"{frac(q)}\sqrt{{{b}}}", v),
        (rf"\dfrac{{{c}\sqrt{{{b}}}}}{{{b}}}", v),
        (f"{c}/sqrt({b})", v),
        (rf"{c} \cdot {b}^{{-1/2}}", v),
        (rf"\frac{{{c}}}{{{b}^{{1/2}}}}", v),
    ]
    wrong = [
        (rf"\frac{{{c}\sqrt{{{b}}}}}{{{b + 1}}}", c * sqrt(b) / (b + 1)),
        (rf"\frac{{{c + 1}}}{{\sqrt{{{b}}}}}", (c + 1) / sqrt(b)),
        (rf"{c}\sqrt{{{b}}}", c * sqrt(b)),
        (rf"\frac{{{c}}}{{{b}}}", q),
        (rf"-\frac{{{c}}}{{\sqrt{{{b}}}}}", -v),
        (rf"\frac{{\sqrt{{{b}}}}}{{{b * (c + 1)}}}", sqrt(b) / b / (c + 1)),
    ]
    return MathCase(gold, right, wrong, v)


@template("surds", "dev")
def conjugate(d: Draw) -> MathCase:
    a, b = d.randint(3, 12), d.choice([2, 3, 5, 6, 7])
    n = a * a - b
    v = 1 / (a + sqrt(b))
    gold = rf"\frac{{{a}-\sqrt{{{b}}}}}{{{n}}}"
    right = [
        (rf"\frac{{1}}{{{a}+\sqrt{{{b}}}}}", v),
        (rf"\frac{{{a}}}{{{n}}} - \frac{{\sqrt{{{b}}}}}{{{n}}}", v),
        (rf"\frac{{\sqrt{{{b}}}-{a}}}{{{-n}}}", v),
        (rf"\frac{{1}}{{{n}}}({a}-\sqrt{{{b}}})", v),
        (rf"({a}-\sqrt{{{b}}})/{n}", v),
        (rf"\frac{{-\sqrt{{{b}}}+{a}}}{{{n}}}", v),
    ]
    wrong = [
        (rf"\frac{{1}}{{{a}-\sqrt{{{b}}}}}", 1 / (a - sqrt(b))),
        (rf"\frac{{{a}+\sqrt{{{b}}}}}{{{n}}}", (a + sqrt(b)) / n),
        (rf"{a}-\frac{{\sqrt{{{b}}}}}{{{n}}}", a - sqrt(b) / n),
        (rf"\frac{{\sqrt{{{b}}}-{a}}}{{{n}}}", -v),
        (rf"\frac{{{a}-\sqrt{{{b}}}}}{{{n + 1}}}", v * n / (n + 1)),
        (rf"{a}-\sqrt{{{b}}}/{n}", a - sqrt(b) / n),
    ]
    return MathCase(gold, right, wrong, v)


@template("surds", "dev")
def nested(d: Draw) -> MathCase:
    a, b = d.sample(FREE, 2)
    a, b = max(a, b), min(a, b)
    s = d.choice([1, -1])
    v = sqrt(a) + s * sqrt(b)
    gold = rf"\sqrt{{{a}}} {plus(s)[0]} \sqrt{{{b}}}"
    o = "-" if s > 0 else "+"
    p = "+" if s > 0 else "-"
    right = [
        (rf"\sqrt{{{a + b} {p} 2\sqrt{{{a * b}}}}}", sqrt(a + b + 2 * s * sqrt(a * b))),
        (rf"\sqrt{{{a + b} {p} \sqrt{{{4 * a * b}}}}}", v),
        (rf"\frac{{{a - b}}}{{\sqrt{{{a}}} {o} \sqrt{{{b}}}}}", (a - b) / (sqrt(a) - s * sqrt(b))),
        (f"sqrt({a}) {p} sqrt({b})", v),
    ]
    wrong = [
        (rf"\sqrt{{{a + s * b}}}", sqrt(a + s * b)),
        (rf"\sqrt{{{a}}} {o} \sqrt{{{b}}}", sqrt(a) - s * sqrt(b)),
        (rf"\sqrt{{{a + b} {p} \sqrt{{{a * b}}}}}", sqrt(a + b + s * sqrt(a * b))),
        (rf"\sqrt{{{a}}} {p} \sqrt{{{b + 1}}}", sqrt(a) + s * sqrt(b + 1)),
        (rf"\sqrt{{{a + b} {o} 2\sqrt{{{a * b}}}}}", sqrt(a) - s * sqrt(b)),
    ]
    return MathCase(gold, right, wrong, v)


@template("surds", "hidden")
def cube_roots(d: Draw) -> MathCase:
    a, b, k = d.randint(2, 6), d.choice([2, 3, 5, 6, 7]), d.choice([3, 4])
    v = a * mpf(b) ** (mpf(1) / k)
    gold = d.choice([rf"{a}\sqrt[{k}]{{{b}}}", rf"\sqrt[{k}]{{{a**k * b}}}"])
    right = [
        (rf"{a}\sqrt[{k}]{{{b}}}", v),
        (rf"\sqrt[{k}]{{{a**k * b}}}", v),
        (rf"{a}\cdot {b}^{{1/{k}}}", v),
        (rf"{a}\cdot {b}^{{\frac{{1}}{{{k}}}}}", v),
        (rf"\left({a**k * b}\right)^{{1/{k}}}", v),
        (rf"{a} \sqrt[{2 * k}]{{{b * b}}}", v),
    ]
    wrong = [
        (rf"{a}\sqrt{{{b}}}", a * sqrt(b)),
        (rf"\sqrt[{k}]{{{a * b}}}", mpf(a * b) ** (mpf(1) / k)),
        (rf"{a}\cdot {b}^{{{k}}}", a * b**k),
        (rf"{a + 1}\sqrt[{k}]{{{b}}}", v / a * (a + 1)),
        (rf"{k}\sqrt{{{a}}}", k * sqrt(a)),
        (rf"{a}\sqrt[{k + 1}]{{{b}}}", a * mpf(b) ** (mpf(1) / (k + 1))),
    ]
    return MathCase(gold, right, [w for w in wrong if not abs(w[1] - v) < 1e-9], v)


@template("surds", "hidden")
def surd_sum(d: Draw) -> MathCase:
    a, b, c, m = d.randint(1, 12), d.randint(2, 9), d.choice(FREE), d.randint(2, 9)
    s = d.choice([1, -1])
    p, o = ("+", "-") if s > 0 else ("-", "+")
    v = (a + s * b * sqrt(c)) / m
    gold = rf"\frac{{{a} {p} {b}\sqrt{{{c}}}}}{{{m}}}"
    right = [
        (rf"{frac(Fraction(a, m))} {p} {frac(Fraction(b, m))}\sqrt{{{c}}}", v),
        (rf"\frac{{{2 * a} {p} \sqrt{{{4 * b * b * c}}}}}{{{2 * m}}}", v),
        (f"({a} {p} {b}*sqrt({c}))/{m}", v),
        (rf"\frac{{{a}}}{{{m}}} {p} \frac{{\sqrt{{{b * b * c}}}}}{{{m}}}", v),
        (rf"-\frac{{-{a} {o} {b}\sqrt{{{c}}}}}{{{m}}}", v),
        (rf"\dfrac{{{'' if s > 0 else '-'}{b}\sqrt{{{c}}}+{a}}}{{{m}}}", v),
    ]
    wrong = [
        (rf"\frac{{{a} {o} {b}\sqrt{{{c}}}}}{{{m}}}", (a - s * b * sqrt(c)) / m),
        (rf"{a} {p} \frac{{{b}\sqrt{{{c}}}}}{{{m}}}", a + s * b * sqrt(c) / m),
        (rf"\frac{{{a} {p} {b}\sqrt{{{c}}}}}{{{m + 1}}}", v * m / (m + 1)),
        (rf"\frac{{{a} {p} {b + 1}\sqrt{{{c}}}}}{{{m}}}", v + s * sqrt(c) / m),
        (rf"\frac{{{a} {p} {b}\sqrt{{{c + 1}}}}}{{{m}}}", (a + s * b * sqrt(c + 1)) / m),
    ]
    return MathCase(gold, right, wrong, v)


@template("logarithms and exponentials")
def log_value(d: Draw) -> MathCase:
    b, a, c = d.of([2, 3], [5, 6, 10]), d.randint(2, 60), d.randint(2, 12)
    while c == a:
        c += 1
    v = log(mpf(a) * c) / log(b)
    gold = d.of(
        [rf"\log_{{{b}}} {a * c}", rf"\log_{b} {a * c}"], [rf"\log_{{{b}}}{{{a * c}}}", rf"\log_{{{b}}}({a * c})"]
    )
    right = [
        (rf"\log_{{{b}}} {a} + \log_{{{b}}} {c}", v),
        (rf"\frac{{\ln {a * c}}}{{\ln {b}}}", v),
        (rf"\frac{{\log {a * c}}}{{\log {b}}}", v),
        (rf"\log_{{{b}}}({a * c})", v),
        (rf"\frac{{1}}{{\log_{{{a * c}}} {b}}}", v),
        (rf"1 + \log_{{{b}}} {frac(Fraction(a * c, b))}", v),
        (rf"-\log_{{{b}}} \frac{{1}}{{{a * c}}}", v),
        (rf"\frac{{1}}{{2}}\log_{{{b}}} {(a * c) ** 2}", v),
    ]
    wrong = [
        (rf"\log_{{{b}}} {a} \cdot \log_{{{b}}} {c}", log(a) * log(c) / log(b) ** 2),
        (rf"\log_{{{b + 1}}} {a * c}", log(a * c) / log(b + 1)),
        (rf"\log_{{{b}}} {a + c}", log(a + c) / log(b)),
        (rf"\ln {a * c}", log(a * c)),
        (rf"\log_{{{a * c}}} {b}", 1 / v),
        (rf"\frac{{\ln {b}}}{{\ln {a * c}}}", 1 / v),
        (rf"\log_{{{b}}} {a * c + 1}", log(a * c + 1) / log(b)),
        (rf"\frac{{{a * c}}}{{{b}}}", mpf(a * c) / b),
    ]
    return MathCase(gold, right, [w for w in wrong if abs(w[1] - v) > 1e-9], v)


@template("logarithms and exponentials")
def natural(d: Draw) -> MathCase:
    a, k = d.choice([2, 3, 5, 7]), d.randint(2, 9)
    v = k * log(mpf(a))
    gold = d.half(rf"{k}\ln {a}", rf"\ln {a**k}")
    right = [
        (rf"\ln {a**k}", v),
        (rf"{k}\ln {a}", v),
        (rf"\ln({a}^{{{k}}})", v),
        (rf"{k} \ln({a})", v),
        (rf"-{k}\ln\frac{{1}}{{{a}}}", v),
        (rf"{2 * k} \ln \sqrt{{{a}}}", v),
        (rf"\ln {a**k * 3} - \ln 3", v),
        (rf"{k - 1}\ln {a} + \ln {a}", v),
        (f"{k}*ln({a})", v),
    ]
    wrong = [
        (rf"\ln {a * k}", log(mpf(a) * k)),
        (rf"{k}\ln {a + 1}", k * log(mpf(a) + 1)),
        (rf"(\ln {a})^{{{k}}}", log(mpf(a)) ** k),
        (rf"{k} + \ln {a}", k + log(mpf(a))),
        (rf"{k}\log_2 {a + 1}", k * log(mpf(a) + 1) / log(2)),
        (rf"-{k}\ln {a}", -v),
        (rf"{k + 1}\ln {a}", v + log(mpf(a))),
    ]
    return MathCase(gold, right, [w for w in wrong if abs(w[1] - v) > 1e-9], v)


@template("logarithms and exponentials")
def exponential(d: Draw) -> MathCase:
    a, b = d.randint(2, 9), d.randint(2, 9)
    x = d.half("x", "t")
    v: Callable[[Any], Any] = lambda t: a * exp(b * t / 100)  # noqa: E731
    gold = d.half(rf"{a} e^{{{b}{x}/100}}", rf"{a}e^{{\frac{{{b}{x}}}{{100}}}}")
    r = frac(Fraction(b, 100))
    right = [
        (rf"{a} e^{{{r} {x}}}", v),
        (rf"{a} \exp\left(\frac{{{b}{x}}}{{100}}\right)", v),
        (rf"{a} e^{{0.0{b}{x}}}", v),
        (rf"{a} (e^{{{x}}})^{{{r}}}", v),
        (rf"\frac{{{a}}}{{e^{{-0.0{b}{x}}}}}", v),
    ]
    wrong = [
        (rf"{a} e^{{-0.0{b}{x}}}", lambda t: a * exp(-b * t / 100)),
        (rf"{a} e^{{0.{b}{x}}}", lambda t: a * exp(b * t / 10)),
        (rf"{a + 1} e^{{0.0{b}{x}}}", lambda t: (a + 1) * exp(b * t / 100)),
        (rf"e^{{0.0{b}{x}}} + {a}", lambda t: a + exp(b * t / 100)),
        (rf"{a} e^{{0.0{b}}} {x}", lambda t: a * exp(mpf(b) / 100) * t),
    ]
    return MathCase(gold, right, wrong, v)
