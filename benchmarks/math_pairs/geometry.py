"""Classes of lines, planes, circles and matrices."""

import re
from fractions import Fraction
from typing import Any

from math_pairs.cases import Draw, MathCase, frac, plus, template, times


def line(a: int | Fraction, b: int | Fraction, c: int | Fraction) -> tuple[Fraction, ...]:
    """ax + by + c = 0 with its first coefficient that is not 0 made 1: the same line, the same tuple."""
    whole = [Fraction(n) for n in (a, b, c)]
    lead = next(n for n in whole if n)
    return tuple(n / lead for n in whole)


@template("equations of lines and curves")
def slope_form(d: Draw) -> MathCase:
    m, c = Fraction(d.nonzero(-9, 9), d.of([1, 1, 2], [1, 2, 3, 5])), d.nonzero(-20, 20)
    v = line(m, -1, c)
    n, e = m.numerator, m.denominator
    slope = f"y = {times(m, 'x')} {plus(c)}"
    standard = f"{times(n, 'x')} {plus(-e, 'y')} {plus(c * e)} = 0"
    gold = d.of([slope], [slope, standard])
    k = d.randint(1, 5)
    good: list[Any] = [
        (slope, v),
        (standard, v),
        (f"{times(n, 'x')} {plus(-e, 'y')} = {-c * e}", line(n, -e, c * e)),
        (f"{times(m, 'x')} {plus(c)} = y", v),
        (f"y {plus(-c)} = {times(m, 'x')}", v),
        (f"y {plus(-m, 'x')} = {c}", v),
        (f"{times(2 * e, 'y')} = {times(2 * n, 'x')} {plus(2 * c * e)}", line(2 * n, -2 * e, 2 * c * e)),
        (f"0 = {times(-n, 'x')} {plus(e, 'y')} {plus(-c * e)}", line(-n, e, -c * e)),
        (f"y = {c} {plus(m, 'x')}", v),
    ]
    at = m * k + c
    good += [(rf"y {plus(-at)} = {frac(m) if abs(m) != 1 else ('-' if m < 0 else '')}(x - {k})", v)] if at else []
    bad = [
        (f"y = {times(-m, 'x')} {plus(c)}", line(-m, -1, c)),
        (f"y = {times(m, 'x')} {plus(-c)}", line(m, -1, -c)),
        (f"y = {times(m, 'x')} {plus(c + 1)}" if c != -1 else f"y = {times(m, 'x')}", line(m, -1, c + 1)),
        (f"x = {times(m, 'y')} {plus(c)}", line(-1, m, c)),
        (f"{times(n, 'x')} {plus(e, 'y')} {plus(c * e)} = 0", line(n, e, c * e)),
        (f"{times(n, 'x')} {plus(-e, 'y')} = {c * e}", line(n, -e, -c * e)),
        (f"{times(m, 'x')} {plus(c)} = 0", line(m, 0, c)),
        (
            f"y = {times(m + 1, 'x')} {plus(c)}" if m != -1 else f"y = 2x {plus(c)}",
            line(m + 1 if m != -1 else 2, -1, c),
        ),
    ]
    return MathCase(gold, good, [w for w in bad if w[1] != v], v)


@template("equations of lines and curves", "hidden")
def plane(d: Draw) -> MathCase:
    a, b, c, e = d.randint(1, 9), d.nonzero(-9, 9), d.nonzero(-9, 9), d.nonzero(-30, 30)

    def shown(p: int, q: int, r: int, s: int) -> str:
        return f"{times(p, 'x')} {plus(q, 'y')} {plus(r, 'z')} {plus(s)} = 0"

    gold = shown(a, b, c, e)
    good = [
        f"{times(a, 'x')} {plus(b, 'y')} {plus(c, 'z')} = {-e}",
        shown(-a, -b, -c, -e),
        shown(2 * a, 2 * b, 2 * c, 2 * e),
        f"{times(b, 'y')} {plus(a, 'x')} {plus(c, 'z')} {plus(e)} = 0",
        f"{times(a, 'x')} {plus(b, 'y')} = {times(-c, 'z')} {plus(-e)}",
        "0 = " + gold.removesuffix(" = 0"),
    ]
    bad = [
        shown(a, -b, c, e),
        shown(a, b, c, -e),
        shown(a + 1, b, c, e),
        shown(2 * a, 2 * b, 2 * c, e),
        f"{times(a, 'x')} {plus(b, 'y')} {plus(c, 'z')} = {e}",
        shown(a, b, -c, e),
    ]
    return MathCase(gold, good, bad)


