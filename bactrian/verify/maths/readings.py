"""The ways to read an answer in LaTeX: 100,200 as one number or two, "144 m^3" with a unit or an unknown, "(A) 5"."""

import re
from dataclasses import replace

from bactrian.verify.maths.answer_tree import Bracketed, Large, ParsedAnswer, UnreadableAnswer
from bactrian.verify.maths.latex import Parser
from bactrian.verify.maths.latex_text import (
    ABOUT,
    CHOICE,
    LETTER_UNIT,
    THOUSANDS,
    WORDS,
    clean,
    said_once,
    top_level_commas,
)
from bactrian.verify.maths.spoken import number_of, with_digits

LENGTH_LIMIT = 1_000
SPACED_LETTER = re.compile(r"[\d}%)](?:\s|\\[, ])\s*[mgshlL]\s*(?:[\^/,;.]|\Z)")
LEADING_ZERO = re.compile(r"\d,0\d\d(?!\d)")
"""A group that is no number in a list: 10,000."""
SPLIT_WORDS = re.compile(r"(?:,\s*)?\b(?:and|or)\b|,")


def parse(latex: str) -> list[ParsedAnswer]:
    """All readings of an answer: one, or more where commas may group thousands or part a list ("100,200"), or a letter
    may be a unit ("144 m^3").

    Raises:
        UnreadableAnswer: there is none.
    """
    if len(latex) > LENGTH_LIMIT:
        raise Large(f"more than {LENGTH_LIMIT} characters")
    text = clean(latex)
    rounded = ABOUT.match(text)
    text = text[rounded.end() :] if rounded else text
    if not text:
        raise UnreadableAnswer("empty")
    answers = readings(text, latex)
    return [replace(answer, rounded="sign" if rounded[1] else "word") for answer in answers] if rounded else answers


def readings(text: str, latex: str) -> list[ParsedAnswer]:
    """Of a tidied text."""
    choice = CHOICE.match(text)
    if choice:
        return [ParsedAnswer(Parser(text[choice.end() :]).answer(), label=choice[1] or choice[2] or choice[3])]
    if WORDS.fullmatch(text) and with_digits(text) != text:
        return [ParsedAnswer(Parser(said_once(text)).answer())]
    if number_of(text) is not None or WORDS.fullmatch(text):
        items = [Parser.words_alone(piece) for piece in SPLIT_WORDS.split(text) if piece.strip()]
        return [ParsedAnswer(items[0] if len(items) == 1 else Bracketed("", "", tuple(items)))]
    forms = [THOUSANDS.sub(lambda found: found[1].replace(",", ""), text)] if top_level_commas(text) else []
    if not (forms and LEADING_ZERO.search(text)):
        forms.append(text)
    answers = [ParsedAnswer(Parser(form).answer()) for form in dict.fromkeys(forms)]
    if LETTER_UNIT.search(text) and (other := clean(latex, letters=True)) != text:
        answers.append(ParsedAnswer(Parser(other).answer(), tentative=SPACED_LETTER.search(latex) is None))
    return answers
