"""Classes of numbers: thousands, signs, mixed numbers, percent and money, repeating decimals, powers of ten."""

from fractions import Fraction

from math_pairs.cases import Draw, MathCase, frac, others, template


def groups(n: int) -> list[str]:
    return f"{n:,}".split(",")


@template("thousands")
def grouped(d: Draw) -> MathCase:
    n = d.randint(1_000, 10 ** d.randint(4, 9))
    parts = groups(n)
    gold = d.of([str(n), ",".join(parts), r",\!".join(parts)], [str(n), "{,}".join(parts), r"\,".join(parts)])
    joints = d.half([r",\!", "{,}", r"\,", ","], [r",\! ", "{,}", r"\,", ",", r"{,}\!", r"\;"])
    right = [str(n), *(j.join(parts) for j in joints), rf"\text{{{n:,}}}", f"{n:,}.00", rf"\mathbf{{{n:,}}}"]
    digits = list(str(n))
    place = d.randrange(len(digits))
    digits[place] = str((int(digits[place]) + d.randint(1, 8)) % 9 + 1)
    bad = {int("".join(digits)), n * 10, n // 10, n + 1000, n + 1, int("".join(parts[:-1])), n - 100} - {n}
    wrong = [j.join(groups(m)) for m in bad for j in ("", d.choice(joints))]
    return MathCase(gold, right, wrong)


@template("thousands")
def with_a_unit(d: Draw) -> MathCase:
    n = d.randint(1_000, 999_999)
    unit = d.of([r"\text{ miles}", r"\text{ people}"], [r"\text{ acres}", r"\text{ votes}", r"\mbox{ feet}"])
    money = d.random() < 0.4
    gold = rf"\${n:,}" if money else f"{n}{unit}"
    shown = [r",\!".join(groups(n)), "{,}".join(groups(n)), f"{n:,}", str(n)]
    right = [rf"\${s}" if money and d.random() < 0.7 else s if money else f"{s}{d.choice(['', unit])}" for s in shown]
    wrong = [r",\!".join(groups(m)) for m in (n + d.randint(1, 99), n * 10, n - d.randint(1, 999))]
    return MathCase(gold, right, wrong)


@template("thousands")
def two_numbers(d: Draw) -> MathCase:
    """Lists are no thousands."""
    a, b = d.randint(11, 99), d.randint(101, 998)
    gold = d.of([rf"{a}^\circ, {b}^\circ", rf"({a},{b})"], [rf"\{{{a}, {b}\}}", rf"{a} \text{{ and }} {b}"])
    right = {
        rf"{a}^\circ, {b}^\circ": [rf"{a}^\circ,{b}^\circ", rf"{a}^\circ \text{{ and }} {b}^\circ"],
        f"({a},{b})": [rf"\left({a}, {b}\right)", rf"(\,{a}\,,\,{b}\,)"],
        rf"\{{{a}, {b}\}}": [rf"\{{{b},{a}\}}", rf"\left\{{ {a}, {b} \right\}}"],
    }
    wrong = [f"{a}{b}", rf"\text{{{a}{b}}}", f"{a}.{b}", f"{a}{b}.0", rf"{a} \cdot {b}", str(a)]
    return MathCase(gold, right.get(gold, [f"{a}, {b}", rf"{b}\text{{ and }}{a}"]), wrong)


@template("signs")
def unicode_minus(d: Draw) -> MathCase:
    n = d.randint(1, 400)
    gold = f"-{n}"
    right = d.half(
        [f"−{n}", f"- {n}", f"–{n}", f"(-{n})", f"-({n})", f"{{-{n}}}"],
        [f"−{n}", rf"\text{{-}}{n}", f"-{n}.0", rf"-\,{n}", f"−({n})", rf"\left(-{n}\right)", f"0-{n}"],
    )
    return MathCase(gold, right, [str(n), f"−{others(d, n)}", f"--{n}", f"-(-{n})", f"+{n}", f"- -{n}", f"−{n}0"])


@template("signs")
def signed_fraction(d: Draw) -> MathCase:
    q = d.fraction()
    a, b = q.numerator, q.denominator
    gold = d.of([rf"-\frac{{{a}}}{{{b}}}"], [rf"\frac{{-{a}}}{{{b}}}", rf"-\dfrac{{{a}}}{{{b}}}"])
    right = [
        rf"\frac{{{a}}}{{-{b}}}",
        rf"\dfrac{{-{a}}}{{{b}}}",
        f"-{a}/{b}",
        rf"−\frac{{{a}}}{{{b}}}",
        rf"-\left(\frac{{{a}}}{{{b}}}\right)",
        rf"-\frac{{{2 * a}}}{{{2 * b}}}",
        f"(-{a})/{b}",
    ]
    wrong = [
        rf"\frac{{-{a}}}{{-{b}}}",
        rf"\frac{{{a}}}{{{b}}}",
        rf"-\frac{{-{a}}}{{{b}}}",
        f"−{b}/{a}",
        rf"-\frac{{{a}}}{{{others(d, b)}}}",
    ]
    return MathCase(gold, right, [w for w in wrong if w != f"−{b}/{a}" or a != b])


@template("signs")
def signed_sum(d: Draw) -> MathCase:
    a, b = d.randint(2, 60), d.randint(2, 30)
    x = d.of(["x", "t"], ["n", r"\pi", "k"])
    gold = d.half(f"{a} - {b}{x}", f"-{b}{x} - {a}")
    s = d.half(1, -1)
    lead = f"{s * a}"
    right = [
        f"-{b}{x} {'+' if s > 0 else '-'} {a}",
        f"−{b}{x}{'+' if s > 0 else '−'}{a}",
        f"-({b}{x} {'-' if s > 0 else '+'} {a})",
        f"{lead} + (-{b}{x})",
        f"{lead}−{b}{x}".replace("-", "−"),
    ]
    wrong = [
        f"{b}{x} {'-' if s > 0 else '+'} {a}",
        f"{lead} + {b}{x}",
        f"{lead} - (-{b}{x})",
        f"{-s * a} - {b}{x}",
        f"{lead}−{b + 1}{x}",
    ]
    return MathCase(gold, right, wrong)


@template("mixed numbers")
def mixed(d: Draw) -> MathCase:
    q = d.fraction(12, 13) % 1
    if not q:
        q = Fraction(2, 3)
    whole, a, b = d.randint(1, 40), q.numerator, q.denominator
    s = "-" if d.random() < 0.3 else ""
    top = whole * b + a
    value = Fraction(top, b) * (-1 if s else 1)
    shapes = [rf"{s}{whole}\frac{{{a}}}{{{b}}}", rf"{s}\frac{{{top}}}{{{b}}}"]
    gold = d.choice(shapes)
    right: list[object] = d.half(
        [
            *shapes,
            f"{s}{top}/{b}",
            rf"{s}{whole} \frac{{{a}}}{{{b}}}",
            rf"{s}{whole}\dfrac{{{a}}}{{{b}}}",
            f"{s}{whole} {a}/{b}",
        ],
        [
            *shapes,
            rf"{s}{whole}\tfrac{{{a}}}{{{b}}}",
            rf"{s}{whole}\,\frac{{{a}}}{{{b}}}",
            rf"{s}\left({whole}+\frac{{{a}}}{{{b}}}\right)",
            rf"{s}{whole}\ \frac{{{a}}}{{{b}}}",
            rf"{s}{whole} {s or '+'} \frac{{{a}}}{{{b}}}",
            rf"{s}\frac{{{3 * top}}}{{{3 * b}}}",
        ],
    )
    sign = -1 if s else 1
    wrong = [
        (rf"{s}{whole} \cdot \frac{{{a}}}{{{b}}}", sign * whole * q),
        (frac(value + 1), value + 1),
        (rf"{s}{whole + 1}\frac{{{a}}}{{{b}}}", value + sign),
        (rf"{s}{whole}\frac{{{b - a}}}{{{b + 1}}}", sign * (whole + Fraction(b - a, b + 1))),
        (frac(sign * (whole - q)), sign * (whole - q)),
        (rf"{'' if s else '-'}{whole}\frac{{{a}}}{{{b}}}", -value),
        (rf"{s}{whole} {a + 1}/{b + 1}", sign * (whole + Fraction(a + 1, b + 1))),
    ]
    return MathCase(gold, right, [w for w in wrong if w[1] != value], value)  # type: ignore[arg-type]


@template("percent and money")
def percent(d: Draw) -> MathCase:
    n = d.randint(1, 99)
    gold = d.of([rf"{n}\%"], [rf"{n} \%", rf"{n}\text{{ percent}}"])
    right = [
        rf"{n}\text{{ percent}}",
        rf"{n} \%",
        rf"{n}\%",
        str(n),
        f"{n}%",
        f"{n / 100:g}",
        rf"{n}.0\%",
        frac(Fraction(n, 100)),
    ]
    wrong = [
        rf"{others(d, n)}\%",
        rf"{n}0\%",
        rf"0.{n:02}\%",
        f"{n / 1000:g}",
        rf"-{n}\%",
        f"{(n + 1) / 100:g}",
        str(n * 100),
    ]
    return MathCase(gold, right, wrong)


@template("percent and money")
def parts_of_percent(d: Draw) -> MathCase:
    n, q = d.randint(1, 99), d.of([Fraction(1, 3), Fraction(1, 2)], [Fraction(2, 3), Fraction(1, 4), Fraction(1, 6)])
    gold = rf"{n}{frac(q)}\%"
    v = n + q
    right = [
        frac(v) + r"\%",
        rf"{n}{frac(q)}\text{{ percent}}",
        rf"\frac{{{v.numerator}}}{{{v.denominator}}} \%",
        frac(v / 100),
    ]
    wrong = [rf"{n}\%", rf"{n + 1}{frac(q)}\%", frac(v + 1) + r"\%", frac(v / 10), rf"{n}{frac(q / 5)}\%"]
    return MathCase(gold, right, wrong)


@template("percent and money")
def dollars(d: Draw) -> MathCase:
    cents = d.randint(101, 99_999)
    a, b = divmod(cents, 100)
    if not b:
        b = 50
    gold = d.of([rf"\${a}.{b:02}"], [rf"{a}.{b:02}\text{{ dollars}}", rf"\$ {a}.{b:02}"])
    right = [
        f"{a}.{b:02}",
        rf"{a}.{b:02}\text{{ dollars}}",
        rf"\$\,{a}.{b:02}",
        rf"\text{{\${a}.{b:02}}}",
        rf"\${a}.{b:02}",
        rf"{a}.{b:02}\ \text{{USD}}",
    ]
    wrong = [
        rf"\${a}.{(b + d.randint(1, 98)) % 100:02}",
        rf"\${a + 1}.{b:02}",
        rf"{a}.{b:02}\text{{ cents}}",
        rf"\${a}{b:02}",
        rf"{a}.{b:02}\text{{ euros}}",
    ]
    return MathCase(gold, right, [w for w in wrong if w != rf"\${a}.{b:02}"])


@template("percent and money")
def whole_money(d: Draw) -> MathCase:
    n = d.randint(2, 900)
    unit, short, other = d.of(
        [("cents", r"\text{¢}", rf"\${n}"), ("dollars", r"\text{ dollars}", rf"{n}\text{{ cents}}")],
        [("cents", r"\,\text{cents}", rf"{n}\text{{ dollars}}"), ("euros", r"\ \text{euros}", rf"\${n}")],
    )
    gold = rf"{n}\text{{ {unit}}}"
    right = [str(n), f"{n} {unit}", rf"{n}{short}", rf"\text{{{n} {unit}}}", rf"{n}\mbox{{ {unit}}}"]
    return MathCase(
        gold, right, [other, rf"{others(d, n)}\text{{ {unit}}}", str(others(d, n)), f"{n}0", rf"-{n}\text{{ {unit}}}"]
    )


@template("repeating decimals")
def repeating(d: Draw) -> MathCase:
    size, lead = d.randint(1, 3), d.half(0, d.randint(0, 2))
    period = "".join(str(d.randint(0, 9)) for _ in range(size))
    if len(set(period)) == 1:
        size, period = 2, f"{d.randint(1, 4)}{d.randint(5, 9)}"
    head = "".join(str(d.randint(1, 9)) for _ in range(lead))
    if head and head[-1] == period[-1]:
        head = head[:-1] + str((int(head[-1]) + 1) % 10)
    whole = d.randint(0, 3)

    def worth(w: int, h: str, p: str) -> Fraction:
        return w + Fraction(int(h or 0), 10 ** len(h)) + Fraction(int(p), (10 ** len(p) - 1) * 10 ** len(h))

    value = worth(whole, head, period)
    gold = d.choice([rf"{whole}.{head}\overline{{{period}}}", frac(value)])
    right = [
        (rf"{whole}.{head}\overline{{{period}}}", value),
        (frac(value), value),
        (rf"{whole}.{head}\overline{{{period * 2}}}", value),
        (f"{value.numerator}/{value.denominator}", value),
        (rf"{whole}.{head}{period}\overline{{{period}}}", value),
        (rf"{whole}.{head}{period[0]}\overline{{{period[1:] + period[0]}}}", value),
    ]
    if whole == 0:
        right.append((rf".{head}\overline{{{period}}}", value))
    if gold.startswith(f"{whole}."):
        right += d.half(
            [rf"{whole}.{head}{period * 3}\ldots"],
            [rf"{whole}.{head}{period * 3}...", rf"{whole}.{head}{period * 4}\dots"],
        )
    turned = period[1:] + period[0]
    wrong = [
        (f"{whole}.{head}{period}", whole + Fraction(int(head + period), 10 ** len(head + period))),
        (rf"{whole}.{head}\overline{{{turned}}}", worth(whole, head, turned)),
        (rf"{whole}.{head}{period[0]}\overline{{{period[1:]}}}", worth(whole, head + period[0], period[1:])),
        (frac(value + Fraction(1, value.denominator)), value + Fraction(1, value.denominator)),
        (rf"{whole + 1}.{head}\overline{{{period}}}", value + 1),
        (rf"{whole}.0{head}\overline{{{period}}}", worth(whole, "0" + head, period)),
        (frac(value * Fraction(9, 10)), value * Fraction(9, 10)),
    ]
    return MathCase(gold, right, [w for w in wrong if w[1] != value], value)


@template("powers of ten")
def scientific(d: Draw) -> MathCase:
    digits, e = d.randint(11, 999), d.randint(3, 12) * d.of([1, 1, -1], [1, -1])
    size = len(str(digits)) - 1
    if digits % 10 == 0:
        digits += 1
    m = f"{digits // 10**size}.{str(digits)[1:]}"
    value = Fraction(digits) / 10**size * Fraction(10) ** e
    plain = str(int(value)) if value.denominator == 1 else f"0.{'0' * (-e - 1)}{digits}"
    gold = d.of([rf"{m} \times 10^{{{e}}}", rf"{m}\cdot 10^{{{e}}}"], [rf"{m}\times10^{{{e}}}", plain])
    right = [
        rf"{m} \times 10^{{{e}}}",
        rf"{m}\cdot 10^{{{e}}}",
        rf"{digits} \times 10^{{{e - size}}}",
        plain,
        rf"10^{{{e}}}\cdot {m}",
    ]
    right += d.half(
        [rf"{m}\times 10^{{{e}}}"],
        [f"{m}e{e}", f"{m} * 10^{e}" if e > 0 else f"{m}*10^({e})", rf"{m}0 \times 10^{{{e}}}"],
    )
    wrong = [
        rf"{m} \times 10^{{{e + 1}}}",
        rf"{m} \times 10^{{{-e}}}",
        rf"{m[0]}.{int(m[2:]) + 1} \times 10^{{{e}}}",
        rf"{digits} \times 10^{{{e}}}",
        rf"{m} \times {abs(e) + 10}^{{11}}",
        rf"-{m}\times 10^{{{e}}}",
        m,
        f"{m}e{e - 1}",
    ]
    return MathCase(gold, right, wrong)


@template("powers of ten", "hidden")
def powers(d: Draw) -> MathCase:
    b, e = d.choice([(2, d.randint(5, 60)), (3, d.randint(4, 40)), (5, d.randint(4, 25)), (7, d.randint(3, 20))])
    value = b**e
    k = d.randint(1, e - 2)
    gold = rf"{b}^{{{e}}}"
    right = [
        (str(value), value),
        (rf"{b}^{{{k}}} \cdot {b}^{{{e - k}}}", value),
        (rf"{b}\cdot{b}^{{{e - 1}}}", value),
        (rf"\frac{{{b}^{{{e + k}}}}}{{{b}^{{{k}}}}}", value),
        (f"{b}**{e}", value),
    ]
    wrong = [
        (str(value + 1), value + 1),
        (rf"{b}^{{{e + 1}}}", value * b),
        (rf"{e}^{{{b}}}", e**b),
        (rf"{b}\cdot {e}", b * e),
        (rf"{b}^{{{k}}} + {b}^{{{e - k}}}", b**k + b ** (e - k)),
        (rf"{b}^{{-{e}}}", Fraction(1, value)),
    ]
    return MathCase(gold, right, [w for w in wrong if w[1] != value], value)
