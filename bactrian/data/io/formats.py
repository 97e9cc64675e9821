"""Files of rows as streams: each row, or what is wrong with it, with the words for where it stands.

A file is never held in memory, but for `.json` (one document). What cannot be read is a value of the stream and not an
exception, so that a reader may count it and go on: `files.stream_rows` raises it, the stage `source` counts it.
"""

import csv
import gzip
import io
import json
import os
import zlib
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any, Literal, cast

import pyarrow as pa
import pyarrow.parquet as pq

from bactrian.data.io.rows import Row, drop_nulls
from bactrian.errors import BactrianError

TextRows = Literal["line", "paragraph", "document"]
"""What one row of a plain text file is; paragraphs end at blank lines."""
LINE_LIMIT = 256 * 2**20
"""Bytes of the longest line that is read; a longer one is a fault, and skipped without being held."""
DEEPEST = 100
"""Objects and lists in one another that need no second look; beyond, the interpreter's own limit decides."""
_BEGINNING = 2**22
"""Bytes of a JSON document that are read to see what it holds."""
_BATCH = 256
"""Rows that are taken from a Parquet file at a time."""
_DAMAGED = (OSError, EOFError, zlib.error, pa.ArrowException)


class Fault(BactrianError):
    """Why a row, or the rest of a file, is unusable. `reason` groups such rows; `detail` is of this one.

    >>> print(Fault("a.jsonl, line 3", "not JSON", "Extra data"))
    a.jsonl, line 3: not JSON: Extra data
    """

    def __init__(self, where: str, reason: str, detail: str = "") -> None:
        super().__init__(f"{where}: {reason}{': ' if detail else ''}{detail}")
        self.where, self.reason, self.detail = where, reason, detail

    def __reduce__(self) -> tuple[type["Fault"], tuple[str, str, str]]:
        """Between processes: an exception would be made anew from its message alone."""
        return Fault, (self.where, self.reason, self.detail)

    def as_json(self) -> str:
        """One line of JSON, whatever is in the text."""
        return json.dumps({"where": self.where, "reason": self.reason, "detail": self.detail})


Scanned = tuple[Row | Fault, str]


def scan(file: Path, text_rows: TextRows = "line") -> Iterator[Scanned]:
    """(row or Fault, where) for each row of a file, in order; keys that are None are left out, at
    any depth.

    After a Fault the stream goes on with the next row if there is one; damage beyond which nothing
    can be read is the last value.

    Raises:
        BactrianError: for a name of no known format, and for a file that is gone or on a disk
            that fails.
    """
    reader = _reader(file.name)
    if reader is None:
        raise BactrianError(f"{file}: unknown format; expected {EXPECTED}")
    if file.is_dir():
        raise BactrianError(f"{file}: found a folder, expected a file")
    return _text(file, text_rows) if reader is _text else reader(file)


def scan_first(file: Path, count: int, text_rows: TextRows = "line") -> list[Scanned]:
    """The first values of `scan`; of a `.json` too large to be held, from what its beginning holds."""
    large = _reader(file.name) is _json and file.is_file() and file.stat().st_size > _BEGINNING
    return (_beginning(file, count) if large else []) or list(islice(scan(file, text_rows), count))


def _beginning(file: Path, count: int) -> list[Scanned]:
    """Rows of the first bytes of a JSON list; none where they do not begin like one."""
    with _opened(file) as stream:
        text = stream.read(_BEGINNING).decode("utf-8-sig", "ignore").lstrip()
    found: list[Scanned] = []
    at = 1
    while text.startswith("[") and len(found) < count:
        at += len(text[at : at + 1000]) - len(text[at : at + 1000].lstrip(" \t\r\n,"))
        try:
            value, at = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError):
            break
        where = f"{file}, row {len(found) + 1}"
        found.append((_object(value, where), where))
    return found


