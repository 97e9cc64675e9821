"""Classes of several values: plus-minus, sets, tuples and vectors, lists, equations and values, public gold answers."""

import re
from fractions import Fraction

from math_pairs.cases import Draw, MathCase, frac, plus, template, times


@template("plus-minus", "dev")
def plain_plus_minus(d: Draw) -> MathCase:
    n = d.randint(2, 90)
    q, r = d.choice(
        [
            (str(n), str(n + 1)),
            (rf"\sqrt{{{n * n + 1}}}", rf"\sqrt{{{n * n + 2}}}"),
            (frac(Fraction(1, n)), frac(Fraction(2, n) if n > 2 else Fraction(1, 3))),
        ]
    )
    gold = d.choice([rf"\pm {q}", f"{q}, -{q}", f"-{q}, {q}"])
    right = [
        rf"\pm {q}",
        rf"\pm{q}",
        f"{q}, -{q}",
        f"-{q},{q}",
        rf"\{{-{q}, {q}\}}",
        rf"{q} \text{{ or }} -{q}",
        rf"x = \pm {q}",
        rf"-{q} \text{{ and }} {q}",
    ]
    return MathCase(gold, right, [q, f"-{q}", rf"\pm {r}", f"{r}, -{r}", f"{q}, {r}", f"{q}, -{r}", f"0, {q}, -{q}"])


@template("plus-minus", "dev")
def offset_plus_minus(d: Draw) -> MathCase:
    a, b = d.nonzero(-20, 20), d.choice([2, 3, 5, 6, 7])
    k = d.randint(1, 6)
    s = times(k, rf"\sqrt{{{b}}}")
    gold = d.choice([rf"{a} \pm {s}", f"{a} + {s}, {a} - {s}"])
    right = [
        rf"{a} \pm {s}",
        f"{a} + {s}, {a} - {s}",
        f"{a} - {s}, {a} + {s}",
        rf"{a} + {s} \text{{ and }} {a} - {s}",
        rf"\{{{a}-{s}, {a}+{s}\}}",
        rf"\pm {s} {plus(a)}",
        rf"x = {a} \pm {s}",
    ]
    wrong = [
        f"{a} + {s}",
        f"{a} - {s}",
        rf"{-a} \pm {s}",
        rf"{a} \pm {times(k + 1, rf'{chr(92)}sqrt{{{b}}}')}",
        rf"\pm {s}",
        f"{a} + {s}, {-a} - {s}",
        rf"{a} \pm {b * k}",
    ]
    return MathCase(gold, right, wrong)


@template("plus-minus", "hidden")
def plus_minus_in_lists(d: Draw) -> MathCase:
    n = d.randint(1, 60)
    a, b = d.choice([("0", str(n)), (str(n + 3), str(n)), ("0", rf"\sqrt{{{n * n + 1}}}")])
    gold = d.choice([rf"{a}, \pm {b}", f"{a}, {b}, -{b}", rf"\{{{a}, \pm {b}\}}", rf"\{{-{b}, {a}, {b}\}}"])
    bare = [rf"{a}, \pm {b}", rf"\pm {b}, {a}", f"-{b}, {a}, {b}", f"{a}, -{b}, {b}"]
    right = (
        [rf"\{{{x}\}}" for x in bare]
        if gold[1] == "{"
        else [*bare, rf"\pm {b} \text{{ and }} {a}", rf"-{b}, {b}, \text{{ and }} {a}"]
    )
    c = str(n + 7)
    bad = [rf"\pm {b}", f"{a}, {b}", rf"{a}, \pm {c}", rf"{c}, \pm {b}", f"{a}, -{b}", f"-{b}, {a}, {c}"]
    return MathCase(gold, right, [rf"\{{{x}\}}" for x in bad] if gold[1] == "{" else bad)


@template("plus-minus", "hidden")
def two_plus_minus(d: Draw) -> MathCase:
    a, b = d.sample(range(1, 40), 2)
    i = d.choice(["i", ""])
    gold = d.choice([rf"\pm {a}, \pm {b}{i}", rf"{a}, -{a}, {b}{i}, -{b}{i}"])
    right = [
        rf"\pm {a}, \pm {b}{i}",
        rf"\pm {b}{i}, \pm {a}",
        rf"{a}, -{a}, {b}{i}, -{b}{i}",
        rf"-{a}, -{b}{i}, {b}{i}, {a}",
        rf"\pm {a} \text{{ and }} \pm {b}{i}",
    ]
    wrong = [
        rf"\pm {a}, {b}{i}",
        rf"{a}, {b}{i}",
        rf"\pm {a}",
        rf"\pm {a}, \pm {b + a}{i}",
        rf"{a}, -{a}, {b}{i}",
        rf"\pm {a}, \pm {b}{'' if i else 'i'}",
    ]
    return MathCase(gold, right, wrong)


