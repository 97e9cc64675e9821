"""What is in a file, folder or artifact: sources, layouts, licences and lengths, in one pass and in constant memory."""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import tee
from pathlib import Path
from typing import Any

from bactrian.data.io.adoption import Account, Adoption, adopt, kinds_among
from bactrian.data.io.files import DATA_FILE, data_files, scan_rows
from bactrian.data.io.formats import Fault, TextRows
from bactrian.data.io.layouts import detect
from bactrian.data.io.rows import Row, complete_row, licence_of
from bactrian.store.manifest import Licence

MOST_GROUPS = 5000
"""Sources that are told apart; rows of further ones are counted as OTHERS."""
OTHERS = "(others)"
NO_LAYOUT = "(none known)"
_STEPS = 8
"""Lengths are kept to the eighth of a doubling, so quantiles are within 5 %."""


@dataclass
class Lengths:
    """Characters of text per row, as counts by size."""

    counts: Counter[int] = field(default_factory=Counter)
    longest: int = 0
    total: int = 0

    def add(self, length: int) -> None:
        """Count a row of so many characters."""
        self.counts[math.floor(_STEPS * math.log2(length)) if length else -1] += 1
        self.longest = max(self.longest, length)
        self.total += length

    def quantile(self, share: float) -> int:
        """About the length that this share of the rows does not exceed."""
        left = share * self.counts.total()
        for step, count in sorted(self.counts.items()):
            left -= count
            if left <= 0:
                return min(self.longest, round(2 ** ((step + 0.5) / _STEPS))) if step >= 0 else 0
        return self.longest

    def by_doubling(self) -> list[tuple[int, int]]:
        """(least length, rows) for 0, 1, 2, 4, … characters, from the first to the last that has rows."""
        doubled: Counter[int] = Counter()
        for step, count in self.counts.items():
            doubled[step // _STEPS if step >= 0 else -1] += count
        steps = range(min(doubled), max(doubled) + 1) if doubled else range(0)
        return [(2**step if step >= 0 else 0, doubled[step]) for step in steps]


Group = tuple[str, str, Licence]
"""Source, layout, licence."""


@dataclass
class Survey:
    """What was found. `account` says which rows would be taken as they are, mended or dropped by the stage `source`."""

    files: list[Path]
    groups: Counter[Group] = field(default_factory=Counter)
    characters: Counter[Group] = field(default_factory=Counter)
    lengths: Lengths = field(default_factory=Lengths)
    account: Account = field(default_factory=Account)


def survey(path: Path, layout: str = "auto", text_rows: TextRows = "line") -> Iterator[Survey]:
    """The survey after each row, growing; the last is that of everything.

    Raises:
        BactrianError: if there is no file.
    """
    found = Survey(data_files(path))
    how = Adoption("", layout=layout)
    found.account.kind = next(iter(kinds_among(scan_rows(path, text_rows), how)), None)
    before, scanned = tee(scan_rows(path, text_rows))
    adopted = adopt(before, how, found.account)
    for made, (row, where) in zip(adopted, scanned, strict=True):
        if not isinstance(row, Fault):
            group, size = _group(row, where, made, layout), characters(made if isinstance(made, dict) else row)
            if group not in found.groups and len(found.groups) >= MOST_GROUPS:
                group = (OTHERS, group[1], Licence.of(OTHERS, group[2].licence))
            found.groups[group] += 1
            found.characters[group] += size
            found.lengths.add(size)
        yield found


def usable_rows(path: Path, layout: str = "auto", text_rows: TextRows = "line") -> Iterator[Row | Fault]:
    """An artifact's rows as they are, others' as rows of ours, and what could not be read or used.

    Raises:
        BactrianError: if there is no file.
    """
    if (path / DATA_FILE).is_file():
        return (row if isinstance(row, Fault) else complete_row(row, path.name) for row, _ in scan_rows(path))
    how = Adoption(path.name, layout=layout)
    kind = next(iter(kinds_among(scan_rows(path, text_rows), how)), None)
    return adopt(scan_rows(path, text_rows), how, Account(kind=kind))


def characters(value: Any) -> int:
    """Characters of all texts in a value but names of roles, ids, sources and licences."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(characters(inner) for name, inner in value.items() if name not in _NO_TEXT)
    return sum(map(characters, value)) if isinstance(value, list) else 0


_NO_TEXT = frozenset(("role", "from", "id", "source", "license"))


def _group(row: Row, where: str, made: Row | Fault, layout: str) -> Group:
    licence = licence_of(row)
    file = Path(where.rpartition(", ")[0]).name
    source = licence.source if isinstance(row.get("source"), str) and len(licence.source) <= 200 else file
    if isinstance(made, Fault) and layout != "auto":
        return source, NO_LAYOUT, licence
    known = detect(frozenset(row)) if layout == "auto" else None
    return source, known.name if known else NO_LAYOUT if layout == "auto" else layout, licence
