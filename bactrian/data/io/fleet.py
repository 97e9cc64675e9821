"""Worker processes on a Ray cluster that each keep something costly, such as a model, and are given block after block.

They are started once and lent to one piece of work after another, until the step is over or somebody else wants the
cluster's room (`release`). Ray puts another in the place of one that dies, wherever there is room, and gives it the
block that the dead one had. Ray Data has actors too, but starts them anew for each of its data sets: a step that asks
its model five times would load it five times.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bactrian.errors import BactrianError
from bactrian.progress import duration, moved
from bactrian.store.watchdog import stacks_when_asked, waits_for

TRIES = 5
"""Times that a block is given again because the worker that had it died. What kills every worker is the block's fault,
or memory's."""
SHOWN = 6
"""Workers of which a line says what they are at."""

Task = Callable[[list[Any]], list[Any]]
"""Picklable, and equal to another that does the same: a worker keeps the one it has, and whatever that has loaded."""


@dataclass(frozen=True)
class Room:
    """What each worker takes of the cluster."""

    cpus: int
    gpus: int = 0


@dataclass
class _Given:
    """A block that a worker has."""

    worker: int
    block: int
    since: float


class Fleet:
    """Workers of one kind. Those for which there is no room yet join in when there is."""

    def __init__(self, ray: Any, room: Room, count: int) -> None:
        self.ray, self.room, self.count = ray, room, count
        self.job = ray.get_runtime_context().get_job_id()
        kind = ray.remote(num_cpus=room.cpus, num_gpus=room.gpus, max_restarts=-1, max_task_retries=TRIES)(_Worker)
        self.workers = [kind.remote() for _ in range(count)]
        self._free: list[int] = []
        self._coming = {worker.here.remote(): number for number, worker in enumerate(self.workers)}
        self._busy: dict[Any, _Given] = {}

    def map(self, task: Task, blocks: Sequence[list[Any]]) -> Iterator[tuple[int, list[Any]]]:
        """(Number of a block, what the task made of it), as they are done.

        Raises:
            BactrianError: as the task raises it; a block kills whoever has it.
        """
        waiting = list(range(len(blocks)))[::-1]
        try:
            while waiting or self._busy:
                while waiting and self._free:
                    number = self._free.pop()
                    reply = self.workers[number].work.remote(task, blocks[waiting[-1]])
                    self._busy[reply] = _Given(number, waiting.pop(), time.monotonic())
                with waits_for(lambda: self.told(len(waiting))):
                    done, _ = self.ray.wait([*self._busy, *self._coming], num_returns=1)
                for reply in done:
                    if reply in self._coming:
                        self._free.append(self._coming.pop(reply))
                        continue
                    moved()
                    given = self._busy.pop(reply)
                    self._free.append(given.worker)
                    yield given.block, self._read(reply)
        finally:  # whoever asked has left: what is on its way is not heard of, but its workers come back
            self._coming |= {reply: given.worker for reply, given in self._busy.items()}
            self._busy.clear()

    def _read(self, reply: Any) -> list[Any]:
        try:
            found = self.ray.get(reply)
        except self.ray.exceptions.RayActorError as error:
            raise BactrianError(
                f"a worker on the Ray cluster died {TRIES + 1} times over the same block, perhaps for want of memory "
                f"({str(error).splitlines()[0]}); the blocks that were done are kept"
            ) from error
        if isinstance(found, BactrianError):
            raise found
        result: list[Any] = found
        return result

    def told(self, waiting: int) -> str:
        """What is waited for, for a person."""
        now = time.monotonic()
        given = sorted(self._busy.values(), key=lambda each: each.since)[:SHOWN]
        at = [f"worker {each.worker} (block {each.block}, for {duration(now - each.since)})" for each in given]
        more = [f"{len(self._busy) - SHOWN} more"] if len(self._busy) > SHOWN else []
        unborn = [f"{len(self._coming)} workers that have not started or are at something else"] if self._coming else []
        kind = "GPU" if self.room.gpus else "CPU"
        free = self.ray.available_resources().get(kind, 0)
        told = f"the Ray cluster ({free:g} {kind}s free): {', '.join([*at, *more, *unborn]) or 'a worker'}"
        return told + (f"; {waiting} blocks more wait for a worker" if waiting else "")

    def end(self) -> None:
        """Give up the room."""
        if self.ray.is_initialized() and self.ray.get_runtime_context().get_job_id() == self.job:
            for worker in self.workers:
                self.ray.kill(worker)


class _Worker:
    """In a process on the cluster."""

    def __init__(self) -> None:
        self.task: Task | None = None
        stacks_when_asked()

    def here(self) -> bool:
        return True

    def work(self, task: Task, block: list[Any]) -> Any:
        """What the task makes of the block; or a BactrianError, which Ray would wrap in its own."""
        if task != self.task:
            self.task = None  # what that had loaded goes before anything else is
            self.task = task
        assert self.task is not None
        try:
            return self.task(block)
        except BactrianError as error:
            return error


_fleet: Fleet | None = None


def fleet(what: str, room: Callable[[dict[str, float]], Room], count: int) -> Fleet:
    """The workers of this process, started if there are none of this kind.

    Args:
        what: needs them, for messages.
        room: what each is to take, of the resources that the cluster has.

    Raises:
        BactrianError: Ray is not installed, or no cluster answers; and as `room` raises it.
    """
    from bactrian.data.io.cluster import before_mapping, connected  # it imports pyarrow

    global _fleet
    ray = connected(what)
    if release not in before_mapping:
        before_mapping.append(release)
    wanted = room(ray.cluster_resources())
    job = ray.get_runtime_context().get_job_id()
    if _fleet is None or (_fleet.room, _fleet.count, _fleet.job) != (wanted, count, job):
        release()
        _fleet = Fleet(ray, wanted, count)
    return _fleet


def release() -> None:
    """Let the workers go, if there are any."""
    global _fleet
    ended, _fleet = _fleet, None
    if ended is not None:
        ended.end()
