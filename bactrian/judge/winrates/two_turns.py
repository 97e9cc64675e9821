"""MT-bench [Zheng et al. 2023, arXiv 2306.05685]: eighty questions of two turns, each answer rated from 1 to 10.

The second turn is asked after the model's own first answer. Where there is one right answer (maths, reasoning, code)
the judge is shown a reference. What judges are asked is in words of our own, so scores stand beside published ones
only for the same judge and the same words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bactrian.errors import BactrianError
from bactrian.errors.wording import field_names
from bactrian.generate.chat_request import ChatRequest
from bactrian.generate.choices import ChoiceReply, ChoiceRequest
from bactrian.judge.fences import FENCE, fenced, mark_of
from bactrian.judge.point_rubrics import RATINGS
from bactrian.judge.reading import last_rating
from bactrian.judge.winrates.logistic import ClusterDraws, percentile_interval

REFERENCED = frozenset({"math", "reasoning", "coding"})
TEMPERATURES = {"writing": 0.7, "roleplay": 0.7, "stem": 0.1, "humanities": 0.1}
"""Of sampling by category; 0 in the others [MT-bench's code]."""
TASK = (
    "You rate one answer of an assistant in a conversation, on a scale from 1 (useless or wrong) to 10 (could not be "
    "better). What counts: whether it does what was asked, is correct, goes as deep as it should, and is clear. Length "
    "is no merit."
)
COMPARE = (
    "A reference answer stands beside it. Compare the two, find the mistakes of the assistant's answer first, and rate "
    "an answer with a wrong result low however well it reads."
)
SHOWN = 1500
"""Characters of a text that an example shows."""
WEIGHED = "How good is the answer? Write a whole number from 1 to 10 and nothing else."
END = 'Give your reasons in a few sentences, then end with one line "Rating: N", N a whole number from 1 to 10.'


@dataclass(frozen=True)
class BenchQuestion:
    """A question of several turns. references: an answer to each turn, where there are any, else empty."""

    id: str
    category: str
    turns: tuple[str, ...]
    references: tuple[str, ...] = ()


@dataclass(frozen=True)
class BenchRating:
    """One answer's rating from 1 to 10; None where the judge's words give none, or the model gave no answer."""

    question: str
    category: str
    turn: int
    rating: float | None
    judgement: str


def read_questions(rows: Sequence[tuple[Mapping[str, Any], str]]) -> list[BenchQuestion]:
    """Rows of FastChat's question file, with where each stands.

    Raises:
        BactrianError: a row without an id, a category or turns; an id that is there twice.
    """
    found: dict[str, BenchQuestion] = {}
    for row, where in rows:
        turns, name = row.get("turns"), row.get("question_id")
        if name is None or not isinstance(row.get("category"), str):
            raise BactrianError(
                f"{where}: found the fields {field_names(row)}; expected question_id, category and turns"
            )
        if not isinstance(turns, list) or not turns or not all(isinstance(each, str) and each for each in turns):
            raise BactrianError(f"{where}: turns: found {turns!r:.60}, expected a list of texts")
        if str(name) in found:
            raise BactrianError(f"{where}: question_id: found {name} a second time")
        references = row.get("reference") or ()
        found[str(name)] = BenchQuestion(str(name), row["category"], tuple(turns), tuple(map(str, references)))
    return list(found.values())


def with_references(
    questions: Sequence[BenchQuestion], rows: Sequence[tuple[Mapping[str, Any], str]]
) -> list[BenchQuestion]:
    """Questions with the answers of a model file (`question_id`, `choices: [{turns}]`) as references.

    Raises:
        BactrianError: a row of another form, or one for a question that is not there.
    """
    answers: dict[str, tuple[str, ...]] = {}
    known = {question.id for question in questions}
    for row, where in rows:
        name, choices = str(row.get("question_id")), row.get("choices")
        if name not in known:
            raise BactrianError(f"{where}: question_id: found {name}, expected one of the questions'")
        try:
            answers[name] = tuple(map(str, choices[0]["turns"]))  # type: ignore[index]
        except (TypeError, KeyError, IndexError):
            raise BactrianError(f"{where}: choices: found {choices!r:.60}, expected [{{turns: [...]}}]") from None
    return [
        BenchQuestion(each.id, each.category, each.turns, answers.get(each.id, each.references)) for each in questions
    ]


def turn_request(question: BenchQuestion, answers: Sequence[str], max_new_tokens: int, seed: int) -> ChatRequest:
    """The next turn of a conversation, after the answers so far."""
    messages = conversation(question, answers)
    messages.append({"role": "user", "content": question.turns[len(answers)]})
    name = f"mt_bench: question {question.id}, turn {len(answers) + 1}"
    temperature = TEMPERATURES.get(question.category, 0.0)
    return ChatRequest(tuple(messages), name, seed, max_new_tokens, temperature)


def conversation(question: BenchQuestion, answers: Sequence[str]) -> list[dict[str, Any]]:
    """The turns that were answered, with the answers."""
    return [
        {"role": role, "content": text}
        for asked, answer in zip(question.turns, answers, strict=False)
        for role, text in (("user", asked), ("assistant", answer))
    ]


def check_references(questions: Sequence[BenchQuestion]) -> None:
    """Asked before any model is: whether the judge can be asked about every turn.

    Raises:
        BactrianError: a question of a category with right answers has no reference for one of its turns.
    """
    for question in questions:
        given = len(question.references)
        if question.category in REFERENCED and given < len(question.turns):
            raise BactrianError(
                f"question {question.id} ({question.category}): found no reference for turn {given + 1}; expected one "
                f"for each of its turns, as its category is rated against them"
            )


def rating_question(question: BenchQuestion, answers: Sequence[str], turn: int, weighed: bool) -> str:
    """What the judge is asked about the answer to one turn: all turns before it are shown, and fenced.

    weighed: only the ratings' probabilities will be looked at, no reasons are asked for.

    Raises:
        BactrianError: as `check_references`.
    """
    check_references([question])
    referenced = question.category in REFERENCED
    before = "\n\n".join(f"[{each['role']}]\n{each['content']}" for each in conversation(question, answers[:turn]))
    asked, answer = question.turns[turn], answers[turn]
    reference = question.references[turn] if referenced else ""
    mark = mark_of(before, asked, answer, reference)
    parts = [TASK, *([COMPARE] if referenced else ()), FENCE]
    if before:
        parts.append(fenced("conversation so far", before, mark))
    parts.append(fenced("request", asked, mark))
    if referenced:
        parts.append(fenced("reference", reference, mark))
    return "\n\n".join([*parts, fenced("answer to rate", answer, mark), WEIGHED if weighed else END])


def rating_choice(question: BenchQuestion, answers: Sequence[str], turn: int) -> ChoiceRequest:
    """The same, to be answered by the probabilities of the ratings."""
    text = rating_question(question, answers, turn, weighed=True)
    name = f"mt_bench: rating of {question.id}, turn {turn + 1}"
    return ChoiceRequest(({"role": "user", "content": text},), RATINGS, name, prefilled="Rating: ")


def kept_rating(reply: ChoiceReply) -> dict[str, Any]:
    """The mean rating under a reply's probabilities, as a judgement is kept."""
    mean = None if reply.fault else sum(int(r) * p for r, p in zip(RATINGS, reply.probabilities, strict=True))
    return {"text": reply.fault, "rating": mean}


def read_rating(question: BenchQuestion, turn: int, kept: Mapping[str, Any]) -> BenchRating:
    """`kept`: a judgement's `text`, or `kept_rating`."""
    rating = kept["rating"] if "rating" in kept else last_rating(str(kept["text"]))
    return BenchRating(question.id, question.category, turn + 1, rating, str(kept["text"]))


def bench_summary(ratings: Sequence[BenchRating], resamples: int = 1000, seed: int = 0) -> dict[str, Any]:
    """Mean ratings of all, by turn and by category, with 95 % intervals over questions, and how many were unread.

    Raises:
        BactrianError: no rating could be read.
    """
    read = [each for each in ratings if each.rating is not None]
    if not read:
        shown = ratings[0].judgement[:200] if ratings else ""
        raise BactrianError(f"mt_bench: none of {len(ratings):,} ratings could be read; a judgement: {shown!r}")
    parts: dict[str, list[BenchRating]] = {"all": read}
    for each in read:
        parts.setdefault(f"turn {each.turn}", []).append(each)
    for each in sorted(read, key=lambda one: one.category):
        parts.setdefault(each.category, []).append(each)
    return {
        "ratings": len(ratings),
        "unread": len(ratings) - len(read),
        "scores": [{"name": name, **_mean_rating(mine, resamples, seed)} for name, mine in parts.items()],
    }


def bench_examples(
    questions: Sequence[BenchQuestion], answers: Mapping[str, Sequence[str]], ratings: Sequence[BenchRating], model: str
) -> list[dict[str, Any]]:
    """A model's lowest and highest rated answers, and one whose rating could not be read, to read.

    Args:
        answers: question → the answer to each of its turns. ratings: that model's.
    """
    asked = {question.id: question for question in questions}
    read = sorted((each for each in ratings if each.rating is not None), key=lambda each: each.rating or 0.0)
    unread = [each for each in ratings if each.rating is None]
    return [
        {
            "model": model,
            "rating": each.rating,
            "question": asked[each.question].turns[each.turn - 1][:SHOWN],
            "answer": answers[each.question][each.turn - 1][:SHOWN],
            "judgement": each.judgement[:SHOWN],
        }
        for each in dict.fromkeys([*read[:1], *read[-1:], *unread[:1]])
    ]


def _mean_rating(ratings: Sequence[BenchRating], resamples: int, seed: int) -> dict[str, Any]:
    values = np.array([each.rating for each in ratings], dtype=np.float64)
    draws = ClusterDraws.of([each.question for each in ratings])
    drawn = draws.refitted(lambda times: np.array([np.average(values, weights=times)]), resamples, seed)
    return {"rating": float(values.mean()), "interval": percentile_interval(drawn[:, 0]), "answers": len(values)}


def paired_row(question: BenchQuestion, answers: Sequence[str], model: str) -> dict[str, Any]:
    """Both turns as one answer, for `winrate`: the pairwise form of the benchmark, asked in both orders."""
    asked = [f"Turn {number}: {text}" for number, text in enumerate(question.turns, 1)]
    said = [f"Answer to turn {number}:\n{text}" for number, text in enumerate(answers, 1)]
    row = {
        "id": f"{model}/{question.id}",
        "messages": [{"role": "user", "content": "\n\n".join(asked)}],
        "completion": "\n\n".join(said),
        "model": model,
        "category": question.category,
    }
    if question.category in REFERENCED and question.references:
        references = enumerate(question.references, 1)
        row["reference"] = "\n\n".join(f"Answer to turn {number}:\n{text}" for number, text in references)
    return row