def is_data(name: str) -> bool:
    """Whether a folder's file of this name is read along with the folder; plain text is not, unless it is named."""
    return not name.startswith(".") and _plain_name(Path(name)).endswith(ENDINGS)


def is_readable(name: str) -> bool:
    """Whether a file of this name can be read as rows; `.txt` too."""
    return _reader(name) is not None


def _reader(name: str) -> "Callable[[Path], Iterator[Scanned]] | None":
    return next((reader for ending, reader in _READERS.items() if _plain_name(Path(name)).endswith(ending)), None)


def first_line(error: BaseException) -> str:
    """What a library's error says, without what it adds on further lines."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def _plain_name(file: Path) -> str:
    return file.name.lower().removesuffix(".gz").removesuffix(".zst")


def _parquet(file: Path) -> Iterator[Scanned]:
    done = 0
    try:
        with pq.ParquetFile(file) as opened:
            for batch in _batches(opened):
                deep = any(map(_may_hold_nulls_within, batch.columns))
                plain = not deep and not any(column.null_count for column in batch.columns)
                for row in _of_batch(batch):
                    done += 1
                    where = f"{file}, row {done}"
                    if callable(row):
                        yield row(where), where
                    elif deep:
                        yield cleaned(row, where), where
                    else:
                        yield row if plain else {name: cell for name, cell in row.items() if cell is not None}, where
    except (*_DAMAGED, UnicodeDecodeError) as error:
        where = f"{file}, row {done + 1}" if done else str(file)
        refuse_unreadable(error, where)
        yield Fault(where, "not a Parquet file, or damaged", first_line(error)), where


def _batches(opened: pq.ParquetFile) -> Iterator[Any]:
    """A row group at a time: one stream over all of them holds what it has read until its end."""
    for group in range(opened.num_row_groups):
        yield from opened.iter_batches(_BATCH, row_groups=[group])


def _may_hold_nulls(column: Any) -> bool:
    """Whether a null may be in a column, at any depth: asked once for many rows, it spares a look at each."""
    return bool(column.null_count) or _may_hold_nulls_within(column)


def _may_hold_nulls_within(column: Any) -> bool:
    """Whether a null may be within the cells of a column."""
    if pa.types.is_dictionary(column.type):
        return True
    if pa.types.is_list(column.type):
        return _may_hold_nulls(column.flatten())
    if pa.types.is_struct(column.type):
        return any(map(_may_hold_nulls, column.flatten()))
    return bool(pa.types.is_nested(column.type))


def _of_batch(batch: Any) -> Iterator[Row | Callable[[str], Fault]]:
    """The rows of a record batch; one by one if some hold what is no text."""
    try:
        yield from batch.to_pylist()
        return
    except UnicodeDecodeError:
        pass  # found again, row by row, below
    for i in range(batch.num_rows):
        try:
            yield batch.slice(i, 1).to_pylist()[0]
        except UnicodeDecodeError as error:
            detail = f"byte {error.start + 1} is 0x{error.object[error.start]:02x}"
            yield lambda where, detail=detail: Fault(where, "not UTF-8", detail)  # type: ignore[misc]


def _json(file: Path) -> Iterator[Scanned]:
    try:
        with _opened(file) as stream:
            text = stream.read().decode("utf-8-sig")
        rows = _DECODER.decode(text) if text.strip() else []
    except UnicodeDecodeError as error:
        yield _undecodable(error, str(file)), str(file)
    except json.JSONDecodeError as error:
        lines = " (one object per line? then name it .jsonl)" if error.msg == "Extra data" else ""
        where = f"{file}, line {error.lineno}, column {error.colno}"
        yield Fault(where, "not JSON", f"{error.msg}{lines}"), where
    except (ValueError, RecursionError) as error:
        yield _unparsable(error, str(file)), str(file)
    except _DAMAGED as error:
        yield _cut_off(error, str(file)), str(file)
    else:
        if not isinstance(rows, list):
            yield Fault(str(file), f"expected a list of rows, found {type(rows).__name__}"), str(file)
            return
        for i, row in enumerate(rows, 1):
            where = f"{file}, row {i}"
            yield _object(row, where), where


def _lines(file: Path) -> Iterator[Scanned]:
    for number, line in _numbered_lines(file):
        where = f"{file}, line {number}"
        if isinstance(line, Fault):
            yield line, line.where
        elif (row := _of_line(line, where)) is not None:
            yield row, where


def _of_line(line: bytes, where: str) -> Row | Fault | None:
    """The row of one line of JSONL, what is wrong with it, or None for a blank line."""
    try:
        text = line.decode().rstrip("\r\n")
        plain = b"null" not in line and line.count(b"[") + line.count(b"{") < DEEPEST
        return _object(_DECODER.decode(text), where, plain, surrogates=b"\\ud" in line or b"\\uD" in line)
    except UnicodeDecodeError as error:
        return _undecodable(error, where)
    except json.JSONDecodeError as error:
        shape = text.strip()
        if not shape:
            return None
        half = " (half a JSON object?)" if shape.startswith("{") != shape.endswith("}") else ""
        detail = f"{error.msg}{half}; the line is {_short(shape)}"
        return Fault(f"{where}, column {error.colno}", "not JSON", detail)
    except (ValueError, RecursionError) as error:
        return _unparsable(error, where)


def _csv(file: Path) -> Iterator[Scanned]:
    """Rows of text under the names of the first line; an empty cell is a missing column."""
    csv.field_size_limit(LINE_LIMIT)
    delimiter = "\t" if _plain_name(file).endswith(".tsv") else ","
    number = 0
    try:
        with _opened(file) as raw, io.TextIOWrapper(raw, "utf-8-sig", "surrogateescape", newline="") as stream:
            reader = csv.reader(stream, delimiter=delimiter, strict=True)
            names: list[str] | None = None
            while True:
                number = reader.line_num + 1
                where = f"{file}, line {number}"
                try:
                    cells = next(reader, None)
                except csv.Error as error:
                    yield Fault(where, "not CSV", str(error)), where
                    continue
                if cells is None:
                    return
                if names is None:
                    names = cells
                    if len(set(names)) < len(names):
                        yield Fault(where, "not CSV", "two columns of one name"), where
                        return
                elif cells:
                    yield _of_cells(names, cells, where), where
    except _DAMAGED as error:
        yield _cut_off(error, f"{file}, line {number}"), f"{file}, line {number}"


def _of_cells(names: list[str], cells: list[str], where: str) -> Row | Fault:
    if len(cells) != len(names):
        return Fault(where, "another number of cells than the first line", f"{len(cells)}, not {len(names)}")
    row = {name: cell for name, cell in zip(names, cells, strict=True) if cell}
    return _without_surrogates(row, where, "not UTF-8")


def _text(file: Path, text_rows: TextRows = "line") -> Iterator[Scanned]:
    """Plain text: a row {text} per line that is not blank, per paragraph, or of the whole file."""
    held: list[str] = []
    size = first = 0
    for number, line in _numbered_lines(file):
        where = f"{file}, line {number}"
        if isinstance(line, Fault):
            yield line, line.where
            continue
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            yield _undecodable(error, where), where
            continue
        if text_rows == "line":
            if text.strip():
                yield {"text": text.rstrip("\r\n")}, where
            continue
        if held and (size > LINE_LIMIT or (text_rows == "paragraph" and not text.strip())):
            yield {"text": "".join(held).rstrip()}, f"{file}, line {first}"
            held, size = [], 0
        if held or text.strip():
            first = first if held else number
            held.append(text)
            size += len(line)
    if held:
        yield {"text": "".join(held).rstrip()}, f"{file}, line {first}"


def _numbered_lines(file: Path) -> Iterator[tuple[int, bytes | Fault]]:
    """(number from 1, line with its end) of a file that may be compressed, without a byte order mark."""
    number = 0
    try:
        with _opened(file) as stream:
            while line := stream.readline(LINE_LIMIT + 1):
                number += 1
                if number == 1:
                    line = line.removeprefix(b"\xef\xbb\xbf")
                if len(line) <= LINE_LIMIT:
                    yield number, line
                    continue
                while not line.endswith(b"\n") and (line := stream.readline(2**20)):
                    pass
                where = f"{file}, line {number}"
                yield number, Fault(where, f"longer than {LINE_LIMIT / 2**20:,.0f} MiB")
    except _DAMAGED as error:
        yield number, _cut_off(error, f"{file}, line {number + 1}" if number else str(file))


def _opened(file: Path) -> IO[bytes]:
    """The file as a stream of bytes, decompressed by its name."""
    if file.name.lower().endswith(".gz"):
        return cast(IO[bytes], gzip.open(file))
    if file.name.lower().endswith(".zst"):
        return io.BufferedReader(pa.input_stream(str(file), compression="zstd"))
    return file.open("rb")


def _unique(pairs: list[tuple[str, Any]]) -> Row:
    """An object of JSON; a name that is there twice leaves open which value is meant, so it is refused."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"field '{next(name for name in names if names.count(name) > 1)}' is there twice")
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_unique)


