"""Pairs from several answers to a prompt, labelled by a calibrated cascade: what it abstains on is no pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from random import Random
from typing import Any

from bactrian.data.io.journal import Journal
from bactrian.judge.cascade_verdicts import CalibratedCascade, CascadeVerdict
from bactrian.judge.judged_rows import JudgedSummary, confidences, judged_summary
from bactrian.judge.models import turn
from bactrian.judge.opinions import AnswerPair
from bactrian.judge.pairwise import ScoredAnswer

Row = dict[str, Any]


@dataclass(frozen=True)
class AnsweredPair:
    """Two answers to a row's prompt, drawn to be compared; `number` tells the pairs of a row apart."""

    row: Mapping[str, Any]
    number: int
    answers: tuple[ScoredAnswer, ScoredAnswer]

    @property
    def pair(self) -> AnswerPair:
        first, second = self.answers
        return AnswerPair(f"{self.row['id']}-{self.number}", tuple(self.row["messages"]), first.text, second.text)


@dataclass(frozen=True)
class CascadePairs:
    """Rows of kind pair, those that nobody decided, and the account of both."""

    pairs: list[Row]
    apart: list[Row]
    summary: JudgedSummary


def drawn_pairs(
    row: Mapping[str, Any], answers: Sequence[ScoredAnswer], random: Random, most: int
) -> list[AnsweredPair]:
    """At most `most` pairs of different, not empty texts, all equally likely, in an order that says nothing.

    No rating has a say in which answers meet: a guarantee is about pairs drawn as those were that calibrated it.
    """
    usable = list({answer.text: answer for answer in answers if answer.text.strip()}.values())
    chosen = list(combinations(usable, 2))
    drawn = random.sample(chosen, min(most, len(chosen)))
    return [
        AnsweredPair(row, number, (a, b) if random.random() < 0.5 else (b, a)) for number, (a, b) in enumerate(drawn)
    ]


def cascade_pairs(cascade: CalibratedCascade, drawn: Sequence[AnsweredPair], journal: Journal) -> CascadePairs:
    """Have pairs judged; the answer that the cascade prefers is chosen.

    Raises:
        BactrianError: a judge cannot be opened, is not the one that was calibrated, or stopped answering.
    """
    verdicts = cascade.verdicts([each.pair for each in drawn], journal)
    found = CascadePairs([], [], judged_summary(cascade, verdicts))
    for place, (each, verdict) in enumerate(zip(drawn, verdicts, strict=True)):
        (found.apart if verdict.abstains else found.pairs).append(_row(each, verdict, place))
    return found


def _row(each: AnsweredPair, verdict: CascadeVerdict, place: int) -> Row:
    """A pair; or, where the cascade abstains, the two answers as they were drawn."""
    row, answers = each.row, each.answers
    shared = {"id": each.pair.id, "prompt": [*row["messages"]]}
    about = {"confidences": confidences(verdict), "place": place, "source": row["source"], "license": row["license"]}
    if verdict.preferred is None:
        return {**shared, "first": answers[0].text, "second": answers[1].text, **about}
    chosen, rejected = answers[verdict.preferred], answers[1 - verdict.preferred]
    return {
        **shared,
        "chosen": [turn("assistant", chosen.text)],
        "rejected": [turn("assistant", rejected.text)],
        "chosen_model": chosen.origin["model"],
        "rejected_model": rejected.origin["model"],
        "judge": verdict.judge,
        "confidence": verdict.confidence,
        **({"use": row["use"]} if "use" in row else {}),
        **about,
    }
