"""Which of a task's questions a model was trained on, as far as what it was made from is known.

The overlap is that of `decontaminate`: half of a question's words stand in 8-grams that one training row holds too.
Questions of fewer than eight words are compared as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bactrian.data.io.files import stream_rows
from bactrian.data.overlap.index import Index, IndexedItem
from bactrian.data.overlap.match import Matcher, Texts
from bactrian.data.overlap.whole import WholeMatcher
from bactrian.errors import BactrianError
from bactrian.evaluate.task import Loaded
from bactrian.progress import say
from bactrian.store.manifest import MANIFEST, Kind, Manifest

BATCH = 256
LONGEST = 50_000
"""Characters of a training text that are looked at."""
SHORT = 8
"""Words; below, there is no 8-gram to be shared."""


def held_questions(
    tasks: Sequence[Loaded], model: Path, train: Sequence[Path] = ()
) -> dict[str, dict[str, str]] | None:
    """Task → {question: the training data that hold it}; None where nothing is known of the model's training data.

    Training data are those given, and those that the model's manifest leads to and that are still there.
    """
    sources = [*train, *training_data(model)]
    if not sources:
        return None
    items = [
        IndexedItem(loaded.task.name, question.id, (question.prompt,))
        for loaded in tasks
        for question in loaded.questions
    ]
    held: dict[str, dict[str, str]] = {loaded.task.name: {} for loaded in tasks}
    for path in dict.fromkeys(sources):
        for item in matched(items, path):
            held[item.benchmark].setdefault(item.id, str(path))
    return held


def training_data(model: Path, seen: set[Path] | None = None) -> list[Path]:
    """Data artifacts that an artifact was made from, at any depth; those that are gone are said and left out."""
    seen = set() if seen is None else seen
    if not (model / MANIFEST).is_file() or model in seen:
        return []
    seen.add(model)
    found: list[Path] = []
    for ref, made_from in Manifest.read(model).inputs.items():
        path = Path(made_from.path)
        if not path.exists():
            say(f"{ref}, which {model.name} was made from, is no longer at {path}: not compared with the questions")
            continue
        if not (path / MANIFEST).is_file():
            found += [path] if _holds_rows(path) else []
        elif Manifest.read(path).kind is Kind.MODEL:
            found += training_data(path, seen)
        elif Manifest.read(path).kind is Kind.DATA:
            found.append(path)
    return found


def _holds_rows(path: Path) -> bool:
    from bactrian.data.io.formats import is_data

    return path.is_file() and is_data(path.name)


def matched(items: Sequence[IndexedItem], path: Path) -> list[IndexedItem]:
    """The items that rows of a file or artifact hold."""
    long = [item for item in items if len(item.text.split()) >= SHORT]
    short = [item for item in items if len(item.text.split()) < SHORT]
    matchers: list[tuple[Any, list[IndexedItem]]] = []
    if long:
        matchers.append((Matcher(Index(long)), long))
    if short:
        matchers.append((WholeMatcher(short), short))
    numbers: list[set[int]] = [set() for _ in matchers]
    for batch in _batches(path):
        for place, (matcher, _) in enumerate(matchers):
            numbers[place] |= set(matcher.matches(batch).items.tolist())
    return [mine[number] for (_, mine), found in zip(matchers, numbers, strict=True) for number in sorted(found)]


def _batches(path: Path) -> Iterator[Texts]:
    import numpy as np

    texts: list[str] = []
    rows: list[int] = []
    count = 0
    for row, where in stream_rows(path):
        found = said_by(row, where)
        texts += found
        rows += [count] * len(found)
        count += 1
        if count == BATCH:
            yield Texts(texts, np.array(rows, dtype=np.int64))
            texts, rows, count = [], [], 0
    if texts:
        yield Texts(texts, np.array(rows, dtype=np.int64))


def said_by(row: Mapping[str, Any], where: str) -> list[str]:
    """Everything that a row says: a question may stand in an answer or a document too.

    Raises:
        BactrianError: for a row that says nothing that can be read.
    """
    from bactrian.data.overlap.asked import texts_of

    found = [text[:LONGEST] for text in texts_of(dict(row), where, "all") if text.strip()]
    if not found:
        raise BactrianError(f"{where}: no text in the columns {', '.join(row)}")
    return found
