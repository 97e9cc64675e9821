"""Experiment trackers behind one interface, a module for each; where a run of theirs goes on, it is the same run."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Protocol

from bactrian.report.track.result_tables import Row

TrackerName = Literal["trackio", "wandb", "tensorboard", "mlflow", "prometheus"]
Status = Literal["finished", "failed"]
TEXT_LIMIT = 4000
"""Characters of a text in a tracker's table."""


@dataclass(frozen=True)
class TrackedRun:
    """What a tracker is told of a step before anything else.

    id: of this making of the step's artifact, the same after a kill. project: the recipe. name: the step.
    config: settings, what the step reads, hardware; nested.
    store: the folder of artifacts and runs, in which a tracker without a server keeps its files.
    resumed: whether a tracker may have heard of it before.
    """

    id: str
    project: str
    name: str
    stage: str
    config: Mapping[str, Any]
    store: Path
    resumed: bool


class Tracker(Protocol):
    """One run of one tracker. Whatever it raises ends it, with a warning, and nothing else."""

    def open(self, run: TrackedRun) -> int | None:
        """Begin the run, or go on with it. The last update that it has heard of; None if it cannot tell."""
        ...

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """The numbers of an update, from 1."""
        ...

    def samples(self, step: int, rows: Sequence[Row]) -> None:
        """Answers that were sampled in a step, from 1."""
        ...

    def table(self, name: str, rows: Sequence[Row]) -> None:
        """Something that is known at the end."""
        ...

    def finish(self, status: Status, metrics: Mapping[str, float]) -> None:
        """The last of it, with the artifact's headline numbers; returns when all is sent."""
        ...


@dataclass(frozen=True)
class TrackerBackend:
    """Where a tracker's code is, which package it needs, and what installs that."""

    module: str
    kind: str
    package: str
    extra: str

    def make(self) -> Tracker:
        """A tracker, not opened.

        Raises:
            ImportError: its package is not installed, or cannot be loaded.
        """
        made: Callable[[], Tracker] = getattr(import_module(f"bactrian.report.track.{self.module}"), self.kind)
        return made()


BACKENDS: Mapping[str, TrackerBackend] = {
    "tensorboard": TrackerBackend("to_tensorboard", "TensorBoardTracker", "tensorboard", "tensorboard"),
    "wandb": TrackerBackend("to_wandb", "WandbTracker", "wandb", "wandb"),
    "mlflow": TrackerBackend("to_mlflow", "MlflowTracker", "mlflow", "mlflow"),
    "trackio": TrackerBackend("to_trackio", "TrackioTracker", "trackio", "trackio"),
    "prometheus": TrackerBackend("to_prometheus", "PrometheusTracker", "prometheus_client", "prometheus"),
}


def flat(config: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Nested settings as dotted names and values; lists and None as JSON.

    >>> dict(flat({"a": {"b": 1}, "c": [1, None]}))
    {'a.b': 1, 'c': '[1, null]'}
    """
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{before}{name}.")
        else:
            plain = isinstance(value, str | int | float | bool)
            yield f"{before}{name}", value if plain else json.dumps(value, default=str)


def tabular(rows: Sequence[Row]) -> tuple[list[str], list[list[Any]]]:
    """Columns, and the cells of each row: numbers, texts (cut at TEXT_LIMIT, control characters and lone surrogates
    replaced) or None."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return columns, [[_cell(row.get(name)) for name in columns] for row in rows]


def _cell(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return clean(text if len(text) <= TEXT_LIMIT else text[:TEXT_LIMIT] + " …")


def clean(text: str) -> str:
    """The text without what a database or a terminal would stumble over: NUL and other controls, lone surrogates."""
    text = text.encode("utf-8", "replace").decode()
    return re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", "\ufffd", text)
