"""Checkpoints that are written while training goes on: the state is copied to main memory, a thread does the rest.

What is written is the state of one step, whatever is trained meanwhile; it becomes a checkpoint as any other does, by a
rename at its end, so that a kill at any moment leaves the last good one. What goes wrong in the thread ends training.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from threading import Thread
from types import TracebackType

import torch

from bactrian.progress import note
from bactrian.store import processes
from bactrian.train import checkpoints
from bactrian.train.checkpoints import SavedState
from bactrian.train.shards import is_cut


class Saver:
    """Writes one checkpoint at a time: at once, or in the background. On leaving its block nothing is under way."""

    def __init__(self, folder: Path, background: bool) -> None:
        self.folder, self.background = folder, background
        self.group = processes.present()
        if background:  # what the thread exchanges with other processes' must not meet what training exchanges
            self.group = self.group.aside()
        self._thread: Thread | None = None
        self._error: BaseException | None = None

    def __enter__(self) -> Saver:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if kind is None:
            self.wait()
        elif self._thread is not None and self.group.size == 1:  # of several one may be gone: nobody waits for it
            self._thread.join()
            if self._error is not None:
                note(f"the last checkpoint was not written either: {self._error}")

    @property
    def busy(self) -> bool:
        """Whether the last checkpoint is still being written."""
        return self._thread is not None and self._thread.is_alive()

    def save(self, state: SavedState) -> None:
        """Returns when the state may change: once it is written, or copied. The one before is finished first.

        Raises:
            BactrianError: the disk is full, now or at the one before.
        """
        self.wait()
        if not self.background:
            checkpoints.save(self.folder, state, self.group)
            return
        cut = any(map(is_cut, state.tensors.values()))  # else the leader writes all
        kept = copied(state if cut or self.group.leader else replace(state, tensors={}))
        self._thread = Thread(target=self._write, args=(kept,), name="checkpoint", daemon=True)
        self._thread.start()

    def _write(self, state: SavedState) -> None:
        try:
            checkpoints.save(self.folder, state, self.group)
        except BaseException as error:  # raised where training is
            self._error = error

    def check(self) -> None:
        """Raise what went wrong in the background, if anything has."""
        if not self.busy:
            self.wait()

    def wait(self) -> None:
        """Until nothing is under way; raises what went wrong."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error


@torch.no_grad()
def copied(state: SavedState) -> SavedState:
    """The state in memory of its own, and the random numbers' as they are now."""
    # clones on a CPU, else copies from the device; of what is cut each process copies its part
    tensors = {
        name: tensor.detach().clone() if tensor.device.type == "cpu" else tensor.detach().cpu()
        for name, tensor in state.tensors.items()
    }
    return SavedState(state.step, tensors, dict(state.counts), torch.get_rng_state())
