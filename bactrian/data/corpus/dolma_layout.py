"""Writing documents and attributes as the Dolma toolkit has them: documents/ and attributes/NAME/, the same files in
both.

A line of documents is {id, text, source, added, created, metadata}, one of attributes {id, source, attributes}, where
an attribute is a list of spans [start, end, score]; a number becomes one span over the whole text.
"""

import gzip
import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, Self, cast

import pyarrow as pa

from bactrian.data.corpus.tagging import Attributes
from bactrian.data.io.rows import Row

Packing = Literal["gz", "zst"]
_TOP = ("id", "text", "source", "added", "created", "version")


class DolmaWriter:
    """Writes lines of documents and of attributes beside them, a new file after each `most` documents.

    >>> with DolmaWriter(folder) as writer:
    ...     writer.write(row, {"tags": {"gopher__words": 120.0}})
    """

    def __init__(self, folder: Path, packing: Packing = "gz", most: int = 100_000) -> None:
        self.folder, self.packing, self.most = folder, packing, most
        self.documents = 0
        self._files: dict[str, IO[bytes]] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()

    def write(self, row: Row, attributes: Mapping[str, Attributes]) -> None:
        """Add a document; attributes: name of their folder → those of the document."""
        if self.documents % self.most == 0:
            self._stack.close()
            self._files = {}
        self._line("documents", document_line(row))
        for name, found in attributes.items():
            said = {"id": row["id"], "source": row["source"], "attributes": as_spans(found, len(row["text"]))}
            self._line(f"attributes/{name}", said)
        self.documents += 1

    def _line(self, place: str, value: Mapping[str, Any]) -> None:
        if place not in self._files:
            path = self.folder / place / f"{self.documents // self.most:05d}.jsonl.{self.packing}"
            path.parent.mkdir(parents=True, exist_ok=True)
            self._files[place] = self._stack.enter_context(_packed(path))
        self._files[place].write(json.dumps(value, ensure_ascii=False).encode() + b"\n")


def _packed(path: Path) -> IO[bytes]:
    """A file to write that is compressed by its name; the same bytes whenever it is written."""
    if path.suffix == ".gz":
        return cast(IO[bytes], gzip.GzipFile(path, "wb", compresslevel=6, mtime=0))
    return cast(IO[bytes], pa.output_stream(str(path), compression="zstd"))


def document_line(row: Row) -> dict[str, Any]:
    """A row as a document of the toolkit: what it has no place for is in its metadata, with what came from there."""
    line = {name: row[name] for name in _TOP if name in row}
    about: dict[str, Any] = {}
    if isinstance(row.get("metadata"), str):
        about = json.loads(row["metadata"])
    about |= {name: value for name, value in row.items() if name not in (*_TOP, "metadata")}
    return line | ({"metadata": about} if about else {})


def as_spans(attributes: Attributes, length: int) -> dict[str, Any]:
    """Every attribute as spans; whole numbers for places."""
    return {
        name: [[int(start), int(end), score] for start, end, score in value]
        if isinstance(value, list)
        else [[0, length, value]]
        for name, value in attributes.items()
    }