@template("equations of lines and curves", "hidden")
def circle(d: Draw) -> MathCase:
    h, k, r = d.nonzero(-9, 9), d.nonzero(-9, 9), d.randint(2, 12)
    if r * r == h * h + k * k:
        r += 1
    gold = f"(x {plus(-h)})^2 + (y {plus(-k)})^2 = {r * r}"
    rest = h * h + k * k - r * r
    good = [
        f"x^2 + y^2 {plus(-2 * h, 'x')} {plus(-2 * k, 'y')} {plus(rest)} = 0",
        f"(y {plus(-k)})^2 + (x {plus(-h)})^2 = {r * r}",
        f"(x {plus(-h)})^2 + (y {plus(-k)})^2 = {r}^2",
        f"x^2 {plus(-2 * h, 'x')} + y^2 {plus(-2 * k, 'y')} = {-rest}",
        f"{r * r} = (x {plus(-h)})^2 + (y {plus(-k)})^2",
        rf"\frac{{(x {plus(-h)})^2}}{{{r * r}}} + \frac{{(y {plus(-k)})^2}}{{{r * r}}} = 1",
    ]
    bad = [
        f"(x {plus(h)})^2 + (y {plus(-k)})^2 = {r * r}",
        f"(x {plus(-h)})^2 + (y {plus(-k)})^2 = {r}",
        f"(x {plus(-h)})^2 - (y {plus(-k)})^2 = {r * r}",
        f"(x {plus(-h)})^2 + (y {plus(-k)})^2 = {(r + 1) ** 2}",
        f"x^2 + y^2 = {r * r}",
        f"x^2 + y^2 {plus(-2 * h, 'x')} {plus(-2 * k, 'y')} {plus(rest + 1)} = 0" if rest != -1 else f"x^2 + y^2 = {r}",
    ]
    return MathCase(gold, good, bad)


@template("equations of lines and curves", "dev")
def parabola(d: Draw) -> MathCase:
    a, h, k = d.nonzero(-5, 5), d.nonzero(-7, 7), d.nonzero(-9, 9)
    c = a * h * h + k
    full = f"y = {times(a, 'x^2')} {plus(-2 * a * h, 'x')}" + (f" {plus(c)}" if c else "")
    gold = d.choice([full, f"y = {times(a, '')}(x {plus(-h)})^2 {plus(k)}"])
    good = [
        full,
        f"y = {times(a, '')}(x {plus(-h)})^2 {plus(k)}",
        full.removeprefix("y = ") + " = y",
        f"y {plus(-k)} = {times(a, '')}(x {plus(-h)})^2",
    ]
    bad = [
        f"y = {times(-a, '')}(x {plus(-h)})^2 {plus(k)}",
        f"y = {times(a, '')}(x {plus(h)})^2 {plus(k)}",
        f"y = {times(a, '')}(x {plus(-h)})^2 {plus(-k)}",
        f"x = {times(a, '')}(y {plus(-h)})^2 {plus(k)}",
        f"y = {times(a, 'x^2')} {plus(-2 * a * h, 'x')} {plus(c + 1 if c != -1 else 3)}",
    ]
    return MathCase(gold, good, bad)


Rows = list[list[Fraction]]


def matrix(rows: Rows, kind: str = "pmatrix", command: str = r"\frac") -> str:
    body = r" \\ ".join(" & ".join(frac(n, command) for n in row) for row in rows)
    return rf"\begin{{{kind}}} {body} \end{{{kind}}}"


def scaled(rows: Rows, k: Fraction | int) -> Rows:
    return [[k * n for n in row] for row in rows]


def entries(d: Draw, n: int, m: int, spread: int = 12) -> Rows:
    """At random, but not what it is with rows or columns swapped."""
    while True:
        rows = [[Fraction(d.randint(-spread, spread)) for _ in range(m)] for _ in range(n)]
        if rows not in (swapped(rows), rows[::-1]) and (m == 1 or rows != [row[::-1] for row in rows]):
            return rows