@template("plus-minus", "hidden")
def fraction_plus_minus(d: Draw) -> MathCase:
    a, b, m = d.nonzero(-15, 15), d.choice([2, 3, 5, 6, 7, 13]), d.randint(2, 9)
    s = rf"\sqrt{{{b}}}"
    gold = rf"\frac{{{a} \pm {s}}}{{{m}}}"
    right = [
        rf"\frac{{{a}+{s}}}{{{m}}}, \frac{{{a}-{s}}}{{{m}}}",
        rf"{frac(Fraction(a, m))} \pm \frac{{{s}}}{{{m}}}",
        rf"\frac{{{a}-{s}}}{{{m}}} \text{{ or }} \frac{{{a}+{s}}}{{{m}}}",
        rf"\frac{{{-a} \pm {s}}}{{{-m}}}",
        rf"\left\{{\frac{{{a}-{s}}}{{{m}}}, \frac{{{a}+{s}}}{{{m}}}\right\}}",
    ]
    wrong = [
        rf"\frac{{{a}+{s}}}{{{m}}}",
        rf"\frac{{{-a} \pm {s}}}{{{m}}}",
        rf"\frac{{{a} \pm {s}}}{{{m + 1}}}",
        rf"{a} \pm \frac{{{s}}}{{{m}}}",
        rf"\frac{{{a} \pm {b}}}{{{m}}}",
    ]
    return MathCase(gold, right, wrong)


def values(d: Draw, n: int) -> list[str]:
    pool = [str(k) for k in d.sample(range(-40, 41), n)]
    exotic = d.of(
        [frac(d.fraction(19, 9)), r"\sqrt{2}", r"\pi"], [frac(-d.fraction(17, 11)), r"2\sqrt{3}", r"\frac{\pi}{3}", "e"]
    )
    if d.random() < 0.5:
        pool[d.randrange(n)] = exotic
    return pool


@template("sets")
def finite_set(d: Draw) -> MathCase:
    some = values(d, d.randint(2, 5))
    extra = str(d.randint(50, 90))
    turned = d.sample(some, len(some))
    gold = rf"\{{{', '.join(some)}\}}"
    good = [
        rf"\{{{','.join(turned)}\}}",
        rf"\left\{{{', '.join(turned)}\right\}}",
        rf"\{{ {', '.join(some)} \}}",
        rf"\lbrace {', '.join(turned)} \rbrace",
        rf"\{{{', '.join(turned)}\}}",
    ]
    good += d.half(
        [rf"\{{{', '.join([*turned, turned[0]])}\}}"],
        [rf"\big\{{{', '.join(turned)}\big\}}", rf"\left\{{ {' , '.join(turned)} \right\}}"],
    )
    bad = [rf"\{{{', '.join(x)}\}}" for x in ([*some[:-1], extra], some[:-1], [*some, extra], [extra, *some[1:]])]
    return MathCase(gold, good, bad)


@template("sets", "hidden")
def empty_or_whole(d: Draw) -> MathCase:
    gold, good, bad = d.choice(
        [
            (
                r"\emptyset",
                [r"\varnothing", r"\{\}", r"\{ \}", r"\left\{\right\}", r"∅"],
                [r"\{0\}", "0", r"\mathbb{R}", f"\\{{{d.randint(1, 99)}\\}}"],
            ),
            (
                r"(-\infty,\infty)",
                [r"\mathbb{R}", r"\left(-\infty,\infty\right)", r"(-\infty,+\infty)", r"x \in \mathbb{R}"],
                [r"(0,\infty)", r"\emptyset", rf"(-\infty,{d.randint(1, 99)})", r"\mathbb{Z}"],
            ),
        ]
    )
    return MathCase(gold, good, bad)


