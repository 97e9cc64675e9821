"""Lets a training loop run one optimiser step at a time, on command, so that two programs can take turns.

The driver asks "step"; the loop goes on until its next update is done, and the answer is the time from command to end,
with the process's peak memory.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

from duel import peak_gigabytes


class SharedPace:
    """The reins: `wait` before the first step, `done` after each."""

    def __init__(self) -> None:
        self.out = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)  # what libraries print must not be taken for an answer
        self.began = 0.0

    def wait(self) -> dict[str, Any]:
        """The next command; ends the process when there are no more."""
        line = sys.stdin.readline()
        if not line:
            sys.exit(0)
        command: dict[str, Any] = json.loads(line)
        self.began = time.perf_counter()
        return command

    def answer(self, **values: Any) -> None:
        self.out.write(json.dumps(values) + "\n")
        self.out.flush()

    def done(self, **values: Any) -> None:
        """The step that was asked for is done: say so, and wait for the next."""
        self.answer(seconds=time.perf_counter() - self.began, peak=peak_gigabytes(), **values)
        self.wait()
