"""Classes of words: words, choices, hedged and rounded answers."""

from math_pairs.cases import Draw, MathCase, others, template
from math_pairs.units_and_dates import COLOURS, DAYS, MONTHS, NAMES, TREES


@template("words")
def word(d: Draw) -> MathCase:
    words = d.half(
        [*DAYS, *COLOURS, "even", "odd", "neither", "two lines", "empty", "circle", "parabola"],
        [
            *MONTHS,
            *NAMES,
            *TREES,
            "hyperbola",
            "ellipse",
            "point",
            "cone",
            "plane",
            "rectangle",
            "yes",
            "no",
            "undefined",
        ],
    )
    w, *rest = d.sample(words, 4)
    gold = d.of([rf"\text{{{w}}}"], [rf"\text{{{w}}}", rf"\mbox{{{w}}}", w])
    right = [
        w,
        rf"\text{{{w}}}",
        rf"\text{{{w.lower()}}}",
        rf"\text{{{w.capitalize()}}}",
        rf"\mathrm{{{w}}}".replace(" ", r"\ "),
        rf"\textbf{{{w}}}",
        rf"\text{{ {w} }}",
        rf"\text{{{w}.}}",
        rf"\mbox{{{w}}}",
        w.upper(),
    ]
    wrong = [f for v in rest for f in (v, rf"\text{{{v}}}")] + [rf"\text{{not {w}}}", rf"\text{{{w} or {rest[0]}}}"]
    return MathCase(gold, right, wrong)


@template("words")
def number_word(d: Draw) -> MathCase:
    names = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
    n = d.randint(1, 12)
    w = names[n - 1]
    thing = d.of(["dogs", "ways", "lines"], ["triangles", "values", "integers", "solutions"])
    gold = d.choice([rf"\text{{{w}}}", str(n), rf"{n}\text{{ {thing}}}"])
    right = [w, rf"\text{{{w}}}", str(n), rf"\text{{{w.capitalize()}}}", rf"\mbox{{{w}}}", rf"\text{{{n}}}"]
    if thing in gold:
        right = [
            str(n),
            rf"\text{{{n} {thing}}}",
            f"{n} {thing}",
            rf"{n}\ \text{{{thing}}}",
            rf"{n} \mbox{{ {thing}}}",
            rf"\mathbf{{{n}}}",
        ]
    k = n % 12 + 1
    wrong = [
        names[k - 1],
        rf"\text{{{names[k - 1]}}}",
        str(k),
        rf"\text{{{names[(k + 2) % 12 if (k + 2) % 12 != n - 1 else k % 12]}}}",
        rf"{k}\text{{ {thing}}}",
    ]
    return MathCase(gold, right, wrong)


@template("choices")
def choice(d: Draw) -> MathCase:
    pool = d.half("ABCDE", "ABCDEF")
    c = d.choice(pool)
    gold = d.of(
        [rf"\text{{({c})}}", rf"\text{{{c}}}"],
        [rf"(\text{{{c}}})", rf"\textbf{{({c})}}", rf"\mathrm{{({c})}}", rf"\text{{({c})}}"],
    )
    o = d.choice([x for x in pool if x != c])

    def shapes(x: str) -> list[str]:
        return [
            x,
            f"({x})",
            rf"\text{{({x})}}",
            rf"\text{{{x}}}",
            rf"\textbf{{({x})}}",
            rf"\textbf{{{x}}}",
            rf"\mathbf{{{x}}}",
            rf"\mathrm{{({x})}}",
            *d.half(
                [rf"(\text{{{x}}})", rf"\text{{{x}.}}"],
                [rf"\textbf{{({x})}} ", rf"\textnormal{{({x})}}", rf"\text{{ ({x}) }}", f"{x}."],
            ),
        ]

    return MathCase(gold, shapes(c), [*shapes(o), f"{c}, {o}", rf"\text{{{c}{o}}}", rf"\text{{({c}) or ({o})}}"])


@template("choices")
def choice_with_value(d: Draw) -> MathCase:
    n, c = d.randint(2, 500), d.choice("ABCDE")
    gold = str(n)
    m = others(d, n)
    right = [
        rf"\textbf{{({c})}}\ {n}",
        rf"\text{{({c}) }} {n}",
        rf"\textbf{{({c}) }}{n}",
        rf"(\text{{{c}}})\ {n}",
        rf"\mathrm{{({c})}}\ {n}",
    ]
    wrong = [
        rf"\textbf{{({c})}}\ {m}",
        rf"\text{{({c}) }} {m}",
        rf"\textbf{{({c}) }}{m}",
        rf"\mathrm{{({c})}}\ {m}",
        rf"\text{{({c})}}",
    ]
    return MathCase(gold, right, wrong)