def swapped(rows: Rows) -> Rows:
    return [list(row) for row in zip(*rows, strict=True)]


def changed(d: Draw, rows: Rows) -> Rows:
    i, j = d.randrange(len(rows)), d.randrange(len(rows[0]))
    return [[x + (1 if (r, c) == (i, j) else 0) for c, x in enumerate(row)] for r, row in enumerate(rows)]


@template("matrices")
def plain_matrix(d: Draw) -> MathCase:
    rows = entries(d, *d.half((2, 2), d.choice([(2, 3), (3, 3), (3, 2)])))
    if d.random() < 0.4:
        rows[0][0] = d.fraction()
        rows[-1][-1] = rows[0][0] + 1
    gold = d.half(matrix(rows), d.choice([matrix(rows), matrix(rows, "bmatrix")]))
    cols = "c" * len(rows[0])
    inner = matrix(rows).removeprefix(r"\begin{pmatrix} ").removesuffix(r" \end{pmatrix}")
    good = [
        matrix(rows, "bmatrix"),
        matrix(rows, command=r"\dfrac"),
        rf"\left(\begin{{array}}{{{cols}}} {inner} \end{{array}}\right)",
        rf"\begin{{pmatrix}}{inner.replace(' ', '')}\\\end{{pmatrix}}",
        rf"\left[\begin{{matrix}} {inner} \end{{matrix}}\right]",
        matrix(rows),
        rf"\left[\begin{{array}}{{{'r' * len(cols)}}}{inner}\end{{array}}\right]",
        rf"\begin{{pmatrix}}{inner.replace('-', '−')}\end{{pmatrix}}",
    ]
    bad = [
        matrix(changed(d, rows)),
        matrix(swapped(rows)),
        matrix(rows[::-1]),
        matrix(scaled(rows, -1)),
        matrix(changed(d, rows), "bmatrix"),
        matrix(rows[:-1]),
        matrix([row[::-1] for row in rows]),
    ]
    return MathCase(gold, good, bad)


@template("scalar times matrix")
def scalar_matrix(d: Draw) -> MathCase:
    rows = entries(d, *d.of([(2, 2)], [(2, 1), (3, 1), (3, 3)]))
    k = d.of(
        [Fraction(1, d.randint(2, 29)), Fraction(d.randint(2, 9))],
        [Fraction(-1, d.randint(2, 19)), Fraction(-d.randint(2, 9)), Fraction(d.randint(2, 9), 11)],
    )
    full, scalar = scaled(rows, k), frac(k)
    gold = d.choice([matrix(full), f"{scalar} {matrix(rows)}"])
    slash = matrix(full).replace(r"\frac", "")
    good = [
        matrix(full),
        f"{scalar}{matrix(rows)}",
        f"{scalar} {matrix(rows, 'bmatrix')}",
        rf"{scalar} \cdot {matrix(rows)}",
        matrix(full, "bmatrix"),
        f"{frac(-k)} {matrix(scaled(rows, -1))}",
        rf"\left({scalar}\right) {matrix(rows)}",
        f"{frac(k / 2)} {matrix(scaled(rows, 2))}",
        rf"{scalar} \left( \begin{{array}}{{{'c' * len(rows[0])}}}"
        + matrix(rows).removeprefix(r"\begin{pmatrix}").replace(r"\end{pmatrix}", r"\end{array} \right)"),
    ]
    if d.dev and "{" in slash:
        good.append(re.sub(r"\\frac\{(\d+)\}\{(\d+)\}", r"\1/\2", matrix(full)))
    bad = [
        matrix(rows),
        f"{frac(k + 1) if k != -1 else '3'} {matrix(rows)}",
        f"{frac(-k)} {matrix(rows)}",
        f"{scalar} {matrix(changed(d, rows))}",
        matrix(changed(d, full)),
        f"{scalar} {matrix(full)}",
    ]
    bad += [f"{scalar} {matrix(swapped(rows))}"] if len(rows[0]) > 1 else []
    return MathCase(gold, good, bad)
