"""The trackers of a run: a process for each, which reads what the steps write. Training never waits for one."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Self

from bactrian.errors import BactrianError
from bactrian.progress import say
from bactrian.recipe.references import ExternalSource
from bactrian.report.track.forward import FLUSH_SECONDS, Order
from bactrian.report.track.trackers import BACKENDS
from bactrian.run.keys import KeyedStep
from bactrian.store.artifact import Input, Store
from bactrian.store.extras import install_line
from bactrian.store.hardware import Hardware, machine

WAIT_AFTER_FAILURE = 5.0
"""Seconds; a tracker that needs longer goes on by itself."""
SAID_SO = 3  # forward.py's status where it has said what was wrong


def check_trackers(names: Sequence[str]) -> None:
    """
    Raises:
        BactrianError: a tracker's package is not installed; with the line that installs all that are missing.
    """
    missing = [name for name in names if importlib.util.find_spec(BACKENDS[name].package) is None]
    if missing:
        command = install_line(BACKENDS[name].extra for name in missing)
        raise BactrianError(f"track: found {', '.join(missing)}, not installed here; expected: {command}")


class Trackers:
    """Starts each tracker's process at the first step that is made; at the end gives all of them time for the rest."""

    def __init__(self, names: Sequence[str], recipe: str, store: Store) -> None:
        """
        Raises:
            BactrianError: a tracker's package is not installed.
        """
        check_trackers(names)
        self.names, self.recipe, self.store = tuple(dict.fromkeys(names)), recipe, store
        self.processes: dict[str, subprocess.Popen[bytes]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._close(FLUSH_SECONDS if error is None else WAIT_AFTER_FAILURE, leave=error is not None)

    def follow(self, task: KeyedStep, hardware: Hardware, inputs: Mapping[str, Input | ExternalSource]) -> None:
        """Tell the trackers of a step that is about to be made."""
        if not self.names:
            return
        step = task.step
        config = {
            "recipe": self.recipe,
            "step": step.name,
            "stage": step.stage.name,
            "key": task.key,
            "settings": step.stage.model_dump(mode="json", exclude={"seed"}),
            "seed": step.seed,
            "inputs": {ref: item.key or item.content_hash for ref, item in inputs.items()},
            "hardware": {**machine(), **asdict(hardware)},
        }
        folder = self.store.folder(step.stage.name, task.key).resolve()
        order = Order(str(folder), str(self.store.root.resolve()), self.recipe, step.name, step.stage.name, config)
        path = order.write()
        if self.processes is None:
            self.processes = {name: self._start(name, path.parent) for name in self.names}
        for name in self.names:
            self._send(name, os.fsencode(path) + b"\n")

    def _start(self, name: str, folder: Path) -> subprocess.Popen[bytes]:
        here = str(Path(__file__).parents[2])
        above = os.environ.get("PYTHONPATH")
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "bactrian.report.track.forward", name, str(folder / f"{name}.log")],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is not for it: it has what is left to send
            env={**os.environ, "PYTHONPATH": os.pathsep.join([here, above] if above else [here])},
        )
        assert process.stdin is not None
        os.set_blocking(process.stdin.fileno(), False)
        return process

    def _send(self, name: str, line: bytes) -> None:
        processes = self.processes or {}
        if (process := processes.get(name)) is None:
            return
        try:
            assert process.stdin is not None
            os.write(process.stdin.fileno(), line)
        except OSError:  # it has ended, or reads nothing any more
            if process.poll() != SAID_SO:
                say(f"warning: tracker {name} does not answer and is told no more; training goes on")
            del processes[name]

    def _close(self, seconds: float, leave: bool) -> None:
        """Wait for the trackers to send the rest, all together so long; then leave them to it, or end them."""
        processes, self.processes = self.processes or {}, None
        for process in processes.values():
            with suppress(OSError):
                assert process.stdin is not None
                process.stdin.close()
        end = time.monotonic() + seconds
        for name, process in processes.items():
            try:
                status = process.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                if not leave:
                    process.kill()
                    process.wait()
                    say(f"warning: tracker {name} did not send the rest in {seconds:.0f} s and was ended")
            else:
                if status not in (0, SAID_SO):
                    say(f"warning: tracker {name} ended with status {status}; what it has may not be all")
