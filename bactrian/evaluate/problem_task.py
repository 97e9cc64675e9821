"""A problem set as tasks: its rows are the questions, asked greedily and, where samples are wanted, by drawing too."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bactrian.data.io.files import read_rows
from bactrian.data.io.problem_rows import refuse_trained
from bactrian.errors import BactrianError
from bactrian.evaluate.gold_answers import gold_of_problem
from bactrian.evaluate.task import Loaded, Question, Row, Task, TaskSource
from bactrian.store.own_files import is_own
from bactrian.verify import check_verifiers

SHAPING = ("id", "messages", "dataset", "ground_truth", "settings")
"""Columns that models and verifiers read."""


@dataclass(frozen=True)
class Asking:
    """How problem sets are asked: greedily, and with `samples` also by drawing so many answers to each problem.

    k: pass@k of the samples for each. failures: share of answers on which a verifier may itself fail.
    """

    samples: int = 0
    temperature: float = 1.0
    top_p: float = 1.0
    k: tuple[int, ...] = ()
    max_new_tokens: int = 256
    stop: tuple[str, ...] = ()
    failures: float = 0.02


def load_sets(
    sets: Mapping[str, Path],
    limits: Mapping[str, int | None],
    asking: Asking,
    train: Mapping[str, Path],
    verifier: str | None = None,
) -> list[Loaded]:
    """The tasks of problem sets, by name, held against training sets. `verifier`: of all, in place of the rows' own.

    Raises:
        BactrianError: for rows that are no problems, and naming the questions that a training
            set holds too.
    """
    found = [
        each for name, path in sets.items() for each in load_problems(name, path, limits.get(name), asking, verifier)
    ]
    for name, path in train.items() if found else ():
        trained = read_rows(path)
        for loaded in found:
            refuse_trained(f"task {loaded.task.name}", [dict(row) for row in loaded.asked], trained, name)
    return [replace(loaded, overlap=0) for loaded in found] if train else found


def load_problems(
    name: str, path: Path, limit: int | None, asking: Asking, verifier: str | None = None
) -> list[Loaded]:
    """The tasks of a file of problem rows, of the first `limit`; what they were read from is kept
    in `asked`.

    Raises:
        BactrianError: naming the row where it is no problem, its verifier cannot judge it, or
            two have one id.
    """
    rows = read_rows(path, "problem", verifier)[:limit]
    check_verifiers(rows, str(path))
    ids = [row["id"] for row in rows]
    if len(set(ids)) < len(ids):
        twice = next(each for each in ids if ids.count(each) > 1)
        raise BactrianError(f"evaluate: task {name}: two rows have the id {twice}")
    if not rows:
        raise BactrianError(f"{path}: found no problems")
    return problem_tasks(name, rows, str(path), asking)


def problem_tasks(name: str, rows: Sequence[Mapping[str, Any]], origin: str, asking: Asking) -> list[Loaded]:
    """One task for each way of asking."""
    named = sorted({row["dataset"] for row in rows})
    greedy = Task(
        name,
        suites=(),
        skill="",
        source=TaskSource((origin,)),
        build=lambda row: [problem_question(row)],
        metric="share",
        verifier=named[0] if len(named) == 1 else "",
        max_new_tokens=asking.max_new_tokens,
        stop=asking.stop,
        keep_stop=True,
        failures=asking.failures,
        traced=False,
        gold=gold_of_problem,
    )
    questions = tuple(problem_question(row) for row in rows)
    loaded = Loaded(greedy, questions, {}, origin, len(rows), rows_digest(rows), asked=tuple(rows))
    if not asking.samples:
        return [loaded]
    drawn = {"samples": asking.samples, "temperature": asking.temperature, "top_p": asking.top_p, "at": asking.k}
    return [loaded, replace(loaded, task=replace(greedy, **drawn))]  # type: ignore[arg-type]


def problem_question(row: Row) -> Question:
    """A problem row as a question."""
    return Question(
        prompt=row["messages"][-1]["content"],
        truth=row["ground_truth"],
        settings=row.get("settings") or {},
        id=row["id"],
        solution=row.get("solution") or "",
        messages=tuple(row["messages"]),
        verifier=row["dataset"],
        row=row if is_own(row["dataset"]) or row.get("tools") else {},
    )


def rows_digest(rows: Sequence[Mapping[str, Any]]) -> str:
    """SHA-256 of all that models and verifiers read of problem rows."""
    shaping = [[*(row.get(column) for column in SHAPING), *filter(None, [row.get("tools")])] for row in rows]
    return hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()
