"""The answers of one step: of an evaluation to its questions, or of reinforcement learning to its problems.

The index has of each answer what lists, filters and intervals need, a few bytes each; texts are asked for by row.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bactrian.chat.folding import bare, question_starts
from bactrian.errors import BactrianError
from bactrian.report.board.trace import StepTrace
from bactrian.report.formatting import finite
from bactrian.report.load import load_results
from bactrian.report.scores import BITS

LABELS = ("model", "task", "mode", "outcome")
WHOLE = ("sample", "tokens", "step", "thinking_tokens", "answer_at")
REAL = ("score", "reward")
TEXTS = ("question", "prompt", "completion", "ground_truth", "extracted", "reason", "finish", "group")
NOTHING = "∅"
"""Where no answer could be read off a text: not the same as an empty one."""
HEAD = 160
WORDS = re.compile(r'"([^"]+)"|(\S+)')


class SampleSet:
    """Answers by row; whatever column a file lacks is empty.

    Args:
        table: of columns as in questions.parquet, or of rollouts.jsonl.
        kind: "answers" or "rollouts".
        in_bits: tasks whose scores are bits per byte: no shares, and less is better.
    """

    def __init__(self, table: pa.Table, kind: str, in_bits: Collection[str] = ()) -> None:
        self.kind, self.count, self.in_bits = kind, table.num_rows, frozenset(in_bits)
        self._columns = {name: _texts(table, name) for name in (*LABELS, *TEXTS)}
        self._numbers = {name: _numbers(table, name) for name in (*WHOLE, *REAL)}
        encoded = self._columns["prompt"].dictionary_encode()
        self.prompt_of: list[int] = encoded.indices.to_pylist()
        self.prompts: list[str] = encoded.dictionary.to_pylist()
        self.starts = self._starts()
        self.questions = [bare(prompt[at:]) for prompt, at in zip(self.prompts, self.starts, strict=True)]

    def _starts(self) -> list[int]:
        """Where the question begins in each prompt, from all that a model was asked of a task."""
        starts = [0] * len(self.prompts)
        groups: dict[tuple[str, str], dict[int, None]] = {}
        models, tasks = (self._columns[name].to_pylist() for name in ("model", "task"))
        for model, task, prompt in zip(models, tasks, self.prompt_of, strict=True):
            groups.setdefault((model, task), {})[prompt] = None
        for asked in groups.values():
            for prompt, at in zip(asked, question_starts([self.prompts[each] for each in asked]), strict=True):
                starts[prompt] = at
        return starts

    @cached_property
    def index(self) -> dict[str, Any]:
        """Columns of numbers by row, and what their numbers stand for.

        {kind, count, labels: {model: […], …}, bits: [task, …], extracted: […], questions: [[task, id, head], …],
        rows: {column: […]}}
        """
        rows: dict[str, list[Any]] = {}
        labels: dict[str, list[str]] = {}
        for name in (*LABELS, "extracted"):
            encoded = self._columns[name].dictionary_encode()
            labels[name], rows[name] = encoded.dictionary.to_pylist(), encoded.indices.to_pylist()
        places: dict[tuple[int, str], int] = {}
        heads: list[list[str]] = []
        rows["question"] = []
        for task, question, prompt in zip(
            rows["task"], self._columns["question"].to_pylist(), self.prompt_of, strict=True
        ):
            place = places.setdefault((task, question), len(places))
            if place == len(heads):
                head = " ".join(self.questions[prompt][:HEAD].split())
                heads.append([labels["task"][task], question, head])
            rows["question"].append(place)
        rows |= {name: _plain(self._numbers[name]) for name in ("sample", "tokens", "step", *REAL)}
        extracted = [text[:80] for text in labels.pop("extracted")]
        return {
            "kind": self.kind,
            "count": self.count,
            "labels": labels,
            "bits": [place for place, task in enumerate(labels["task"]) if task in self.in_bits],
            "extracted": extracted,
            "questions": heads,
            "rows": {name: column for name, column in rows.items() if any(each is not None for each in column)},
        }

    def texts(self, rows: Iterable[int]) -> list[dict[str, Any]]:
        """All of some answers. `start`: where in the prompt the question begins.

        Raises:
            BactrianError: for a row that is not there.
        """
        wanted = list(rows)
        if outside := [row for row in wanted if not 0 <= row < self.count]:
            raise BactrianError(f"row {outside[0]}: found {self.count} rows")
        places = pa.array(wanted, pa.int64())
        named = {name: column.take(places).to_pylist() for name, column in self._columns.items() if name != "prompt"}
        numbers = {name: _plain(column[wanted]) for name, column in self._numbers.items()}
        prompts = [self.prompt_of[row] for row in wanted]
        columns = {
            "row": wanted,
            "prompt": [self.prompts[prompt] for prompt in prompts],
            "start": [self.starts[prompt] for prompt in prompts],
            **named,
            **numbers,
        }
        return [dict(zip(columns, each, strict=True)) for each in zip(*columns.values(), strict=True)]

    def search(self, query: str) -> list[int]:
        """Rows in whose question, answer, gold or reading every word occurs, in any case; "in quotes" is one word."""
        wanted = [(quoted or word) for quoted, word in WORDS.findall(query)]
        hits = np.ones(self.count, dtype=bool)
        asked = pa.array(self.questions, pa.large_string())
        for word in wanted:
            among = _holds(asked, word)[np.asarray(self.prompt_of, dtype=np.int64)]
            for name in ("completion", "ground_truth", "extracted", "question"):
                among = among | _holds(self._columns[name], word)
            hits &= among
        return [int(row) for row in np.flatnonzero(hits)]


def of_questions(path: Path) -> SampleSet:
    """The answers of an evaluation.

    Raises:
        BactrianError: for a file that is no Parquet file.
    """
    known = (*LABELS, *TEXTS, *WHOLE, *REAL)
    results = load_results(path.parent)
    in_bits = {score.task for score in results.scores if score.metric == BITS} if results else ()
    try:
        present = pq.read_schema(path).names
        return SampleSet(pq.read_table(path, columns=[name for name in known if name in present]), "answers", in_bits)
    except (OSError, pa.ArrowException) as error:
        raise BactrianError(f"{path.name}: cannot be read: {error}") from None


def of_rollouts(rows: Sequence[Mapping[str, Any]], name: str) -> SampleSet:
    """The rollouts of a step of this name, as far as they are written."""
    about = {"model": name, "task": "rollouts", "mode": "sampled"}
    columns: dict[str, list[Any]] = {column: [about[column]] * len(rows) for column in about}
    for column in ("outcome", *TEXTS):
        columns[column] = [None if (value := row.get(column)) is None else str(value) for row in rows]
    for column in (*WHOLE, *REAL):
        columns[column] = [finite(row.get(column)) for row in rows]
    return SampleSet(pa.table({name: _array(values, name) for name, values in columns.items()}), "rollouts")


def _array(values: list[Any], name: str) -> pa.Array:
    if name in (*WHOLE, *REAL):
        return pa.array(values, pa.float64())
    clean = [value if value is None else value.encode("utf-8", "replace").decode() for value in values]
    return pa.array(clean, pa.large_string())


class SampleSets:
    """The sets of a store that were asked for last; one that has grown is made anew."""

    KEPT = 4

    def __init__(self) -> None:
        self._sets: dict[str, tuple[object, SampleSet]] = {}

    def answers(self, step: str, path: Path) -> SampleSet:
        about = path.stat()
        return self._known(step, (about.st_mtime_ns, about.st_size), lambda: of_questions(path))

    def rollouts(self, step: str, trace: StepTrace, name: str) -> SampleSet:
        rows = list(trace.rollouts)
        return self._known(step, (trace.version, len(rows)), lambda: of_rollouts(rows, name))

    def _known(self, step: str, version: object, make: Any) -> SampleSet:
        found = self._sets.pop(step, None)
        current: SampleSet = found[1] if found and found[0] == version else make()
        self._sets[step] = (version, current)
        for old in list(self._sets)[: -self.KEPT]:
            del self._sets[old]
        return current


def _texts(table: pa.Table, name: str) -> pa.Array:
    if name not in table.column_names:
        return pa.array([""] * table.num_rows, pa.large_string())
    absent = NOTHING if name == "extracted" else ""
    column = pc.fill_null(table.column(name).cast(pa.large_string()), absent).combine_chunks()
    return column if isinstance(column, pa.Array) else pa.chunked_array([column]).combine_chunks()


def _numbers(table: pa.Table, name: str) -> Any:
    if name not in table.column_names:
        return np.full(table.num_rows, np.nan)
    return table.column(name).cast(pa.float64()).to_numpy()


def _plain(column: Any) -> list[Any]:
    """Numbers as short as JSON has them; what is not finite is null."""
    return [
        None if not np.isfinite(each) else int(each) if each == int(each) else round(each, 4)
        for each in column.tolist()
    ]


def _holds(column: pa.Array, word: str) -> Any:
    return pc.match_substring(column, word, ignore_case=True).to_numpy(zero_copy_only=False)
