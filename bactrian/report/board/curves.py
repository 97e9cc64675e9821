"""Training curves as the board draws them: thinned to what a screen can show, with every spike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bactrian.report.board.growing import GrowingFile, Row
from bactrian.report.charts import thin
from bactrian.report.curves import panel_words
from bactrian.report.formatting import finite

POINTS = 1000
"""Of one curve."""


class Curves:
    """metrics.jsonl by step, read on from where the last look ended."""

    def __init__(self) -> None:
        self._files: dict[str, GrowingFile] = {}

    def of(self, step: str, path: Path, known: str = "") -> dict[str, Any]:
        """{step, version, rows, unreadable, columns: {name: [[x, …], [value, …]]}, words: {name: [title, note]}}.

        Without `columns` where `known` is the version still. The column `tokens` gives the other axis: values are
        looked up in it by step.
        """
        file = self._files.get(step)
        if file is None or file.path != path:
            file = self._files[step] = GrowingFile(path)
        rows = list(file.read())
        version = f"{path.parent.name}-{file.version}-{len(rows)}"
        about = {"step": step, "version": version, "rows": len(rows), "unreadable": file.unreadable}
        if version == known:
            return about
        columns = columns_of(rows)
        return {**about, "columns": columns, "words": panel_words(columns)}


def columns_of(rows: list[Row]) -> dict[str, list[list[float]]]:
    """Name → steps and values, finite ones alone."""
    points: dict[str, list[tuple[float, float]]] = {}
    for place, row in enumerate(rows):
        at = finite(row.get("step"))
        for name, value in row.items():
            if name != "step" and (number := finite(value)) is not None:
                points.setdefault(name, []).append((place + 1.0 if at is None else at, number))
    thinned = {name: thin(column, POINTS) for name, column in points.items()}
    return {
        name: [[at for at, _ in column], [_short(value) for _, value in column]] for name, column in thinned.items()
    }


def _short(value: float) -> float:
    return float(f"{value:.6g}")
