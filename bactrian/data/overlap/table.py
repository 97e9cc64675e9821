"""Overlap per source and benchmark, and what follows from it."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from bactrian.data.overlap.index import IndexedItem
from bactrian.data.overlap.words import split

Action = Literal["report", "rows", "sources"]


@dataclass(frozen=True)
class OverlapCell:
    """What one source holds of one benchmark: `matched` of its `items`, in `rows` rows of the source."""

    source: str
    benchmark: str
    items: int
    matched: int
    rows: int

    @property
    def share(self) -> float:
        """Matched items / all items of the benchmark."""
        return self.matched / self.items


@dataclass(frozen=True)
class OverlapTable:
    """All cells with a match, the rows of each source, the items of each benchmark, and those too short to match."""

    sources: Mapping[str, int]
    benchmarks: Mapping[str, int]
    short: Mapping[str, int]
    cells: Sequence[OverlapCell]

    def above(self, share: float) -> set[str]:
        """The sources that hold more than this share of some benchmark."""
        return {cell.source for cell in self.cells if cell.share > share}

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        cells = [asdict(cell) | {"share": cell.share} for cell in self.cells]
        return {
            "sources": dict(self.sources),
            "benchmarks": dict(self.benchmarks),
            "short": dict(self.short),
            "cells": cells,
        }

    def __str__(self) -> str:
        """Markdown: a line per source and benchmark that overlap, the worst first."""
        lines = [
            "| source | rows | benchmark | items | matched | share | rows that match |",
            "|---|---:|---|---:|---:|---:|---:|",
        ]
        for cell in sorted(self.cells, key=lambda cell: (-cell.share, cell.source, cell.benchmark)):
            name = cell.source.replace("|", "\\|").replace("\n", " ")
            lines.append(
                f"| {name} | {self.sources[cell.source]:,} | {cell.benchmark} | {cell.items:,} | "
                f"{cell.matched:,} | {cell.share:.1%} | {cell.rows:,} |"
            )
        return "\n".join(lines) if self.cells else "No row matches any test item."


def tabulate(
    items: Sequence[IndexedItem],
    short: Iterable[int],
    sources: Mapping[str, int],
    matched: Mapping[str, Iterable[int]],
    rows: Mapping[tuple[str, str], int],
) -> OverlapTable:
    """The table of a scan: `short` and `matched` hold numbers of items, `rows` counts by (source, benchmark)."""
    size = Counter(item.benchmark for item in items)
    found = Counter((source, items[number].benchmark) for source, numbers in matched.items() for number in numbers)
    cells = [
        OverlapCell(source, name, size[name], count, rows[source, name]) for (source, name), count in found.items()
    ]
    return OverlapTable(sources, size, Counter(items[number].benchmark for number in short), cells)


def too_short(items: Sequence[IndexedItem], n: int) -> list[int]:
    """The numbers of the items none of whose fields has n words: no n-gram rule can find them."""
    words = split([field for item in items for field in item.fields])
    lengths = np.bincount(words.text, minlength=len(words.offsets))
    owner = np.repeat(np.arange(len(items)), [len(item.fields) for item in items])
    longest = np.zeros(len(items), np.int64)
    np.maximum.at(longest, owner, lengths)
    return np.flatnonzero(longest < n).tolist()


def doomed(
    table: OverlapTable, matched_rows: Mapping[int, str], action: Action, share: float
) -> tuple[set[int], set[str]]:
    """Numbers of the rows, and names of the sources, that must go.

    Only sources that hold more than `share` of some benchmark are touched; of such a source the rows that match
    anything go, or with "sources" all of it.
    """
    worst = table.above(share)
    if action == "report":
        return set(), set()
    if action == "sources":
        return set(), worst
    return {row for row, source in matched_rows.items() if source in worst}, set()
