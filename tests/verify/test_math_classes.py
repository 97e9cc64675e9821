"""What the comparison of mathematical answers once got wrong, by class: right pairs, wrong pairs, laws."""

import random
import time
from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bactrian.verify import verify
from bactrian.verify.maths import real_sets
from bactrian.verify.maths.answer_tree import UnreadableAnswer
from bactrian.verify.maths.competition import same
from bactrian.verify.maths.equivalence import equivalent
from bactrian.verify.maths.units import unit_name

pytest.importorskip("math_verify")

RIGHT = {
    "times of day": [
        ("9\\text{ a.m.}", "9 AM"),
        ("9\\text{ a.m.}", "9:00 \\text{ a.m.}"),
        ("4:30\\text{ p.m.}", "4:30"),
        ("12\\text{ noon}", "12 p.m."),
        ("\\text{7:05 p.m.}", "7:05 PM"),
        ("11{:}20", "11:20"),
    ],
    "degrees": [
        ("52^\\circ", "52"),
        ("52^\\circ", "52\\text{ deg}"),
        ("\\sin 32^\\circ", "\\cos 58^\\circ"),
        ("\\sin 32^\\circ", "\\cos 58"),
        ("2\\cos 15^{\\circ}", "\\frac{\\sqrt6+\\sqrt2}{2}"),
        ("\\tan 15^\\circ", "2-\\sqrt3"),
        ("90^\\circ", "\\frac{\\pi}{2}\\text{ radians}"),
        ("93^{\\,\\circ}", "93"),
        ("\\frac{\\sqrt{3}}{2}", "\\sin 60^\\circ"),
        ("10\\cos 120^\\circ", "-5"),
    ],
    "thousands": [
        ("1{,}234", "1,\\!234"),
        ("12{,}345{,}678", "12\\,345\\,678"),
        ("70,\\!110", "70110"),
        ("22,500", "22500"),
        ("\\text{9,876}", "9876"),
        ("70^\\circ,110^\\circ", "110, 70"),
    ],
    "lists in words": [
        ("\\text{A, B}", "B, A"),
        ("\\text{A, B}", "\\text{A and B}"),
        ("\\text{red, blue}", "blue and red"),
        ("\\text{(A), (C)}", "\\text{C}, \\text{A}"),
        ("3, \\pi", "\\pi and 3"),
    ],
    "plus or minus": [
        ("\\pm 2, 3", "2,-2,3"),
        ("\\{\\pm 2, 3\\}", "\\{-2,2,3\\}"),
        ("(\\pm 3, 0)", "(3,0), (-3,0)"),
        ("x = \\pm 3", "x=3\\text{ or }x=-3"),
        ("\\pm\\frac{1}{2}, \\pm 1", "1,-1,0.5,-0.5"),
    ],
    "vectors": [
        ("\\frac13\\begin{pmatrix}3\\\\6\\end{pmatrix}", "\\begin{pmatrix}1\\\\2\\end{pmatrix}"),
        ("-\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}", "\\begin{pmatrix}-1&-2\\\\-3&-4\\end{pmatrix}"),
        ("(1,2)+t(3,4)", "(1+3t,2+4t)"),
    ],
    "plain text": [
        ("18\\sqrt3", "18*sqrt(3)"),
        ("18\\sqrt3", "18sqrt3"),
        ("18\\sqrt{3}", "18√3"),
        ("\\sqrt{12}", "√12"),
        ("3x^2-1", "3*x**2 - 1"),
        ("10\\frac{3}{11}", "10 3/11"),
        ("\\text{four}", "4"),
        ("0.\\overline{15}", "0.151515\\ldots"),
        ("\\text{(B) }17", "17"),
        ("\\text{May 4}", "May 4"),
    ],
    "equations": [
        ("y=2x+3", "2x-y+3=0"),
        ("y=2x+3", "y-3=2x"),
        ("y=2x+3", "\\frac{y-3}{2}=x"),
        ("y=\\frac{1}{x}", "xy=1"),
        ("x^2+y^2=4", "\\frac{x^2}{4}+\\frac{y^2}{4}=1"),
        ("y - 1 = -\\frac23 (x-4)", "2x+3y=11"),
        ("C=2\\pi r", "2\\pi r=C"),
        ("x=2,y=3", "y=3,x=2"),
        ("(2,3)", "x=2,y=3"),
        ("f(x)=x^2", "y=x^2"),
    ],
    "solution sets": [
        ("2x>6", "x>3"),
        ("-2x<6", "x>-3"),
        ("|x|>8", "x<-8\\text{ or }x>8"),
        ("|x|>8", "x<-8, x>8"),
        ("|x|>8", "(-\\infty,-8)\\cup(8,\\infty)"),
        ("|x-2|\\le 5", "-3\\le x\\le 7"),
        ("|x-2|\\le 5", "[-3,7]"),
        ("x\\neq 3", "(-\\infty,3)\\cup(3,\\infty)"),
        ("x\\ne3", "\\mathbb{R}\\setminus\\{3\\}"),
        ("x\\ne 3", "3\\neq x"),
        ("x\\ne3", "\\{x\\mid x\\ne3\\}"),
        ("x\\ne3", "\\{x\\in\\mathbb{R}: x\\neq3\\}"),
        ("(0,\\infty)", "\\{x : x > 0\\}"),
        ("(0,1)\\cup(1,2)", "0<x<2, x\\ne 1"),
        ("(0,1)\\cup[1,2)", "(0,2)"),
        ("y\\ge 2x+1", "2x-y\\le -1"),
        ("\\mathbb{R}", "(-\\infty,\\infty)"),
        ("\\frac{1}{x}>0", "x>0"),
        ("x\\le 2 \\text{ and } x>0", "(0,2]"),
        ("x \\ge \\sqrt{2}", "[\\sqrt2,\\infty)"),
    ],
    "units": [
        ("144\\text{ m}^3", "144 m^3"),
        ("144\\text{ m}^3", "144\\text{ cubic meters}"),
        ("144\\text{ m}^3", "144"),
        ("12\\text{ grams}", "12\\text{ gm}"),
        ("12\\text{ g}", "12 grams"),
        ("\\$5", "5\\text{ dollars}"),
        ("60\\text{ mph}", "60\\text{ miles per hour}"),
        ("60\\text{ km/h}", "60\\text{ km}/\\text{hr}"),
        ("5\\text{ square inches}", "5\\text{ in}^2"),
        ("5\\text{ sq. units}", "5"),
        ("20\\text{ apples}", "20"),
        ("9.8\\,\\mathrm{m/s^2}", "9.8"),
        ("40\\text{ minutes}", "40\\textrm{ min}"),
        ("3\\text{ cents}", "3¢"),
    ],
    "functions": [
        ("\\max(1000,n)", "\\max(n,1000)"),
        ("|x-10|", "|10-x|"),
        ("\\frac{x^2-1}{x-1}", "x+1"),
        ("\\ln(2x)", "\\ln 2+\\ln x"),
        ("\\sin 2x", "2\\sin x\\cos x"),
        ("\\cos x", "\\frac{e^{ix}+e^{-ix}}{2}"),
        ("n!", "n(n-1)!"),
        ("\\binom{n}{2}", "\\frac{n(n-1)}{2}"),
        ("2^{x+3}", "8\\cdot2^x"),
        ("\\max(x,y)", "\\frac{x+y+|x-y|}{2}"),
        ("\\lceil x\\rceil", "-\\lfloor -x\\rfloor"),
        ("(-1)^{n+1}", "-(-1)^n"),
        ("x^{3/2}", "x\\sqrt{x}"),
        ("2 e^{5x/100}", "\\frac{2}{e^{-0.05x}}"),
        ("\\sqrt{3+2\\sqrt2}", "1+\\sqrt2"),
        ("(x+1)^{30}", "(1+x)^{30}"),
    ],
    "words around": [("\\approx 8.5", "\\text{approximately }8.5"), ("5", "5\\text{ in total}"), ("{\\bf 17}", "17")],
}
WRONG = {
    "times of day": [
        ("9\\text{ a.m.}", "\\text{9 p.m.}"),
        ("9\\text{ a.m.}", "9 PM"),
        ("4:30\\text{ p.m.}", "4:30 a.m."),
        ("9\\text{ a.m.}", "9:15\\text{ a.m.}"),
        ("9\\text{ a.m.}", "9\\text{ hours}"),
    ],
    "degrees": [
        ("52^\\circ", "52\\text{ radians}"),
        ("60^\\circ", "\\frac{\\pi}{6}"),
        ("\\sin 32^\\circ", "\\sin 58^\\circ"),
        ("52^\\circ", "52\\text{ minutes}"),
        ("90^\\circ", "\\pi\\text{ radians}"),
    ],
    "thousands": [
        ("70^\\circ,110^\\circ", "70110"),
        ("(70,110)", "70110"),
        ("70,\\!110", "70, 110"),
        ("10,000", "10, 0"),
    ],
    "lists in words": [("\\text{A, B}", "A, C"), ("\\text{A, B}", "A"), ("\\text{red}", "\\text{red or blue}")],
    "plus or minus": [
        ("\\pm 2,3", "2,3"),
        ("\\{\\pm2\\}", "\\{2\\}"),
        ("x=\\pm3", "x=3"),
        ("(\\pm3,0)", "(3,0)"),
    ],
    "vectors": [
        ("\\frac13\\begin{pmatrix}3\\\\6\\end{pmatrix}", "\\begin{pmatrix}1\\\\6\\end{pmatrix}"),
        ("(1,2)+t(3,4)", "(1+3t,2-4t)"),
        ("2(1,2)", "(1,2)"),
    ],
    "plain text": [
        ("15\\left(\\frac12\\right)", "15\\frac12"),
        ("0.\\overline{15}", "0.1515"),
        ("\\text{four}", "5"),
        ("\\text{(B) }17", "\\text{(C) }17"),
        ("\\text{(B)}", "\\text{(B) or (C)}"),
        ("\\text{May 4}", "\\text{May}"),
    ],
    "equations": [
        ("y=2x+3", "2x-y=3"),
        ("y=2x+3", "x=2y+3"),
        ("x=3", "y=3"),
        ("x=2,y=3", "x=3,y=2"),
        ("x=2,y=3", "3,2"),
        ("3:4", "4:3"),
    ],
    "solution sets": [
        ("x>3", "y>3"),
        ("x>3", "x\\ge3"),
        ("|x|>8", "|x|\\ge8"),
        ("|x|>8", "x>8"),
        ("|x|>8", "-8<x<8"),
        ("x\\ne3", "x=3"),
        ("x\\ne3", "3"),
        ("x\\ne 3", "x\\ne -3"),
        ("x\\ne3", "\\mathbb{R}"),
        ("(0,1)\\cup(1,2)", "(0,2)"),
        ("y\\ge2x+1", "y\\le2x+1"),
        ("-2x<6", "x<-3"),
        ("(2,3)", "\\{2,3\\}"),
    ],
    "units": [
        ("144\\text{ m}^3", "144 m^2"),
        ("144\\text{ m}^3", "144\\text{ m}"),
        ("12\\text{ grams}", "12\\text{ kg}"),
        ("60\\text{ mph}", "60\\text{ km/h}"),
        ("\\$5", "5\\text{ cents}"),
        ("1\\text{ foot}", "12\\text{ inches}"),
        ("20\\text{ apples}", "20\\text{ pears}"),
        ("\\text{5 hours}", "\\text{5 minutes}"),
        ("3", "3m+1"),
    ],
    "functions": [
        ("\\max(1000,n)", "1000"),
        ("\\max(10^6,n)", "10^6"),
        ("|x-10|", "10-x"),
        ("\\min(x,50)", "x"),
        ("\\lfloor x\\rfloor", "x"),
        ("\\lfloor x\\rfloor", "\\lceil x\\rceil-1"),
        ("\\sqrt{x^2}", "x"),
        ("\\ln x^2", "2\\ln x"),
        ("|x|+|x-500|", "2x-500"),
        ("\\max(x,y)", "x"),
        ("|x-y|", "x-y"),
        ("\\max(0,x-5000)", "0"),
        ("x", "x+10^{-9}"),
        ("\\sqrt{x}", "|x|^{1/2}"),
        ("\\sqrt{x-70000}", "\\sqrt{x}"),
    ],
    "words around": [
        ("5", "5\\text{ or so, maybe 6}"),
        ("5", "5\\text{ or }6"),
        ("5", "\\text{about }5"),
        ("5", "5?"),
        ("5", "\\text{at least }5"),
        ("5", "\\text{not }5"),
        ("5", "5\\text{ or more}"),
        ("5", "\\text{5 or 6}"),
        ("5", "5\\text{ (probably)}"),
        ("\\text{Saturday}", "\\text{not Saturday}"),
    ],
}


