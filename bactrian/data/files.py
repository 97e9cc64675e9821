"""Reading rows from files and folders, and writing them as a data artifact."""

import difflib
import gzip
import json
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bactrian.data.rows import Row, RowKind, complete_row, drop_nulls, licence_of, validate_row
from bactrian.errors import BactrianError

DATA_FILE = "data.parquet"
CARD_FILE = "README.md"
ENDINGS = (".parquet", ".jsonl", ".jsonl.gz", ".jsonl.zst", ".json")


def read_rows(path: str | Path, kind: RowKind | None = None) -> list[Row]:
    """All rows of a file, an artifact's folder (its data.parquet) or a folder of data files (sorted by name).

    A null is a missing column: keys that are None are left out, at any depth. With `kind`, each row is checked, and a
    missing id, source or license filled in (`complete_row`).
    Raises BactrianError naming the file, line or row, and what is wrong: a file that is missing, empty, cut off,
    damaged, not UTF-8 or of an unknown format, a line that is no JSON object, a row that is not of the kind.
    """
    path = Path(path)
    rows = [(drop_nulls(row), where) for file in _files(path) for row, where in _read(file)]
    if not rows:
        raise BactrianError(f"{path}: empty, no rows")
    if kind is None:
        return [row for row, _ in rows]
    return [complete_row(validate_row(row, kind, where), path.name) for row, where in rows]


def read_hub(repo: str, split: str = "train", subset: str | None = None, kind: RowKind | None = None) -> list[Row]:
    """All rows of one split of a data set on the Hugging Face Hub, as `read_rows` gives them. Needs `bactrian[hub]`."""
    try:
        import datasets
    except ImportError:
        raise BactrianError(f"{repo}: reading from the Hub needs `datasets`: pip install 'bactrian[hub]'") from None
    name = "/".join(filter(None, (repo, subset, split)))
    try:
        loaded = datasets.load_dataset(repo, subset, split=split)
    except Exception as error:  # whatever the Hub, its client or the data set's own files raise
        raise BactrianError(f"{name}: could not be read from the Hub: {type(error).__name__}: {error}") from error
    rows = [drop_nulls(row) for row in loaded]
    if kind is None:
        return rows
    return [complete_row(validate_row(row, kind, f"{name}, row {i}"), repo) for i, row in enumerate(rows, 1)]


def write_rows(rows: Sequence[Row], folder: str | Path, card: str = "") -> None:
    """Writes data.parquet, and README.md: `card`, then the counts of rows and where they come from on what terms.

    Columns that design.md names come first and have fixed types; those of others are found from their values. Keys that
    are None count as missing. `read_rows` gives the same rows back.
    Raises BactrianError for no rows, and naming the column that holds values of several types.
    """
    if not rows:
        raise BactrianError(f"{folder}: no rows to write")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(_table(rows), folder / DATA_FILE, compression="zstd")
    (folder / CARD_FILE).write_text(_card(rows, card), encoding="utf-8")


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.exists():
        raise BactrianError(f"{path}: no such file or folder{_nearest(path)}")
    if (path / DATA_FILE).is_file():
        return [path / DATA_FILE]
    files = sorted(file for file in path.iterdir() if file.name.endswith(ENDINGS) and not file.name.startswith("."))
    if not files:
        names = ", ".join(sorted(file.name for file in path.iterdir())[:8]) or "nothing"
        raise BactrianError(f"{path}: no data files ({', '.join(ENDINGS)}) in this folder; it holds {names}")
    return files


def _nearest(path: Path) -> str:
    folder = next(parent for parent in path.parents if parent.exists())
    if folder != path.parent:
        return f" (nor a folder {path.parent})"
    names = [other.name for other in folder.iterdir()]
    close = difflib.get_close_matches(path.name, names, n=1)
    return (
        f"; did you mean {folder / close[0]}?"
        if close
        else f" ({folder} holds {', '.join(sorted(names)[:8]) or 'nothing'})"
    )


def _read(file: Path) -> Iterator[tuple[Any, str]]:
    """The rows of one file, each with the words for where it stands."""
    if file.name.endswith(".parquet"):
        return _parquet(file)
    if file.name.endswith(".json"):
        return _json(file)
    if file.name.endswith(ENDINGS):
        return _lines(file)
    raise BactrianError(f"{file}: unknown format; expected a name that ends in {', '.join(ENDINGS)}")


def _parquet(file: Path) -> Iterator[tuple[Any, str]]:
    try:
        rows = pq.read_table(file).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise BactrianError(f"{file}: not a Parquet file, or damaged: {_first_line(error)}") from None
    return ((row, f"{file}, row {i}") for i, row in enumerate(rows, 1))


