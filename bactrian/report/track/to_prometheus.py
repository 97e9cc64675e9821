"""Prometheus: an address from which the newest numbers of a run are pulled, by its own client.

The address is BACTRIAN_PROMETHEUS (host:port; default 127.0.0.1:9464, or a free port where that is taken).
`<store>/prometheus/<recipe>.json` has it in the form that `file_sd_configs` reads. When a step is over its last numbers
are also in `<recipe>.prom` there, for node_exporter's textfile collector: whoever pulls may come too late.
"""

from __future__ import annotations

import json
import math
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, cast

from prometheus_client import CollectorRegistry, start_http_server, write_to_textfile
from prometheus_client.core import GaugeMetricFamily

from bactrian.errors import BactrianError
from bactrian.report.track.result_tables import Row
from bactrian.report.track.trackers import Status, TrackedRun
from bactrian.store.disk import write_atomically

VARIABLE, DEFAULT = "BACTRIAN_PROMETHEUS", "127.0.0.1:9464"
OF_A_STEP = ("recipe", "step", "stage", "id")
OF_A_SCORE = ("model", "task", "mode", "bound")
STATUSES = ("running", "finished", "failed")


@dataclass
class StepNumbers:
    """The newest of a step. `told`: name → value, of updates; `final`: of the finished artifact."""

    labels: tuple[str, ...]
    status: str = "running"
    update: int = 0
    when: float = 0.0
    told: dict[str, float] = field(default_factory=dict)
    final: dict[str, float] = field(default_factory=dict)
    scores: dict[tuple[str, ...], float] = field(default_factory=dict)


class Newest:
    """The newest numbers of the steps that this process has followed."""

    def __init__(self) -> None:
        self.steps: dict[tuple[str, ...], StepNumbers] = {}

    def collect(self) -> Iterator[GaugeMetricFamily]:
        steps = list(self.steps.values())
        state = GaugeMetricFamily("bactrian_step", "1 for what the step is", labels=(*OF_A_STEP, "status"))
        update = GaugeMetricFamily("bactrian_update", "Number of the newest update", labels=OF_A_STEP)
        when = GaugeMetricFamily("bactrian_update_time_seconds", "When it was heard of", labels=OF_A_STEP)
        score = GaugeMetricFamily(
            "bactrian_score",
            "An evaluation's scores and the ends of their 95 % intervals",
            labels=(*OF_A_STEP, *OF_A_SCORE),
        )
        for each in steps:
            for status in STATUSES:
                state.add_metric((*each.labels, status), float(status == each.status))
            if each.update:
                update.add_metric(each.labels, each.update)
                when.add_metric(each.labels, each.when)
            for labels, value in list(each.scores.items()):
                score.add_metric((*each.labels, *labels), value)
        yield from (state, update, when, score)
        yield from self._by_name("bactrian_metric_", "of an update", [(each.labels, each.told) for each in steps])
        yield from self._by_name("bactrian_final_", "of the artifact", [(each.labels, each.final) for each in steps])

    @staticmethod
    def _by_name(
        before: str, of: str, steps: Sequence[tuple[tuple[str, ...], dict[str, float]]]
    ) -> Iterator[GaugeMetricFamily]:
        """A family for each name; names that Prometheus writes alike share one, and `name` tells them apart."""
        families: dict[str, GaugeMetricFamily] = {}
        for labels, values in steps:
            for name, value in list(values.items()):
                known_as = before + re.sub(r"[^a-zA-Z0-9_]", "_", name)
                family = families.setdefault(
                    known_as, GaugeMetricFamily(known_as, f"A number {of}", labels=(*OF_A_STEP, "name"))
                )
                family.add_metric((*labels, name), value)
        yield from families.values()


_newest = Newest()


@cache
def served() -> tuple[CollectorRegistry, str]:
    """The registry of this process, and its address."""
    registry = CollectorRegistry()
    registry.register(cast(Any, _newest))  # its protocol is a class
    host, port = _listen(registry)
    return registry, f"{host}:{port}"


def _listen(registry: CollectorRegistry) -> tuple[str, int]:
    given = os.environ.get(VARIABLE) or DEFAULT
    host, _, port = given.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise BactrianError(f"environment variable {VARIABLE}: found {given!r}, expected host:port")
    try:
        server, _ = start_http_server(int(port), host, registry)
    except OSError:
        if VARIABLE in os.environ:
            raise
        server, _ = start_http_server(0, host, registry)  # another run has it
    return host, int(server.server_port)


class PrometheusTracker:
    """The newest number of each name; samples and texts are not for it."""

    def open(self, run: TrackedRun) -> int:
        """All of the run is told again: only the newest is kept."""
        folder = run.store / "prometheus"
        folder.mkdir(parents=True, exist_ok=True)
        self.file = folder / f"{run.project}.prom"
        self.registry, address = served()
        target = [{"targets": [address], "labels": {"recipe": run.project}}]
        write_atomically(folder / f"{run.project}.json", json.dumps(target))
        self.numbers = StepNumbers((run.project, run.name, run.stage, run.id))
        _newest.steps[self.numbers.labels] = self.numbers
        return 0

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self.numbers.update, self.numbers.when = step, time.time()
        self.numbers.told.update(values)

    def samples(self, step: int, rows: Sequence[Row]) -> None:
        pass

    def table(self, name: str, rows: Sequence[Row]) -> None:
        for row in rows if name == "scores" else ():
            labels = tuple(str(row.get(label, "")) for label in OF_A_SCORE[:-1])
            for bound in ("score", "low", "high"):
                if isinstance(value := row.get(bound), int | float) and math.isfinite(value):
                    self.numbers.scores[(*labels, bound)] = float(value)

    def finish(self, status: Status, metrics: Mapping[str, float]) -> None:
        self.numbers.status = status
        self.numbers.final.update(metrics)
        write_to_textfile(str(self.file), self.registry)
