"""Rows of the one page on reliability: a measure of a model, with its interval, whichever study it is from.

A step that has some leaves `reliability.json` beside its results; the report lays all of a run's on one page.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

NAME = "reliability.json"
Better = Literal["higher", "lower", ""]


@dataclass(frozen=True)
class ReliabilityRow:
    """One measure of one model.

    study: such as "coconot", "alfa", "regurgitation". task: what it was asked. measure: in words, as the page shows it.
    value, low, high: the measure and its 95 % interval; shares are from 0 to 1, and `unit` is "" for them.
    n: questions, cases or segments behind it. better: which way is good, "" where neither is.
    group: the part that it is of, "" for the whole; parts are shown below the whole, folded.

    >>> ReliabilityRow("regurgitation", "web", "base", "recites", 0.21, 0.18, 0.24, 500, "lower").unit
    ''
    """

    study: str
    task: str
    model: str
    measure: str
    value: float
    low: float
    high: float
    n: int
    better: Better = ""
    group: str = ""
    unit: str = ""


def write_rows(folder: Path, rows: Iterable[ReliabilityRow]) -> None:
    """`reliability.json` in a step's output; no file where there are no rows."""
    found: Sequence[ReliabilityRow] = list(rows)
    if found:
        text = json.dumps({"rows": [asdict(row) for row in found]}, indent=1, ensure_ascii=False, allow_nan=False)
        (folder / NAME).write_text(text + "\n", encoding="utf-8")
