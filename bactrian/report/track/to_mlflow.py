"""MLflow: the server of MLFLOW_TRACKING_URI, or without it `<store>/mlflow.db`, whose files lie in `<store>/mlflow`."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping, Sequence

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

from bactrian.report.track.result_tables import Row
from bactrian.report.track.trackers import Status, TrackedRun, flat, tabular

ID = "bactrian.run"
TABLES = "mlflow.loggedArtifacts"
"""The tag by which MLflow knows which files are tables."""
PARAMETERS, VALUE_LIMIT = 100, 500
"""Of one request; characters of a parameter's value, as older servers allow."""


class MlflowTracker:
    """Scalars by update; sampled answers and tables as tables of the run; settings as parameters."""

    def open(self, run: TrackedRun) -> int | None:
        own = os.environ.get("MLFLOW_TRACKING_URI")
        self.client = MlflowClient(own or f"sqlite:///{(run.store / 'mlflow.db').resolve()}")
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or run.project
        files = None if own else (run.store / "mlflow").resolve().as_uri()
        known = self.client.get_experiment_by_name(name)
        experiment = known.experiment_id if known else self.client.create_experiment(name, artifact_location=files)
        self.tables: list[dict[str, str]] = []
        found = self.client.search_runs([experiment], f"tags.`{ID}` = '{run.id}'") if run.resumed else []
        if found:
            self.id = found[0].info.run_id
            self.client.update_run(self.id, status="RUNNING")
            self.tables = json.loads(found[0].data.tags.get(TABLES, "[]"))
            return self._last(found[0].data.metrics)
        tags = {ID: run.id, "bactrian.stage": run.stage}
        self.id = self.client.create_run(experiment, run_name=run.name, tags=tags).info.run_id
        given = [Param(_name(name), str(value)[:VALUE_LIMIT]) for name, value in flat(run.config)]
        for at in range(0, len(given), PARAMETERS):
            self.client.log_batch(self.id, params=given[at : at + PARAMETERS])
        return 0

    def _last(self, keys: Mapping[str, float]) -> int:
        """The last update that the server has."""
        return max((each.step for key in keys for each in self.client.get_metric_history(self.id, key)), default=0)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        now = int(time.time() * 1000)
        self.client.log_batch(self.id, metrics=[Metric(_name(k), v, now, step) for k, v in values.items()])

    def samples(self, step: int, rows: Sequence[Row]) -> None:
        self._table(f"rollouts/step-{step:06d}.json", rows)

    def table(self, name: str, rows: Sequence[Row]) -> None:
        self._table(f"{name}.json", rows)

    def finish(self, status: Status, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            self.client.set_tag(self.id, f"final.{_name(name)}", f"{value:.6g}")
        self.client.set_terminated(self.id, "FINISHED" if status == "finished" else "FAILED")

    def _table(self, path: str, rows: Sequence[Row]) -> None:
        columns, data = tabular(rows)
        self.client.log_dict(self.id, {"columns": columns, "data": data}, path)
        entry = {"path": path, "type": "table"}
        if entry not in self.tables:
            self.tables.append(entry)
            self.client.log_batch(self.id, tags=[RunTag(TABLES, json.dumps(self.tables))])


def _name(name: str) -> str:
    """The name as MLflow allows it."""
    return re.sub(r"[^\w\-. /]", "_", name)[:250]
