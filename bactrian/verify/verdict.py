"""What a verifier says about one completion."""

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["right", "wrong", "unparsable", "timed_out", "crashed"]


@dataclass(frozen=True)
class Verdict:
    """A score in [0, 1] and how it came about.

    "wrong" is an answer that was read and does not match, "unparsable" a text in which no answer was found; "timed_out"
    and "crashed" are failures of the verifier and say nothing about the answer (their score is 0, and they are counted
    apart). `extracted` is the answer as read, `reason` a few words for a person.

    >>> verify("gsm8k", "3 + 4 = 7\\n#### 7", "7")
    Verdict(score=1.0, outcome='right', extracted='7', reason='equal to 7')
    """

    score: float
    outcome: Outcome
    extracted: str | None
    reason: str


@dataclass(frozen=True)
class Example:
    """A completion whose verdict we know: what a verifier checks itself on."""

    completion: str
    ground_truth: str
    outcome: Outcome
