"""A verifier's input and output: a problem, and the verdict on one completion."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, get_args

Outcome = Literal["right", "wrong", "unparsable", "truncated", "timed_out", "refused", "crashed"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Problem:
    """What a completion is held against: the columns of a problem row that a verifier reads.

    `settings` are the row's, for its verifier, completed with the verifier's defaults; `prompt` is the last user turn,
    `earlier` the turns before it ({role, content}): what models that judge read too. `row` is the whole row, for
    verifiers in a user's own file.
    """

    ground_truth: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    prompt: str = ""
    earlier: Sequence[Mapping[str, str]] = ()
    row: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """A score and how it came about: in [0, 1], or any finite number where a reward of a user's own gives it.

    - "right", "wrong": an answer was read; it matches, or it does not (the score may then be a part mark);
    - "unparsable": no answer was found in the text; "refused": nor was there, because the text declines to give one;
    - "truncated": wrong, unparsable or refused, but the text was cut at the token limit (`at_limit`);
    - "timed_out", "crashed": the verifier failed. It says nothing about the answer: score 0, and counted apart.

    `extracted` is the answer as read, `reason` a few words for a person.

    >>> verify("gsm8k", "3 + 4 = 7\\n#### 7", "7")
    Verdict(score=1.0, outcome='right', extracted='7', reason='equal to 7')
    """

    score: float
    outcome: Outcome
    extracted: str | None
    reason: str


def unparsable(reason: str, extracted: str | None = None) -> Verdict:
    """No answer was found (or what stands in its place, `extracted`, is none)."""
    return Verdict(0.0, "unparsable", extracted, reason)


def compared(right: bool, extracted: str, gold: str, relation: str = "the same as") -> Verdict:
    """An answer was read and held against the gold answer.

    >>> compared(False, "8", "7", "equal to").reason
    'not equal to 7'
    """
    reason = f"{'' if right else 'not '}{relation} {gold[:60]}"
    return Verdict(float(right), "right" if right else "wrong", extracted, reason)


def at_limit(outcome: Outcome, finish: str) -> Outcome:
    """The outcome, but "truncated" where generation was cut at its limit (`finish` "length") before a right answer."""
    return "truncated" if finish == "length" and outcome in ("wrong", "unparsable", "refused") else outcome


@dataclass(frozen=True)
class Example:
    """A completion whose verdict we know: what a verifier checks itself on."""

    completion: str
    ground_truth: str
    outcome: Outcome
    settings: Mapping[str, Any] = field(default_factory=dict)
    prompt: str = ""
