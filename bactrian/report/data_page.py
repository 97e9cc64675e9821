"""A page that shows data: rows, what was dropped and why, duplicates, and test items found in the rows."""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from bactrian.chat.tool_calls import calls_within
from bactrian.data.io.formats import Fault, TextRows
from bactrian.data.io.rows import licence_of
from bactrian.data.io.survey import usable_rows
from bactrian.data.io.texts import call_text
from bactrian.data.overlap.highlight import Piece, shared, shortened
from bactrian.errors import BactrianError
from bactrian.report.data_rows import read_account
from bactrian.report.formatting import count, date, finite, percent, shorten
from bactrian.report.funnel import funnel
from bactrian.report.html import render
from bactrian.report.likeness_views import against_view, diversity_view
from bactrian.report.synthesis_rows import made_rows
from bactrian.store.manifest import MANIFEST, Manifest

ROWS = 200
DROPS = 300
PAIRS = 200
MATCHES = 12  # of each source and benchmark
LONGEST = 4000  # characters of one text
ROLES = ("system", "user", "assistant", "tool")


@dataclass(frozen=True)
class Turn:
    """One text of a row: whose it is, or which column's; `side` is its role in a chat, "column" outside of one."""

    who: str
    text: str
    side: str = "column"


@dataclass(frozen=True)
class RowView:
    """A row as it is shown; `meta` are its short columns."""

    turns: list[Turn]
    meta: list[tuple[str, str]]


@dataclass(frozen=True)
class MatchView:
    """A row and a test item, both in pieces, shared or not."""

    row: str
    item: str
    score: str
    more: str
    texts: list[list[Piece]]
    fields: list[list[Piece]]


@dataclass(frozen=True)
class BenchmarkMatches:
    """What a source holds of a benchmark, with some of its matches; `over`: more than the limit."""

    source: str
    benchmark: str
    matched: str
    share: str
    over: bool
    rows: str
    matches: list[MatchView]