@pytest.mark.parametrize("kind", RIGHT)
def test_right(kind: str) -> None:
    """From either side."""
    assert [pair for pair in RIGHT[kind] if not (same(*pair) and same(*pair[::-1]))] == []


@pytest.mark.parametrize("kind", WRONG)
def test_wrong(kind: str) -> None:
    assert [pair for pair in WRONG[kind] if same(*pair) or same(*pair[::-1])] == []


def test_every_answer_is_itself() -> None:
    answers = [answer for pairs in (*RIGHT.values(), *WRONG.values()) for pair in pairs for answer in pair]
    assert [answer for answer in answers if not same(f" {answer} ", answer)] == []


def test_a_verdict_is_quick() -> None:
    """The dearest of these pairs, where nothing can be proved, takes some hundredths of a second."""
    started = time.process_time()
    for pairs in (*RIGHT.values(), *WRONG.values()):
        for a, b in pairs:
            same(a, b)
    assert (time.process_time() - started) / sum(map(len, (*RIGHT.values(), *WRONG.values()))) < 0.05


@pytest.mark.parametrize(
    "text",
    [
        "+".join(f"|{name}+{n}|" for n, name in enumerate("abcdfghjklmnopqrstuvw")),
        "+".join(f"\\sqrt{{{name}^2+|x-{n}|}}" for n, name in enumerate("abcdfghjklmnopqrstuvw")),
        "(x+y+z+a+b+c)^{30}",
        "(x+y+z)^9" * 20,
        "x^8+|x^7+|x^6+x|+3|<\\sqrt{2}",
        "\\sin(" * 12 + "x" + ")" * 12,
        "|".join("x" * 40) + ">3",
        "\\max(" + ",".join(f"{n}x^2-y" for n in range(40)) + ")",
        "\\text{ or }".join(["x>3"] * 40),
    ],
)
def test_hostile_answers_are_quick(text: str) -> None:
    for other in (f"{text}+1", f"1+{text}", "x>3", text.replace("y", "(y)")):
        started = time.process_time()
        assert same(text, text) and isinstance(same(text, other), bool)
        assert time.process_time() - started < 2.0, other


