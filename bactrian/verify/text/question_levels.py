"""What a question about a request asks, and its level in six attributes, read off its words by rules.

What it is held against is {"premise": "sort the books", "slots": {"order": {"values": ["up", "down"], "level": 5}}}.
A slot's level says how much its answer would tell: 5 the most of all slots, 3 something, 1 nothing.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ATTRIBUTES = ("clarity", "focus", "answerability", "accuracy", "relevance", "openness")
"""What a question is rated on, each from 1 to 5."""
VAGUE = ("kind of", "or so", "somehow", "more or less")
JARGON = ("in the schema", "at runtime", "per the enum", "in the parser")
HIGH, MIDDLE, LOW = 5, 3, 1
ASKED = re.compile(r"\bwhat is ([^?.]*)\?", re.IGNORECASE)
PREMISE = re.compile(r"\byou want to ([^?.]*)\.", re.IGNORECASE)
CHOICE = re.compile(r"\bis it ([^?.]*)\?", re.IGNORECASE)
LEADING = re.compile(r"\bit is ([^?.,]*), right\?", re.IGNORECASE)


@dataclass(frozen=True)
class AskedQuestion:
    """What a question says. slots: asked for, in its order; premise: what it takes the request to be.

    choice: the values that it offers; leading: the one that it suggests. vague, jargon: how many such phrases.
    """

    slots: tuple[str, ...]
    premise: str = ""
    choice: str = ""
    leading: str = ""
    vague: int = 0
    jargon: int = 0


def read_question(text: str, slots: Sequence[str]) -> AskedQuestion | None:
    """What a text asks of these slots; None where it asks for none of them.

    >>> read_question("What is the order or so? It is up, right?", ["key", "order"])
    AskedQuestion(slots=('order',), premise='', choice='', leading='up', vague=1, jargon=0)
    """
    asked = ASKED.search(text)
    if asked is None:
        return None
    found = {slot: place for slot in slots if (place := _place(slot, asked[1])) >= 0}
    if not found:
        return None
    lower = text.casefold()
    return AskedQuestion(
        tuple(sorted(found, key=found.__getitem__)),
        _said(PREMISE, text),
        _said(CHOICE, text),
        _said(LEADING, text),
        sum(len(re.findall(rf"\b{phrase}\b", lower)) for phrase in VAGUE),
        sum(len(re.findall(rf"\b{phrase}\b", lower)) for phrase in JARGON),
    )


def levels(truth: Mapping[str, Any], text: str) -> dict[str, int]:
    """Attribute → its level from 1 to 5; {} of a text that asks for none of the slots."""
    asked = read_question(text, list(truth["slots"]))
    if asked is None:
        return {}
    first = truth["slots"][asked.slots[0]]
    premise = " ".join(str(truth["premise"]).casefold().split())
    offered = [value for value in first["values"] if _place(str(value), asked.choice) >= 0]
    return {
        "clarity": _by_count(asked.vague),
        "focus": _by_count(len(asked.slots) - 1),
        "answerability": _by_count(asked.jargon),
        "accuracy": MIDDLE if not asked.premise else HIGH if asked.premise == premise else LOW,
        "relevance": int(first["level"]),
        "openness": LOW if asked.leading else HIGH if len(offered) == len(first["values"]) else MIDDLE,
    }


def _by_count(flaws: int) -> int:
    return HIGH if flaws == 0 else MIDDLE if flaws == 1 else LOW


def _said(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return " ".join(found[1].casefold().split()) if found else ""


def _place(phrase: str, text: str) -> int:
    found = re.search(rf"\b{re.escape(phrase)}\b", text, re.IGNORECASE)
    return found.start() if found else -1
