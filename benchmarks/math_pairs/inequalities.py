"""Classes of intervals and inequalities."""

from fractions import Fraction
from typing import Any

from math_pairs.cases import Draw, MathCase, frac, others, plus, template


def ends(d: Draw) -> tuple[Fraction, Fraction]:
    a = Fraction(d.randint(-30, 30), d.choice([1, 1, 1, 2, 3]))
    return a, a + d.randint(1, 20) + Fraction(d.choice([0, 0, 1]), d.randint(2, 5))


def interval(a: Any, b: Any, left: str, right: str) -> str:
    a, b = (x if isinstance(x, str) else frac(x) for x in (a, b))
    return f"{left}{a}, {b}{right}"


@template("intervals")
def one_interval(d: Draw) -> MathCase:
    a, b = ends(d)
    left, right = d.choice("(["), d.choice("])")
    far = d.of(["", "up"], ["", "down"])
    if far == "up":
        right, top, bottom = ")", r"\infty", a
    elif far == "down":
        left, top, bottom = "(", b, r"-\infty"
    else:
        top, bottom = b, a
    gold = interval(bottom, top, left, right)
    good: list[str] = [
        rf"\left{left}{interval(bottom, top, '', '')}\right{right}",
        gold.replace(" ", ""),
        gold.replace(r"\frac", r"\dfrac"),
        rf"x \in {gold}",
        rf"{left} {interval(bottom, top, '', '')} {right}",
    ]
    if far == "up":
        good += [gold.replace(r"\infty", r"+\infty"), rf"x {'>' if left == '(' else chr(92) + 'ge'} {frac(a)}"]
    elif far == "down":
        good += [rf"x {'<' if right == ')' else chr(92) + 'le'} {frac(b)}", rf"{left}{{-\infty}},{frac(b)}{right}"]
    else:
        less = {"(": "<", ")": "<", "[": r"\le", "]": r"\le"}
        good += [f"{frac(a)} {less[left]} x {less[right]} {frac(b)}"]
    swap = {"(": "[", "[": "(", ")": "]", "]": ")"}
    bad = [
        interval(bottom, top if isinstance(top, str) else top + 1, left, right)
        if far != "up"
        else interval(a + 1, top, left, right),
        interval(bottom if isinstance(bottom, str) else bottom - 2, top, left, right)
        if far != "down"
        else interval(bottom, b - 1, left, right),
    ]
    if far != "down":
        bad.append(interval(bottom, top, swap[left], right))
    if far != "up":
        bad.append(interval(bottom, top, left, swap[right]))
    bad += [interval(-b, -a, left, right), rf"x < {frac(a)}"]
    return MathCase(gold, good, [x for x in bad if x != gold and not (far == "" and -b == a)])


@template("intervals")
def union(d: Draw) -> MathCase:
    a, b = ends(d)
    x, y = d.choice([(")", "("), ("]", "["), (")", "["), ("]", "(")])
    one, two = (
        (rf"(-\infty, {frac(a)}{x}", rf"{y}{frac(b)}, \infty)")
        if d.half(True, d.random() < 0.4)
        else (rf"[{frac(a - 5)}, {frac(a)}{x}", rf"{y}{frac(b)}, {frac(b + 7)})")
    )
    gold = rf"{one} \cup {two}"
    good = [
        rf"{two} \cup {one}",
        rf"{one}\cup{two}",
        gold.replace("(", r"\left(").replace("[", r"\left[").replace(")", r"\right)").replace("]", r"\right]"),
        gold.replace(r", \infty", r",+\infty"),
        rf"x \in {gold}",
    ]
    good += d.half([rf"{one} \bigcup {two}"], [rf"{one} \text{{ or }} {two}", f"{one} ∪ {two}"])
    swap = {"(": "[", "[": "(", ")": "]", "]": ")"}
    bad = [
        one,
        two,
        rf"{one} \cap {two}",
        rf"{one[:-1]}{swap[x]} \cup {two}",
        rf"{one} \cup {swap[y]}{two[1:]}",
        gold.replace(f"{y}{frac(b)}", f"{y}{frac(b + Fraction(1, 2))}", 1),
        rf"({frac(a)}, {frac(b)})",
        rf"{one[:-1]}{swap[x]} \cup {swap[y]}{two[1:]}",
    ]
    return MathCase(gold, good, [w for w in bad if w != gold])


LESS = {"<": r"\le", ">": r"\ge", r"\le": "<", r"\ge": ">"}
FLIP = {"<": ">", ">": "<", r"\le": r"\ge", r"\ge": r"\le"}