@pytest.mark.parametrize(
    "text,gold,outcome",
    [
        ("It is $4$ or $5$", "5", "wrong"),
        ("It is $4$ or $5$", "4,5", "right"),
        ("The answer is 5 or 6.", "5", "wrong"),
        ("The answer is $x=3$ or $x=5$", "5", "wrong"),
        ("The answer is $5$ or maybe $6$", "5", "wrong"),
        ("The answer is 5 cm", "5\\text{ m}", "wrong"),
        ("The answer is 5 cm", "5\\text{ cm}", "right"),
        ("The answer is 5 apples", "5", "right"),
        ("so either 5 or 6", "6", "wrong"),
    ],
)
def test_alternatives_in_a_text(text: str, gold: str, outcome: str) -> None:
    assert verify("math", text, gold).outcome == outcome


def test_unit_names() -> None:
    for unit, spellings in {
        "cm^2": ["square centimeters", "cm^2", "sq. cm", "cm^{2}", "centimetres squared"],
        "mi/h": ["mph", "miles per hour", "mi/h"],
        "apple": ["apples", "different apples", "red apples"],
    }.items():
        assert [unit_name(spelling) for spelling in spellings] == [unit] * len(spellings)
    for words in ("or so, maybe 6", "at least", "if n is even", "which is right"):
        assert unit_name(words) is None