@template("tuples and vectors")
def point(d: Draw) -> MathCase:
    some = values(d, d.randint(2, 4))
    while len(set(some)) < len(some) or some == some[::-1]:
        some = values(d, 3)
    gold = d.half(f"({', '.join(some)})", d.choice([f"({','.join(some)})", rf"\left( {', '.join(some)} \right)"]))
    at = d.randrange(len(some))
    bad = [
        [*some[:at], str(d.randint(50, 90)), *some[at + 1 :]],
        some[::-1],
        some[1:] + some[:1],
        some[:-1],
        [*some, "0"],
        [*some[:-1], f"-({some[-1]})" if some[-1] != "0" else "7"],
    ]
    good = [
        rf"\left({', '.join(some)}\right)",
        f"({','.join(some)})",
        f"( {' , '.join(some)} )",
        rf"(\,{', '.join(some)}\,)",
        rf"\big({', '.join(some)}\big)",
        f"({', '.join(some)})".replace(r"\frac", r"\dfrac"),
    ]
    good += d.half([], ["(" + r",\ ".join(some) + ")"])
    return MathCase(gold, good, [f"({', '.join(x)})" for x in bad] + [rf"\left({', '.join(bad[0])}\right)"])


@template("tuples and vectors")
def column(d: Draw) -> MathCase:
    some = values(d, d.randint(2, 3))
    while some == some[::-1]:
        some = values(d, 3)
    body = r" \\ ".join(some)
    gold = d.half(rf"\begin{{pmatrix}} {body} \end{{pmatrix}}", rf"\begin{{bmatrix}} {body} \end{{bmatrix}}")
    good = [
        rf"\begin{{pmatrix}}{body}\end{{pmatrix}}",
        rf"\begin{{bmatrix}} {body} \end{{bmatrix}}",
        rf"\left(\begin{{array}}{{c}} {body} \end{{array}}\right)",
        rf"\begin{{pmatrix}} {body.replace(chr(92) + 'frac', chr(92) + 'dfrac')} \\ \end{{pmatrix}}",
        rf"\begin{{pmatrix}} {body.replace(' ', '')} \end{{pmatrix}}"
        if "sqrt" not in body
        else rf"\begin{{pmatrix}}  {body}\end{{pmatrix}}",
    ]
    bad = [
        some[::-1],
        some[:-1],
        [*some, "1"],
        [*some[:-1], str(d.randint(50, 90))],
        [str(d.randint(50, 90)), *some[1:]],
    ]
    return MathCase(gold, good, [rf"\begin{{pmatrix}} {f' {chr(92) * 2} '.join(x)} \end{{pmatrix}}" for x in bad])


@template("lists")
def plain_list(d: Draw) -> MathCase:
    some = values(d, d.randint(2, 5))
    extra = str(d.randint(50, 90))
    turned = d.sample(some, len(some))
    *most, last = some
    gold = d.of(
        [", ".join(some), ",".join(some)],
        [rf"{', '.join(most)} \text{{ and }} {last}", rf"{', '.join(most)} \text{{ or }} {last}", ", ".join(some)],
    )
    good = [
        ", ".join(turned),
        ",".join(turned),
        rf"{', '.join(turned[:-1])} \text{{ and }} {turned[-1]}",
        rf"{', '.join(turned[:-1])}, \text{{ and }} {turned[-1]}",
        rf"{', '.join(turned[:-1])}\text{{, and }}{turned[-1]}",
        r",\ ".join(turned),
        f"{', '.join(turned[:-1])} and {turned[-1]}",
        r",\;".join(some),
    ]
    good += d.half(
        [],
        [
            r",\quad ".join(turned),
            rf"{', '.join(turned[:-1])} \mbox{{ and }} {turned[-1]}",
            rf"{', '.join(turned[:-1])}\text{{ or }}{turned[-1]}",
        ],
    )
    bad = [[*most, extra], most, [*some, extra], [extra, *some[1:]]]
    return MathCase(
        gold,
        good,
        [
            w
            for x in bad
            for w in (", ".join(x), f"{', '.join(x[:-1])}{' ' + chr(92) + 'text{ and } ' if len(x) > 1 else ''}{x[-1]}")
        ],
    )


@template("lists", "hidden")
def equations_list(d: Draw) -> MathCase:
    a, b = d.sample(range(-40, 41), 2)
    x, y = d.choice([("x", "y"), ("a", "b"), ("AB", "CD"), ("m", "n")])
    gold = f"{x}={a}, {y}={b}"
    good = [
        f"{x} = {a}, {y} = {b}",
        rf"{x}={a} \text{{ and }} {y}={b}",
        rf"{x}={a},\ {y}={b}",
        f"{y}={b}, {x}={a}",
        rf"{x}={a},\quad {y}={b}",
        rf"{x}={a}\text{{, }}{y}={b}",
        f"{x}={a} and {y}={b}",
    ]
    bad = [
        f"{x}={b}, {y}={a}",
        f"{x}={a}, {y}={b + 1}",
        f"{x}={a}",
        f"{x}={-a if a else 3}, {y}={b}",
        rf"{x}={a + 2} \text{{ and }} {y}={b}",
    ]
    return MathCase(gold, good, bad)


