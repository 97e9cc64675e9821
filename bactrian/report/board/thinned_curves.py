"""Training curves as the board draws them: thinned to what a screen can show, with every spike."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bactrian.report.board.trace import StepTrace
from bactrian.report.charts import thin
from bactrian.report.curves import panel_words
from bactrian.report.formatting import finite
from bactrian.report.track.follow import Scalars

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
