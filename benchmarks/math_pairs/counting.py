"""Classes of whole numbers: factorials and binomials, bases."""

from fractions import Fraction
from math import comb, factorial, perm

from math_pairs.cases import Draw, MathCase, template


@template("factorials and binomials", "dev")
def binomial(d: Draw) -> MathCase:
    n = d.randint(5, 20)
    k = d.randint(2, n - 2)
    value = comb(n, k)
    gold = d.choice([str(value), rf"\binom{{{n}}}{{{k}}}"])
    right = [
        (str(value), value),
        (rf"\binom{{{n}}}{{{k}}}", value),
        (rf"\dbinom{{{n}}}{{{k}}}", value),
        (rf"\binom{{{n}}}{{{n - k}}}", comb(n, n - k)),
        (rf"\frac{{{n}!}}{{{k}!{n - k}!}}", Fraction(factorial(n), factorial(k) * factorial(n - k))),
        (f"{value:,}", value),
        (rf"\frac{{{n}!}}{{{k}! \cdot {n - k}!}}", value),
    ]
    wrong = [
        (rf"\binom{{{n + 1}}}{{{k}}}", comb(n + 1, k)),
        (rf"\frac{{{n}!}}{{{k}!}}", perm(n, n - k)),
        (str(value + n), value + n),
        (rf"\frac{{{n}}}{{{k}}}", Fraction(n, k)),
        (rf"\binom{{{n}}}{{{k - 1}}}", comb(n, k - 1)),
    ]
    return MathCase(gold, right, [w for w in wrong if w[1] != value], value)


@template("factorials and binomials", "hidden")
def choose(d: Draw) -> MathCase:
    n = d.randint(5, 18)
    k = d.randint(2, n - 2)
    value = comb(n, k) * 2
    gold = d.choice([str(value), rf"2\binom{{{n}}}{{{k}}}", rf"\binom{{{n}}}{{{k}}} \cdot 2"])
    right = [
        str(value),
        rf"2\binom{{{n}}}{{{k}}}",
        rf"2{{{n} \choose {k}}}",
        rf"\binom{{{n}}}{{{k}}}+\binom{{{n}}}{{{n - k}}}",
        rf"2\tbinom{{{n}}}{{{k}}}",
        rf"2\left(\binom{{{n - 1}}}{{{k}}}+\binom{{{n - 1}}}{{{k - 1}}}\right)",
        rf"2 \cdot \frac{{{n}!}}{{{k}!({n}-{k})!}}",
    ]
    wrong = [
        (rf"\binom{{{n}}}{{{k}}}", value // 2),
        (rf"2\binom{{{n - 1}}}{{{k}}}", 2 * comb(n - 1, k)),
        (str(value - 2), value - 2),
        (rf"\binom{{{2 * n}}}{{{k}}}", comb(2 * n, k)),
        (rf"\binom{{{n}}}{{{k}}}^2", comb(n, k) ** 2),
    ]
    return MathCase(gold, right, [w for w in wrong if w[1] != value], value)


@template("factorials and binomials")
def factorials(d: Draw) -> MathCase:
    n, c = d.randint(4, 12), d.half(1, d.randint(2, 6))
    value = factorial(n) * c
    head = "" if c == 1 else rf"{c} \cdot "
    gold = d.choice([f"{head}{n}!", str(value)])
    right = [
        (f"{head}{n}!", value),
        (str(value), value),
        (f"{value:,}", value),
        (rf"{head}{n} \cdot {n - 1}!", value),
        (rf"{head}\frac{{{n + 1}!}}{{{n + 1}}}", c * Fraction(factorial(n + 1), n + 1)),
    ]
    wrong = [
        (f"{head}{n + 1}!", c * factorial(n + 1)),
        (f"{head}{n}", c * n),
        (str(value + 1), value + 1),
        (f"{head}({n - 1})!", c * factorial(n - 1)),
        (f"{head}{n}! + 1", value + 1),
        (rf"{head}{n}^{{{n}}}", c * n**n),
    ]
    return MathCase(gold, right, wrong, value)


def digits(n: int, base: int) -> str:
    out = ""
    while n:
        out, n = "0123456789ABCDEF"[n % base] + out, n // base
    return out


@template("bases")
def based(d: Draw) -> MathCase:
    b = d.of([2, 3, 5, 6, 8], [4, 7, 9, 12, 16])
    n = d.randint(b**2, b**5)
    shown = digits(n, b)
    gold = d.of([f"{shown}_{{{b}}}", f"{shown}_{b}"], [rf"{shown}_{{{b}}}", rf"{shown}_{{\text{{{_name(b)}}}}}"])
    if b > 9:
        gold = f"{shown}_{{{b}}}"
    right = [
        f"{shown}_{{{b}}}",
        rf"({shown})_{{{b}}}",
        rf"{{{shown}}}_{{{b}}}",
        rf"\text{{{shown}}}_{{{b}}}",
        f"{shown} _{{{b}}}",
    ]
    right += (
        [] if b > 9 else d.half([rf"{shown}_{b}"], [rf"{shown}_{{\text{{{_name(b)}}}}}", rf"{shown}\text{{ base }}{b}"])
    )
    if any(c.isalpha() for c in shown):
        right = [
            f"{shown}_{{{b}}}",
            rf"\text{{{shown}}}_{{{b}}}",
            rf"({shown})_{{{b}}}",
            rf"\mathrm{{{shown}}}_{{{b}}}",
        ]
    other = b + 1 if b != 9 else 11
    m = n + d.randint(1, b)
    wrong = [
        f"{shown}_{{{other}}}",
        f"{digits(m, b)}_{{{b}}}",
        f"{digits(m, b)}",
        f"{shown}0_{{{b}}}",
        f"{shown[::-1]}1_{{{b}}}",
        f"{digits(n + b, b)}_{{{b}}}",
    ]
    return MathCase(gold, right, wrong)


def _name(b: int) -> str:
    return {2: "two", 3: "three", 4: "four", 5: "five", 6: "six", 7: "seven", 8: "eight", 9: "nine"}.get(b, str(b))
