"""From scored answers to pairs [SPEC §3.1, step 4]."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any


@dataclass(frozen=True)
class Scored:
    """An answer's text and score; `origin`: whatever else is known of it, carried along."""

    text: str
    score: float
    origin: Any = None


Pairs = list[tuple[Scored, Scored]]


def binarise(answers: Sequence[Scored], draw: Random, pairs: int = 1, margin: float = 0.0) -> Pairs:
    """(chosen, rejected): chosen is drawn from the best; rejected at random from those below it by at least `margin`.

    At most `pairs`, each with another rejected text. A difference is needed even with margin 0; texts that are empty
    or the same as the chosen one are never rejected. No pair where no answer qualifies.
    """
    usable = [answer for answer in answers if answer.text.strip()]
    if not usable:
        return []
    top = max(answer.score for answer in usable)
    chosen = draw.choice([answer for answer in usable if answer.score == top])
    worse = {a.text: a for a in usable if a.score < top and top - a.score >= margin and a.text != chosen.text}
    picked = draw.sample(sorted(worse.values(), key=lambda answer: answer.text), min(pairs, len(worse)))
    return [(chosen, rejected) for rejected in picked]
