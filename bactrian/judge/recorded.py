"""Judges whose opinions stand in a file already: they can be calibrated, and used on that file, without any model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bactrian.errors import BactrianError
from bactrian.judge.labelled import pair_digest
from bactrian.judge.opinions import AnswerPair, JudgeIdentity, OnOpinion, Opinion

Recorded = Mapping[str, Mapping[str, Opinion]]
"""Pair's digest → judge → what it said of the pair."""


class RecordedJudge:
    """One judge's opinions by pair. A pair on which it has none is a fault, as of a judge that does not answer."""

    def __init__(self, name: str, opinions: Recorded, rubric: str = "") -> None:
        """
        Raises:
            BactrianError: nothing is recorded of a judge of this name.
        """
        self.name, self.rubric = name, rubric
        self.found = {pair: mine[name] for pair, mine in opinions.items() if name in mine}
        if not self.found:
            known = sorted({each for mine in opinions.values() for each in mine})
            raise BactrianError(
                f"recorded judge {name!r}: found no opinion of it in the rows; they have those of "
                f"{', '.join(known) or 'no judge'}"
            )

    @property
    def identity(self) -> JudgeIdentity:
        return JudgeIdentity(f"recorded {self.name}", self.rubric, "", "as recorded")

    def compare(self, pairs: Sequence[AnswerPair], on_opinion: OnOpinion) -> None:
        for place, pair in enumerate(pairs):
            missing = Opinion(fault="nothing is recorded of this pair")
            on_opinion(place, self.found.get(pair_digest(pair), missing))
