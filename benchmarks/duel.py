"""Two programs side by side: each in a process of its own, with the same malloc and OpenMP settings, run in turns.

A side is a script that reads one JSON command a line and answers each with one JSON line on its real standard output;
whatever else it prints goes to standard error.
"""

from __future__ import annotations

import json
import os
import platform
import select
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from types import TracebackType
from typing import Any, Self

MALLOC = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "100000000000", "MALLOC_TOP_PAD_": "268435456"}
THREADS = {"GOMP_SPINCOUNT": "1000"}  # as `bactrian` sets it; it costs nothing alone (neighbour.py)
PATIENCE = 300  # seconds for one answer, loading included


class Side:
    """One of the programs, started and ready for commands."""

    def __init__(
        self,
        name: str,
        python: str,
        script: Path,
        *arguments: str,
        threads: int = 2,
        patience: int = PATIENCE,
        more: Mapping[str, str] | None = None,
    ) -> None:
        """`more`: environment variables of this side alone."""
        self.name, self.patience = name, patience
        environment = os.environ | MALLOC | THREADS | {"OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
        environment |= more or {}
        self.process = subprocess.Popen(
            [python, str(script), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.process.kill()
        self.process.wait()

    def ask(self, what: str, **arguments: Any) -> dict[str, Any]:
        """Send a command, wait for its answer.

        Raises:
            RuntimeError: the program ended, said that it failed, or took longer than patience has it.
        """
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps({"what": what, **arguments}) + "\n")
        self.process.stdin.flush()
        if not select.select([self.process.stdout], [], [], self.patience)[0]:
            self.process.kill()
            raise RuntimeError(f"{self.name}: no answer to {what!r} within {self.patience} s")
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended with status {self.process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"{self.name}: {answer['error']}")
        return answer


def serve(commands: dict[str, Callable[..., dict[str, Any]]]) -> None:
    """The loop of a side: answers commands until its standard input ends."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not be taken for an answer
    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer = commands[command.pop("what")](**command)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        out.write(json.dumps(answer) + "\n")
        out.flush()


def in_turns(sides: list[Side], runs: int, what: str, **arguments: Any) -> dict[str, float]:
    """Median seconds of each side over `runs` rounds, in which each side runs once."""
    seconds: dict[str, list[float]] = {side.name: [] for side in sides}
    for run in range(runs):
        for side in sides:
            seconds[side.name].append(side.ask(what, run=run, **arguments)["seconds"])
    return {name: statistics.median(values) for name, values in seconds.items()}


def peak_gigabytes() -> float:
    """Of this process, so far."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def machine() -> str:
    """Date, processor and cores, for the head of a table."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor()
    return f"{date.today()}, {name}, {os.cpu_count()} cores, Python {platform.python_version()}"
