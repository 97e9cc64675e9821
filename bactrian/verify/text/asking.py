"""A question that asks for what a request leaves open, read and rated by rules (docs/reliability.md, Asking well).

The ground truth is JSON: {"premise": "sort the books", "slots": {"order": {"values": ["up", "down"], "level": 5}}}.
A slot's level says how much its answer would tell: 5 the most of all slots, 3 something, 1 nothing.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bactrian.errors import BactrianError
from bactrian.verify.registry import register
from bactrian.verify.verdict import Example, Problem, Verdict, unparsable

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


def asking_truth(text: str) -> dict[str, Any]:
    """A ground truth, read.

    Raises:
        BactrianError: it is none.
    """
    try:
        found = json.loads(text)
        slots = {name: (list(slot["values"]), int(slot["level"])) for name, slot in found["slots"].items()}
        if not slots or not isinstance(found["premise"], str):
            raise ValueError("no slots, or no premise")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BactrianError(
            f'ground_truth: found {text[:80]!r}, expected JSON like {{"premise": …, "slots": {{"order": {{"values": '
            f'["up", "down"], "level": 5}}}}}} ({error!r})'
        ) from None
    return dict(found)


def _check_truth(problem: Problem) -> None:
    try:
        asking_truth(problem.ground_truth)
    except BactrianError as error:
        raise ValueError(str(error)) from None
    attribute = problem.settings["attribute"]
    if attribute and attribute not in ATTRIBUTES:
        raise ValueError(f"settings.attribute: found {attribute!r}, expected one of {', '.join(ATTRIBUTES)}")


_TRUTH = json.dumps(
    {
        "premise": "sort the books",
        "slots": {"order": {"values": ["up", "down"], "level": 5}, "limit": {"values": ["one", "two"], "level": 1}},
    }
)


@register(
    "asking",
    examples=(
        Example("You want to sort the books. What is the order? Is it up or down?", _TRUTH, "right"),
        Example("What is the order?", _TRUTH, "right"),
        Example("What is the limit kind of or so at runtime in the schema? It is one, right?", _TRUTH, "wrong"),
        Example("What is the order?", _TRUTH, "wrong", {"attribute": "accuracy", "right_from": 0.75}),
        Example("Please tell me more.", _TRUTH, "unparsable"),
        Example("What is the colour?", _TRUTH, "unparsable"),
        Example("", _TRUTH, "unparsable"),
    ),
    settings={"attribute": "", "right_from": 0.5},
    check_truth=_check_truth,
)
def asking(problem: Problem, completion: str) -> Verdict:
    """The mean of a question's six attributes, or one of them, as a score in [0, 1]; right from `right_from`."""
    found = levels(asking_truth(problem.ground_truth), completion)
    if not found:
        return unparsable("it asks for nothing that the request leaves open or says")
    wanted = [problem.settings["attribute"]] if problem.settings["attribute"] else list(ATTRIBUTES)
    score = sum((found[name] - LOW) / (HIGH - LOW) for name in wanted) / len(wanted)
    told = ", ".join(f"{name} {found[name]}" for name in wanted)
    return Verdict(
        score, "right" if score >= problem.settings["right_from"] else "wrong", completion.strip()[:200], told
    )
