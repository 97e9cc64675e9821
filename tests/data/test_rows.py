"""Kinds of rows, what is said about one that is not of its kind, and licences."""

from typing import Any

import pytest

from bactrian.data.io.rows import complete_row, drop_nulls, licences, validate_row
from bactrian.errors import BactrianError
from bactrian.store.manifest import Licence

USER = {"role": "user", "content": "2+2?"}
ANSWER = {"role": "assistant", "content": "4"}
GOOD: dict[str, dict[str, Any]] = {
    "conversation": {"messages": [USER, ANSWER]},
    "problem": {"messages": [USER], "ground_truth": "4", "dataset": "gsm8k", "solution": "It is 4."},
    "pair": {"prompt": [USER], "chosen": [ANSWER], "rejected": [{**ANSWER, "content": "5"}]},
    "text": {"text": "Once upon a time"},
}

PROBLEM, PAIR = GOOD["problem"], GOOD["pair"]
ASKED = {"messages": [USER], "dataset": "gsm8k"}
EMPTY = {"role": "assistant", "content": " "}

BAD = [
    ("conversation", {"text": "hi", "id": "1"}, ": no field 'messages'; this row has the fields: text, id"),
    ("conversation", {"messages": None}, ": no field 'messages'"),
    ("conversation", {"messages": [USER]}, ", field 'messages': no assistant turn"),
    ("conversation", {"messages": [USER, EMPTY]}, ", field 'messages', message 2: empty assistant turn"),
    ("conversation", [USER, ANSWER], ": expected an object with the fields of a conversation row, found [{"),
    ("conversation", {"messages": [USER, ANSWER], "license": 3}, ", field 'license': found 3 (int), expected text"),
    ("problem", ASKED, ": no field 'ground_truth'; this row has the fields: messages,"),
    ("problem", {**ASKED, "ground_truth": 4}, ", field 'ground_truth': found 4 (int), expected text"),
    ("problem", {**ASKED, "ground_truth": " "}, ", field 'ground_truth': found an empty text"),
    ("problem", {**PROBLEM, "solution": ""}, ", field 'solution': found an empty text"),
    ("problem", {**PROBLEM, "messages": [USER, ANSWER]}, ", field 'messages': the last turn is the assistant's"),
    ("pair", {**PAIR, "prompt": "2+2?"}, ", field 'prompt': expected a list of messages, found '2+2?'"),
    ("pair", {**PAIR, "prompt": [USER, ANSWER]}, ", field 'prompt': the last turn is the assistant's"),
    ("pair", {**PAIR, "chosen": "4"}, ", field 'chosen': expected a list of messages, the answer turns only"),
    ("pair", {**PAIR, "chosen": [USER, ANSWER]}, ", field 'chosen': begins with a user turn"),
    ("pair", {**PAIR, "rejected": [ANSWER, USER]}, ", field 'rejected': the last turn is the user's"),
    ("pair", {**PAIR, "rejected": [EMPTY]}, ", field 'rejected' after the prompt, message 2: "),
    ("text", {"text": ""}, ", field 'text': found an empty text"),
    ("text", {"text": ["a"]}, ", field 'text': found ['a'] (list), expected text"),
]


@pytest.mark.parametrize("kind", GOOD)
def test_good_rows_keep_their_other_columns(kind: Any) -> None:
    row = {**GOOD[kind], "id": "1", "source": "s", "license": "MIT", "level": 3}
    assert validate_row(row, kind, "x") == row


@pytest.mark.parametrize(("kind", "row", "complaint"), BAD)
def test_bad_rows_are_named(kind: Any, row: Any, complaint: str) -> None:
    with pytest.raises(BactrianError) as caught:
        validate_row(row, kind, "data.jsonl, line 3")
    assert str(caught.value).startswith("data.jsonl, line 3" + complaint)


def test_nulls_are_missing_columns() -> None:
    row = {"messages": [USER, {**ANSWER, "weight": None}], "solution": None, "tags": [None, {"a": None}]}
    assert drop_nulls(row) == {"messages": [USER, ANSWER], "tags": [None, {}]}
    assert validate_row(row, "conversation", "x")["messages"] == [USER, ANSWER]


def test_identity_is_filled_in() -> None:
    row = complete_row({"text": "a"}, "book.jsonl")
    assert row["source"] == "book.jsonl" and row["license"] == "unknown" and len(row["id"]) == 32
    assert (
        complete_row({"text": "a"}, "other.jsonl")["id"] == row["id"] != complete_row({"text": "b"}, "book.jsonl")["id"]
    )
    assert complete_row({**row, "id": "7"}, "x")["id"] == "7"


def test_licences_and_their_marks() -> None:
    rows = [{"source": "a", "license": "cc-by-nc-4.0"}, {"source": "a", "license": "CC BY-NC-SA 4.0"}]
    rows += [{"source": "b", "license": "Apache-2.0"}] * 2 + [{"source": "c", "license": "?"}, {"source": "c"}, {}]
    rows += [{"source": "d", "license": "for non-commercial use"}]
    marks = {(licence.source, licence.licence): licence.marks for licence in licences(rows)}
    assert marks == {
        ("a", "cc-by-nc-4.0"): ("NC",),
        ("a", "CC BY-NC-SA 4.0"): ("NC", "SA"),
        ("b", "Apache-2.0"): (),
        ("c", "unknown"): ("unclear",),
        ("unknown", "unknown"): ("unclear",),
        ("d", "for non-commercial use"): ("NC",),
    }
    assert all(isinstance(licence, Licence) for licence in licences(rows))
