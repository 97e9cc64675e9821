"""Classes of expressions: complex numbers, polynomials, absolute values, plain text."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import mpmath
from mpmath import cos, exp, mpf, pi, sin

from math_pairs.cases import Draw, MathCase, frac, plus, template, times
from math_pairs.surds_and_logs import FREE

Function = Callable[[Any], Any]


def rect(a: Fraction | int, b: Fraction | int) -> str:
    return f"{frac(a)} {plus(b, 'i')}" if a else times(b, "i")


@template("complex numbers")
def rectangular(d: Draw) -> MathCase:
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
    return MathCase(gold, right, [x for x in wrong if abs(x[1] - v) > 1e-9], v)


@template("complex numbers")
def fractional(d: Draw) -> MathCase:
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
    return MathCase(gold, right, wrong, v)


@template("complex numbers")
def polar(d: Draw) -> MathCase:
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
    return MathCase(gold, right, [w for w in wrong if abs(w[1] - v) > 1e-9], v)


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
def quadratic(d: Draw) -> MathCase:
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
    return MathCase(gold, right, wrong, v)


@template("polynomials")
def several_letters(d: Draw) -> MathCase:
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
    return MathCase(gold, right, wrong)


@template("polynomials", "hidden")
def cubic(d: Draw) -> MathCase:
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
    return MathCase(gold, right, [w for w in wrong if abs(w[1](mpf("0.37")) - v(mpf("0.37"))) > 1e-9], v)


@template("polynomials", "dev")
def rational(d: Draw) -> MathCase:
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
    return MathCase(gold, right, wrong, v)


@template("plain text")
def surds_in_text(d: Draw) -> MathCase:
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
    return MathCase(gold, right, wrong)


@template("plain text")
def fractions_in_text(d: Draw) -> MathCase:
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
    return MathCase(gold, right, wrong)


@template("plain text")
def polynomials_in_text(d: Draw) -> MathCase:
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
    return MathCase(gold, right, wrong)


@template("functions apart far out")
def beyond(d: Draw) -> MathCase:
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
    return MathCase(gold, right, wrong)
