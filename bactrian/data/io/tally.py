"""What became of each row: kept, truncated or dropped, with reasons and examples. Nothing is left out silently."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ACCOUNT = "rows.json"
"""The file of a data artifact that says what became of its rows; the report shows it."""
MIXTURE = "mixture.json"
"""The file of a mixture that says what each source gave it."""
EXAMPLES = 3
_WIDTH = 160


@dataclass
class CountedCases:
    """How many rows there were for one reason, and the first few of them."""

    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, example: str) -> None:
        self.count += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(example if len(example) <= _WIDTH else example[: _WIDTH - 1] + "…")


@dataclass
class Tally:
    """Counts of rows; each row is counted once: kept whole, repaired and kept, truncated or dropped.

    tally.drop("no trained token within 512 tokens", "rows.jsonl, line 7"); print(tally) →
    1,000 rows: 997 kept whole, 2 truncated, 1 dropped
      truncated: longer than 512 tokens: 2 (rows.jsonl, line 3; rows.jsonl, line 9)
      dropped: no trained token within 512 tokens: 1 (rows.jsonl, line 7)
    """

    kept: int = 0
    truncated: dict[str, CountedCases] = field(default_factory=dict)
    dropped: dict[str, CountedCases] = field(default_factory=dict)
    repaired: dict[str, CountedCases] = field(default_factory=dict)

    def keep(self, rows: int = 1) -> None:
        """Count rows that are used whole."""
        self.kept += rows

    def truncate(self, reason: str, example: str) -> None:
        """Count a row that is used in part; `example` shows which or what."""
        self.truncated.setdefault(reason, CountedCases()).add(example)

    def drop(self, reason: str, example: str) -> None:
        """Count a row that is not used; `example` shows which or what."""
        self.dropped.setdefault(reason, CountedCases()).add(example)

    def repair(self, reason: str, example: str) -> None:
        """Count a row that is used after something in it was mended; `example` shows which or what."""
        self.repaired.setdefault(reason, CountedCases()).add(example)

    @property
    def total(self) -> int:
        """Rows counted."""
        return self.kept + _count(self.repaired) + _count(self.truncated) + _count(self.dropped)

    def counts(self) -> dict[str, float]:
        """Headline numbers for a manifest: rows_kept, rows_truncated, rows_dropped, and rows_repaired if there are."""
        numbers = {"kept": self.kept, "truncated": _count(self.truncated), "dropped": _count(self.dropped)}
        numbers |= {"repaired": _count(self.repaired)} if self.repaired else {}
        return {f"rows_{name}": float(number) for name, number in numbers.items()}

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""

        def plain(cases: Mapping[str, CountedCases]) -> dict[str, Any]:
            return {reason: {"count": case.count, "examples": case.examples} for reason, case in cases.items()}

        mended = {"repaired": plain(self.repaired)} if self.repaired else {}
        return {"kept": self.kept, **mended, "truncated": plain(self.truncated), "dropped": plain(self.dropped)}

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        mended = f"{_count(self.repaired):,} repaired, " if self.repaired else ""
        parts = f"{mended}{_count(self.truncated):,} truncated, {_count(self.dropped):,} dropped"
        yield f"{self.total:,} rows: {self.kept:,} kept whole, {parts}"
        for name, cases in (("repaired", self.repaired), ("truncated", self.truncated), ("dropped", self.dropped)):
            for reason, case in cases.items():
                more = "; …" if case.count > len(case.examples) else ""
                yield f"  {name}: {reason}: {case.count:,} ({'; '.join(case.examples)}{more})"


def _count(cases: Mapping[str, CountedCases]) -> int:
    return sum(case.count for case in cases.values())


def write_account(folder: Path, tally: Tally, **more: Any) -> None:
    """Write ACCOUNT: what the tally counted, and what else a stage has to say of its rows (JSON values)."""
    account = tally.as_dict() | more
    (folder / ACCOUNT).write_text(json.dumps(account, indent=1, ensure_ascii=False, default=str) + "\n")
