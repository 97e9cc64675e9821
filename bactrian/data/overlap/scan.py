"""Streams training rows past the test items: any number of rows in one piece of memory, resumable, on all cores.

This process reads rows, workers match batches of them. What was found is written in parts, so that a scan that was
killed goes on where its last part ended.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import tee
from pathlib import Path
from time import monotonic
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bactrian.data.overlap.asked import Side, texts_of
from bactrian.data.overlap.index import I64, IndexedItem
from bactrian.data.overlap.match import Matches, Texts
from bactrian.data.overlap.workers import Workers
from bactrian.progress import Bar, say
from bactrian.store.disk import write_atomically

BATCH_CHARACTERS = 200_000
"""Of one batch, about: its arrays should stay in the processor's cache."""
SECONDS_BETWEEN_PARTS = 20.0
AT_ONCE = 1_000
"""Rows of evidence."""
STATE = "scan.json"
EVIDENCE = pa.schema(
    [
        ("row", pa.int64()),
        ("id", pa.string()),
        ("source", pa.string()),
        ("benchmark", pa.string()),
        ("item", pa.string()),
        ("score", pa.float64()),
        ("items", pa.int32()),
        ("texts", pa.list_(pa.string())),
        ("fields", pa.list_(pa.string())),
    ]
)
"""`row` counts from 0 over all rows; `items`: how many items of this benchmark the row matches, of which this is the
best or the only evidence for its item; `texts` are the row's, `fields` the item's."""


class Matching(Protocol):
    """Matcher, WholeMatcher or MeaningMatcher."""

    def matches(self, batch: Texts) -> Matches: ...


