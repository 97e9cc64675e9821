"""What a finished artifact has to show beyond curves: scores, comparisons and answers of an evaluation, as rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Row = dict[str, Any]

SCORE = ("model", "task", "mode", "score", "low", "high", "questions", "metric", "counts")
COMPARISON = ("task", "mode", "before", "after", "difference", "low", "high", "p", "p_holm", "test")
ANSWER = (
    "model",
    "task",
    "mode",
    "question",
    "sample",
    "outcome",
    "score",
    "prompt",
    "completion",
    "ground_truth",
    "extracted",
    "tokens",
)
ANSWERS = 20
"""Shown of each model, task and mode: the first."""


def tables_of(folder: Path) -> Iterator[tuple[str, list[Row]]]:
    """Name and rows of each table that an artifact's folder has; intervals (95 %) as `low` and `high`."""
    results = _json(folder / "results.json")
    for name, columns in (("scores", SCORE), ("comparisons", COMPARISON)):
        if rows := [_row(each, columns) for each in _list(results.get(name))]:
            yield name, rows
    if (folder / "questions.parquet").is_file() and (rows := _answers(folder / "questions.parquet")):
        yield "answers", rows


def _row(record: Row, columns: tuple[str, ...]) -> Row:
    low, high = record.get("interval") or (None, None)
    given = {**record, "low": low, "high": high}
    return {name: given[name] for name in columns if name in given}


def _answers(path: Path) -> list[Row]:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    try:
        file = parquet.ParquetFile(path)
        columns = [name for name in ANSWER if name in file.schema_arrow.names]
        seen: dict[tuple[Any, ...], int] = {}
        rows = []
        for batch in file.iter_batches(columns=columns):
            for row in batch.to_pylist():
                place = tuple(row.get(label) for label in ("model", "task", "mode"))
                seen[place] = seen.get(place, 0) + 1
                rows += [row] if seen[place] <= ANSWERS else []
    except (OSError, ValueError, pa.ArrowException):  # damaged: the report says so
        return []
    return rows


def _json(path: Path) -> Row:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):  # none, or damaged: the report says so
        return {}
    return found if isinstance(found, dict) else {}


def _list(value: Any) -> list[Row]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
