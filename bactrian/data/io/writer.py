"""Rows into one Parquet file, a bounded group of them at a time, whatever columns turn up late."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from bactrian.data.io.formats import first_line
from bactrian.data.io.rows import Row, drop_nulls, licence_of
from bactrian.errors import BactrianError
from bactrian.store.disk import sync_folder
from bactrian.store.manifest import Licence

DATA_FILE = "data.parquet"
CARD_FILE = "README.md"
GROUP_ROWS = 8192
GROUP_BYTES = 32 * 2**20
"""A row group is written when it has so many rows, or about so many bytes of text."""

_TEXT = ("id", "tools", "text", "ground_truth", "dataset", "solution", "source", "license")
_MESSAGES = ("messages", "prompt", "chosen", "rejected")
_ORDER = ("id", *_MESSAGES, "tools", "text", "ground_truth", "dataset", "solution", "source", "license")
_TOOL_CALLS = pa.list_(pa.struct([("name", pa.string()), ("arguments", pa.string())]))
_MESSAGE_TYPES = {
    "role": pa.string(),
    "content": pa.string(),
    "reasoning_content": pa.string(),
    "weight": pa.float64(),
    "tool_calls": _TOOL_CALLS,
    "name": pa.string(),
}
_MESSAGE_ORDER = (*_MESSAGE_TYPES, "arguments")
"""Of the fields of messages, and of those of the calls within them."""
Types = dict[str, pa.DataType]


@dataclass(frozen=True)
class Written:
    """What a writer has made safe: how many parts, and the rows of each (source, licence)."""

    parts: int
    licences: list[tuple[str, str, int]]


class RowWriter:
    """Writes data.parquet and README.md (`card`, then rows by source and licence) of a data
    artifact.

    >>> with RowWriter(workspace.output, card="# Sums") as writer:
    ...     for row in rows:
    ...         writer.write(row)

    Columns that design.md names come first and have fixed types; those of others are found from
    their values. Keys that are None count as missing. The file appears when the block ends without
    an error, whole; until then there are only hidden parts: one, and one more each time that a row
    has a column or field that none before it had. Parts are made one file at the end, so the order
    of rows does not show in the schema. Memory: two row groups, and the card.

    Raises:
        BactrianError: for no rows, and naming the column that holds values of several types.
    """

    def __init__(self, folder: str | Path, card: str = "", written: Written | None = None) -> None:
        """`written`: what `checkpoint` said before a kill; the writer goes on from there."""
        self.folder, self.card = Path(folder), card
        self.licences: Counter[Licence] = Counter()
        self._rows: list[Row] = []
        self._bytes = 0
        self._types: Types = {}
        self._parts: list[Path] = []
        self._open: pq.ParquetWriter | None = None
        self._pool = ThreadPoolExecutor(1)
        self._writing: Future[None] | None = None
        self._safe = written.parts if written else 0
        if written is not None:
            self._parts = parts_of(self.folder, written.parts)
            self._types = {found.name: _as_made(found.type) for found in pq.read_schema(self._parts[-1])}
            self.licences.update({Licence.of(source, name): rows for source, name, rows in written.licences})

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        for left_by_a_kill in set(self.folder.glob(f".{DATA_FILE}.*")).difference(self._parts):
            left_by_a_kill.unlink()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._close()
            self._pool.shutdown()
            for part in self._parts[0 if kind is None else self._safe :]:
                part.unlink(missing_ok=True)

    def write(self, row: Row) -> None:
        """Add one row."""
        size = _size(row)
        if size is None:
            row = drop_nulls(row)
            size = _size(row) or 0
        self.licences[licence_of(row)] += 1
        self._rows.append(row)
        self._bytes += size
        if len(self._rows) >= GROUP_ROWS or self._bytes >= GROUP_BYTES:
            self._flush()

    @property
    def count(self) -> int:
        """Rows written so far."""
        return self.licences.total()

    @property
    def holds(self) -> int:
        """Rows that are not in a row group yet."""
        return len(self._rows)

    def checkpoint(self) -> Written:
        """Make the rows in row groups safe, at the price of reading them once more at the end. Only if it holds none.

        Row groups end where they always do, so the file does not show whether or when this was called.
        """
        self._close()
        sync_folder(self.folder)
        self._safe = len(self._parts)
        return Written(len(self._parts), [(each.source, each.licence, rows) for each, rows in self.licences.items()])

    def _flush(self) -> None:
        """Write the rows held as one row group; in a new part if the schema must grow for them."""
        types = _grown(self._types, self._rows)
        if types != self._types or self._open is None:
            self._close()
            self._types = types
            self._parts = parts_of(self.folder, len(self._parts) + 1)
            self._open = pq.ParquetWriter(self._parts[-1], _schema(types), compression="zstd")
        columns = [_column(name, [row.get(name) for row in self._rows], kind) for name, kind in self._types.items()]
        self._wait()
        table = pa.Table.from_arrays(columns, schema=_schema(types))
        self._writing = self._pool.submit(self._open.write_table, table)  # compresses while the next rows are made
        self._rows, self._bytes = [], 0

    def _wait(self) -> None:
        """Until the last row group is in its file. Raises what writing it raised."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def _finish(self) -> None:
        if self._rows:
            self._flush()
        if not self.count:
            raise BactrianError(f"{self.folder}: no rows to write")
        self._close()
        whole = self._parts[-1] if len(self._parts) == 1 else self._merged()
        (self.folder / CARD_FILE).write_text(_card(self.licences, self.card), encoding="utf-8")
        whole.replace(self.folder / DATA_FILE)

    def _merged(self) -> Path:
        """One file of all parts, in the schema of the last, which is the widest."""
        schema, parts = _schema(self._types), self._parts
        self._parts = parts_of(self.folder, len(parts) + 1)
        whole = self._parts[-1]
        with pq.ParquetWriter(whole, schema, compression="zstd") as writer:
            for part in parts:
                with pq.ParquetFile(part) as opened:
                    for group in range(opened.num_row_groups):
                        writer.write_table(_widened(opened.read_row_group(group), schema))
        return whole

    def _close(self) -> None:
        try:
            self._wait()
        finally:
            if self._open is not None:
                self._open.close()
                self._open = None