NUMBERS = st.builds(Fraction, st.integers(-30, 30), st.integers(1, 9))


def tex(number: Fraction) -> str:
    return f"({number.numerator}/{number.denominator})"


@settings(max_examples=80, deadline=None)
@given(NUMBERS, NUMBERS, NUMBERS, NUMBERS)
def test_lines_rearranged(a: Fraction, b: Fraction, c: Fraction, factor: Fraction) -> None:
    """Scaled, moved over and turned round a line is itself; with another constant it is another."""
    assume(factor and a and b)
    line = f"{tex(a)}x+{tex(b)}y={tex(c)}"
    for other in (
        f"{tex(factor * a)}x+{tex(factor * b)}y={tex(factor * c)}",
        f"{tex(a)}x={tex(c)}-{tex(b)}y",
        f"0={tex(c)}-{tex(b)}y-{tex(a)}x",
        f"y={tex(c / b)}-{tex(a / b)}x",
    ):
        assert equivalent(line, other), (line, other)
        assert equivalent(other, line), (line, other)
    assert not equivalent(line, f"{tex(a)}x+{tex(b)}y={tex(c + 1)}")


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.integers(-9, 9), st.booleans(), st.booleans()), min_size=2, max_size=4))
def test_unions_in_any_order(ends: list[tuple[int, bool, bool]]) -> None:
    """Unions as intervals, turned round, and as inequalities joined by "or"; a moved end makes another set."""
    places = sorted({end for end, _, _ in ends})
    assume(len(places) >= 2 and len(places) % 2 == 0)
    pieces = [(low, high, *ends[n][1:]) for n, (low, high) in enumerate(zip(places[::2], places[1::2], strict=True))]
    written = [f"{'[' if a else '('}{low},{high}{']' if b else ')'}" for low, high, a, b in pieces]
    sign = {True: "\\le ", False: "<"}
    chains = [f"{low}{sign[a]}x{sign[b]}{high}" for low, high, a, b in pieces]
    union = "\\cup".join(written)
    assert equivalent(union, "\\cup".join(reversed(written)))
    assert equivalent(union, " \\text{ or } ".join(chains))
    moved = union.replace(written[-1], written[-1][0] + f"{pieces[-1][0]},{pieces[-1][1] + 1}" + written[-1][-1])
    assert not equivalent(union, moved)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(-6, 6), st.booleans(), st.integers(-6, 6), st.booleans()), max_size=4))
