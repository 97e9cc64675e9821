"""What a judge of pairs is asked and what it says: two answers to one prompt, and how likely each is the better one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

FIRST, SECOND = 0, 1


@dataclass(frozen=True)
class AnswerPair:
    """Two answers to one prompt.

    id: names the pair in messages and in files. prompt: its messages, the last of them the user's.
    reference: a good answer to compare with, or "".
    """

    id: str
    prompt: tuple[dict[str, Any], ...]
    first: str
    second: str
    reference: str = ""

    @property
    def group(self) -> str:
        """SHA-256 of the prompt: pairs of one prompt count as one where independence matters."""
        return hashlib.sha256(json.dumps(self.prompt, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Opinion:
    """How likely each answer of a pair is the better one, to a judge; or, with `fault`, why it says nothing.

    probabilities: of first and second, with sum 1, the mean over orders and annotators; empty where there is a fault.
    order_changed: whether the answer preferred changed with the order of the two; None where one order was asked.
    mass: the mean probability of the options before they were made to sum to 1, in [0, 1].
    calls, tokens_in, tokens_out: what the opinion took, for the bill.
    """

    probabilities: tuple[float, ...] = ()
    order_changed: bool | None = None
    mass: float = 0.0
    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    fault: str = ""

    @property
    def preferred(self) -> int | None:
        """FIRST or SECOND; FIRST where both are as likely; None where there is a fault."""
        return None if self.fault else int(self.probabilities[SECOND] > self.probabilities[FIRST])

    @property
    def confidence(self) -> float:
        """The probability of the preferred answer, in [0.5, 1]; 0 where there is a fault."""
        return 0.0 if self.fault else max(self.probabilities)


@dataclass(frozen=True)
class JudgeIdentity:
    """All that an opinion depends on. A calibration holds for one identity and no other.

    model: content hash of the folder, or the server's address, model and revision. rubric: what is asked, as text.
    template: hash of the chat template. method: how confidence is made ("annotators", "single", …) with its numbers.
    demonstrations: hash of the pool of demonstrations; "" without any.
    """

    model: str
    rubric: str
    template: str
    method: str
    demonstrations: str = ""

    @property
    def digest(self) -> str:
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


OnOpinion = Callable[[int, Opinion], None]


class PairJudge(Protocol):
    """Says which of two answers is better, and how sure it is."""

    @property
    def identity(self) -> JudgeIdentity: ...

    def compare(self, pairs: Sequence[AnswerPair], on_opinion: OnOpinion) -> None:
        """`on_opinion` hears of each pair's opinion, by its place, as soon as it is there, in any order.

        Raises:
            BactrianError: if no further opinion can be had; those that were, have been heard of.
        """
        ...
