"""Verifiers of MATH answers: flex and strict as Tülu 3 has them, and each of their parts alone."""

import re
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from bactrian.store.extras import lacks
from bactrian.verify.maths.answer_tree import Large, UnreadableAnswer, Wordy
from bactrian.verify.maths.equivalence import equivalent, read
from bactrian.verify.maths.solution import TEXT_LIMIT, boxed, candidates, final_phrase, hendrycks, minerva
from bactrian.verify.registry import register
from bactrian.verify.verdict import Example, Problem, Verdict, compared, unparsable

ANSWER_LIMIT = 2_000
"""A longer candidate is compared as a text only."""
HUGE = re.compile(r"\d{4,}[\s)}\]]*!|![\s)}\]]*!|\^[\s{(]*-?\d{4,}|\^[^,=]{0,40}\^|binom[^,]{0,20}\d{4,}")
"""Factorials, powers and towers whose value math-verify would try to write out: seen to hang it."""
Equal = Callable[[str, str], bool]


def same_text(given: str, gold: str) -> bool:
    """Equal as strings after Hendrycks' normalisation."""
    return hendrycks(given) == hendrycks(gold) != ""


def same_minerva(given: str, gold: str) -> bool:
    """Equal as strings after Minerva's normalisation."""
    return minerva(given) == minerva(gold) != ""


def same_value(given: str, gold: str) -> bool:
    """Equal by our own parser and arithmetic (equivalence.py); what it cannot read is not equal."""
    try:
        return equivalent(given, gold)
    except UnreadableAnswer:
        return False


def readable(answer: str) -> bool:
    """Whether our parser reads it, or knows that words in it must not be cut off."""
    try:
        return bool(read(answer))
    except UnreadableAnswer as error:
        return isinstance(error, Wordy)


def same_by_library(given: str, gold: str) -> bool:
    """Equal by math-verify, each side taken as one formula. Slow, and may hang: only in a worker."""
    parse, verify, latex = _library()
    asked = {"extraction_config": [latex()], "parsing_timeout": None}
    sides = [parse(f"${text.strip('$ ')}$", **asked) for text in (gold, given)]
    return all(sides) and bool(verify(*sides, timeout_seconds=None))


def same(given: str, gold: str) -> bool:
    """As values; where our parser cannot read one of them, as strings after Hendrycks, or by math-verify.

    Words beside the mathematics, which both of these would cut off, are left to our parser.
    """
    try:
        return given.strip() == gold.strip() or equivalent(given, gold)
    except UnreadableAnswer as error:
        if isinstance(error, Wordy) or "\\text" in given + gold:
            return "".join(given.split()).rstrip(".") == "".join(gold.split()).rstrip(".")
        if same_text(given, gold):
            return True
        large = isinstance(error, Large) or len(given) > ANSWER_LIMIT or HUGE.search(given) is not None
        return not large and "\\" in given + gold and same_by_library(given, gold)


