"""Whether sandboxed programs still make progress, measured from outside, where no program can reach the clocks.

A program is ended for the processor time that it used, by the kernel, or for the time that it let pass asleep, which is
found here. A machine that is busy with other things costs it neither: it gets the verdict of an idle one.
"""

import json
import os
import select
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from bactrian.sandbox.limits import Limits
from bactrian.sandbox.process import Sandboxed

TICK = 0.2
"""Seconds between two looks."""
IDLE = 0.02
"""A process that uses less than this share of the time only waits."""
GRACE = 1.0
"""Seconds that a program has beyond its limit to heed that it is too slow."""
BACKSTOP = 20.0
"""On a machine that gives a program less than one part in so many of a processor, nothing can be said of it."""


class Hangs(Exception):
    """The program has slept for as long as it may."""


class Stalled(Exception):
    """The machine did not let it finish. This says nothing about the program."""


class Watch:
    """Processes that wait for nobody but each other, from now on; `sandboxes[0]` is the program's."""

    def __init__(self, sandboxes: Sequence[Sandboxed], limits: Limits) -> None:
        self.sandboxes, self.limits = sandboxes, limits
        self.began = self.looked = time.monotonic()
        self.end = self.began + BACKSTOP * (limits.wall + limits.cpu)
        self.asleep = 0.0
        self.stirred()

    def stirred(self) -> None:
        """Something was heard of them: whoever sleeps from now on sleeps anew."""
        self.nap, self.used, self.warned = 0.0, 0.0, False

    def wait(self, pipes: Sequence[int], heed: bool = False) -> list[int]:
        """The pipes that can be read. `heed`: one that sleeps for `limits.test` gets a signal before it is given up.

        Call it only when all that came before has been read: who cannot write waits for us.

        Raises:
            Hangs: the program has slept for as long as it may.
            Stalled: the machine gave it too little time to say so.
        """
        while not (ready := select.select(pipes, [], [], max(0.0, self.looked + TICK - time.monotonic()))[0]):
            self.check(heed)
        return ready

    def check(self, heed: bool = False) -> None:
        """Nothing has come for a while: do they work, or sleep?"""
        now = time.monotonic()
        passed, self.looked = min(now - self.looked, 2 * TICK), now  # we may ourselves have been kept waiting
        if now > self.end:
            raise Stalled(f"the machine gave it too little time in {now - self.began:.0f} s")
        clocks = [processor_time(leaf(sandbox.process.pid)) for sandbox in self.sandboxes]
        if not all(state in "STtZ?" for state, _ in clocks):  # "D" waits for the machine's disk
            return self.stirred()
        self.asleep += passed
        if self.asleep >= self.limits.wall:
            raise Hangs(f"it slept for {self.limits.wall:g} s")
        if heed:
            self._nap(passed, sum(used for _, used in clocks))

    def _nap(self, passed: float, used: float) -> None:
        if self.nap == 0.0:
            self.used = used
        self.nap += passed
        if used - self.used > IDLE * (1 + self.nap):
            self.stirred()
        elif self.nap >= 2 * self.limits.test + GRACE:
            raise Hangs(f"it slept for {self.nap:.1f} s")
        elif self.nap >= self.limits.test and not self.warned:
            self.warned = True
            with suppress(ProcessLookupError, PermissionError):
                os.kill(leaf(self.sandboxes[0].process.pid), signal.SIGPROF)


def messages(descriptor: int, watch: Watch, longest: int, heed: bool = False) -> Iterator[Any]:
    """What is said over a pipe in the form of codec.py, until it is closed; None for what is no
    message, the last one.

    Raises:
        Hangs: or Stalled, and whatever else is thrown into it.
    """
    unread = b""
    while True:
        watch.wait([descriptor], heed)
        part = os.read(descriptor, 1 << 16)
        if not part:
            return
        watch.stirred()
        unread += part
        while len(unread) >= 4:
            size = 4 + int.from_bytes(unread[:4], "little")
            if size > longest:
                yield None
                return
            if len(unread) < size:
                break
            said, unread = unread[4:size], unread[size:]
            try:
                facts = json.loads(said)
            except (ValueError, RecursionError):
                facts = None
            yield facts


def leaf(pid: int) -> int:
    """The last of a chain of processes each of which started the next: of a sandbox the one inside.

    The process itself where there is no /proc. A program in a sandbox can start none, so there is one chain.
    """
    parents: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*") if Path("/proc/self").exists() else ():
        with suppress(OSError):
            parents[int((folder / "stat").read_text().rpartition(")")[2].split()[1])] = int(folder.name)
    while pid in parents:
        pid = parents[pid]
    return pid


def processor_time(pid: int) -> tuple[str, float]:
    """A process's state (one letter, as in /proc/PID/stat) and the seconds of processor time that it has used.

    Where there is no /proc, state "?": then the clock decides. A process that has gone is "Z".
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ("Z" if Path("/proc/self").exists() else "?"), 0.0
    return fields[0], (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
