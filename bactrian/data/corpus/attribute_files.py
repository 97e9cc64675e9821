"""Documents and the attributes beside them, as two streams in the same order that are joined by id.

Attributes are what stage `tag` leaves (a column each), or files of the Dolma toolkit ({id, source, attributes: {…}}).
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bactrian.data.corpus.tagging import Attributes, flaw_of
from bactrian.data.io.files import scan_rows, stream_rows
from bactrian.data.io.formats import Fault
from bactrian.data.io.rows import Row, complete_row
from bactrian.errors import BactrianError

ABOUT = "tags.json"
IDENTITY = ("id", "source", "license")
"""Columns of the attributes that stage `tag` leaves which are none."""


def document_of(row: Row | Fault, where: str, source: str) -> Row | Fault:
    """The row with the columns that every row has, or why it is no document: no text in `text`, or an empty one."""
    if isinstance(row, Fault):
        return row
    text = row.get("text")
    if not isinstance(text, str):
        found = type(text).__name__ if "text" in row else f"the columns {', '.join(row) or 'none'}"
        return Fault(where, "no text in column 'text'", f"found {found}"[:160])
    return complete_row(row, source) if text.strip() else Fault(where, "an empty text")


def scan_documents(path: Path) -> Iterator[tuple[Row | Fault, str]]:
    """Every row of a file, folder or pattern as a document, or why it is none, and where it stands."""
    for row, where in scan_rows(path):
        yield document_of(row, where, path.name), where


@dataclass(frozen=True)
class TaggedDocuments:
    """What tags.json says: of which documents the attributes are, by the hash of their content."""

    documents: str
    content_hash: str

    def save(self, folder: Path) -> None:
        """Write it."""
        (folder / ABOUT).write_text(json.dumps(vars(self), indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path) -> "TaggedDocuments | None":
        """Of a step's folder; None for files of others."""
        path = folder / ABOUT
        return cls(**json.loads(path.read_text())) if path.is_file() else None


class AttributeStream:
    """The attributes of documents that come in the order of theirs; those of documents that do not come are passed
    over.

    passed: how many were.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.name, self.passed = name, 0
        self._rows = stream_rows(path)

    def of(self, document: Row, where: str) -> Attributes:
        """Of the next document.

        Raises:
            BactrianError: where all that are left belong to others, or one is not in form.
        """
        for row, place in self._rows:
            if str(row.get("id")) == document["id"] and row.get("source", document["source"]) == document["source"]:
                return self._attributes(row, place, document)
            self.passed += 1
        raise BactrianError(
            f"{where}: found no attributes of document {document['id']} (source {document['source']}) in {self.name}, "
            "expected those of the same documents, in their order"
        )

    def _attributes(self, row: Row, place: str, document: Row) -> Attributes:
        if not isinstance(row.get("attributes"), dict):
            return {name: value for name, value in row.items() if name not in IDENTITY}
        length = len(document["text"])
        for name, value in row["attributes"].items():
            if (wrong := flaw_of(value, length)) is not None:
                raise BactrianError(f"{place}, attribute {name!r}: {wrong}")
        found: dict[str, Any] = row["attributes"]
        return found


def joined(documents: Path, attributes: Sequence[tuple[Path, str]]) -> Iterator[tuple[Row | Fault, Attributes, str]]:
    """Each document, or why a row is none, with all its attributes and where it stands.

    attributes: where they are, and what the step or path is called.

    Raises:
        BactrianError: as `AttributeStream.of`, and where two say the same attribute.
    """
    streams = [AttributeStream(path, name) for path, name in attributes]
    for row, where in scan_documents(documents):
        merged: Attributes = {}
        for stream in streams if not isinstance(row, Fault) else ():
            assert not isinstance(row, Fault)
            found = stream.of(row, where)
            if both := merged.keys() & found.keys():
                raise BactrianError(f"{stream.name}: found the attribute {min(both)!r}, which another step gave too")
            merged |= found
        yield row, merged, where
