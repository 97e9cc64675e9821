"""Pairs from several answers to a prompt, labelled by a calibrated cascade: what it abstains on is no pair.

`annotate` may have a row's answers compared all with all, once; `binarise` then draws from what was said. A draw is
from all pairs of a prompt and not from the decided ones: a guarantee is about pairs drawn as those were that
calibrated it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from random import Random
from typing import Any

from bactrian.data.io.journal import Journal
from bactrian.errors import BactrianError
from bactrian.judge.cascade_verdicts import CalibratedCascade, CascadeVerdict
from bactrian.judge.judged_rows import ABSTAINS, JudgedSummary, confidences, judged_summary
from bactrian.judge.models import turn
from bactrian.judge.opinions import FIRST, SECOND, AnswerPair
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
    chosen = list(combinations(different(answers), 2))
    drawn = random.sample(chosen, min(most, len(chosen)))
    return [
        AnsweredPair(row, number, (a, b) if random.random() < 0.5 else (b, a)) for number, (a, b) in enumerate(drawn)
    ]


def different(answers: Sequence[ScoredAnswer]) -> list[ScoredAnswer]:
    """Those that are not empty, each text once: the last answer that has it."""
    return list({answer.text: answer for answer in answers if answer.text.strip()}.values())


def every_pair(row: Mapping[str, Any], seed: int) -> list[AnsweredPair]:
    """All pairs of a row's answers, in an order that says nothing; each origin has the answer's `place` in the row."""
    answers = [ScoredAnswer(each["text"], 0.0, {**each, "place": n}) for n, each in enumerate(row["answers"])]
    return drawn_pairs(row, answers, Random(f"annotate/{seed}/{row['id']}"), len(answers) ** 2)


def compared_row(row: Mapping[str, Any], pairs: Sequence[AnsweredPair], verdicts: Sequence[CascadeVerdict]) -> Row:
    """The row with `comparisons`, and of each answer how many it was in that were decided, and how many it won.

    A comparison: the places of both answers, of the one preferred (null: the cascade abstains), who decided, how sure
    each judge was.
    """
    comparisons, decided, won = [], Counter[int](), Counter[int]()
    for each, verdict in zip(pairs, verdicts, strict=True):
        places = [int(answer.origin["place"]) for answer in each.answers]
        preferred = None if verdict.preferred is None else places[verdict.preferred]
        comparisons.append(
            {
                "first": places[FIRST],
                "second": places[SECOND],
                "preferred": preferred,
                "judge": verdict.judge,
                "confidence": verdict.confidence,
                "confidences": json.dumps(confidences(verdict), ensure_ascii=False),
            }
        )
        if preferred is not None:
            decided.update(places)
            won[preferred] += 1
    answers = [{**answer, "decided": decided[n], "won": won[n]} for n, answer in enumerate(row["answers"])]
    return {**row, "answers": answers, "comparisons": comparisons}


def abstained_pairs(pairs: Sequence[AnsweredPair], verdicts: Sequence[CascadeVerdict]) -> list[Row]:
    """The pairs that nobody decided, as they were drawn."""
    return [
        _row(each, verdict, confidences(verdict), place)
        for place, (each, verdict) in enumerate(zip(pairs, verdicts, strict=True))
        if verdict.abstains
    ]


def recorded_pairs(
    row: Mapping[str, Any], where: str, usable: Sequence[int], random: Random, most: int, place: int
) -> tuple[list[Row], list[Row]]:
    """Pairs drawn from a row's comparisons between usable answers: those that were decided, and those that were not.

    Args:
        usable: places of answers that may be in a pair. place: the number of pairs drawn before these.

    Raises:
        BactrianError: a comparison is not what `annotate` leaves.
    """
    answers = row["answers"]
    by_text = {answers[n]["text"]: answers[n] for n in usable}  # of answers that are alike, one was compared for all
    drawn: list[tuple[Row, AnsweredPair]] = []
    for said in row["comparisons"]:
        sides = (said.get("first"), said.get("second"))
        if not all(isinstance(n, int) and 0 <= n < len(answers) for n in sides) or said.get("preferred") not in (
            None,
            *sides,
        ):
            raise BactrianError(
                f"{where}: comparisons: found {said!r:.80}, expected the places of two answers and of the preferred one"
            )
        texts = [answers[n]["text"] for n in sides]
        if all(text in by_text for text in texts):
            first, second = (ScoredAnswer(text, 0.0, by_text[text]) for text in texts)
            drawn.append((said, AnsweredPair(row, 0, (first, second))))
    pairs, apart = list[Row](), list[Row]()
    for number, (said, each) in enumerate(random.sample(drawn, min(most, len(drawn)))):
        winner = said.get("preferred")  # files leave nulls out
        preferred = None if winner is None else (said["first"], said["second"]).index(winner)
        made = _row(
            AnsweredPair(row, number, each.answers),
            CascadeVerdict(preferred, said["confidence"], said["judge"]),
            json.loads(said["confidences"]),
            place + number,
        )
        (apart if preferred is None else pairs).append(made)
    return pairs, apart


def recorded_summary(pairs: Sequence[Row], apart: Sequence[Row]) -> JudgedSummary:
    """The account of pairs drawn from what was said before: nobody was asked again."""
    counts = Counter(str(pair["judge"]) for pair in pairs)
    names = sorted({name for row in (*pairs, *apart) for name in row["confidences"]})
    composition = {name: counts[name] for name in names} | {ABSTAINS: len(apart)}
    return JudgedSummary(len(pairs) + len(apart), composition, {}, {}, {})


def cascade_pairs(cascade: CalibratedCascade, drawn: Sequence[AnsweredPair], journal: Journal) -> CascadePairs:
    """Have pairs judged; the answer that the cascade prefers is chosen.

    Raises:
        BactrianError: a judge cannot be opened, is not the one that was calibrated, or stopped answering.
    """
    verdicts = cascade.verdicts([each.pair for each in drawn], journal)
    found = CascadePairs([], [], judged_summary(cascade, verdicts))
    for place, (each, verdict) in enumerate(zip(drawn, verdicts, strict=True)):
        (found.apart if verdict.abstains else found.pairs).append(_row(each, verdict, confidences(verdict), place))
    return found


def _row(each: AnsweredPair, verdict: CascadeVerdict, sure: Mapping[str, float], place: int) -> Row:
    """A pair; or, where the cascade abstains, the two answers as they were drawn. sure: each judge's confidence."""
    row, answers = each.row, each.answers
    shared = {"id": each.pair.id, "prompt": [*row["messages"]]}
    about = {"confidences": dict(sure), "place": place, "source": row["source"], "license": row["license"]}
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
