"""TensorBoard: event files below `<store>/tensorboard/<recipe>/<step>-<id>`, written by its own writer, without torch.

A run that goes on begins with a session mark that makes TensorBoard forget what it had from that update on.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from bactrian.report.track.result_tables import Row
from bactrian.report.track.trackers import Status, TrackedRun, clean, flat, tabular


class TensorBoardTracker:
    """Scalars by update; samples, tables and settings as texts."""

    writer: Any
    last: int = 0

    def open(self, run: TrackedRun) -> None:
        folder = run.store / "tensorboard" / run.project / f"{run.name}-{run.id}"
        self.resumed = run.resumed and folder.is_dir()
        self.writer = EventFileWriter(str(folder), flush_secs=10)
        self.marked = not self.resumed
        if not self.resumed:
            self._text("settings", markdown(("setting", "value"), [list(pair) for pair in flat(run.config)]), 0)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        if not self.marked:
            self.marked = True
            self._add(step, session_log=SessionLog(status=SessionLog.START))
        self.last = step
        self._add(step, summary=Summary(value=[Summary.Value(tag=k, simple_value=v) for k, v in values.items()]))

    def samples(self, step: int, rows: Sequence[Row]) -> None:
        self._text("rollouts", "\n\n".join(map(answer, rows)), step)

    def table(self, name: str, rows: Sequence[Row]) -> None:
        if name == "answers":
            self._text(name, "\n\n".join(map(answer, rows)), 0)
        else:
            self._text(name, markdown(*tabular(rows)), 0)

    def finish(self, status: Status, metrics: Mapping[str, float]) -> None:
        values = [Summary.Value(tag=f"final/{name}", simple_value=value) for name, value in metrics.items()]
        if values:
            self._add(self.last, summary=Summary(value=values))
        self.writer.close()

    def _text(self, tag: str, text: str, step: int) -> None:
        self._add(step, summary=Summary.FromString(text_pb(tag, text).SerializeToString()))

    def _add(self, step: int, **what: Any) -> None:
        self.writer.add_event(Event(wall_time=time.time(), step=step, **what))
        self.writer.flush()


def answer(row: Row) -> str:
    """A sampled answer as Markdown: what is known of it, then its texts as they are."""
    texts = [name for name in ("prompt", "completion") if name in row]
    line = " · ".join(f"{name} {_inline(value)}" for name, value in row.items() if name not in (*texts, "step"))
    return "\n\n".join([line, *(_verbatim(clean(str(row[name]))) for name in texts)])


def markdown(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table of short cells."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(_inline(cell) for cell in line) + " |" for line in lines)


def _inline(value: Any) -> str:
    """A value on one line, without what Markdown or HTML would take for its own."""
    if isinstance(value, float):
        return f"{value:.4g}"
    text = " ".join(clean(str(value)).split())
    return "".join(f"&#{ord(c)};" if c in "|<>&`*_[]\\#" else c for c in text)


def _verbatim(text: str) -> str:
    return "\n".join("    " + line for line in text.splitlines() or [""])
