"""Questions whose answer is one of a few options, and whoever says how likely each option is.

`open_chooser` (choosers.py) is the door: a model of this run reads the probabilities off its own likelihoods, a server
gives log-probabilities where it has any and is sampled otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class ChoiceRequest:
    """Messages whose last turn asks for one of `options`; `name` is for messages to people.

    prefilled: how the answer begins, before the option stands in it ("Verdict: ").
    shared: how many of the messages other requests begin with too (demonstrations): read once for all of them.
    """

    messages: tuple[dict[str, Any], ...]
    options: tuple[str, ...]
    name: str
    seed: int = 0
    prefilled: str = ""
    shared: int = 0


@dataclass(frozen=True)
class ChoiceReply:
    """How likely each option is; or, with `fault`, why nothing is known.

    probabilities: one per option, with sum 1; empty where there is a fault.
    mass: how likely it is that the answer is one of the options at all, in [0, 1], before they were made to sum to 1.
    samples: how many answers the probabilities were counted from; 0 where they are the model's own.
    tokens_in, tokens_out: read and written for this reply, for the bill.
    """

    probabilities: tuple[float, ...] = ()
    mass: float = 0.0
    samples: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    fault: str = ""


OnChoice = Callable[[int, ChoiceReply], None]


class Chooser(Protocol):
    """Says how likely each option is. A model in this process says the same to the same request, in any batch."""

    def choose(self, asked: Sequence[ChoiceRequest], on_reply: OnChoice) -> None:
        """`on_reply` hears of each reply, by its place in `asked`, as soon as it is there, in any order.

        Raises:
            BactrianError: if no further reply can be had; those that were, have been heard of.
        """
        ...