def test_sets_obey_their_laws(pieces: list[tuple[int, bool, int, bool]]) -> None:
    """De Morgan, complement twice, and membership point by point."""
    parts = [real_sets.interval(Fraction(a), x, Fraction(b), y) for a, x, b, y in pieces]
    whole = real_sets.union(parts)
    assert real_sets.equal(real_sets.complement(real_sets.complement(whole)), whole)
    assert real_sets.equal(real_sets.intersection(whole, real_sets.ALL), whole)
    assert real_sets.intersection(whole, real_sets.complement(whole)) == real_sets.NOTHING
    for half in range(-14, 15):
        at = real_sets.point(Fraction(half, 2))
        inside = any(
            a < Fraction(half, 2) < b
            or (Fraction(half, 2) == a and x and (a < b or y))
            or (Fraction(half, 2) == b and y and (a < b or x))
            for a, x, b, y in pieces
            if a <= b
        )
        assert bool(real_sets.intersection(whole, at)) == inside


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-50, 50), min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_sets_and_lists_in_any_order(items: list[int], rng: random.Random) -> None:
    shuffled = list(items)
    rng.shuffle(shuffled)
    listed, other = ", ".join(map(str, items)), ", ".join(map(str, shuffled))
    assert equivalent(f"\\{{{listed}\\}}", f"\\{{{other}, {items[0]}\\}}") and equivalent(listed, other)
    assert not equivalent(listed, f"{other}, 51")
    assert not equivalent(f"\\{{{listed}\\}}", f"\\{{{other}, 51\\}}")


@settings(max_examples=60, deadline=None)
@given(st.integers(-99_999, 99_999), st.sampled_from(["max", "min", "abs"]))
def test_breakpoints_are_found_wherever_they_are(place: int, kind: str) -> None:
    """A function that changes its course at one place is none of the two that it is made of."""
    branches = {"max": ("x", f"({place})"), "min": ("x", f"({place})"), "abs": (f"x-({place})", f"({place})-x")}[kind]
    whole = f"|x-({place})|" if kind == "abs" else f"\\{kind}(x, {place})"
    for branch in branches:
        assert not equivalent(whole, branch), (whole, branch)
    rewritten = {"max": "\\frac{x+(P)+|x-(P)|}{2}", "min": "\\frac{x+(P)-|x-(P)|}{2}", "abs": "\\max(x-(P), (P)-x)"}
    assert equivalent(whole, rewritten[kind].replace("P", str(place)))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 999),
    st.sampled_from(["cm", "m^2", "kg", "hours", "apples", "dollars", "degrees"]),
    st.sampled_from(["mm", "m^3", "g", "minutes", "pears", "cents", "radians"]),
)
def test_units_may_lack_but_not_differ(number: int, unit: str, other: str) -> None:
    answer = f"{number}\\text{{ {unit}}}"
    assert equivalent(answer, str(number)) and equivalent(str(number), answer)
    assert not equivalent(answer, f"{number}\\text{{ {other}}}")
    assert not equivalent(answer, f"{number + 1}\\text{{ {unit}}}")


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 12), st.integers(-9, 9), st.integers(-9, 9))
def test_what_is_expanded_is_the_same(power: int, a: int, b: int) -> None:
    product = "".join(f"({a}x+({b})y)" for _ in range(min(power, 6)))
    try:
        assert equivalent(product, f"({a}x+({b})y)^{{{min(power, 6)}}}")
    except UnreadableAnswer:
        pytest.fail(product)
    assert not equivalent(product, f"{product}+\\frac{{x}}{{10^{{20}}}}")
