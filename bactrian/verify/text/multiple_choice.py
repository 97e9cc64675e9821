"""Multiple choice: which letter a text chooses, by a ladder from the form asked for to guesses (SPEC §5.1)."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from bactrian.verify.maths.gsm8k import last
from bactrian.verify.registry import register
from bactrian.verify.verdict import Example, Problem, Verdict, unparsable

LETTER = (
    r"[\s*_\"'`:]{0,6}(?:option\s+|choice\s+)?[(\[*\"'$]{0,4}(?:\\(?:text|boxed|mathrm)\{\(?)?"
    r"(?P<letter>[A-J])(?![\w'’])"
)
IS_RIGHT = r"(?i:(?=.{0,40}\b(?:correct|right|best)\b))"
TEXT_LIMIT = 20_000


class Rung(NamedTuple):
    """A way to find the letter, and how sure it is: 1 for what was asked for, less for what must be guessed."""

    name: str
    pattern: re.Pattern[str]
    sure: float


LADDER = (
    Rung("the phrase asked for", re.compile(rf"(?i:therefore,?\s+the\s+answer\s+is){LETTER}"), 1.0),
    Rung("'the answer is'", re.compile(rf"(?i:(?:answer|choice|option)\s*(?:is|:|=)){LETTER}"), 0.9),
    Rung("a boxed letter", re.compile(r"\\boxed\{\s*(?:\\text\{)?\(?(?P<letter>[A-J])\)?\}"), 0.9),
    Rung("'option X is right'", re.compile(rf"(?i:\b(?:option|choice)){LETTER}{IS_RIGHT}"), 0.7),
    Rung("a letter in brackets", re.compile(r"\((?P<letter>[A-J])\)"), 0.5),
    Rung("a letter alone", re.compile(r"(?<![\w'’])(?P<letter>[B-HJ]|A(?!\s+[a-z])|I(?!['’\s]))(?![\w'’])"), 0.3),
)


def readings(text: str) -> Iterator[tuple[str, Rung]]:
    """The letter on each rung of the ladder, its last occurrence; most certain first."""
    for rung in LADDER:
        found = last(rung.pattern.finditer(text))
        if found is not None:
            yield found["letter"], rung


def check_truth(problem: Problem) -> None:
    if not re.fullmatch(r"\(?[A-J]\)?", problem.ground_truth.strip()):
        raise ValueError(f"found {problem.ground_truth[:40]!r}, expected a letter from A to J")


EXAMPLES = (
    Example("Reasons. Therefore, the answer is: C", "C", "right"),
    Example("Therefore, the answer is (C).", "C", "right"),
    Example("Not (A). **Therefore, the answer is: B** as (C) is wrong", "B", "right"),
    Example("The answer is D, not A.", "D", "right"),
    Example("Answer: B", "(B)", "right"),
    Example("\\boxed{B}", "B", "right"),
    Example("I would choose (B)", "B", "right"),
    Example("B", "B", "right"),
    Example("The answer is A", "B", "wrong"),
    Example("Therefore, the answer is: A. Or (B)?", "B", "wrong"),
    Example("A cat is an animal", "A", "unparsable"),
    Example("I think so", "I", "unparsable"),
    Example("", "A", "unparsable"),
)


@register("choice", examples=EXAMPLES, settings={"fallbacks": True}, check_truth=check_truth)
def choice(problem: Problem, completion: str) -> Verdict:
    """Right if the letter is the ground truth's. `reason` names the rung; a missing letter is never taken for a guess.

    `fallbacks` false: only the first rung, the phrase asked for, is read.
    """
    gold = problem.ground_truth.strip("() \n")
    found = next(readings(completion[-TEXT_LIMIT:]), None)
    if found is None or (found[1] is not LADDER[0] and not problem.settings["fallbacks"]):
        return unparsable("no letter chosen")
    letter, rung = found
    how = rung.name if rung is LADDER[0] else f"fallback: {rung.name}, confidence {rung.sure:g}"
    return Verdict(float(letter == gold), "right" if letter == gold else "wrong", letter, how)