def _object(value: Any, where: str, plain: bool = False, surrogates: bool = True) -> Row | Fault:
    """The value, if it is a row. `plain`: known to hold no null, and not to be nested deep."""
    if not isinstance(value, dict):
        detail = f"{type(value).__name__} {_short(repr(value))}"
        return Fault(where, "expected a JSON object, found " + detail)
    row = value if plain else cleaned(value, where)
    if isinstance(row, Fault) or not surrogates:
        return row
    return _without_surrogates(row, where, "half of a surrogate pair, which is not text")


def cleaned(row: Row, where: str) -> Row | Fault:
    """The row without the keys that are None."""
    try:
        return cast(Row, drop_nulls(row))
    except RecursionError:
        return Fault(where, "nested too deep")


def _without_surrogates(row: Row, where: str, reason: str) -> Row | Fault:
    try:
        json.dumps(row, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError as error:
        return Fault(where, reason, f"{error.object[error.start]!r}")
    return row


def _undecodable(error: UnicodeDecodeError, where: str) -> Fault:
    return Fault(where, "not UTF-8", f"byte {error.start + 1} is 0x{error.object[error.start]:02x}")


def _unparsable(error: Exception, where: str) -> Fault:
    """For what JSON's grammar allows and we do not: names twice, numbers of thousands of digits, endless nesting."""
    if isinstance(error, RecursionError):
        return Fault(where, "nested too deep")
    return Fault(where, "not JSON", first_line(error))


def _cut_off(error: BaseException, where: str) -> Fault:
    refuse_unreadable(error, where)
    return Fault(where, "cut off or damaged, cannot be decompressed", first_line(error))


def refuse_unreadable(error: BaseException, where: str) -> None:
    """Such an error says nothing of the rows that are left, so it must not pass for one bad row.

    Raises:
        BactrianError: if not what is in a file is at fault but the file: gone, no file, on a
            failing disk.
    """
    if isinstance(error, OSError) and error.errno is not None:
        gone = "; was it moved while it was read?" if isinstance(error, FileNotFoundError) else ""
        raise BactrianError(f"{where}: cannot be read ({os.strerror(error.errno)}){gone}") from error


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:40]}…{text[-19:]}"


_READERS: dict[str, Callable[[Path], Iterator[Scanned]]] = {
    ".parquet": _parquet,
    ".jsonl": _lines,
    ".ndjson": _lines,
    ".json": _json,
    ".csv": _csv,
    ".tsv": _csv,
    ".txt": _text,
}
ENDINGS = tuple(ending for ending in _READERS if ending != ".txt")
EXPECTED = f"a name that ends in {', '.join(ENDINGS)} or .txt, or in one of these and .gz or .zst"