@template("hedged and rounded answers")
def hedged(d: Draw) -> MathCase:
    n = d.randint(2, 400)
    m = others(d, n, 4)
    unit = d.of([r"\text{ cm}", ""], ["", r"\text{ degrees}", r"^\circ"])
    gold = f"{n}{unit}"
    wrong = d.half(
        [
            rf"{n} \text{{ or so, maybe {m}}}",
            rf"{n} \text{{ or }} {m}",
            rf"\text{{{n} or {m}}}",
            f"{n}, {m}",
            rf"\text{{either }} {n} \text{{ or }} {m}",
            rf"\text{{not }} {n}",
            rf"{n} \text{{ to }} {m}",
        ],
        [
            rf"{n} \text{{, possibly {m}}}",
            rf"{n} \text{{ (or maybe {m})}}",
            rf"\text{{between }} {n} \text{{ and }} {n + 2}",
            rf"\text{{more than }} {n}",
            rf"\text{{{m}, or perhaps {n}}}",
            rf"{n} \text{{ or }} {m} \text{{ depending on the case}}",
            rf"\text{{at least }} {n}",
            rf"\neq {n}",
            rf"{n} \text{{ is wrong, so }} {m}",
        ],
    )
    right = [
        str(n),
        rf"\text{{{n}}}",
        rf"\mathbf{{{n}}}",
        rf"{n}.",
        rf"{{{n}}}",
        rf"\,{n}\,",
        rf"{n}\;",
        rf"\displaystyle {n}",
        f"{n}.0",
        f"+{n}",
        rf"{{\bf {n}}}",
        rf"\textbf{{{n}}}",
        rf"\left({n}\right)",
        rf"\mathrm{{{n}}}",
        f"= {n}",
    ]
    return MathCase(gold, right, wrong)


@template("hedged and rounded answers")
def rounded(d: Draw) -> MathCase:
    x = f"{d.randint(1, 99)}.{d.randint(0, 9)}{d.randint(1, 9)}"
    unit = d.of([r"\text{ mph}", ""], [r"\text{ pounds}", r"\%", ""])
    gold = d.half(rf"\approx {x}{unit}", f"{x}{unit}")
    right = [
        x,
        rf"\approx {x}",
        f"{x}0",
        rf"\approx {x}{unit}",
        rf"\text{{approximately }} {x}",
        rf"\text{{{x}}}",
        rf"{x}{unit}",
    ]
    y = f"{x[:-1]}{int(x[-1]) % 9 + 1}"
    wrong = [
        rf"\approx {y}",
        y,
        rf"{y}{unit}",
        *d.half([f"{x[0]}{x}"], [x[:-1], f"{x}1"]),
        f"-{x}",
        rf"\approx {x.replace('.', '')}",
    ]
    return MathCase(gold, right, wrong)


@template("hedged and rounded answers")
def exact_against_rounded(d: Draw) -> MathCase:
    """An exact gold answer is no decimal cut off."""
    gold, near = d.of(
        [(r"\pi", "3.14"), (r"\sqrt{2}", "1.41"), (r"\frac{1}{3}", "0.33"), (r"\frac{2}{7}", "0.286")],
        [
            (r"\sqrt{3}", "1.732"),
            (r"\frac{2}{3}", "0.67"),
            (r"e", "2.718"),
            (r"\frac{5}{6}", "0.83"),
            (r"\sqrt{5}", "2.236"),
        ],
    )
    k = d.randint(2, 60)
    gold = f"{gold} + {k}"
    whole, _, rest = near.partition(".")
    body = gold.removesuffix(f" + {k}")
    return MathCase(
        gold,
        [f"{k} + {body}", f"{k}+{body}", f"{{{body}}} + {k}", rf"{k - 1}+1+{body}"],
        [
            f"{int(whole) + k}.{rest}",
            rf"{int(whole) + k}.{rest[:-1]}",
            f"{int(whole) + k}",
            f"{body} - {k}",
            f"{body} + {k + 1}",
        ],
    )