def parts_of(folder: Path, count: int) -> list[Path]:
    """Where the first parts of a file are while it is being written."""
    return [folder / f".{DATA_FILE}.{number}" for number in range(count)]


def _widened(table: Any, schema: Any) -> Any:
    """The table in a schema that has all its columns and fields, and more."""

    def column(field: Any) -> Any:
        if field.name not in table.column_names:
            return pa.nulls(len(table), field.type)
        values = table.column(field.name)
        return values if values.type == field.type else _column(field.name, values.to_pylist(), field.type)

    return pa.Table.from_arrays([column(field) for field in schema], schema=schema)


def _grown(types: Types, rows: Sequence[Row]) -> Types:
    """The types of columns that hold these rows too, in the order in which they are written."""
    present = {name for row in rows for name in row}
    merged = dict(types)
    for name in present:
        merged[name] = _merge(types.get(name, pa.null()), _type(name, [row.get(name) for row in rows]), name)
        if any(pa.types.is_struct(inner) and not inner.num_fields for inner in _inner(merged[name])):
            raise BactrianError(f"column '{name}': Parquet has no empty objects; leave the column out where it is {{}}")
    names = [name for name in _ORDER if name in merged] + sorted(merged.keys() - set(_ORDER))
    return {name: merged[name] for name in names}


def _schema(types: Types) -> Any:
    return pa.schema(list(types.items()))


def _type(name: str, values: list[Any]) -> pa.DataType:
    """The type of a column: as design.md has it, or found from the values."""
    if name in _TEXT:
        return pa.string()
    if name in _MESSAGES:
        return _message_type(name, values)
    try:
        return pa.infer_type(values)
    except (pa.ArrowException, TypeError, OverflowError, UnicodeError, ValueError) as error:
        raise _mixed(name, first_line(error)) from None


