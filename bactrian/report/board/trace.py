"""What a step's events have told so far: its updates and its sampled answers."""

from __future__ import annotations

from pathlib import Path
from threading import Lock

from bactrian.report.track.follow import Began, Follower, Samples, Scalars
from bactrian.report.track.result_tables import Row


class StepTrace:
    """A step, followed from its beginning; one that is made anew is told anew.

    version: changes whenever something was told.
    """

    def __init__(self, folder: Path) -> None:
        """
        Args:
            folder: of the artifact, whether it is there yet or not.
        """
        self.updates: list[Scalars] = []
        self.rollouts: list[Row] = []
        self.version = ""
        self._follower, self._making, self._told, self._lock = Follower(folder), "", 0, Lock()

    def look(self) -> None:
        """Read on. Requests come from several threads; one of them reads."""
        with self._lock:
            for event in self._follower.poll():
                if isinstance(event, Began) and event.making != self._making:
                    self._making, self.updates, self.rollouts = event.making, [], []
                elif isinstance(event, Scalars):
                    self.updates.append(event)
                elif isinstance(event, Samples):
                    self.rollouts += event.rows
            self.version = f"{self._making}-{len(self.updates)}-{len(self.rollouts)}"


class Traces:
    """The steps of a store that were asked for last."""

    KEPT = 40

    def __init__(self, artifacts: Path) -> None:
        self.artifacts = artifacts
        self._traces: dict[str, StepTrace] = {}

    def of(self, step: str) -> StepTrace:
        """The trace of a step that is known to be the store's, up to now."""
        trace = self._traces.pop(step, None) or StepTrace(self.artifacts / step)
        self._traces[step] = trace
        for old in list(self._traces)[: -self.KEPT]:
            self._traces.pop(old, None)
        trace.look()
        return trace
