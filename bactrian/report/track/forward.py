"""A process that tells one tracker what happens in a run: `python -m bactrian.report.track.forward NAME LOG`.

It reads paths of orders (`Order`) from its standard input, a line each, follows one step after the other, and ends when
the input does, be it because the run is over or because its process was killed. Training does not wait for it, and
knows nothing of what goes wrong here: that is one line on standard error. Whatever the tracker's package prints goes
into a file.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import traceback
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bactrian.progress import printable
from bactrian.report.track.follow import (
    Began,
    Event,
    Failed,
    Finished,
    Follower,
    FollowPosition,
    Samples,
    Scalars,
    Table,
)
from bactrian.report.track.trackers import BACKENDS, Status, TrackedRun, Tracker
from bactrian.store.disk import take_lock, write_atomically
from bactrian.store.hashes import METRICS

FLUSH_SECONDS = 60
"""How long a tracker may take to send the rest once the run is over."""
PATIENCE = 60.0
"""Seconds to wait for the process of a run that was killed, which may still be sending."""
POLL_SECONDS = 1.0


@dataclass(frozen=True)
class Order:
    """A step to follow. `folder` is its artifact's, `store` all artifacts'."""

    folder: str
    store: str
    project: str
    name: str
    stage: str
    config: Mapping[str, Any]

    @property
    def path(self) -> Path:
        """Where the order is written; names beside it keep a tracker's position."""
        return Path(self.store) / ".tracking" / f"{Path(self.folder).name}.json"

    def write(self) -> Path:
        """
        Raises:
            BactrianError: the store cannot be written to.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path, json.dumps(asdict(self), default=str))
        return self.path

    @classmethod
    def read(cls, path: Path) -> Order:
        """What `write` wrote."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))


class Forwarded:
    """A step, and one tracker that hears of it. The tracker's run begins with the first thing that there is to tell."""

    def __init__(self, backend: str, order: Order) -> None:
        """
        Raises:
            BactrianError: another process still tells this tracker of this step.
        """
        self.backend, self.order = backend, order
        self.kept = order.path.with_suffix(f".{backend}")
        self.lock = take_lock(self.kept.with_suffix(f".{backend}.lock"), f"the record of {order.name}", PATIENCE)
        position = FollowPosition.from_json(self.kept.read_text() if self.kept.is_file() else "")
        self.known = position.making  # what the tracker has heard of
        self.follower = Follower(Path(order.folder), position)
        self.tracker: Tracker | None = None

    def poll(self) -> bool:
        """Tell what is new; whether the step is over."""
        before = self.follower.position.to_json()
        for event in self.follower.events():
            self._tell(event)
        after = self.follower.position.to_json()
        if self.known == self.follower.position.making and after != before:
            write_atomically(self.kept, after)
        over: bool = self.follower.over
        return over

    def close(self) -> None:
        """The last of it, of a step that is over or that nobody works on any more."""
        if not self.poll():
            self._finish("failed", {})
        os.close(self.lock)

    def _tell(self, event: Event) -> None:
        if isinstance(event, Began):
            self._finish("failed", {})  # of the making before, where there is one
            if event.making == self.known:
                self._open()
        elif isinstance(event, Scalars):
            self._open().scalars(event.step, event.values)
        elif isinstance(event, Samples):
            if worth_showing(event.step):
                self._open().samples(event.step, event.rows)
        elif isinstance(event, Table):
            self._open().table(event.name, event.rows)
        elif isinstance(event, Finished):
            self._finish("finished", event.metrics)
        elif isinstance(event, Failed):
            self._finish("failed", {})

    def _open(self) -> Tracker:
        if self.tracker is None:
            order, making = self.order, self.follower.position.making
            run = TrackedRun(
                f"{Path(order.folder).name.rpartition('-')[2]}-{making[:6]}",
                order.project,
                order.name,
                order.stage,
                order.config,
                Path(order.store),
                resumed=making == self.known,
            )
            tracker = BACKENDS[self.backend].make()
            heard = tracker.open(run)
            if run.resumed and heard is not None:
                self.follower.position.told[METRICS] = (heard, 1)
            self.tracker, self.known = tracker, making
        return self.tracker

    def _finish(self, status: Status, metrics: Mapping[str, float]) -> None:
        if self.tracker is not None:
            tracker, self.tracker = self.tracker, None
            tracker.finish(status, metrics)


def worth_showing(step: int) -> bool:
    """Whether a tracker gets a step's samples: 1 to 9, then every tenth to 90, every hundredth to 900, and so on."""
    return not str(step)[1:].strip("0")


def serve(backend: str, source: int) -> None:
    """Follow the steps whose orders come from a descriptor, until it ends and all is told."""
    orders: deque[Path] = deque()
    rest, current = b"", None
    while True:
        if source >= 0 and select.select([source], [], [], POLL_SECONDS if current else None)[0]:
            read = os.read(source, 4096)
            *lines, rest = (rest + read).split(b"\n")
            orders.extend(Path(os.fsdecode(line)) for line in lines)
            if not read:
                source = -1
                signal.alarm(FLUSH_SECONDS + 30)  # whoever waited waits no longer
        if current is None and orders:
            current = Forwarded(backend, Order.read(orders.popleft()))
        if current is not None and (source < 0 or current.poll()):
            current.close()
            current = None
        if source < 0 and not orders:
            return


def main() -> int:
    """Entry point. Status 3: something went wrong, and was said."""
    backend = sys.argv[1]
    os.nice(10)
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    voice = os.fdopen(os.dup(2), "w")
    log = Path(sys.argv[2])
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        serve(backend, 0)
    except Exception as error:
        said = (str(error) or type(error).__name__).strip().splitlines()[0][:300]
        line = f"warning: tracker {backend} failed and is told no more: {type(error).__name__}: {said} (more in {log})"
        print(printable(line), file=voice, flush=True)
        traceback.print_exc()
        return 3
    return 0


QUIET = {
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "WANDB_ERROR_REPORTING": "false",
}
"""What the trackers' packages would send to their makers, unless the environment says otherwise."""

if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # threads of a tracker that failed may never end
