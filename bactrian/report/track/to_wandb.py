"""Weights & Biases: online, or with WANDB_MODE=offline in `<store>/wandb`, from where `wandb sync` sends it."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

import wandb

from bactrian.report.track.result_tables import Row
from bactrian.report.track.trackers import Status, TrackedRun, tabular

UPDATE, STEP = "update", "step"
"""Axes: W&B's own counts what was sent, which after a kill is another number."""


class WandbTracker:
    """Scalars by update, sampled answers by step, tables as they are."""

    run: Any

    def open(self, run: TrackedRun) -> int | None:
        offline = os.environ.get("WANDB_MODE") in ("offline", "dryrun")
        if offline and run.resumed:
            time.sleep(1.1)  # its folder is named by the second: another of the same name would take its place
        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or run.project,
            id=run.id,
            name=run.name,
            job_type=run.stage,
            config=dict(run.config),
            dir=os.environ.get("WANDB_DIR") or str(run.store),
            resume=None if offline else "allow",
            settings=wandb.Settings(console="off", silent=True, disable_code=True, disable_git=True),
        )
        self.run.define_metric(UPDATE, hidden=True)
        self.run.define_metric("*", step_metric=UPDATE)
        self.run.define_metric(STEP, hidden=True)
        self.run.define_metric("rollouts", step_metric=STEP)
        heard = None if offline else self.run.summary.get(UPDATE)
        return int(heard) if isinstance(heard, int | float) else None

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self.run.log({UPDATE: step, **values})

    def samples(self, step: int, rows: Sequence[Row]) -> None:
        self.run.log({STEP: step, "rollouts": _table(rows)})

    def table(self, name: str, rows: Sequence[Row]) -> None:
        self.run.log({name: _table(rows)})

    def finish(self, status: Status, metrics: Mapping[str, float]) -> None:
        self.run.summary.update(dict(metrics))
        self.run.finish(exit_code=0 if status == "finished" else 1)


def _table(rows: Sequence[Row]) -> Any:
    columns, data = tabular(rows)
    return wandb.Table(columns=columns, data=data, allow_mixed_types=True)
