"""Records, one for each answer: what scores are made of, and the rows of questions.parquet."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

from bactrian.errors import BactrianError


@dataclass(frozen=True)
class Record:
    """One answer, verified: a row of questions.parquet but for model, task and mode.

    score: the verifier's, in [0, 1]; of ranked options the task's metric, of a text its bits per byte.
    outcome: the verifier's, or "truncated" for an answer that is not right and was cut at the token limit.
    tokens: sampled, the end token included; of them `thinking_tokens` come before the delimiter that ends the thinking
    and `answer_tokens` after it. `completion` from character `answer_at` on is the answer.
    values: numbers by name, of which the task's score and its other numbers are means (or ratios of sums).
    reason: the verifier's.
    """

    question: str
    sample: int
    prompt: str
    completion: str
    ground_truth: str
    extracted: str | None
    score: float
    outcome: str
    tokens: int
    finish: str
    thinking_tokens: int = 0
    answer_tokens: int = 0
    answer_at: int = 0
    group: str = ""
    cluster: str = ""
    values: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""


Place = tuple[str, str, str]
"""What an answer is labelled with: model, task, mode."""
LABELS = ("model", "task", "mode")
WHOLE, REAL = ("sample", "tokens", "thinking_tokens", "answer_tokens", "answer_at"), ("score",)
"""Columns of whole numbers, and of numbers; all others are texts."""


def write_records(path: Path, labelled: Iterable[tuple[Mapping[str, str], Record]]) -> None:
    """questions.parquet: labels (model, task, mode), then the record; `values` as JSON.

    A lone surrogate in a text, which Parquet cannot hold, becomes "?".
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    pairs = list(labelled)
    columns: dict[str, list[Any]] = {label: [storable(labels[label]) for labels, _ in pairs] for label in LABELS}
    for name in (each.name for each in fields(Record)):
        column = [getattr(record, name) for _, record in pairs]
        columns[name] = [json.dumps(dict(each)) if name == "values" else storable(each) for each in column]
    types = dict.fromkeys(WHOLE, pa.int64()) | dict.fromkeys(REAL, pa.float64())
    schema = pa.schema([(name, types.get(name, pa.string())) for name in columns])
    pq.write_table(pa.table(columns, schema=schema), path, compression="zstd")


def read_records(path: Path) -> dict[Place, list[Record]]:
    """(model, task, mode) → its records in order.

    Raises:
        BactrianError: naming a file that is none of this form.
    """
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (OSError, ValueError) as error:
        raise BactrianError(f"{path}: cannot be read as an evaluation's answers: {error}") from None
    needed = [*LABELS, *(each.name for each in fields(Record) if each.default is MISSING and each.name != "values")]
    if lacking := [name for name in needed if name not in table.column_names]:
        raise BactrianError(
            f"{path}: no column {', '.join(lacking)}: written by another version, or no evaluation's "
            f"answers; ask again with `bactrian eval`, which reuses kept answers"
        )
    known = {each.name for each in fields(Record)}
    found: dict[Place, list[Record]] = {}
    for number, row in enumerate(table.to_pylist(), 1):
        given = {name: value for name, value in row.items() if name in known}
        given["values"] = _values(given.get("values"), f"{path}, row {number}")
        found.setdefault((row["model"], row["task"], row["mode"]), []).append(Record(**given))
    return found


def _values(text: Any, where: str) -> dict[str, float]:
    """
    Raises:
        BactrianError: they are no JSON object of numbers.
    """
    try:
        found = json.loads(text or "{}")
    except (TypeError, ValueError):
        found = None
    if not isinstance(found, dict) or not all(isinstance(each, int | float) for each in found.values()):
        raise BactrianError(f"{where}, field 'values': found {text!r:.60}, expected a JSON object of numbers")
    return found


def storable(value: Any) -> Any:
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def by_question(records: Iterable[Record]) -> dict[str, list[Record]]:
    """Question id → its samples."""
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(record.question, []).append(record)
    return found
