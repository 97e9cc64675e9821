"""Classes of expressions: surds, logarithms, complex numbers, polynomials, absolute values, plain text."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import mpmath
from mpmath import cos, exp, log, mpf, pi, sin, sqrt

from math_pairs.cases import Case, Draw, frac, plus, template, times

Function = Callable[[Any], Any]
FREE = [2, 3, 5, 6, 7, 10, 11, 13, 14, 15]


@template("surds")
def simplified(d: Draw) -> Case:
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
    return Case(gold, right, wrong, v)


@template("surds")
def rationalised(d: Draw) -> Case:
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
    return Case(gold, right, wrong, v)


@template("surds", "dev")
def conjugate(d: Draw) -> Case:
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
    return Case(gold, right, wrong, v)


@template("surds", "dev")
def nested(d: Draw) -> Case:
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
    return Case(gold, right, wrong, v)


@template("surds", "hidden")
def cube_roots(d: Draw) -> Case:
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
    return Case(gold, right, [w for w in wrong if not abs(w[1] - v) < 1e-9], v)


@template("surds", "hidden")
def surd_sum(d: Draw) -> Case:
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
    return Case(gold, right, wrong, v)


@template("logarithms and exponentials")
def log_value(d: Draw) -> Case:
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
    return Case(gold, right, [w for w in wrong if abs(w[1] - v) > 1e-9], v)


@template("logarithms and exponentials")
def natural(d: Draw) -> Case:
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
    return Case(gold, right, [w for w in wrong if abs(w[1] - v) > 1e-9], v)


@template("logarithms and exponentials")
def exponential(d: Draw) -> Case:
    a, b = d.randint(2, 9), d.randint(2, 9)
    x = d.half("x", "t")
    v: Function = lambda t: a * exp(b * t / 100)  # noqa: E731
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
    return Case(gold, right, wrong, v)


def rect(a: Fraction | int, b: Fraction | int) -> str:
    return f"{frac(a)} {plus(b, 'i')}" if a else times(b, "i")


@template("complex numbers")
def rectangular(d: Draw) -> Case:
    a, b = d.nonzero(-15, 15), d.nonzero(-15, 15)
    if abs(a) == abs(b):
        b += 1 if b > 0 else -1
    v = mpmath.mpc(a, b)
    gold = d.half(rect(a, b), f"{times(b, 'i')} {plus(a)}")
    c, e = d.randint(1, 5), d.nonzero(-4, 4)
    u, w = a * c + b * e, b * c - a * e
    right = [
        (rect(a, b), v),
        (f"{times(b, 'i')} {plus(a)}", v),
        (rf"{a} {plus(b)}\cdot i", v),
        (rf"{times(a, '')}{'1' if abs(a) == 1 else ''} {'+' if b > 0 else '-'} i{abs(b)}", v),
        (rf"-({rect(-a, -b)})", v),
        (rf"\frac{{{rect(a * c - b * e, b * c + a * e)}}}{{{rect(c, e)}}}", (v * mpmath.mpc(c, e)) / mpmath.mpc(c, e)),
        (rf"{a} {plus(b)} \sqrt{{-1}}", v),
        (f"{a} {plus(b)}*i", v),
        (rf"\left({rect(a, b)}\right)", v),
    ]
    wrong = [
        (rect(a, -b), mpmath.conj(v)),
        (rect(-a, b), mpmath.mpc(-a, b)),
        (rect(b, a), mpmath.mpc(b, a)),
        (f"{a} {plus(b)}", a + b),
        (rect(a + 1, b), v + 1),
        (rect(u, w), mpmath.mpc(u, w)),
        (rect(a, b + 1) if b != -1 else rect(a, b - 1), mpmath.mpc(a, b + 1 if b != -1 else b - 1)),
        (rf"\sqrt{{{a * a + b * b}}}", abs(v)),
    ]
    return Case(gold, right, [x for x in wrong if abs(x[1] - v) > 1e-9], v)


@template("complex numbers")
def fractional(d: Draw) -> Case:
    p, q, m = d.nonzero(-12, 12), d.nonzero(-12, 12), d.randint(2, 13)
    if abs(p) == abs(q):
        q += 1 if q > 0 else -1
    v = mpmath.mpc(p, q) / m
    a, b = Fraction(p, m), Fraction(q, m)
    gold = d.of([rect(a, b)], [rf"\frac{{{rect(p, q)}}}{{{m}}}"])
    right = [
        (rect(a, b), v),
        (rf"\frac{{{rect(p, q)}}}{{{m}}}", v),
        (rf"\frac{{1}}{{{m}}}({rect(p, q)})", v),
        (f"{times(b, 'i')} {plus(a)}", v),
        (rf"\frac{{{rect(2 * p, 2 * q)}}}{{{2 * m}}}", v),
        (rf"\dfrac{{{p}}}{{{m}}} {'+' if q > 0 else '-'} \dfrac{{{abs(q)}i}}{{{m}}}", v),
        (rf"\frac{{{rect(-p, -q)}}}{{-{m}}}", v),
    ]
    wrong = [
        (rect(a, -b), mpmath.conj(v)),
        (rect(p, b), mpmath.mpc(p, mpf(q) / m)),
        (rf"\frac{{{rect(p, q)}}}{{{m + 1}}}", v * m / (m + 1)),
        (rect(-a, b), mpmath.mpc(-mpf(p) / m, mpf(q) / m)),
        (rect(p, q), v * m),
        (rect(b, a), mpmath.mpc(mpf(q) / m, mpf(p) / m)),
    ]
    return Case(gold, right, wrong, v)


@template("complex numbers")
def polar(d: Draw) -> Case:
    r, (top, bottom) = d.randint(2, 9), d.of([(1, 3), (1, 6), (2, 3)], [(1, 4), (5, 6), (3, 4)])
    angle = pi * top / bottom
    v = r * mpmath.expjpi(mpf(top) / bottom)
    t = "" if top == 1 else str(top)
    z = {
        (1, 3): rf"\frac{{{r}}}{{2}} + \frac{{{r}\sqrt{{3}}}}{{2}}i",
        (1, 6): rf"\frac{{{r}\sqrt{{3}}}}{{2}} + \frac{{{r}}}{{2}}i",
        (2, 3): rf"-\frac{{{r}}}{{2}} + \frac{{{r}\sqrt{{3}}}}{{2}}i",
        (1, 4): rf"\frac{{{r}\sqrt{{2}}}}{{2}} + \frac{{{r}\sqrt{{2}}}}{{2}}i",
        (5, 6): rf"-\frac{{{r}\sqrt{{3}}}}{{2}} + \frac{{{r}}}{{2}}i",
        (3, 4): rf"-\frac{{{r}\sqrt{{2}}}}{{2}} + \frac{{{r}\sqrt{{2}}}}{{2}}i",
    }[(top, bottom)]
    gold = d.half(rf"{r}e^{{{t}\pi i/{bottom}}}", z)
    g = rf"\frac{{{t}\pi}}{{{bottom}}}"
    right = [
        (rf"{r} e^{{i {g}}}", v),
        (rf"{r}\left(\cos {g} + i \sin {g}\right)", r * (cos(angle) + 1j * sin(angle))),
        (z, v),
        (rf"{r} e^{{{g} i}}", v),
        (rf"{r}\cos {g} + {r}i\sin {g}", v),
        (rf"{r}\exp\left(\frac{{{t}\pi i}}{{{bottom}}}\right)", v),
        (rf"{r} e^{{{top + 2 * bottom}\pi i/{bottom}}}", v),
    ]
    wrong = [
        (rf"{r} e^{{-i {g}}}", mpmath.conj(v)),
        (rf"{r + 1} e^{{i {g}}}", v * (r + 1) / r),
        (rf"{r}\left(\cos {g} - i \sin {g}\right)", mpmath.conj(v)),
        (rf"{r} e^{{{g}}}", r * exp(angle)),
        (z.replace("+", "-"), mpmath.conj(v)),
        (rf"{r} e^{{{top + bottom}\pi i/{bottom}}}", -v),
    ]
    return Case(gold, right, [w for w in wrong if abs(w[1] - v) > 1e-9], v)


def poly(coefficients: list[int], x: str = "x") -> str:
    """Highest power first."""
    out, top = "", len(coefficients) - 1
    for n, c in enumerate(coefficients):
        power = top - n
        if not c:
            continue
        after = "" if power == 0 else x if power == 1 else f"{x}^{power}" if power < 10 else f"{x}^{{{power}}}"
        out += f" {plus(c, after)}" if out else times(c, after) if after else str(c)
    return out or "0"


def worth(c: list[int]) -> Function:
    return lambda t: mpmath.polyval(c, t)


@template("polynomials")
def quadratic(d: Draw) -> Case:
    p, q, r, s = d.randint(1, 6), d.nonzero(-9, 9), d.randint(1, 5), d.nonzero(-9, 9)
    x = d.of(["x"], ["t", "y", "n"])
    c = [p * r, p * s + q * r, q * s]
    v = worth(c)
    one, two = poly([p, q], x), poly([r, s], x)
    factored = f"({one})({two})"
    gold = d.choice([poly(c, x), factored])
    right: list[Any] = [
        (poly(c, x), v),
        (factored, v),
        (f"({two})({one})", v),
        (rf"\left({one}\right)\left({two}\right)", v),
        (poly(c, x).replace(" ", ""), v),
        (f"({one}) \\cdot ({two})", v),
        (f"({poly([-p, -q], x)})({poly([-r, -s], x)})", v),
        (
            f"{plus(c[2])} {plus(c[0], x + '^2')} {plus(c[1], x) if c[1] else ''}".removeprefix("+ ").replace(
                "- ", "-", 1 if c[2] < 0 else 0
            ),
            v,
        ),
    ]
    if c[1]:
        right.append((f"{x}({poly([c[0], c[1]], x)}) {plus(c[2])}", v))
    bad = [
        [c[0], c[1], -c[2]],
        [c[0], c[1] + 1, c[2]],
        [-c[0], c[1], c[2]],
        [c[0] + 1, c[1], c[2]],
        [c[0], -c[1] - (c[1] == 0), c[2]],
    ]
    wrong = [(poly(b, x), worth(b)) for b in bad] + [
        (f"({poly([p, -q], x)})({two})", worth([p * r, p * s - q * r, -q * s]))
    ]
    return Case(gold, right, wrong, v)


@template("polynomials")
def several_letters(d: Draw) -> Case:
    k, m = d.randint(1, 7), d.randint(2, 7)
    a, b = d.of([("a", "b"), ("x", "y")], [("p", "q"), ("m", "n"), ("r", "s")])
    gold = d.of([rf"{times(k, a)}^2 - {k * m * m}{b}^2"], [rf"{k}({a}-{m}{b})({a}+{m}{b})"])
    lead = "" if k == 1 else str(k)
    right = [
        rf"{lead}({a}-{m}{b})({a}+{m}{b})",
        rf"{lead}({a}+{m}{b})({a}-{m}{b})",
        rf"-{k * m * m}{b}^2 + {lead}{a}^2",
        rf"{lead}({a}^2-{m * m}{b}^2)",
        rf"{lead}{a}^2 - {k * m * m}{b}^2",
        rf"-{lead}({m}{b}-{a})({m}{b}+{a})",
        rf"{lead}{a}^2-{k * m * m}{b}^{{2}}",
    ]
    wrong = [
        rf"{lead}({a}-{m}{b})^2",
        rf"{lead}{a}^2 + {k * m * m}{b}^2",
        rf"{lead}{b}^2 - {k * m * m}{a}^2",
        rf"{k + 1}({a}-{m}{b})({a}+{m}{b})",
        rf"{lead}({a}-{m + 1}{b})({a}+{m}{b})",
        rf"{lead}({m}{b}-{a})({m}{b}+{a})",
        rf"{lead}{a}^2 - {k * m * m}{b}",
        rf"{lead}{a}^2 - {k * m}{b}^2",
    ]
    return Case(gold, right, wrong)


@template("polynomials", "hidden")
def cubic(d: Draw) -> Case:
    r = [d.nonzero(-6, 6) for _ in range(3)]
    k = d.choice([1, -1, 2, 3])
    s1, s2, s3 = sum(r), r[0] * r[1] + r[0] * r[2] + r[1] * r[2], r[0] * r[1] * r[2]
    c = [k, -k * s1, k * s2, -k * s3]
    v = worth(c)
    lead = times(k, "")
    gold = d.choice([poly(c), lead + "".join(f"({poly([1, -n])})" for n in r)])
    right = [
        (poly(c), v),
        (lead + "".join(f"({poly([1, -n])})" for n in sorted(r)), v),
        (lead + f"({poly([1, -r[0]])})({poly([1, -r[1] - r[2], r[1] * r[2]])})", v),
        (
            "-" * (k > 0)
            + (str(abs(k)) if abs(k) > 1 else "")
            + f"({poly([-1, r[0]])})({poly([1, -r[1] - r[2], r[1] * r[2]])})",
            v,
        ),
    ]
    bad = [
        [c[0], c[1], c[2], -c[3]],
        [c[0], c[1] + 1, c[2], c[3]],
        [c[0], c[1], c[2] - 2, c[3]],
        [-n for n in c],
        [c[0], c[1], c[2], c[3] + k],
        [*c, 0],
    ]
    wrong = [(poly(b), worth(b)) for b in bad] + [
        (lead + "".join(f"({poly([1, n])})" for n in r), worth([k, k * s1, k * s2, k * s3]))
    ]
    return Case(gold, right, [w for w in wrong if abs(w[1](mpf("0.37")) - v(mpf("0.37"))) > 1e-9], v)


@template("polynomials", "dev")
def rational(d: Draw) -> Case:
    a, b, m = d.nonzero(-9, 9), d.randint(2, 9), d.randint(2, 9)
    v: Function = lambda t: (a - b * t) / m  # noqa: E731
    gold = rf"\frac{{{a} - {b}x}}{{{m}}}"
    right = [
        (rf"\frac{{-{b}x {plus(a)}}}{{{m}}}", v),
        (rf"\frac{{{b}x {plus(-a)}}}{{-{m}}}", v),
        (rf"-\frac{{{b}x {plus(-a)}}}{{{m}}}", v),
        (rf"{frac(Fraction(a, m))} - {frac(Fraction(b, m))}x", v),
        (rf"\frac{{1}}{{{m}}}({a}-{b}x)", v),
        (f"({a} - {b}x)/{m}", v),
    ]
    wrong = [
        (rf"\frac{{{a} + {b}x}}{{{m}}}", lambda t: (a + b * t) / m),
        (rf"{a} - \frac{{{b}x}}{{{m}}}", lambda t: a - b * t / m),
        (rf"\frac{{{a + 1} - {b}x}}{{{m}}}", lambda t: (a + 1 - b * t) / m),
        (rf"\frac{{{b}x {plus(-a)}}}{{{m}}}", lambda t: (b * t - a) / m),
        (rf"\frac{{{m}}}{{{a} - {b}x}}", lambda t: m / (a - b * t)),
    ]
    return Case(gold, right, wrong, v)


@template("plain text")
def surds_in_text(d: Draw) -> Case:
    a, b = d.randint(2, 60), d.choice(FREE)
    gold = d.of([rf"{a}\sqrt{{{b}}}", rf"{a} \sqrt{{{b}}}"], [rf"{a}+\sqrt{{{b}}}", rf"\frac{{\sqrt{{{b}}}}}{{{a}}}"])
    shapes = {
        "+": ("{a}+sqrt({b})", "{a} + √{b}", "sqrt({b}) + {a}", "{a} + {b}^(1/2)", "sqrt({b})+{a}", "{a} + {b}**(1/2)"),
        "f": ("sqrt({b})/{a}", "√{b}/{a}", "{b}^(1/2)/{a}", "(1/{a})*sqrt({b})", "(sqrt({b}))/{a}"),
        "": (
            "{a}*sqrt({b})",
            "{a}sqrt({b})",
            "{a} sqrt({b})",
            "{a}√{b}",
            "{a} * sqrt({b})",
            "{a}*{b}^(1/2)",
            "sqrt({b})*{a}",
            "{a}√({b})",
            "{a}*√{b}",
        ),
    }
    forms = shapes["+" if "+" in gold else "f" if "frac" in gold else ""]
    right = [f.format(a=a, b=b) for f in forms]
    wrong = (
        [f.format(a=a, b=b + 1) for f in forms]
        + [f.format(a=a + 1, b=b) for f in forms]
        + [f"{a}*{b}", f"{a} - sqrt({b})", f"{a}/sqrt({b + 3})"]
    )
    return Case(gold, right, wrong)


@template("plain text")
def fractions_in_text(d: Draw) -> Case:
    q = d.fraction(60, 40)
    a, b = q.numerator, q.denominator
    gold = d.of(
        [rf"\frac{{{a}}}{{{b}}}", rf"-\frac{{{a}}}{{{b}}}"], [rf"\frac{{{a}\pi}}{{{b}}}", rf"\dfrac{{{a}}}{{{b}}}x"]
    )
    s = "-" if gold[0] == "-" else ""
    z = r"pi" if "pi" in gold else "x" if "x" in gold else ""
    right = (
        [f"{s}{a}/{b}", f"{s}({a}/{b})", f"({s}{a})/({b})", f"{s}{a} / {b}"]
        if not z
        else [
            f"{a}*{z}/{b}",
            f"({a}*{z})/{b}",
            f"({a}/{b})*{z}",
            f"{a}{z}/{b}" if z == "x" else f"{a}π/{b}",
            f"{z}*{a}/{b}",
        ]
    )
    wrong = [
        f"{'' if s else '-'}{a}/{b}" if not z else f"{a}/{b}",
        f"{s}{a + 1}/{b}" + (f"*{z}" if z else ""),
        f"{s}{b}/{a}" + (f"*{z}" if z else "") if a != b else "0",
        f"{s}{a}*{b}" + (f"*{z}" if z else "") if b > 1 else "0",
        f"{s}{a}/{b + 1}" + (f"*{z}" if z else ""),
    ]
    return Case(gold, right, wrong)


@template("plain text")
def polynomials_in_text(d: Draw) -> Case:
    c = [d.randint(1, 9), d.nonzero(-9, 9), d.nonzero(-9, 9)]
    x = d.of(["x"], ["t", "a"])
    gold = poly(c, x)
    right = [
        f"{c[0]}*{x}^2 {plus(c[1])}*{x} {plus(c[2])}",
        f"{c[0]}*{x}**2 {plus(c[1])}*{x} {plus(c[2])}",
        f"{c[0]}{x}² {plus(c[1])}{x} {plus(c[2])}",
        f"({c[0]}*{x}+({c[1]}))*{x}+({c[2]})",
        f"{x}*{x}*{c[0]} {plus(c[1])}*{x} {plus(c[2])}",
    ]
    b = [c[0], -c[1], c[2]] if d.random() < 0.5 else [c[0] + 1, c[1], c[2]]
    wrong = [
        f"{b[0]}*{x}^2 {plus(b[1])}*{x} {plus(b[2])}",
        f"{c[0]}*{x}^3 {plus(c[1])}*{x} {plus(c[2])}",
        f"{b[0]}*{x}**2 {plus(b[1])}*{x} {plus(b[2])}",
        f"{c[0]}*{x}*2 {plus(c[1])}*{x} {plus(c[2])}",
        f"{c[0]}*{x}^2 {plus(c[1])}*{x} {plus(-c[2])}",
    ]
    return Case(gold, right, wrong)


@template("functions apart far out")
def beyond(d: Draw) -> Case:
    n = d.randint(4, 3000)
    x = d.of(["x", "n"], ["t", "k", "y"])
    gold, right, wrong = d.of(
        [
            (
                rf"\max({n},{x})",
                [
                    rf"\max({x},{n})",
                    rf"\max\{{{n}, {x}\}}",
                    rf"\max\left({n},{x}\right)",
                    rf"\operatorname{{max}}({n}, {x})",
                ],
                [str(n), x, rf"\min({n},{x})", rf"\max({n + 1},{x})"],
            ),
            (
                rf"|{x}-{n}|",
                [rf"|{n}-{x}|", rf"\left|{x}-{n}\right|", rf"\sqrt{{({x}-{n})^2}}", rf"\lvert {x} - {n} \rvert"],
                [rf"{n}-{x}", rf"{x}-{n}", rf"|{x}|-{n}", rf"|{x}+{n}|", rf"|{x}-{n + 1}|"],
            ),
            (
                rf"|{x}+{n}|",
                [rf"|-{x}-{n}|", rf"\sqrt{{({x}+{n})^2}}", rf"\left|{n}+{x}\right|"],
                [rf"{x}+{n}", rf"|{x}|+{n}", rf"-{x}-{n}", rf"|{x}-{n}|"],
            ),
        ],
        [
            (
                rf"\min({n},{x})",
                [rf"\min({x},{n})", rf"\min\left\{{{x},{n}\right\}}", rf"\frac{{{x}+{n}-|{x}-{n}|}}{{2}}"],
                [x, str(n), rf"\max({n},{x})", rf"\min({n + 1},{x})"],
            ),
            (
                rf"|{n}-2{x}|",
                [
                    rf"|2{x}-{n}|",
                    rf"\left|2{x}-{n}\right|",
                    rf"2\left|{x}-{frac(Fraction(n, 2))}\right|",
                    rf"\sqrt{{(2{x}-{n})^2}}",
                ],
                [rf"{n}-2{x}", rf"2{x}-{n}", rf"|{n}+2{x}|", rf"|{n}-{x}|"],
            ),
            (
                rf"{x} + |{x}-{n}|",
                [rf"|{n}-{x}| + {x}", rf"{x}+\left|{x}-{n}\right|", rf"{x}+\sqrt{{({n}-{x})^2}}"],
                [str(n), rf"2{x}-{n}", rf"{x}-|{x}-{n}|", rf"|{x}|+|{x}-{n}|"],
            ),
            (rf"\sqrt{{({x}-{n})^2}}", [rf"|{x}-{n}|", rf"|{n}-{x}|"], [rf"{n}-{x}", rf"{x}-{n}", rf"|{x}+{n}|"]),
            (
                rf"\lfloor {x}/{n} \rfloor",
                [rf"\left\lfloor \frac{{{x}}}{{{n}}} \right\rfloor", rf"\lfloor \frac{{1}}{{{n}}}{x} \rfloor"],
                ["0", "-1", rf"\lceil {x}/{n} \rceil", rf"\frac{{{x}}}{{{n}}}", rf"\lfloor {x}/{n + 1} \rfloor"],
            ),
        ],
    )
    return Case(gold, right, wrong)
