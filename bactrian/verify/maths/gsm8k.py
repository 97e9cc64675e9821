"""Verifiers of answers that are one number: numeric (ours) and strict (the published string equality)."""

import re
from collections import deque
from collections.abc import Iterator
from fractions import Fraction

from bactrian.verify.registry import register
from bactrian.verify.verdict import Example, Problem, Verdict, compared, unparsable

TEXT_LIMIT = 20_000
"""Characters considered, from the end."""
DIGITS_LIMIT = 400
"""A number with more characters than this is not read."""

NUMBER = re.compile(
    r"(?:(?<![\w)\]}])(?P<sign>[-+]))?\\?\$?"
    r"(?P<digits>(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)"
    r"(?:[eE](?P<exponent>[-+]?\d{1,3})(?!\w))?"
    r"(?:\s?/\s?(?P<over>\d+(?:\.\d+)?))?",
    re.ASCII,
)
MARKER = re.compile(r"####|\\boxed\s{0,4}\{|\banswer\b[\s*_]{0,8}(?::|=|\bis\b)[\s*_:]{0,8}", re.IGNORECASE)
EQUATION = re.compile(r"[^=A-Za-z\n(]{0,200}=")
SPACED_MINUS = re.compile(r"\A[ \t*]{0,8}-[ \t]+(?=\$?\d)", re.ASCII)
COMMA = re.compile(r"(\d),(\d)")
PUBLISHED_NUMBER = re.compile(r"[-+]?\d*\.\d+|\d+")
MINUSES = str.maketrans("−–", "--")
FRACTION = re.compile(r"\\[dt]?frac\s?\{(-?\d{1,20})\}\s?\{(\d{1,20})\}", re.ASCII)
SPACED_THOUSANDS = re.compile(r"(?<=\d)(?:\{,\}|\\,|\\!,?)(?=\d{3})", re.ASCII)
REMARK = re.compile(r"\([^()\n]{0,200}\)[\s.]*\Z")

NUMERIC_EXAMPLES = (
    Example("48/2 = 24 clips in May.\n48+24 = 72 clips altogether.\n#### 72", "72", "right"),
    Example("21 - 12 = 9\n9 - 23 = -14\nAnswer: -14", "-14", "right"),
    Example("The answer is 5.0.", "5", "right"),
    Example("so we get +5", "5", "right"),
    Example("It costs $1,234,567.", "1234567", "right"),
    Example("#### 1,234", "1,234", "right"),
    Example("Answer: 12 apples, because 30 - 18 = 12 and not 20", "12", "right"),
    Example("**Answer:** 5", "5", "right"),
    Example("Answer: 2 + 3 = 5", "5", "right"),
    Example("Answer:\n2 + 3 = 5", "5", "right"),
    Example("Answer:\n\n-$5", "-5", "right"),
    Example("The answer is −5", "-5", "right"),
    Example("Answer: - 5", "-5", "right"),
    Example("so \\boxed{42} of 100", "42", "right"),
    Example("half of it, 5/2", "2.5", "right"),
    Example("#### 7\nIs it 8? No. #### 9", "9", "right"),
    Example("The answer is 18.00 dollars.", "18", "right"),
    Example("Answer: 18", "18.00", "right"),
    Example("The answer is 25%.", "25", "right"),
    Example("The answer is 25 %", "25%", "right"),
    Example("Answer: $1,234.50", "$1234.5", "right"),
    Example("The answer is 6 * 3 = $18.", "18", "right"),
    Example("The answer is 12 + 5 = 17 - 2 = 15 eggs", "15", "right"),
    Example("She earns $18 a day (for 7 days a week).", "18", "right"),
    Example("The answer is \\(\\frac{1}{2}\\)", "0.5", "right"),
    Example("\\boxed{1{,}234}", "1234", "right"),
    Example("The answer is 18 (9 eggs at $2).", "18", "right"),
    Example("Answer: 18cm", "18", "right"),
    Example("He owes 5, so his balance is -5", "-5", "right"),
    Example("The answer is 0.25", "25%", "wrong"),
    Example("The answer is 25%", "0.25", "wrong"),
    Example("The answer is 18.01", "18", "wrong"),
    Example("The answer is 6 * 3", "18", "wrong"),
    Example("The answer is 18 or 19", "19", "wrong"),
    Example("He has 7 apples and she has 3.", "7", "wrong"),
    Example("Answer: 14", "-14", "wrong"),
    Example("Answer: -14", "14", "wrong"),
    Example("9 - 14", "-14", "wrong"),
    Example("The answer is 1,2,3", "123", "wrong"),
    Example("1,2,3", "123", "wrong"),
    Example("Answer: 5/2", "5", "wrong"),
    Example("Answer: 50", "5", "wrong"),
    Example("Answer: 0.5", "5", "wrong"),
    Example("Answer: 5e3", "5", "wrong"),
    Example("#### 7\nNo wait. #### 8", "7", "wrong"),
    Example("The answer is 4. Or 5.", "5", "wrong"),
    Example("Answer: Billy sold 8 * 2 =", "16", "wrong"),
    Example("Answer: five", "5", "unparsable"),
    Example("Answer: ٥", "5", "unparsable"),
    Example("nan inf -Infinity", "5", "unparsable"),
    Example("", "0", "unparsable"),
    Example("Answer: 1/0", "0", "unparsable"),
)
STRICT_EXAMPLES = (
    Example("She has 1,234,567.", "1234567", "right"),
    Example("#### -14.5", "-14.5", "right"),
    Example("#### -14", "-14", "wrong"),
    Example("#### -14", "14", "right"),
    Example("1,2,3", "3", "right"),
    Example("five", "FIVE", "right"),
    Example("#### 5.0", "5", "wrong"),
    Example("#### +5", "5", "right"),
    Example("1,2,3", "123", "wrong"),
    Example("1,2,3", "12", "wrong"),
    Example("#### 14", "-14", "wrong"),
    Example("#### 7, not 8", "7", "wrong"),
    Example("none", "5", "unparsable"),
)


