"""Rows with several answers, rated aspect by aspect: one question for each aspect, its texts in shuffled order."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from bactrian.errors import BactrianError
from bactrian.judge.aspects import ASPECTS, aspect_question, mean_rating, shuffled_order
from bactrian.judge.models import spoken
from bactrian.judge.reading import ratings_of_texts

Row = dict[str, Any]


def check_answers(rows: Sequence[Row], where: str) -> None:
    """
    Raises:
        BactrianError: a row has no list of answers.
    """
    for number, row in enumerate(rows, 1):
        if not isinstance(row.get("answers"), list):
            raise BactrianError(
                f"{where}, row {number}, field 'answers': found {row.get('answers')!r:.40}, expected what `respond` "
                f"leaves"
            )


def row_question(row: Row, aspect: str, seed: int) -> str:
    """What the judge is asked about all of a row's answers."""
    texts = [row["answers"][place]["text"] for place in _order(row, aspect, seed)]
    return aspect_question(ASPECTS[aspect], spoken(row["messages"]), texts)


def rated_row(row: Row, replies: Mapping[str, Row], judge: str, seed: int) -> Row:
    """The row with each answer's ratings and score, and all judgements as they were written.

    A rating without a number does not apply; one that could not be read is left out.

    Args:
        replies: aspect → {text, fault}; none for a row without answers.
        judge: what the judge is called.
    """
    ratings: list[list[Row]] = [[] for _ in row["answers"]]
    judgements = []
    for aspect, reply in replies.items():
        order, raw = _order(row, aspect, seed), reply["text"] or reply["fault"]
        judgements.append({"aspect": aspect, "judge": judge, "order": json.dumps(order), "raw": raw})
        for place, found in zip(order, ratings_of_texts(reply["text"], len(order)), strict=True):
            if not found.unread:
                ratings[place].append(
                    {
                        "aspect": aspect,
                        "rating": found.rating,
                        "rationale": found.rationale,
                        "kinds": json.dumps(found.kinds),
                    }
                )
    answers = [_scored(answer, mine, list(replies)) for answer, mine in zip(row["answers"], ratings, strict=True)]
    return {**row, "answers": answers, "judgements": judgements}


def _scored(answer: Row, ratings: list[Row], aspects: Sequence[str]) -> Row:
    known: dict[str, int | None] = {rating["aspect"]: rating["rating"] for rating in ratings}
    score = mean_rating([known.get(aspect) for aspect in aspects])
    return {**answer, "ratings": ratings} | ({} if score is None else {"score": score})


def _order(row: Row, aspect: str, seed: int) -> list[int]:
    return shuffled_order(len(row["answers"]), seed, str(row["id"]), aspect)
