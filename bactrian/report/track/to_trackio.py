"""trackio: a database of its own on this machine (TRACKIO_DIR), or what TRACKIO_SPACE_ID or TRACKIO_SERVER_URL name."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence

import trackio
from trackio.sqlite_storage import SQLiteStorage

from bactrian.report.track.result_tables import Row
from bactrian.report.track.trackers import Status, TrackedRun, flat, tabular


class TrackioTracker:
    """Scalars by update; sampled answers and tables as tables."""

    def open(self, run: TrackedRun) -> int | None:
        project = re.sub(r"[^\w-]", "-", run.project)
        name = f"{run.name}-{run.id}"
        local = not (os.environ.get("TRACKIO_SPACE_ID") or os.environ.get("TRACKIO_SERVER_URL"))
        heard = SQLiteStorage.get_last_step(project, name) if local and run.resumed else None
        self.last = heard or 0
        self.run = trackio.init(
            project=project,
            name=name,
            config=dict(flat(run.config)),
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
        return self.last if local else None

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self.last = step
        self.run.log(dict(values), step=step)

    def samples(self, step: int, rows: Sequence[Row]) -> None:
        self.run.log({"rollouts": _table(rows)}, step=self.last)

    def table(self, name: str, rows: Sequence[Row]) -> None:
        self.run.log({name: _table(rows)}, step=self.last)

    def finish(self, status: Status, metrics: Mapping[str, float]) -> None:
        if metrics:
            self.run.log({f"final/{name}": value for name, value in metrics.items()}, step=self.last)
        self.run.finish()


def _table(rows: Sequence[Row]) -> trackio.Table:
    columns, data = tabular(rows)
    return trackio.Table(columns=columns, data=data)
