"""The kinds of rows (docs/design.md, "Rows"): what each must hold, and the licences of a set of them."""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, Literal

from bactrian.chat import check_messages
from bactrian.chat.tool_calls import calls_within, check_tools
from bactrian.errors import BactrianError
from bactrian.store.manifest import Licence

Row = dict[str, Any]
RowKind = Literal["conversation", "problem", "pair", "text"]


def validate_row(row: Any, kind: RowKind, where: str) -> Row:
    """The row with its messages checked and keys that are None left out, whatever other columns it
    has.

    `where` says where it stands ("data.jsonl, line 3").

    Raises:
        BactrianError: naming it, the field, what was found and what was expected.
    """
    if not isinstance(row, dict):
        raise BactrianError(f"{where}: expected an object with the fields of a {kind} row, found {_short(row)}")
    row = drop_nulls(row)
    for field in ("id", "source", "license"):
        if field in row:
            _text(row, field, where, may_be_empty=True)
    return CHECKS[kind](row, where)


def complete_row(row: Row, source: str) -> Row:
    """The row with the columns that every row has.

    A missing `id` is a hash of the row (32 hex digits), a missing `source` is the one given, a missing `license`
    "unknown".
    """
    missing = {"source": source, "license": "unknown"}
    if "id" not in row:
        content = json.dumps(row, sort_keys=True, ensure_ascii=False, default=str)
        missing = {"id": hashlib.sha256(content.encode()).hexdigest()[:32], **missing}
    return {**missing, **row}


REPLACED = ("dataset", "ground_truth")
GIVEN = "_given"
"""The column in which a row that is judged by another verifier than its own keeps what it had of REPLACED."""


def judged_by(row: Row, verifier: str, instead: bool = True) -> Row:
    """A row as a problem of this verifier; not `instead`: only if it names none. `as_given` takes it back.

    It needs no ground truth, and its question may stand in `prompt`, as a text or as messages.
    """
    prompt = row.get("prompt")
    asked = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    found = {**({} if asked is None else {"messages": asked}), **row}
    if row.get("dataset") and not instead:
        return found
    given = {name: row[name] for name in REPLACED if row.get(name) is not None}
    return {"ground_truth": "-", **found, "dataset": verifier, GIVEN: given}


def as_given(row: Row) -> Row:
    """The row with its own verifier and ground truth, if it has them, as it was before `judged_by`.

    >>> as_given(judged_by({"id": "1", "dataset": "gsm8k", "messages": []}, "reward.py:polite"))
    {'messages': [], 'id': '1', 'dataset': 'gsm8k'}
    """
    if GIVEN not in row:
        return row
    kept: Row = {name: value for name, value in row.items() if name not in (*REPLACED, GIVEN)}
    return kept | dict(row[GIVEN])


def licence_of(row: Mapping[str, Any]) -> Licence:
    """Where a row comes from and on what terms, from its `source` and `license`.

    Marked "NC" where the licence forbids commercial use, "unclear" where it is missing or unknown ("", "?", "unknown").
    """
    return _licence(str(row.get("source") or "unknown"), str(row.get("license") or ""))


@lru_cache(maxsize=4096)
def _licence(source: str, licence: str) -> Licence:
    return Licence.of(source, licence if re.search(r"\w", licence) else "")


def licences(rows: Iterable[Mapping[str, Any]]) -> set[Licence]:
    """The licences of a set of rows, each once."""
    return {licence_of(row) for row in rows}


def drop_nulls(value: Any) -> Any:
    """The value without the keys that are None, at any depth: a null is a missing column. Itself, if it has none."""
    return _without_nulls(value) if isinstance(value, dict | list) and _has_null(value) else value


def _has_null(value: dict[Any, Any] | list[Any]) -> bool:
    for inner in value.values() if isinstance(value, dict) else value:
        if inner is None:
            return True
        if type(inner) is not str and isinstance(inner, dict | list) and _has_null(inner):  # most of any row is text
            return True
    return False


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list) else value


def _conversation(row: Row, where: str) -> Row:
    messages = check_messages(_present(row, "messages", where), f"{where}, field 'messages'")
    if not any(message["role"] == "assistant" for message in messages):
        raise BactrianError(
            f"{where}, field 'messages': no assistant turn; a conversation row has something to learn from"
        )
    _check_listed(row, messages, where)
    return {**row, "messages": messages}


