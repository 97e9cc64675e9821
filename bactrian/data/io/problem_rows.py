"""Problem rows: what they hold, how a question is hashed, and which part of the problem space it belongs to."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from random import Random
from typing import Any, Literal

from bactrian.chat.messages import check_messages
from bactrian.errors import BactrianError

Row = dict[str, Any]
Split = Literal["train", "dev", "unseen"]

ATTEMPTS = 10_000
"""How often a generator tries to find one more question of its split before it says that there are none left."""


def question_hash(question: str) -> str:
    """The identity of a question: 32 hex digits of SHA-256, blind to letter case and to the amount of white space."""
    return hashlib.sha256(" ".join(question.split()).casefold().encode()).hexdigest()[:32]


def split_of(question: str) -> Split:
    """The part of the problem space that a question belongs to: 80 % train, 10 % dev, 10 % unseen, by its hash.

    So the three never share a question, whatever the seeds; different seeds of one split may.
    """
    part = int(question_hash(question)[:8], 16) % 10
    return "dev" if part == 8 else "unseen" if part == 9 else "train"


def questions_of(row: Mapping[str, Any]) -> list[str]:
    """The user turns of a problem, conversation or pair row, in order; none for a row of plain text."""
    messages = row.get("messages") or row.get("prompt") or []
    return [turn["content"] for turn in messages if turn["role"] == "user"]


def prompt_of(row: Mapping[str, Any], where: str) -> list[dict[str, Any]]:
    """What a row asks: a pair's prompt, a problem's messages, a conversation's up to its last user
    turn.

    Raises:
        BactrianError: naming the place where there is none.
    """
    messages = row.get("prompt") or row.get("messages")
    given = check_messages(messages, f"{where}, field '{'prompt' if row.get('prompt') else 'messages'}'")
    last = max((place for place, turn in enumerate(given) if turn["role"] == "user"), default=-1)
    if last < 0:
        raise BactrianError(f"{where}: no user turn, so nothing is asked")
    return [dict(turn) for turn in given[: last + 1]]


def question_keys(row: Mapping[str, Any]) -> set[str]:
    """All hashes under which a row's own question is known.

    Its id (for our generators the hash of the bare question, before an instruction was added) and the hash of the last
    user turn. A row was trained on the question when its `trained_keys` meet these.
    """
    return known_id(row) | {question_hash(question) for question in questions_of(row)[-1:]}


def trained_keys(row: Mapping[str, Any]) -> set[str]:
    """All hashes of what a training row asks: its id, and every user turn. Of a plain text only its id is known."""
    return known_id(row) | {question_hash(question) for question in questions_of(row)}


def refuse_trained(what: str, rows: Sequence[Row], trained: Iterable[Row], name: str) -> None:
    """Questions that are to be held out must not be trained on.

    Args:
        what: whose questions they are, for the error. name: of the training set.

    Raises:
        BactrianError: some are, with the first five of them.
    """
    keys = {key for row in trained for key in trained_keys(row)}
    shared = [row for row in rows if question_keys(row) & keys]
    if shared:
        shown = "; ".join(f"{row['id']}: {questions_of(row)[-1][:60]!r}" for row in shared[:5])
        raise BactrianError(
            f"{len(shared)} of {len(rows)} questions of {what} are in the training set {name}: "
            f"{shown}{'; …' if len(shared) > 5 else ''}"
        )


def known_id(row: Mapping[str, Any]) -> set[str]:
    return {str(row["id"])} if row.get("id") else set()


def problem(question: str, solution: str, ground_truth: str, dataset: str, source: str, license: str) -> Row:
    """One problem row; its id is the question's hash."""
    return {
        "id": question_hash(question),
        "messages": [{"role": "user", "content": question}],
        "ground_truth": ground_truth,
        "dataset": dataset,
        "solution": solution,
        "source": source,
        "license": license,
    }


def worked_turn(row: Mapping[str, Any]) -> Row:
    """The assistant's turn that a problem row with a `solution` has, with its `reasoning` as what was thought first."""
    thought = {"reasoning_content": row["reasoning"]} if row.get("reasoning") else {}
    return {"role": "assistant", "content": row["solution"], **thought}


def distinct(name: str, seed: int, count: int, split: Split, draw: Callable[[Random], Row]) -> Iterator[Row]:
    """The first `count` rows of an endless stream of distinct questions of one split.

    Row i is drawn from a random stream of its own, named by (name, seed, i, attempt), where
    attempts go up until the question is of the split and new. So the first rows of a longer set are
    those of a shorter one.

    Raises:
        BactrianError: when ATTEMPTS draws in a row bring nothing new: the settings allow too
            few questions.
    """
    seen: set[str] = set()
    for index in range(count):
        for attempt in range(ATTEMPTS):
            row = draw(Random(f"{name}/{seed}/{index}/{attempt}"))
            if row["id"] not in seen and split_of(row["messages"][-1]["content"]) == split:
                break
        else:
            raise BactrianError(
                f"{name}: found only {index} distinct {split} questions of the {count} asked for; "
                "widen the settings (more terms, digits, operations) or ask for fewer"
            )
        seen.add(row["id"])
        yield row


def question_seed(seed: int, question: str) -> int:
    """The seed of a question's random stream: the same whatever else is asked, in whatever order."""
    return int(hashlib.sha256(f"{seed}/{question}".encode()).hexdigest()[:15], 16)
