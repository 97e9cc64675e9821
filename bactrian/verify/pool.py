"""Verification of many completions: quick verifiers here, slow ones in worker processes that can be killed."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple, Self

from bactrian.errors import BactrianError
from bactrian.verify.registry import verifier, verify
from bactrian.verify.verdict import NOTHING, Verdict

COMMAND = (sys.executable, "-m", "bactrian.verify.worker")
START_TIMEOUT = 120.0
"""Seconds that a worker may take to start and to import what its verifiers need."""


class Item(NamedTuple):
    """One completion to verify."""

    dataset: str
    completion: str
    ground_truth: str
    settings: Mapping[str, Any] = NOTHING
    prompt: str = ""

    @classmethod
    def of(cls, row: Mapping[str, Any], completion: str) -> "Item":
        """A completion of a problem row (docs/design.md), to be verified as the row says."""
        prompt = row["messages"][-1]["content"] if row.get("messages") else ""
        return cls(row["dataset"], completion, row["ground_truth"], row.get("settings", NOTHING), prompt)


def verify_all(items: Sequence[Item], workers: int = 2, timeout: float = 10.0) -> list[Verdict]:
    """Verdicts in the order of `items`; one that takes more than `timeout` seconds is "timed_out".

    Starts its own workers and ends them; keep a `Pool` to verify again and again.
    Raises BactrianError for an unknown verifier, or when workers cannot be started.
    """
    with Pool(workers, timeout) as pool:
        return pool.verify_all(items)


class Pool:
    """Worker processes, started when the first slow item comes; each may be killed and replaced at any time."""

    def __init__(self, workers: int = 2, timeout: float = 10.0) -> None:
        self.size, self.timeout = workers, timeout
        self._workers: list[_Worker] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Kill all workers. The pool may be used again and then starts new ones."""
        for worker in self._workers:
            worker.kill()
        self._workers = []

    def verify_all(self, items: Sequence[Item]) -> list[Verdict]:
        """See the function of this name."""
        places = [verifier(item.dataset).place for item in items]
        done = {index: verify(*item) for index, item in enumerate(items) if places[index] == "here"}
        elsewhere = [index for index, place in enumerate(places) if place == "thread"]
        with ThreadPoolExecutor(self.size) as threads:
            running = threads.map(lambda index: verify(*items[index]), elsewhere)
            self._in_workers(items, [index for index, place in enumerate(places) if place == "worker"], done)
            done.update(zip(elsewhere, running, strict=True))
        return [done[index] for index in range(len(items))]

    def _in_workers(self, items: Sequence[Item], indices: Sequence[int], done: dict[int, Verdict]) -> None:
        waiting, wanted = deque(indices), len(done) + len(indices)
        while len(done) < wanted:
            self._remove_dead()
            idle = [worker for worker in self._workers if worker.job is None]
            while waiting and (idle or len(self._workers) < self.size):
                worker = idle.pop() if idle else self._start()
                worker.give(index := waiting.popleft(), items[index], self.timeout)
            self._collect(done)

    def _remove_dead(self) -> None:
        """Let go of workers that died while they had nothing to do."""
        for worker in [worker for worker in self._workers if worker.job is None and worker.process.poll() is not None]:
            worker.kill()
            self._workers.remove(worker)

    def _start(self) -> "_Worker":
        worker = _Worker.start()
        self._workers.append(worker)
        return worker

    def _collect(self, done: dict[int, Verdict]) -> None:
        """Wait for the next reply or the next deadline; read the replies, kill the workers that are late."""
        busy = {worker.output: worker for worker in self._workers if worker.job is not None}
        patience = max(0.0, min(worker.deadline for worker in busy.values()) - time.monotonic())
        ready = select.select(list(busy), [], [], patience)[0]
        for output, worker in busy.items():
            index = worker.job
            assert index is not None
            if output in ready:
                verdict = worker.read(self.timeout)
            elif time.monotonic() >= worker.deadline:
                verdict = worker.late(self.timeout)
            else:
                continue
            if verdict is not None:
                done[index] = verdict
            if not worker.alive:
                self._workers.remove(worker)


@dataclass
class _Worker:
    process: subprocess.Popen[bytes]
    output: int
    deadline: float
    job: int | None = None
    ready: bool = False
    alive: bool = True
    unread: bytes = b""

    @classmethod
    def start(cls) -> "_Worker":
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        process = subprocess.Popen(
            COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment,
            start_new_session=True,
        )  # fmt: skip
        assert process.stdout is not None
        return cls(process, process.stdout.fileno(), time.monotonic() + START_TIMEOUT)

    def give(self, index: int, item: Item, timeout: float) -> None:
        """Send one item. It waits in the pipe while the worker still starts; its time runs from when that is done."""
        self.job = index
        if self.ready:
            self.deadline = time.monotonic() + timeout
        asked = item._asdict() | {"settings": dict(item.settings), "alarm": 2 * timeout + 5}
        asked["module"] = verifier(item.dataset).module
        message = json.dumps(asked).encode() + b"\n"
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # if the worker has died, reading from it will say so
            self.process.stdin.write(message)
            self.process.stdin.flush()

    def read(self, timeout: float) -> Verdict | None:
        """Take in what the worker wrote: its verdict, or None while there is no whole line for this job yet."""
        received = os.read(self.output, 1 << 16)
        if not received:
            return self._ended()
        self.unread += received
        while b"\n" in self.unread:
            line, self.unread = self.unread.split(b"\n", 1)
            message = json.loads(line)
            if "ready" in message:
                self.ready, self.deadline = True, time.monotonic() + timeout
            elif "error" in message:
                self.job = None
                raise BactrianError(message["error"])
            else:
                self.job = None
                return Verdict(**message)
        return None

    def late(self, timeout: float) -> Verdict:
        self.kill()
        if not self.ready:
            raise BactrianError(f"a worker that verifies answers did not start within {START_TIMEOUT:g} s")
        return Verdict(0.0, "timed_out", None, f"the verifier took more than {timeout:g} s")

    def _ended(self) -> Verdict:
        self.kill()
        if not self.ready:
            command = " ".join(COMMAND)
            raise BactrianError(f"a worker that verifies answers died while starting; to see why, run: {command}")
        return Verdict(0.0, "crashed", None, f"the verifier's process died with status {self.process.returncode}")

    def kill(self) -> None:
        """Kill the worker's whole session, and wait for it."""
        self.alive = False
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with suppress(BrokenPipeError):  # what was not sent is lost with the worker
                    stream.close()
