"""Reading rows from files, folders and the Hub, and writing them as a data artifact."""

import difflib
from collections.abc import Iterable, Iterator
from pathlib import Path

from bactrian.data.io.formats import ENDINGS, Fault, Scanned, TextRows, cleaned, is_data, scan
from bactrian.data.io.rows import Row, RowKind, complete_row, judged_by, validate_row
from bactrian.data.io.writer import CARD_FILE, DATA_FILE, RowWriter
from bactrian.errors import BactrianError
from bactrian.store.extras import lacks
from bactrian.store.hashes import files_matching
from bactrian.store.special_files import refuse_special

__all__ = [
    "CARD_FILE",
    "DATA_FILE",
    "RowWriter",
    "data_files",
    "hub_commit",
    "read_hub",
    "read_rows",
    "scan_hub",
    "scan_rows",
    "stream_rows",
    "write_rows",
]


def read_rows(
    path: str | Path, kind: RowKind | None = None, verifier: str | None = None, *, instead: bool = True
) -> list[Row]:
    """All rows of a file, folder, artifact or glob pattern, in memory: `stream_rows` without the places."""
    return [row for row, _ in stream_rows(path, kind, verifier, instead=instead)]


def stream_rows(
    path: str | Path, kind: RowKind | None = None, verifier: str | None = None, *, instead: bool = True
) -> Iterator[tuple[Row, str]]:
    """(row, where it stands) of a file, an artifact's folder (its data.parquet), a folder of data
    files or a pattern.

    JSONL, CSV, TSV and plain text, also .gz and .zst, and Parquet take the same memory whatever
    their size; `.json` is one document and is held whole. Files come in the order of their names. A
    null is a missing column: keys that are None are left out, at any depth. With `kind`, each row
    is checked, and a missing id, source or license filled in (`complete_row`).

    Args:
        verifier: of problem rows, in place of the one that each names; not `instead`: of those that name none. Then
            they need no ground truth, and their question may stand in `prompt`.

    Raises:
        BactrianError: naming the file, line or row, and what is wrong, when it comes to it: a
            file that is missing, empty, cut off, damaged, not UTF-8 or of an unknown format, a
            line that is no JSON object, a row not of the kind.
    """
    nothing = True
    name = Path(path).name
    for row, where in scan_rows(path):
        if isinstance(row, Fault):
            raise row
        nothing = False
        if verifier is not None:
            row = judged_by(complete_row(row, name), verifier, instead)
        yield (row if kind is None else complete_row(validate_row(row, kind, where), name)), where
    if nothing:
        raise BactrianError(f"{path}: empty, no rows")


def scan_rows(path: str | Path, text_rows: TextRows = "line") -> Iterator[Scanned]:
    """As `stream_rows`, but what is wrong with a row is a value of the stream, a Fault, and it goes on after it."""
    for file in data_files(path):
        yield from scan(file, text_rows)


def read_hub(repo: str, split: str = "train", subset: str | None = None, kind: RowKind | None = None) -> list[Row]:
    """All rows of one split of a data set on the Hugging Face Hub, as `read_rows` gives them. Needs `bactrian[hub]`."""
    rows = [(row, where) for row, where in scan_hub(repo, split, subset) if not isinstance(row, Fault)]
    if kind is None:
        return [row for row, _ in rows]
    return [complete_row(validate_row(row, kind, where), repo) for row, where in rows]


def scan_hub(
    repo: str,
    split: str = "train",
    subset: str | None = None,
    revision: str | None = None,
    files: str | None = None,
) -> Iterator[Scanned]:
    """The rows of one split of a data set on the Hugging Face Hub, streamed; of some of its files
    only, if given.

    Needs `bactrian[hub]`.

    Raises:
        BactrianError: naming the data set, whatever its client raises, also in the middle of
            the stream.
    """
    try:
        import datasets
    except ImportError:
        raise lacks(f"{repo}: reading from the Hub", "hub") from None
    name = "/".join(filter(None, (repo, subset, files, split)))
    try:
        rows = datasets.load_dataset(repo, subset, split=split, data_files=files, revision=revision, streaming=True)
        for number, row in enumerate(rows, 1):
            where = f"{name}, row {number}"
            yield cleaned(row, where), where
    except GeneratorExit:
        raise
    except Exception as error:  # whatever the Hub, its client or the data set's own files raise
        raise BactrianError(f"{name}: could not be read from the Hub: {type(error).__name__}: {error}") from error


def hub_commit(repo: str, revision: str | None = None) -> str:
    """The commit of a data set that a revision is now.

    Raises:
        BactrianError: if the Hub does not say.
    """
    from huggingface_hub import HfApi

    try:
        return str(HfApi().dataset_info(repo, revision=revision, timeout=10).sha)
    except Exception as error:  # whatever its HTTP client raises without a network
        raise BactrianError(f"{repo}: the Hub does not say which commit it has: {type(error).__name__}") from error


def write_rows(rows: Iterable[Row], folder: str | Path, card: str = "") -> None:
    """Writes data.parquet, and README.md: `card`, then the counts of rows and where they come from
    on what terms.

    `read_rows` gives the same rows back.

    Raises:
        BactrianError: as `RowWriter` does.
    """
    with RowWriter(folder, card) as writer:
        for row in rows:
            writer.write(row)


def data_files(path: str | Path) -> list[Path]:
    """The files that hold the rows of a file, folder, artifact or pattern ("data/*.jsonl.gz"; **
    goes into folders).

    Raises:
        BactrianError: if there are none, and naming one that is a pipe, a device or a link that
            leads nowhere.
    """
    path = Path(path)
    refuse_special(path)
    if path.is_file():
        return [path]
    if not path.exists():
        if matching := files_matching(path):
            return matching
        raise BactrianError(f"{path}: no such file or folder{_nearest(path)}")
    if (path / DATA_FILE).is_file():
        return [path / DATA_FILE]
    named = sorted(file for file in path.iterdir() if is_data(file.name))
    for file in named:
        refuse_special(file)
    files = [file for file in named if file.is_file()]
    if not files:
        names = ", ".join(sorted(file.name for file in path.iterdir())[:8]) or "nothing"
        deeper = next((file for file in sorted(path.rglob("*")) if is_data(file.name)), None)
        hint = f"; {deeper} is deeper: name its like by a pattern, such as {path}/**/*{deeper.suffix}" if deeper else ""
        raise BactrianError(f"{path}: no data files ({', '.join(ENDINGS)}) in this folder; it holds {names}{hint}")
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