def _message_type(name: str, values: list[Any]) -> pa.DataType:
    keys = {key for messages in values for message in messages or () for key in message}
    if unknown := keys.difference(_MESSAGE_TYPES):
        raise BactrianError(f"column '{name}': a message has the unknown field '{min(unknown)}'")
    fields = [(key, kind) for key, kind in _MESSAGE_TYPES.items() if key in keys or key in ("role", "content")]
    return pa.list_(pa.struct(fields))


def _as_made(kind: pa.DataType) -> pa.DataType:
    """The type of a column as it was before Parquet gave its lists' items another name, which would show in a file."""
    if pa.types.is_list(kind):
        return pa.list_(_as_made(kind.value_type))
    return pa.struct([(found.name, _as_made(found.type)) for found in kind]) if pa.types.is_struct(kind) else kind


def _merge(a: pa.DataType, b: pa.DataType, name: str) -> pa.DataType:
    """The type that holds the values of both: missing fields are nulls, whole numbers become fractions, no more."""
    if a == b or pa.types.is_null(b):
        return a
    if _are(pa.types.is_list, a, b):
        return pa.list_(_merge(pa.null() if pa.types.is_null(a) else a.value_type, b.value_type, name))
    if _are(pa.types.is_struct, a, b):
        ours, theirs = ({} if pa.types.is_null(kind) else {f.name: f.type for f in kind} for kind in (a, b))
        both = {key: _merge(ours.get(key, pa.null()), theirs.get(key, pa.null()), name) for key in {**ours, **theirs}}
        order = [key for key in _MESSAGE_ORDER if key in both] if name in _MESSAGES else sorted(both)
        return pa.struct([(key, both[key]) for key in order])
    if pa.types.is_null(a):
        return b
    if {a, b} == {pa.int64(), pa.float64()}:
        return pa.float64()
    raise _mixed(name, f"{a} and {b}")


def _are(test: Callable[[pa.DataType], bool], a: pa.DataType, b: pa.DataType) -> bool:
    """Whether b is such a type, and a is or may yet become one."""
    return test(b) and (test(a) or pa.types.is_null(a))


def _column(name: str, values: list[Any], kind: pa.DataType) -> pa.Array:
    try:
        return pa.array(values, type=kind)
    except (pa.ArrowException, TypeError, OverflowError, UnicodeError, ValueError) as error:
        raise _mixed(name, first_line(error)) from None


def _mixed(name: str, detail: str) -> BactrianError:
    return BactrianError(f"column '{name}': its values do not have one type: {detail}")


def _inner(kind: pa.DataType) -> Iterator[pa.DataType]:
    yield kind
    for i in range(kind.num_fields):
        yield from _inner(kind.field(i).type)


def _size(value: Any) -> int | None:
    """About the bytes that a value takes (most of any row is text), or None if there is a None in it."""
    if isinstance(value, str):
        return len(value)
    if not isinstance(value, (dict, list)):
        return None if value is None else 8
    total = 8
    for inner in value.values() if isinstance(value, dict) else value:
        size = len(inner) if type(inner) is str else _size(inner)
        if size is None:
            return None
        total += size
    return total


def _card(counts: Mapping[Licence, int], card: str) -> str:
    lines = [card.strip() or "# Rows made by Bactrian", "", f"{sum(counts.values()):,} rows.", ""]
    lines += ["| source | licence | marks | rows |", "|---|---|---|---|"]
    for licence, count in sorted(counts.items(), key=lambda item: (-item[1], item[0].source, item[0].licence)):
        cells = (licence.source, licence.licence, ", ".join(licence.marks), f"{count:,}")
        lines.append("| " + " | ".join(re.sub(r"\s", " ", cell.replace("|", "\\|")) for cell in cells) + " |")
    return "\n".join(lines) + "\n"
