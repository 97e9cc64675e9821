"""What became of each row: kept, truncated or dropped, with reasons and examples. Nothing is left out silently."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

EXAMPLES = 3
_WIDTH = 160


@dataclass
class Cases:
    """How many rows there were for one reason, and the first few of them."""

    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, example: str) -> None:
        self.count += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(example if len(example) <= _WIDTH else example[: _WIDTH - 1] + "…")


@dataclass
class Tally:
    """Counts of rows; each row is counted once, under one of the three.

    tally.drop("no trained token within 512 tokens", "rows.jsonl, line 7"); print(tally) →
    1,000 rows: 997 kept whole, 2 truncated, 1 dropped
      truncated: longer than 512 tokens: 2 (rows.jsonl, line 3; rows.jsonl, line 9)
      dropped: no trained token within 512 tokens: 1 (rows.jsonl, line 7)
    """

    kept: int = 0
    truncated: dict[str, Cases] = field(default_factory=dict)
    dropped: dict[str, Cases] = field(default_factory=dict)

    def keep(self, rows: int = 1) -> None:
        """Count rows that are used whole."""
        self.kept += rows

    def truncate(self, reason: str, example: str) -> None:
        """Count a row that is used in part; `example` shows which or what."""
        self.truncated.setdefault(reason, Cases()).add(example)

    def drop(self, reason: str, example: str) -> None:
        """Count a row that is not used; `example` shows which or what."""
        self.dropped.setdefault(reason, Cases()).add(example)

    @property
    def total(self) -> int:
        """Rows counted."""
        return self.kept + _count(self.truncated) + _count(self.dropped)

    def counts(self) -> dict[str, float]:
        """Headline numbers for a manifest: rows_kept, rows_truncated, rows_dropped."""
        numbers = {"kept": self.kept, "truncated": _count(self.truncated), "dropped": _count(self.dropped)}
        return {f"rows_{name}": float(number) for name, number in numbers.items()}

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""

        def plain(cases: Mapping[str, Cases]) -> dict[str, Any]:
            return {reason: {"count": case.count, "examples": case.examples} for reason, case in cases.items()}

        return {"kept": self.kept, "truncated": plain(self.truncated), "dropped": plain(self.dropped)}

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        parts = f"{_count(self.truncated):,} truncated, {_count(self.dropped):,} dropped"
        yield f"{self.total:,} rows: {self.kept:,} kept whole, {parts}"
        for name, cases in (("truncated", self.truncated), ("dropped", self.dropped)):
            for reason, case in cases.items():
                more = "; …" if case.count > len(case.examples) else ""
                yield f"  {name}: {reason}: {case.count:,} ({'; '.join(case.examples)}{more})"


def _count(cases: Mapping[str, Cases]) -> int:
    return sum(case.count for case in cases.values())