@template("equations and values")
def assigned(d: Draw) -> MathCase:
    n = d.choice(
        [
            str(d.nonzero(-99, 99)),
            frac(d.fraction()),
            rf"{d.randint(2, 30)}\sqrt{{{d.choice([2, 3, 5, 7])}}}",
            f"{d.randint(2, 40)}.5",
        ]
    )
    m = n.replace(next(c for c in n if c.isdigit()), str(int(next(c for c in n if c.isdigit())) % 9 + 1), 1)
    x = d.of(["x", "n", "y"], ["k", r"\theta", "f(3)", "AB", "a_{10}", "S"])
    gold = d.choice([n, f"{x} = {n}", f"{x}={n}"]) if d.dev else d.choice([n, f"{x} = {n}"])
    good = [n, f"{x} = {n}", f"{x}={n}", f"{x} = {n}".replace("frac", "dfrac"), f"{{{n}}}"]
    good += d.half([f"{n} = {x}"], [rf"{x} \,=\, {n}", rf"\,{x} = {n}"])
    bad = [m, f"{x} = {m}", f"{x}={m}", f"{x} = -{n}".replace("--", ""), rf"{x} \neq {n}", f"{x} > {n}", x]
    return MathCase(gold, good, bad)


def changed_digit(d: Draw, gold: str) -> str | None:
    """One digit of a number raised; none if the text has no digit."""
    spots = [m.start() for m in re.finditer(r"\d", gold)]
    if not spots:
        return None
    at = d.choice(spots)
    return gold[:at] + str((int(gold[at]) + d.randint(1, 7)) % 9 + 1) + gold[at + 1 :]


@template("public gold answers")
def respelled(d: Draw) -> MathCase:
    """Other spellings of published answers; and those with one digit changed, where no denominator could hide it."""
    every = [g for g in d.golds() if "text" not in g and "mbox" not in g and "_" not in g and len(g) < 70]
    simple = [
        g for g in every if re.fullmatch(r"-?(\d+|\\d?frac\{\d+\}\{\d+\}|\d*\\sqrt\{\d+\}|\d+\\pi|\([-\d, ]+\))", g)
    ] or ["7"]
    wordy = [g for g in every if not re.fullmatch(r"-?\d+", g)] or ["7"]
    gold = d.choice(wordy if d.random() < 0.7 else simple)
    good = [
        gold.replace(r"\frac", r"\dfrac"),
        gold.replace(r"\frac{", r"\tfrac{"),
        f" {gold} ",
        gold.replace(" ", ""),
        gold.replace("(", r"\left(").replace(")", r"\right)") if not re.search(r"\\left|[\[\]]", gold) else gold,
        rf"\displaystyle {gold}",
        gold.replace("-", "−"),
        f"{gold}.",
        rf"{gold}\,",
        rf"\; {gold}",
    ]
    if re.search(r"\\[a-zA-Z]+ [a-zA-Z]", gold):
        good.remove(gold.replace(" ", ""))
    number = next((g for g in d.sample(simple, len(simple)) if g != gold), "7")
    changed = changed_digit(d, gold) if gold in simple else None
    bad = (
        [changed]
        if changed and not _same_fraction(changed, gold)
        else [number]
        if gold in simple and not _same_fraction(number, gold)
        else []
    )
    if gold in simple:
        bad += [gold[1:] if gold[0] == "-" else f"-{gold}"] if re.search(r"[1-9]", gold) and gold[0] != "(" else []
    return MathCase(gold, [g for g in good if g.strip() != gold], bad)


def _same_fraction(a: str, b: str) -> bool:
    """Whether two plain answers are worth the same, or could be."""
    found = [re.fullmatch(r"(-?)\\d?frac\{(\d+)\}\{(\d+)\}", x) for x in (a, b)]
    if found[0] and found[1]:
        p, q = (Fraction(int(m[2]), int(m[3])) * (-1 if m[1] else 1) if int(m[3]) else None for m in found if m)
        return p is None or q is None or p == q
    numbers = [re.sub(r"^(-?)0+(?=\d)", r"\1", x) for x in (a, b)]
    return numbers[0] == numbers[1] or "sqrt" in a or "sqrt" in b or ("frac" in a) is not ("frac" in b)