def _json(file: Path) -> Iterator[tuple[Any, str]]:
    text = _decoded(file.read_bytes(), str(file)).removeprefix("\ufeff")
    if not text.strip():
        return iter(())
    try:
        rows = json.loads(text)
    except json.JSONDecodeError as error:
        lines = " (one object per line? then name it .jsonl)" if error.msg == "Extra data" else ""
        raise BactrianError(
            f"{file}, line {error.lineno}, column {error.colno}: not JSON: {error.msg}{lines}"
        ) from None
    if not isinstance(rows, list):
        raise BactrianError(f"{file}: expected a list of rows, found {type(rows).__name__}")
    return ((_object(row, f"{file}, row {i}"), f"{file}, row {i}") for i, row in enumerate(rows, 1))


def _lines(file: Path) -> Iterator[tuple[Any, str]]:
    for number, line in enumerate(_bytes(file).splitlines(), 1):
        where = f"{file}, line {number}"
        text = _decoded(line, where)
        text = text.removeprefix("\ufeff") if number == 1 else text
        if not text.strip():
            continue
        try:
            yield _object(json.loads(text), where), where
        except json.JSONDecodeError as error:
            shape = text.strip()
            half = shape.startswith("{") != shape.endswith("}")
            raise BactrianError(
                f"{where}, column {error.colno}: not JSON: {error.msg}"
                f"{' (half a JSON object?)' if half else ''}; the line is {_short(shape)}"
            ) from None


def _bytes(file: Path) -> bytes:
    raw = file.read_bytes()
    try:
        if file.name.endswith(".gz"):
            return gzip.decompress(raw)
        if file.name.endswith(".zst"):
            return bytes(pa.input_stream(pa.py_buffer(raw), compression="zstd").read())
    except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
        raise BactrianError(f"{file}: cut off or damaged, cannot be decompressed: {_first_line(error)}") from None
    return raw


def _decoded(raw: bytes, where: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise BactrianError(f"{where}: not UTF-8: byte {error.start + 1} is 0x{raw[error.start]:02x}") from None


def _object(value: Any, where: str) -> Row:
    if not isinstance(value, dict):
        raise BactrianError(f"{where}: expected a JSON object, found {type(value).__name__} {_short(repr(value))}")
    return value


_TEXT = ("id", "text", "ground_truth", "dataset", "solution", "source", "license")
_MESSAGES = ("messages", "prompt", "chosen", "rejected")
_ORDER = (
    "id",
    "messages",
    "prompt",
    "chosen",
    "rejected",
    "text",
    "ground_truth",
    "dataset",
    "solution",
    "source",
    "license",
)
_MESSAGE_TYPES = {"role": pa.string(), "content": pa.string(), "reasoning_content": pa.string(), "weight": pa.float64()}


def _table(rows: Sequence[Row]) -> pa.Table:
    rows = [drop_nulls(row) for row in rows]
    present = {name for row in rows for name in row}
    names = [name for name in _ORDER if name in present] + sorted(present.difference(_ORDER))
    return pa.table({name: _column(name, [row.get(name) for row in rows]) for name in names})


def _column(name: str, values: list[Any]) -> pa.Array:
    try:
        column = pa.array(values, type=_type(name, values))
    except (pa.ArrowException, TypeError, OverflowError, UnicodeError) as error:
        raise BactrianError(f"column '{name}': its values do not have one type: {_first_line(error)}") from None
    if any(pa.types.is_struct(inner) and not inner.num_fields for inner in _inner(column.type)):
        raise BactrianError(f"column '{name}': Parquet has no empty objects; leave the column out where it is {{}}")
    return column


def _type(name: str, values: list[Any]) -> pa.DataType | None:
    """The type of a column that design.md names; None for others."""
    if name in _TEXT:
        return pa.string()
    if name not in _MESSAGES:
        return None
    keys = {key for messages in values for message in messages or () for key in message}
    if unknown := keys.difference(_MESSAGE_TYPES):
        raise BactrianError(f"column '{name}': a message has the unknown field '{min(unknown)}'")
    return pa.list_(
        pa.struct([(key, kind) for key, kind in _MESSAGE_TYPES.items() if key in keys or key in ("role", "content")])
    )


def _inner(kind: pa.DataType) -> Iterator[pa.DataType]:
    yield kind
    for i in range(kind.num_fields):
        yield from _inner(kind.field(i).type)


def _card(rows: Iterable[Row], card: str) -> str:
    counts = Counter(map(licence_of, rows))
    total = sum(counts.values())
    lines = [card.strip() or "# Rows made by Bactrian", "", f"{total:,} rows.", ""]
    lines += ["| source | licence | marks | rows |", "|---|---|---|---|"]
    for licence, count in sorted(counts.items(), key=lambda item: (-item[1], item[0].source, item[0].licence)):
        cells = (licence.source, licence.licence, ", ".join(licence.marks), f"{count:,}")
        lines.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:40]}…{text[-19:]}"