def _problem(row: Row, where: str) -> Row:
    messages = check_messages(_present(row, "messages", where), f"{where}, field 'messages'")
    if messages[-1]["role"] != "user":
        found = messages[-1]["role"]
        raise BactrianError(
            f"{where}, field 'messages': the last turn is the {found}'s; a problem ends with a user turn"
        )
    for field in ("ground_truth", "dataset"):
        _text(row, field, where)
    if "solution" in row:
        _text(row, "solution", where)
    _check_listed(row, messages, where)
    return {**row, "messages": messages}


RAW_SIDES = ("chosen_text", "rejected_text")
"""Columns of a pair of plain texts, which are read and trained without any chat template."""


def is_raw_pair(row: Mapping[str, Any]) -> bool:
    """Whether a pair row holds plain texts, `chosen_text` and `rejected_text`, in place of messages."""
    return RAW_SIDES[0] in row


def _pair(row: Row, where: str) -> Row:
    if is_raw_pair(row):
        for field in RAW_SIDES:
            _text(row, field, where)
        if "prefix" in row:
            _text(row, "prefix", where, may_be_empty=True)
        if both := sorted({"prompt", "chosen", "rejected"} & row.keys()):
            raise BactrianError(
                f"{where}: found '{both[0]}' beside '{RAW_SIDES[0]}'; a pair is of messages or of plain texts"
            )
        return row
    prompt = check_messages(_present(row, "prompt", where), f"{where}, field 'prompt'")
    if prompt[-1]["role"] == "assistant":
        raise BactrianError(
            f"{where}, field 'prompt': the last turn is the assistant's; a prompt ends with a user turn, or a tool's"
        )
    answers = {field: _answer(row, field, prompt, where) for field in ("chosen", "rejected")}
    _check_listed(row, [*prompt, *answers["chosen"], *answers["rejected"]], where)
    return {**row, "prompt": prompt, **answers}


def _answer(row: Row, field: str, prompt: list[Any], where: str) -> list[Any]:
    """The turns of a pair's chosen or rejected side: the assistant's answer, and what may follow it."""
    place = f"{where}, field '{field}'"
    turns = _present(row, field, where)
    if not isinstance(turns, list) or not turns:
        raise BactrianError(f"{place}: expected a list of messages, the answer turns only, found {_short(turns)}")
    if isinstance(turns[0], dict) and turns[0].get("role") in ("system", "user"):
        raise BactrianError(
            f"{place}: begins with a {turns[0]['role']} turn; expected the answer turns only, without the prompt"
        )
    checked = check_messages([*prompt, *turns], f"{place} after the prompt")[len(prompt) :]
    if checked[-1]["role"] != "assistant":
        raise BactrianError(f"{place}: the last turn is the {checked[-1]['role']}'s; expected the assistant's")
    return list(checked)


def _check_listed(row: Row, messages: list[Any], where: str) -> None:
    """
    Raises:
        BactrianError: where `tools` is no list of tools, and for a call of one that it does not list.
    """
    if "tools" not in row:
        return
    names = check_tools(row["tools"], f"{where}, field 'tools'")
    if unlisted := [call["name"] for call in calls_within(messages) if call["name"] not in names]:
        raise BactrianError(
            f"{where}: a call of the tool {_short(unlisted[0])}, which 'tools' does not list (it lists "
            f"{', '.join(sorted(names))})"
        )


def _plain(row: Row, where: str) -> Row:
    _text(row, "text", where)
    return row


CHECKS: dict[RowKind, Callable[[Row, str], Row]] = {
    "conversation": _conversation,
    "problem": _problem,
    "pair": _pair,
    "text": _plain,
}


def _present(row: Row, field: str, where: str) -> Any:
    if field not in row:
        fields = ", ".join(row) or "none"
        raise BactrianError(f"{where}: no field '{field}'; this row has the fields: {fields}")
    return row[field]


def _text(row: Row, field: str, where: str, may_be_empty: bool = False) -> None:
    value = _present(row, field, where)
    if not isinstance(value, str):
        raise BactrianError(f"{where}, field '{field}': found {_short(value)} ({type(value).__name__}), expected text")
    if not value.strip() and not may_be_empty:
        raise BactrianError(f"{where}, field '{field}': found an empty text")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
