"""What the board's page can ask, each a query with a few words and an answer that is JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from bactrian.errors import BactrianError
from bactrian.report.board.live import QUESTIONS, LiveStore
from bactrian.report.board.samples import SampleSet, SampleSets
from bactrian.report.board.trace import StepTrace, Traces
from bactrian.report.charts import thin
from bactrian.report.curves import panel_words
from bactrian.report.formatting import finite
from bactrian.report.track.follow import Scalars
from bactrian.store.hashes import METRICS, ROLLOUTS

MOST_ROWS = 500
"""Whose texts are given at once."""


class BoardQueries:
    """The queries by name; `asked` are words of the address, which are trusted in nothing."""

    def __init__(self, store: LiveStore) -> None:
        self.store, self.sets, self.traces = store, SampleSets(), Traces(store.artifacts)
        self.by_name: dict[str, Callable[[Mapping[str, str]], Any]] = {
            "runs.json": self.runs,
            "curves.json": self.curves,
            "samples.json": self.samples,
            "texts.json": self.texts,
            "search.json": self.search,
        }

    def runs(self, asked: Mapping[str, str]) -> dict[str, Any]:
        """Every run and how far its steps are."""
        return self.store.as_json()

    def curves(self, asked: Mapping[str, str]) -> dict[str, Any]:
        """A step's curves, or that nothing has come since `version`."""
        step = asked.get("step", "")
        if self.store.file(step, METRICS) is None:
            return {"step": step, "version": "", "columns": {}}
        return curves_of(step, self.traces.of(step), asked.get("version", ""))

    def samples(self, asked: Mapping[str, str]) -> dict[str, Any]:
        """The index of a step's answers."""
        return self.set_of(asked).index

    def texts(self, asked: Mapping[str, str]) -> list[dict[str, Any]]:
        """Some answers, whole: `rows=3,17`.

        Raises:
            BactrianError: for rows that are no numbers, or too many, or not there.
        """
        words = [word for word in asked.get("rows", "").split(",") if word]
        if len(words) > MOST_ROWS or not all(word.isascii() and word.isdigit() and len(word) < 12 for word in words):
            raise BactrianError(f"rows: expected at most {MOST_ROWS} numbers with commas between them")
        return self.set_of(asked).texts(int(word) for word in words)

    def search(self, asked: Mapping[str, str]) -> list[int]:
        """The rows in which all words of `words` occur."""
        return self.set_of(asked).search(asked.get("words", "")[:1000])

    def set_of(self, asked: Mapping[str, str]) -> SampleSet:
        """The answers of `step`.

        Raises:
            BactrianError: for a step that has none.
        """
        step = asked.get("step", "")
        if path := self.store.file(step, QUESTIONS):
            return self.sets.answers(step, path)
        if self.store.file(step, ROLLOUTS):
            return self.sets.rollouts(step, self.traces.of(step), self._name(step))
        raise BactrianError("no answers of such a step in this store")

    def _name(self, step: str) -> str:
        found = (each.name for run in self.store.runs() for each in run.steps if each.id == step)
        return next(found, step)


POINTS = 1000
"""Of one curve."""


def curves_of(step: str, trace: StepTrace, known: str = "") -> dict[str, Any]:
    """{step, version, columns: {name: [[x, …], [value, …]]}, words: {name: [title, note, group]}}.

    Without `columns` where `known` is the version still. The column `tokens` gives the other axis: the page looks up
    in it how many there were at a step.
    """
    about = {"step": step, "version": trace.version}
    if trace.version == known:
        return about
    columns = columns_of(trace.updates)
    return {**about, "columns": columns, "words": panel_words(columns)}


def columns_of(updates: Iterable[Scalars]) -> dict[str, list[list[float]]]:
    """Name → steps and values, finite ones alone."""
    points: dict[str, list[tuple[float, float]]] = {}
    for update in updates:
        for name, value in update.values.items():
            if (number := finite(value)) is not None:
                points.setdefault(name, []).append((float(update.step), number))
    thinned = {name: thin(column, POINTS) for name, column in points.items()}
    return {
        name: [[at for at, _ in column], [_short(value) for _, value in column]] for name, column in thinned.items()
    }


def _short(value: float) -> float:
    return float(f"{value:.6g}")