@dataclass
class Scan:
    """What is known so far. `items[source]` are the numbers of the items that its rows match."""

    rows: int = 0
    parts: int = 0
    characters: int = 0  # of all texts looked at
    sources: dict[str, int] = field(default_factory=dict)
    items: dict[str, list[int]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Batch:
    first: int  # number of its first row
    rows: list[tuple[str, str]]  # (id, source) of each
    texts: Texts


def scan(
    rows: Iterable[tuple[dict[str, Any], str]],
    items: list[IndexedItem],
    matcher: Matching,
    folder: Path,
    side: Side = "prompts",
    threads: int = 1,
    bar: Bar | None = None,
) -> Scan:
    """Match all rows, each given with the words for where it stands; `evidence` reads what is left
    in `folder`.

    Raises:
        BactrianError: naming a row that has no text to look at.
    """
    writer = _Writer(folder, items)
    if writer.state.rows:
        say(f"scan: resuming after {writer.state.rows:,} rows")
    batches, drawn = tee(_batches(rows, writer.state.rows, side))
    with Workers(matcher.matches, threads) as workers:
        for batch, matches in zip(batches, workers.map(batch.texts for batch in drawn), strict=True):
            writer.add(batch, matches)
            if bar is not None:
                bar.advance(len(batch.rows))
    writer.write_part()
    return writer.state


def evidence(folder: Path) -> Iterator[pa.RecordBatch]:
    """The evidence that a scan left, in order of the rows, in batches that do not show when its parts were written."""
    held = EVIDENCE.empty_table()
    for part in range(_read_state(folder).parts):
        for batch in pq.ParquetFile(_part(folder, part)).iter_batches(AT_ONCE):
            held = pa.concat_tables([held, pa.Table.from_batches([batch], EVIDENCE)])
            if len(held) >= AT_ONCE:
                yield _one_batch(held[:AT_ONCE])
                held = held[AT_ONCE:]
    if len(held):
        yield _one_batch(held)


def _one_batch(table: pa.Table) -> pa.RecordBatch:
    return table.combine_chunks().to_batches()[0]


def matched_rows(folder: Path) -> dict[int, str]:
    """The number of each row that matches something, and its source."""
    found: dict[int, str] = {}
    for part in range(_read_state(folder).parts):
        table = pq.read_table(_part(folder, part), columns=["row", "source"])
        found.update(zip(table["row"].to_pylist(), table["source"].to_pylist(), strict=True))
    return found


def _batches(rows: Iterable[tuple[dict[str, Any], str]], skip: int, side: Side) -> Iterator[_Batch]:
    """Rows that were not looked at before, whole, about BATCH_CHARACTERS at a time."""
    names: list[tuple[str, str]] = []
    texts: list[str] = []
    owners: list[int] = []
    size = first = 0
    for number, (row, where) in enumerate(rows):
        if number < skip:
            continue
        own = texts_of(row, where, side)
        if not names:
            first = number
        owners += [len(names)] * len(own)
        names.append((str(row.get("id", number)), str(row.get("source", "unknown"))))
        texts += own
        size += sum(map(len, own))
        if size >= BATCH_CHARACTERS or len(names) >= BATCH_CHARACTERS // 50:
            yield _Batch(first, names, Texts(texts, np.array(owners, np.int64)))
            names, texts, owners, size = [], [], [], 0
    if names:
        yield _Batch(first, names, Texts(texts, np.array(owners, np.int64)))


class _Writer:
    """Turns matches into evidence, and keeps on disk how far the scan is."""

    def __init__(self, folder: Path, items: list[IndexedItem]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.items = folder, items
        self.state = _read_state(folder)
        names = sorted({item.benchmark for item in items})
        self._benchmark = np.array([names.index(item.benchmark) for item in items])
        self._seen = {source: _marked(len(items), found) for source, found in self.state.items.items()}
        self._found: list[dict[str, Any]] = []
        self._written = monotonic()

    def add(self, batch: _Batch, matches: Matches) -> None:
        """Count a batch's rows and note its evidence."""
        self.state.rows += len(batch.rows)
        self.state.characters += sum(map(len, batch.texts.texts))
        for _, source in batch.rows:
            self.state.sources[source] = self.state.sources.get(source, 0) + 1
        best, counts = self._best(matches)
        for place, (row, item) in enumerate(zip(matches.rows.tolist(), matches.items.tolist(), strict=True)):
            source = batch.rows[row][1]
            seen = self._seen.setdefault(source, np.zeros(len(self.items), np.bool_))
            if best[place] or not seen[item]:
                seen[item] = True
                self._found.append(self._record(batch, row, item, float(matches.scores[place]), int(counts[place])))
        if monotonic() - self._written > SECONDS_BETWEEN_PARTS:
            self.write_part()

    def _best(self, matches: Matches) -> tuple[np.ndarray[Any, Any], I64]:
        """For each pair: whether it is its row's best of this benchmark, and how many the row has of it."""
        group = matches.rows * (int(self._benchmark.max()) + 1) + self._benchmark[matches.items]
        order = np.lexsort((matches.items, -matches.scores, group))
        _, first, owner, counts = np.unique(group[order], return_index=True, return_inverse=True, return_counts=True)
        best, number = np.zeros(len(group), np.bool_), np.zeros(len(group), np.int64)
        best[order[first]] = True
        number[order] = counts[owner]
        return best, number

    def _record(self, batch: _Batch, row: int, item: int, score: float, items: int) -> dict[str, Any]:
        identity, source = batch.rows[row]
        first, last = np.searchsorted(batch.texts.row, [row, row + 1])
        texts, test = [_storable(text) for text in batch.texts.texts[first:last]], self.items[item]
        return {
            "row": batch.first + row,
            "id": _storable(identity),
            "source": _storable(source),
            "benchmark": test.benchmark,
            "item": _storable(test.id),
            "score": score,
            "items": items,
            "texts": texts,
            "fields": [_storable(text) for text in test.fields],
        }

    def write_part(self) -> None:
        """Make what was found so far safe."""
        table = pa.Table.from_pylist(self._found, EVIDENCE)
        pq.write_table(table, _part(self.folder, self.state.parts), compression="zstd")
        self.state.parts += 1
        self.state.items = {source: np.flatnonzero(seen).tolist() for source, seen in self._seen.items()}
        write_atomically(self.folder / STATE, json.dumps(asdict(self.state)))
        self._found, self._written = [], monotonic()


def _marked(count: int, numbers: list[int]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    marks = np.zeros(count, np.bool_)
    marks[numbers] = True
    return marks


def _storable(text: str) -> str:
    """The text with lone surrogates, which Parquet cannot hold, as question marks."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _part(folder: Path, number: int) -> Path:
    return folder / f"part-{number:05}.parquet"


def _read_state(folder: Path) -> Scan:
    path = folder / STATE
    return Scan(**json.loads(path.read_text())) if path.exists() else Scan()