@register("gsm8k", examples=NUMERIC_EXAMPLES)
def numeric(problem: Problem, completion: str) -> Verdict:
    """Right iff the number given as the answer equals the ground truth as an exact rational: 5.0 = +5 = 10/2 = 5e0 = 5.

    The answer is the first number after the last marker (`####`, `Answer:`, `answer is`, `\\boxed{`); where a
    calculation begins there ("Answer: 2 + 3 = 5"), the first after its last "=". Without a marker, or with no number
    after it, the answer is the last number of the text, a closing remark in brackets aside. Commas group thousands
    (1,234,567) or part numbers (1,2,3). Units, currency and percent signs are not compared: 5 % is 5, and not 0.05.
    Only ASCII digits are read. A ground truth that is no number gives "crashed".
    """
    ground_truth = problem.ground_truth
    expected = gold_value(ground_truth)
    if expected is None:
        return Verdict(0.0, "crashed", None, f"the ground truth {ground_truth[:60]!r} is not a number")
    found = answer(plain(completion[-TEXT_LIMIT:]))
    if found is None:
        return unparsable("no number in the text")
    read, extracted = value(found), found[0].strip()[: DIGITS_LIMIT + 1]
    if read is None:
        return unparsable("not a number that can be read (too long, or divided by zero)", extracted)
    return compared(read == expected, extracted, ground_truth, "equal to")


def gold_value(ground_truth: str) -> Fraction | None:
    """The ground truth as a number, perhaps with a currency sign or percent; None if it is none."""
    stripped = ground_truth.strip().removesuffix("%").strip()
    gold = NUMBER.fullmatch(stripped)
    return value(gold) if gold else None


def plain(text: str) -> str:
    """LaTeX's fractions and thousands as plain numbers, one kind of minus."""
    return SPACED_THOUSANDS.sub("", FRACTION.sub(r"\1/\2", text.translate(MINUSES)))


def answer(text: str) -> re.Match[str] | None:
    """Where the answer stands: after the last marker, else at the last number."""
    marker = last(MARKER.finditer(text))
    if marker is not None:
        tail, at = text[marker.end() :].lstrip(), 0
        while equation := EQUATION.match(tail, at):
            at = equation.end()
        tail, at = SPACED_MINUS.sub("-", tail[at:], count=1), 0
        found = NUMBER.search(tail)
        while found and (equation := EQUATION.match(tail, found.end())):
            if (after := NUMBER.search(tail, equation.end())) is None:  # "8 * 2 =" and no more
                found = last(NUMBER.finditer(tail, 0, equation.end()))
                break
            found = after
        if found:
            return found
    return last(NUMBER.finditer(REMARK.sub("", text))) or last(NUMBER.finditer(text))


def last(found: Iterator[re.Match[str]]) -> re.Match[str] | None:
    return next(iter(deque(found, maxlen=1)), None)


def value(number: re.Match[str]) -> Fraction | None:
    """The exact value of a match of NUMBER; None if it is longer than DIGITS_LIMIT or divided by zero."""
    if number.end() - number.start() > DIGITS_LIMIT:
        return None
    size = Fraction(number["digits"].replace(",", "")) * Fraction(10) ** int(number["exponent"] or 0)
    below = Fraction(number["over"] or 1)
    return None if below == 0 else (-size if number["sign"] == "-" else size) / below


@register("gsm8k_strict", examples=STRICT_EXAMPLES)
def strict(problem: Problem, completion: str) -> Verdict:
    """The published verdicts, flaws included (SPEC §4.2): string equality of the last number with the ground truth.

    (1) commas between two digits are deleted, in one pass; (2) all numbers are found; (3) the last, or the whole text
    if there is none, (4) must equal the ground truth as a lower-cased string. So 5.0 ≠ 5, "1,2,3" is 12,3, and as the
    pattern's sign belongs to decimals only, "-14" is read as 14 and no negative whole number is ever right.
    """
    ground_truth = problem.ground_truth
    text = COMMA.sub(r"\1\2", completion[-TEXT_LIMIT:])
    numbers = PUBLISHED_NUMBER.findall(text)
    extracted = numbers[-1] if numbers else text
    right = extracted.lower() == ground_truth.lower()
    if not numbers and not right:
        return unparsable("no number in the text")
    return compared(right, extracted[: DIGITS_LIMIT + 1], ground_truth, "the string")
