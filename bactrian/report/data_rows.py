"""What each data step kept, repaired and dropped, and why; and how much of a mixture is from each source."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bactrian.data.io.tally import ACCOUNT, MIXTURE
from bactrian.report.formatting import number, shorten
from bactrian.report.funnel import Funnel, funnel
from bactrian.report.likeness_views import DiversityView, diversity_view
from bactrian.report.run_record import ReportedRun, ReportedStep

_LONGEST = 300
_MOST_LINES = 60


@dataclass(frozen=True)
class Reason:
    """One reason for which rows were dropped, cut or mended, with the first of them."""

    fate: str
    reason: str
    count: str
    examples: list[str]


@dataclass(frozen=True)
class SideTable:
    """A table that a stage left besides: duplicates between sources, domains, the sources of a mixture."""

    title: str
    heads: list[str]
    lines: list[list[str]]
    more: int  # lines that are not shown


@dataclass(frozen=True)
class DataView:
    """One data step."""

    step: str
    stage: str
    summary: str
    reasons: list[Reason]
    tables: list[SideTable]
    funnel: Funnel | None = None
    diversity: DiversityView | None = None


def data_views(run: ReportedRun) -> list[DataView]:
    """Every step that left an account of its rows, in order."""
    found = ((step, read_json(step, ACCOUNT)) for step in run.steps)
    return [_view(step, account) for step, account in found if account]


def _view(step: ReportedStep, account: Mapping[str, Any]) -> DataView:
    reasons = [each for fate in ("repaired", "truncated", "dropped") for each in _reasons(fate, account.get(fate))]
    kept = account.get("kept")
    counts = {"kept": kept if isinstance(kept, int) else None}
    counts |= {fate: _total(account.get(fate)) for fate in ("repaired", "truncated", "dropped")}
    summary = ", ".join(f"{count or 0:,} {fate}" for fate, count in counts.items() if count or fate == "kept")
    return DataView(
        step.name,
        step.record.stage,
        summary,
        reasons,
        list(_tables(step, account)),
        funnel(account),
        diversity_view(account.get("diversity")),
    )


def _reasons(fate: str, cases: Any) -> Iterator[Reason]:
    """The reasons of one fate, the most frequent first."""
    if not isinstance(cases, Mapping):
        return
    for reason, case in sorted(cases.items(), key=lambda item: -_count(item[1])):
        examples = case.get("examples") if isinstance(case, Mapping) else None
        shown = [shorten(str(each), _LONGEST) for each in examples] if isinstance(examples, list) else []
        yield Reason(fate, str(reason), f"{_count(case):,}", shown)


def _tables(step: ReportedStep, account: Mapping[str, Any]) -> Iterator[SideTable]:
    mixture = read_json(step, MIXTURE)
    if mixture and (table := _table("The mixture", _without(mixture.get("sources"), "content_hash"))):
        yield table
    capabilities = mixture.get("capabilities")
    if isinstance(capabilities, Mapping) and capabilities:
        rows = [{"capability": name, **counts} for name, counts in capabilities.items() if isinstance(counts, Mapping)]
        yield from filter(None, [_table("By capability", rows)])
    for name, title in (
        ("rules", "What each rule took"),
        ("duplicates", "Duplicates between sources"),
        ("domains", "Domains"),
    ):
        yield from filter(None, [_table(title, account.get(name))])


def _table(title: str, rows: Any) -> SideTable | None:
    """A list of records as a table; None for anything else."""
    if not isinstance(rows, list) or not rows or not all(isinstance(row, Mapping) for row in rows):
        return None
    heads = [str(name) for name in rows[0]]
    lines = [[_cell(row.get(name)) for name in heads] for row in rows[:_MOST_LINES]]
    return SideTable(title, [head.replace("_", " ") for head in heads], lines, max(0, len(rows) - _MOST_LINES))


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return number(value)
    return f"{value:,}" if isinstance(value, int) else shorten(str(value), _LONGEST)


def _without(rows: Any, column: str) -> Any:
    if not isinstance(rows, list):
        return None
    return [{k: v for k, v in row.items() if k != column} if isinstance(row, Mapping) else row for row in rows]


def _total(cases: Any) -> int:
    return sum(map(_count, cases.values())) if isinstance(cases, Mapping) else 0


def _count(case: Any) -> int:
    count = case.get("count") if isinstance(case, Mapping) else 0
    return count if isinstance(count, int) else 0


def read_json(step: ReportedStep, name: str) -> dict[str, Any]:
    """A JSON object of the step's artifact; empty if it is not there or is none: the page is made all the same."""
    return _read(Path(step.folder) / name) if step.folder else {}


def read_account(folder: Path) -> dict[str, Any]:
    """What a stage left of its rows (rows.json), in the same way."""
    return _read(folder / ACCOUNT)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