@template("inequalities")
def one_sided(d: Draw) -> MathCase:
    q, r = Fraction(d.nonzero(-40, 40), d.choice([1, 1, 2, 3, 7])), d.choice(list(LESS))
    x = d.of(["x"], ["t", "n", "y"])
    strict = r in "<>"
    up = r in (">", r"\ge")
    gold = d.of([rf"{x} {r} {frac(q)}"], [rf"{x} {r} {frac(q)}", rf"{frac(q)} {FLIP[r]} {x}"])
    span = rf"{'(' if strict else '['}{frac(q)}, \infty)" if up else rf"(-\infty, {frac(q)}{')' if strict else ']'}"
    good = [
        rf"{frac(q)} {FLIP[r]} {x}",
        rf"{x} {r} {frac(q)}",
        span,
        rf"{x} \in {span}",
        rf"{x} {plus(-q)} {r} 0",
        rf"{q.denominator * 2}{x} {r} {q.numerator * 2}",
        rf"-{x} {FLIP[r]} {frac(-q)}",
    ]
    good.append(rf"{x} {r + chr(113) if len(r) > 1 else {'<': chr(92) + 'lt', '>': chr(92) + 'gt'}[r]} {frac(q)}")
    if not strict:
        good.append(f"{x} {'≥' if up else '≤'} {frac(q)}")
        good.append(f"{x} {'>=' if up else '<='} {frac(q)}")
    bad = [
        rf"{x} {FLIP[r]} {frac(q)}",
        rf"{x} {LESS[r]} {frac(q)}",
        rf"{x} {r} {frac(q + 1)}",
        rf"{x} {r} {frac(-q)}",
        rf"{x} = {frac(q)}",
        rf"-{x} {r} {frac(q)}",
        rf"{q.denominator * 2}{x} {r} {q.numerator * 2 + 1}",
    ]
    return MathCase(gold, good, bad)


@template("inequalities")
def between(d: Draw) -> MathCase:
    a, b = ends(d)
    r, s = d.choice(["<", r"\le"]), d.choice(["<", r"\le"])
    x = d.of(["x", "k"], ["y", "g(x)", "a"])
    gold = rf"{frac(a)} {r} {x} {s} {frac(b)}"
    span = f"{'(' if r == '<' else '['}{frac(a)},{frac(b)}{')' if s == '<' else ']'}"
    good = [
        rf"{frac(b)} {FLIP[s]} {x} {FLIP[r]} {frac(a)}",
        span,
        rf"{x} \in {span}",
        gold.replace(r"\le", r"\leq"),
        rf"{frac(a)} {r} {x} \text{{ and }} {x} {s} {frac(b)}",
        rf"{x} {FLIP[r]} {frac(a)} \text{{ and }} {x} {s} {frac(b)}",
        gold.replace(r"\le", r"\leqslant").replace("<", r"\lt"),
        rf"{frac(2 * a)} {r} 2{x} {s} {frac(2 * b)}",
    ]
    bad = [
        rf"{frac(a)} {LESS[r]} {x} {s} {frac(b)}",
        rf"{frac(a)} {r} {x} {LESS[s]} {frac(b)}",
        rf"{frac(a)} {r} {x} {s} {frac(b + 1)}",
        rf"{x} {s} {frac(b)}",
        rf"{x} {FLIP[r]} {frac(a)}",
        rf"{frac(b)} {r} {x} {s} {frac(a)}",
        rf"{frac(a - 1)} {r} {x} {s} {frac(b)}",
    ]
    return MathCase(gold, good, bad)


@template("inequalities")
def outside(d: Draw) -> MathCase:
    n, strict = d.randint(1, 90), d.random() < 0.5
    g, less = (">", "<") if strict else (r"\ge", r"\le")
    c = d.half(0, d.nonzero(-20, 20))
    lo, hi = c - n, c + n
    x = "x"
    absolute = rf"|{x}{plus(-c) if c else ''}| {g} {n}"
    spans = rf"(-\infty,{lo}{')' if strict else ']'} \cup {'(' if strict else '['}{hi},\infty)"
    gold = d.half(absolute, d.choice([spans, rf"{x} {less} {lo} \text{{ or }} {x} {g} {hi}"]))
    good = [
        rf"{x} {less} {lo} \text{{ or }} {x} {g} {hi}",
        rf"{x} {g} {hi} \text{{ or }} {x} {less} {lo}",
        spans,
        absolute,
        rf"{n} {less} |{x}{plus(-c) if c else ''}|",
        rf"x \in {spans}",
    ]
    bad = [
        absolute.replace(g, less),
        absolute.replace(g, LESS[g]),
        rf"{x} {g} {hi}",
        rf"{x} {less} {lo}",
        rf"{lo} {less} {x} {less} {hi}",
        absolute.replace(str(n), str(n + 1)) if str(n) not in str(c) else rf"{x} {g} {hi + 1}",
        rf"{x} {less} {lo} \text{{ and }} {x} {g} {hi}",
        rf"({lo},{hi})",
        rf"{x} {less} {lo - 1} \text{{ or }} {x} {g} {hi}",
    ]
    return MathCase(gold, good, bad)


@template("inequalities")
def unequal(d: Draw) -> MathCase:
    n = d.nonzero(-60, 60)
    x = d.of(["x"], ["y", "t"])
    span = rf"(-\infty,{n}) \cup ({n},\infty)"
    gold = d.half(rf"{x} \neq {n}", d.choice([span, rf"{x} \ne {n}"]))
    good = [
        span,
        rf"{x} \ne {n}",
        rf"{x}\neq{n}",
        rf"{x} \not= {n}",
        rf"{x} ≠ {n}",
        rf"\mathbb{{R}} \setminus \{{{n}\}}",
        rf"{x} < {n} \text{{ or }} {x} > {n}",
        rf"{x} \in {span}",
        rf"{n} \neq {x}",
        rf"\mathbb{{R}} - \{{{n}\}}",
    ]
    bad = [
        rf"{x} = {n}",
        str(n),
        rf"{x} \neq {others(d, n)}",
        rf"{x} \neq {-n}",
        rf"{x} > {n}",
        rf"(-\infty,{n}] \cup ({n},\infty)",
        r"(-\infty,\infty)",
        rf"{x} \geq {n}",
        rf"\mathbb{{R}} \setminus \{{{-n}\}}",
    ]
    return MathCase(gold, good, bad)