@dataclass
class Sample:
    """Rows drawn at random, what could not be read, and counts, from one pass over the data."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    faults: list[tuple[str, str, str]] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    sources: Counter[tuple[str, str]] = field(default_factory=Counter)
    total: int = 0


def write_data_page(
    path: Path,
    target: Path,
    layout: str = "auto",
    text_rows: TextRows = "line",
    likeness: Mapping[str, Any] | None = None,
) -> Path:
    """Write the page on a file, folder, pattern or artifact; of the latter also what its stage left beside the rows.

    Args:
        likeness: diversity, or a comparison with other data, to show too: {of, names, diversity, against}.

    Raises:
        BactrianError: if there is not one row to read, or the page cannot be written.
    """
    content = _content(path, layout, text_rows) | _likeness(path, likeness or {})
    page = render("data_page.html.j2", ("style.css", "data_page.css"), ("data_page.js",), content)
    try:
        target.write_text(page, encoding="utf-8")
    except OSError as error:
        raise BactrianError(f"{target}: cannot be written ({error.strerror})") from None
    return target


def _content(path: Path, layout: str, text_rows: TextRows) -> dict[str, Any]:
    sample = _sample(path, layout, text_rows)
    drops, reasons = _drops(path, sample)
    manifest = Manifest.read(path) if (path / MANIFEST).is_file() else None
    card = path / "README.md"
    pairs, total_pairs = _duplicates(path)
    overlap, cells = _overlap(path)
    made = made_rows(path)
    return {
        "name": path.name if manifest is None else manifest.step,
        "place": str(path),
        "when": f"{date(manifest.started)}, stage {manifest.stage}" if manifest else "",
        "decontamination": list(map(str, manifest.decontamination)) if manifest else [],
        "card": shorten(card.read_text(errors="replace"), 20_000) if path.is_dir() and card.is_file() else "",
        "total": count(sample.total),
        "sources": [
            (*key, count(rows), percent(rows / max(1, sample.total))) for key, rows in sample.sources.most_common(200)
        ],
        "made": made,
        "rows": [] if made else [_row_view(row) for row in sample.rows],
        "drops": drops,
        "reasons": [(reason, count(number)) for reason, number in reasons.most_common()],
        "dropped": count(reasons.total()),
        "pairs": pairs,
        "total_pairs": count(total_pairs),
        "overlap": overlap,
        "cells": cells,
    }


def _likeness(path: Path, told: Mapping[str, Any]) -> dict[str, Any]:
    """Funnel and diversity that the stage left, or that were worked out just now; the comparison, if there is one."""
    account = read_account(path)
    of = str(told.get("of", "prompts"))
    return {
        "funnel": funnel(account),
        "diversity": diversity_view(told.get("diversity"), of) or diversity_view(account.get("diversity")),
        "against": against_view(told["against"], told["names"], of) if "against" in told else None,
    }


def _sample(path: Path, layout: str, text_rows: TextRows) -> Sample:
    """ROWS rows, each with the same chance, the same at each call; all rows are read."""
    sample, draw = Sample(), random.Random(0)
    for row in usable_rows(path, layout, text_rows):
        if isinstance(row, Fault):
            sample.reasons[row.reason] += 1
            if len(sample.faults) < DROPS:
                sample.faults.append((row.where, row.reason, row.detail))
            continue
        licence = licence_of(row)
        sample.sources[licence.source, " ".join([licence.licence, *licence.marks])] += 1
        sample.total += 1
        if len(sample.rows) < ROWS:
            sample.rows.append(row)
        elif (place := draw.randrange(sample.total)) < ROWS:
            sample.rows[place] = row
    if not sample.total and not sample.reasons:
        raise BactrianError(f"{path}: empty, no rows")
    return sample


def _drops(path: Path, sample: Sample) -> tuple[list[tuple[str, str, str]], Counter[str]]:
    """(where, reason, detail) of rows that were dropped when the data were made, or cannot be used now."""
    found, reasons = list(sample.faults), Counter(sample.reasons)
    for line in _lines(path / "drops.jsonl"):
        reasons[str(line.get("reason", ""))] += 1
        if len(found) < DROPS:
            found.append((str(line.get("where", "")), str(line.get("reason", "")), str(line.get("detail", ""))))
    for name, cases in _tally(path).items():
        if name not in reasons and isinstance(cases, Mapping):
            reasons[name] += int(finite(cases.get("count")) or 0)
            examples = cases.get("examples")
            shown = examples if isinstance(examples, list) else []
            found += [(shorten(str(example), LONGEST), name, "") for example in shown]
    return found, reasons


def _tally(path: Path) -> Mapping[str, Any]:
    """The dropped rows of the account that a stage left, if it left one."""
    dropped = read_account(path).get("dropped")
    return dropped if isinstance(dropped, dict) else {}


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    if path.is_file():
        with path.open(encoding="utf-8") as file:
            yield from map(json.loads, file)


def _row_view(row: Mapping[str, Any]) -> RowView:
    shown = ("messages", "prompt", "chosen", "rejected")
    spoken = [(name, turn) for name in shown if isinstance(row.get(name), list) for turn in row[name]]
    turns = [
        Turn(
            turn["role"] if name == "messages" else f"{name} · {turn['role']}",
            shorten(_said(turn), LONGEST),
            turn["role"] if turn["role"] in ROLES else "column",
        )
        for name, turn in spoken
    ]
    rest = [
        (key, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str))
        for key, value in row.items()
        if key not in shown or not isinstance(value, list)
    ]
    turns += [Turn(key, shorten(value, LONGEST)) for key, value in rest if len(value) > 120 or key == "text"]
    return RowView(turns, [(key, value) for key, value in rest if len(value) <= 120 and key != "text"])


def _said(turn: Mapping[str, Any]) -> str:
    """What a turn says: its thinking, its content, then each call of a tool on a line of its own."""
    said = [str(part) for part in (turn.get("reasoning_content"), turn.get("content")) if part]
    return "\n".join(["\n\n".join(said), *(f"→ {call_text(call)}" for call in calls_within([turn]))]).strip()


def _duplicates(path: Path) -> tuple[list[dict[str, str]], int]:
    """The first pairs of duplicates.parquet, and how many there are."""
    file = path / "duplicates.parquet"
    if not file.is_file():
        return [], 0
    opened = pq.ParquetFile(file)
    rows = next(opened.iter_batches(PAIRS)).to_pylist() if opened.metadata.num_rows else []
    shown = [
        {
            key: f"{value:.2f}" if isinstance(value, float) else shorten(str(value or ""), LONGEST)
            for key, value in row.items()
        }
        for row in rows
    ]
    return shown, opened.metadata.num_rows


def _overlap(path: Path) -> tuple[dict[str, Any], list[BenchmarkMatches]]:
    """overlap.json with its cells, the largest share first, and some matches of each."""
    if not (path / "overlap.json").is_file():
        return {}, []
    about = json.loads((path / "overlap.json").read_text())
    drawn = _some_matches(path / "matches.parquet")
    cells = []
    for cell in sorted(about["cells"], key=lambda cell: -cell["share"]):
        views = [_match_view(match, about["n"]) for match in drawn[cell["source"], cell["benchmark"]]]
        matched = f"{count(cell['matched'])} of {count(cell['items'])}"
        share, over = percent(cell["share"]), cell["share"] > about["share"]
        cells.append(
            BenchmarkMatches(cell["source"], cell["benchmark"], matched, share, over, count(cell["rows"]), views)
        )
    return about, cells


def _some_matches(path: Path) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """MATCHES of each source and benchmark, drawn at random and the same at each time, the highest scores first."""
    drawn: defaultdict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    seen: Counter[tuple[str, str]] = Counter()
    draw = random.Random(0)
    for batch in pq.ParquetFile(path).iter_batches(1_000):
        for match in batch.to_pylist():
            key = match["source"], match["benchmark"]
            seen[key] += 1
            if len(drawn[key]) < MATCHES:
                drawn[key].append(match)
            elif (place := draw.randrange(seen[key])) < MATCHES:
                drawn[key][place] = match
    return {key: sorted(matches, key=lambda match: -match["score"]) for key, matches in drawn.items()}


def _match_view(match: Mapping[str, Any], n: int) -> MatchView:
    texts, fields = shared(match["texts"], match["fields"], n)
    more = f"and {count(match['items'] - 1)} more items of it" if match["items"] > 1 else ""
    return MatchView(
        match["id"],
        match["item"],
        percent(match["score"], 0),
        more,
        [shortened(text) for text in texts],
        [shortened(text) for text in fields],
    )
