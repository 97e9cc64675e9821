"""What is indexed of a row: each of its texts as a document that knows whose it is and on what terms."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bactrian.chat.tool_calls import calls_within
from bactrian.data.io.texts import SIDES, TEXTS, call_text
from bactrian.errors import BactrianError

LEARNT = frozenset((*SIDES, *TEXTS))
"""Columns that stages learn from."""
NOT_TEXT = frozenset(("id", "source", "license", "licence", "dataset"))
"""Columns that tell of a row, whatever is in them."""
_LABEL = re.compile("[!-~]*")
"""A value without white space, in ASCII: a name, a number, an address. It is no text."""


@dataclass(frozen=True)
class TracedDocument:
    """One text of the training data.

    id, source, licence: of its row. data: which data it is in, as the recipe names it. where: its file and line or row.
    field: its place in the row ("text", "messages.1.content"). role: of a message, "" elsewhere.
    """

    id: str
    source: str
    licence: str
    data: str
    where: str
    field: str
    role: str = ""

    def as_line(self) -> bytes:
        """One line of JSON."""
        return json.dumps(vars(self)).encode() + b"\n"


def documents(row: Mapping[str, Any], data: str, where: str) -> Iterator[tuple[TracedDocument, str]]:
    """The texts of a row, empty ones left out: of every turn its thinking, its content and its calls, and the other
    columns that stages learn from. Labels, such as a verifier's name, are none.

    A row that is of no kind that stages read is as others made it: its texts are all that are no labels, at any depth.

    `row` has id, source and license (`complete_row`); `where` as `place_within` gives it.

    Raises:
        BactrianError: naming the row and the field where turns are no list of objects.
    """
    of_row = (str(row["id"]), str(row["source"]), str(row["license"]), data, where)
    known = _is_known(row)
    for name, value in row.items():
        if name in NOT_TEXT or (known and name not in LEARNT):
            continue
        if turns := name in SIDES and isinstance(value, list):
            found = _turns(name, value, where)
        else:
            found = _texts(name, value)
        for field, role, text in found:
            if text and (known or turns or not _LABEL.fullmatch(text)):
                yield TracedDocument(*of_row, field, role), text


def _is_known(row: Mapping[str, Any]) -> bool:
    """Whether stages can learn from a row as it is: a conversation, a problem, a pair or a text."""
    turns = any(isinstance(row.get(name), list) for name in ("messages", "prompt"))
    return turns or any(isinstance(row.get(name), str) for name in ("text", "chosen_text"))


def place_within(where: str, path: Path) -> str:
    """Where a row stands, without the folders above its data: "train.jsonl, line 3".

    >>> place_within("/home/me/rows/a/train.jsonl, line 3", Path("/home/me/rows"))
    'a/train.jsonl, line 3'
    """
    file, comma, at = where.rpartition(", ")
    file, at = (file, at) if comma else (where, "")
    inside = Path(file).relative_to(path) if Path(file).is_relative_to(path) else Path(file)
    name = inside.as_posix() if inside != Path() and not inside.is_absolute() else Path(file).name
    return f"{name}{comma}{at}"


def _turns(name: str, turns: list[Any], where: str) -> Iterator[tuple[str, str, str]]:
    """(field, role, text) of what is said in each turn."""
    for number, turn in enumerate(turns):
        at = f"{name}.{number}"
        if not isinstance(turn, Mapping):
            raise BactrianError(f"{where}: field {at!r}: expected a message (an object), found {str(turn)[:60]!r}")
        role = str(turn.get("role", ""))
        for key in ("reasoning_content", "content"):
            if isinstance(text := turn.get(key), str):
                yield f"{at}.{key}", role, text
        for place, call in enumerate(calls_within([turn])):
            yield f"{at}.tool_calls.{place}", role, call_text(call)


def _texts(field: str, value: Any) -> Iterator[tuple[str, str, str]]:
    """(field, no role, text) of every text in a value, at any depth."""
    held = [(field, value)]
    while held:
        at, found = held.pop()
        if isinstance(found, str):
            yield at, "", found
        elif isinstance(found, Mapping):
            held += [(f"{at}.{key}", inner) for key, inner in reversed(list(found.items()))]
        elif isinstance(found, list):
            held += [(f"{at}.{number}", inner) for number, inner in reversed(list(enumerate(found)))]
