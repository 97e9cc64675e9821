"""Text rows as a task: how likely a model holds them, in bits per byte."""

from __future__ import annotations

from pathlib import Path

from bactrian.data.io.files import read_rows
from bactrian.evaluate.task import Loaded, Question, Task, TaskSource
from bactrian.store.hashes import hash_json


def load_texts(name: str, path: Path, limit: int | None) -> Loaded:
    """The task of a file of text rows, of the first `limit`.

    Raises:
        BactrianError: a row is no text.
    """
    rows = read_rows(path, "text")[:limit]
    task = Task(
        name,
        suites=(),
        skill="",
        source=TaskSource((str(path),)),
        build=lambda row: [Question(row["text"], id=row["id"])],
        form="bits",
        metric="bits",
        format="plain",
        traced=False,
    )
    questions = tuple(Question(row["text"], id=row["id"]) for row in rows)
    content = hash_json([[each.id, each.prompt] for each in questions])
    return Loaded(task, questions, {}, str(path), len(rows), content)