@cache
def _library() -> tuple[Any, Any, Any]:
    try:
        import logging

        from math_verify import LatexExtractionConfig, parse, verify
    except ImportError:
        raise lacks("LaTeX answers", "math") from None
    for name in ("math_verify", "latex2sympy2_extended"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return parse, verify, LatexExtractionConfig


def compare(answers: Iterable[str], gold: str, equal: Equal, missing: str) -> Verdict:
    """Right if one of the answers equals the gold answer; unparsable if there is none."""
    found = [answer for answer in answers if answer.strip()]
    if not found:
        return unparsable(missing)
    right = next((answer for answer in found if equal(answer, gold)), None)
    return compared(right is not None, (found[0] if right is None else right)[:ANSWER_LIMIT], gold)


def check_truth(problem: Problem) -> None:
    if not problem.ground_truth.strip():
        raise ValueError("expected an answer in LaTeX, found an empty text")


BOXED = (
    Example("so \\boxed{\\frac{1}{2}}.", "\\frac{1}{2}", "right"),
    Example("first \\boxed{3}, no, \\boxed{\\sqrt{2}}", "\\sqrt{2}", "right"),
    Example("\\boxed{\\frac{1}{3}}", "\\frac{1}{2}", "wrong"),
    Example("", "2", "unparsable"),
)
FINAL = (
    Example("Final Answer: The final answer is $5$. I hope it is correct.", "5", "right"),
    Example("Final Answer: The final answer is $5", "5", "right"),
    Example("Final Answer: The final answer is $x=5$. I hope it is correct.", "5", "right"),
    Example("Final Answer: The final answer is $6$. I hope it is correct.", "5", "wrong"),
)
VALUES = (
    Example("\\boxed{0.5}", "\\frac{1}{2}", "right"),
    Example("\\boxed{x \\in [3, \\infty)}", "[3,\\infty)", "right"),
    Example("\\boxed{(3, 4)}", "(4, 3)", "wrong"),
    Example("\\boxed{\\frac{\\sqrt{2}}{2}}", "\\frac{1}{\\sqrt{2}}", "right"),
    Example("\\boxed{1,234}", "1234", "right"),
)


@register(
    "math",
    examples=(
        *BOXED,
        *FINAL,
        *VALUES,
        Example("The answer is $\\frac{2}{4}$.", "\\frac12", "right"),
        Example("so it is 7", "7", "right"),
    ),
    place="worker",
    check_truth=check_truth,
)
def flex(problem: Problem, completion: str) -> Verdict:
    """Right if any answer that the text can be taken to give is the gold answer, by any of the comparisons.

    Candidates: `candidates`, as they are; those from no box that our parser cannot read also after Minerva's
    normalisation. Needs math-verify for what our own parser cannot read.
    """
    text = completion[-TEXT_LIMIT:]
    box = boxed(text)
    found = list(candidates(text))
    forms = [form for each in found for form in ((each,) if each == box or readable(each) else (each, minerva(each)))]
    return compare(forms, problem.ground_truth, same, "no text")


@register(
    "math_strict",
    examples=(
        *FINAL,
        Example("5", "5", "right"),
        Example(" ", "5", "unparsable"),
        Example("\\boxed{5} I think", "5", "wrong"),
    ),
    place="worker",
    check_truth=check_truth,
)
def strict(problem: Problem, completion: str) -> Verdict:
    """Only the answer in Minerva's two phrases, or else the whole text; strings after Hendrycks, or values."""
    text = completion[-TEXT_LIMIT:]
    final = final_phrase(text)
    answers = [minerva(text if final is None else final)]
    return compare(answers, problem.ground_truth, lambda a, b: same_text(a, b) or same_value(a, b), "no text")


def from_box(text: str) -> list[str]:
    return [found for found in (boxed(text),) if found is not None]


def from_phrase(text: str) -> list[str]:
    return [found for found in (final_phrase(text),) if found is not None]


@register("math_hendrycks", examples=(*BOXED, Example("\\boxed{0.25}", "\\frac14", "wrong")), check_truth=check_truth)
def hendrycks_alone(problem: Problem, completion: str) -> Verdict:
    """The last box, as a string after Hendrycks' normalisation: the evaluation that came with MATH."""
    return compare(from_box(completion[-TEXT_LIMIT:]), problem.ground_truth, same_text, "no \\boxed{…}")


@register("math_minerva", examples=(*FINAL, Example("It is 5", "5", "unparsable")), check_truth=check_truth)
def minerva_alone(problem: Problem, completion: str) -> Verdict:
    """The answer in Minerva's two phrases, as a string after Minerva's normalisation."""
    answers = from_phrase(completion[-TEXT_LIMIT:])
    return compare(answers, problem.ground_truth, same_minerva, "the phrase 'Final Answer: …' is not there")


@register("math_value", examples=(*BOXED, *VALUES), place="worker", check_truth=check_truth)
def value_alone(problem: Problem, completion: str) -> Verdict:
    """The last box, by our own parser and arithmetic."""
    return compare(from_box(completion[-TEXT_LIMIT:]), problem.ground_truth, same_value, "no \\boxed{…}")


@register("math_verify", examples=(BOXED[0], *BOXED[2:]), place="worker", check_truth=check_truth)
def library_alone(problem: Problem, completion: str) -> Verdict:
    """math-verify by itself: its own extraction from the whole text, its own comparison."""
    parse, verify, _ = _library()
    gold = parse(f"${problem.ground_truth.strip('$ ')}$", parsing_timeout=None)
    given = parse(completion[-TEXT_LIMIT:], parsing_timeout=None)
    if not given:
        return unparsable("math-verify finds no answer")
    extracted = str(given[-1])[:ANSWER_LIMIT]
    return compared(bool(verify(gold, given, timeout_seconds=None)), extracted, problem.ground_truth)
