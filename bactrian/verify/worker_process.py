"""One worker process, as the pool that started it sees it."""

import json
import os
import select
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bactrian.errors import BactrianError
from bactrian.verify.verdict import Verdict

COMMAND = (sys.executable, "-m", "bactrian.verify.worker")
START_TIMEOUT = 120.0
"""Seconds that a worker may take to start and to import what its verifiers need, a user's own file among it."""
IDLE = 0.02
"""A worker that used less than this share of its time is taken to wait for something."""


@dataclass
class Worker:
    """A process that verifies one item at a time; `timeout` is the processor time, in seconds, of each."""

    process: subprocess.Popen[bytes]
    output: int
    timeout: float
    deadline: float
    used: float = 0.0
    job: bytes | None = None
    ready: bool = False
    alive: bool = True
    modules: frozenset[str] = frozenset()
    unread: bytes = b""

    @classmethod
    def start(cls, timeout: float, verifiers: Mapping[str, str]) -> "Worker":
        """A new process, to be ready for the verifiers of these names; values: the modules that register them."""
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        command = (*COMMAND, str(timeout), json.dumps(dict(verifiers)))
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )
        assert process.stdout is not None
        deadline = time.monotonic() + START_TIMEOUT
        return cls(process, process.stdout.fileno(), timeout, deadline, modules=frozenset(verifiers.values()))

    def wait_until_ready(self) -> None:
        """Return once all that it needs is imported.

        Raises:
            BactrianError: what cannot be imported, or is no verifier.
        """
        while not self.ready:
            if select.select([self.output], [], [], self.patience())[0]:
                self.read()
                if not self.alive:
                    raise BactrianError(f"importing {', '.join(sorted(self.modules))} ended the process that did it")
            else:
                self.at_deadline()

    def give(self, job: bytes, item: Mapping[str, Any]) -> None:
        """Send one item. It waits in the pipe while the worker still starts; its time runs from when that is done."""
        self.job = job
        if self.ready:
            self._restart_clock()
        plain = {**item, "settings": dict(item["settings"]), "row": dict(item["row"])}
        message = json.dumps(plain, default=str).encode() + b"\n"
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # if the worker has died, reading from it will say so
            self.process.stdin.write(message)
            self.process.stdin.flush()

    def patience(self) -> float:
        """Seconds until this worker must be looked at."""
        return max(0.0, self.deadline - time.monotonic())

    def read(self) -> Verdict | None:
        """Take in what the worker wrote: its verdict, or None while there is no whole line for this
        job yet.

        Raises:
            BactrianError: for what the worker says is the user's to mend.
        """
        received = os.read(self.output, 1 << 16)
        if not received:
            return self._ended()
        self.unread += received
        while b"\n" in self.unread:
            line, self.unread = self.unread.split(b"\n", 1)
            message = json.loads(line)
            if "ready" in message:
                self.ready = True
                self._restart_clock()
            elif "error" in message:
                self.kill()
                raise BactrianError(message["error"])
            else:
                self.job = None
                return Verdict(**message)
        return None

    def at_deadline(self) -> Verdict | None:
        """At the deadline: "timed_out" if the worker only waits; None, and more time, if it works or wants to.

        One that works ends itself by its limit on processor time, however long that takes on a loaded machine.
        """
        if not self.ready:
            self.kill()
            raise BactrianError(
                f"a worker that verifies answers did not start within {START_TIMEOUT:g} s; it was to import "
                f"{', '.join(sorted(self.modules))}"
            )
        state, used = processor_time(self.process.pid)
        if state in "RTtD" or used - self.used > IDLE * self.timeout:
            self._restart_clock()
            return None
        self.kill()
        return Verdict(0.0, "timed_out", None, f"the verifier did nothing for {self.timeout:g} s")

    def _restart_clock(self) -> None:
        self.deadline = time.monotonic() + self.timeout
        self.used = processor_time(self.process.pid)[1]

    def _ended(self) -> Verdict:
        self.kill()
        if not self.ready:
            command = shlex.join(map(str, self.process.args)) if isinstance(self.process.args, tuple) else ""
            raise BactrianError(f"a worker that verifies answers died while starting; to see why, run: {command}")
        if self.process.returncode == -signal.SIGPROF:
            return Verdict(0.0, "timed_out", None, f"the verifier took more than {self.timeout:g} s of processor time")
        return Verdict(0.0, "crashed", None, f"the verifier's process died with status {self.process.returncode}")

    def kill(self) -> None:
        """Kill the worker's whole session, and wait for it."""
        self.alive = False
        if self.process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with suppress(BrokenPipeError):  # what was not sent is lost with the worker
                    stream.close()


def processor_time(pid: int) -> tuple[str, float]:
    """A process's state (one letter, as in /proc/PID/stat) and the seconds of processor time that it has used.

    Where there is no /proc, state "?": then a verdict's time is the clock's. A process that has gone is "Z".
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return ("Z" if Path("/proc/self").exists() else "?"), 0.0
    return fields[0], (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
