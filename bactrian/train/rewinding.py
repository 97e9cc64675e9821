"""Going back over a bad span: to the state before it, and on with the data after it.

Where losses spike and skipping single updates does not help, PaLM's team restarted from a checkpoint before the spike
and left out the data in between [Chowdhery et al. 2022]. Here the loop does so by itself. Checkpoints are made by the
clock; where to go back to must not depend on it, or two runs would differ. So states are kept at fixed steps.
"""

from __future__ import annotations

import os
import shutil
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import torch

from bactrian.errors import BactrianError
from bactrian.store import processes
from bactrian.train import checkpoints
from bactrian.train.checkpoints import Like, SavedState

FOLDER = "anchors"
KEPT = 3  # one may be among what was skipped, one is for a checkpoint that is damaged
OFTEN = 3  # times that training may go back to one and the same state


@dataclass(frozen=True)
class RewindRule:
    """after: skipped updates within `within` updates that make training go back. every: steps between two states."""

    after: int
    within: int
    every: int


class Rewinder:
    """Keeps states at fixed steps, and says when and to which of them training goes back."""

    def __init__(self, rule: RewindRule, folder: Path) -> None:
        """`folder`: that of the checkpoints."""
        self.rule, self.checkpoints, self.folder = rule, folder, folder / FOLDER
        self.skipped: deque[int] = deque(maxlen=rule.after)  # steps, from 1
        self.returns: list[int] = []  # the step of the state, each time

    def keeps(self, step: int) -> bool:
        """Whether the state after so many steps is one to go back to."""
        return step % self.rule.every == 0

    def keep(self, step: int) -> None:
        """Keep the checkpoint of this step, which was just written."""
        if processes.present().leader:
            self.folder.mkdir(exist_ok=True)
            name = f"step-{step:06d}"
            draft = self.folder / f"{name}.partial"
            shutil.rmtree(draft, ignore_errors=True)
            shutil.copytree(self.checkpoints / name, draft, copy_function=os.link)
            shutil.rmtree(self.folder / name, ignore_errors=True)
            draft.rename(self.folder / name)
            for old in checkpoints.found(self.folder)[:-KEPT]:
                shutil.rmtree(old)
        processes.present().barrier()

    def note(self, step: int, skipped: bool) -> bool:
        """Whether training goes back now, after the update of this step (from 1)."""
        if skipped:
            self.skipped.append(step)
        rule = self.rule
        return skipped and len(self.skipped) == rule.after and step - self.skipped[0] < rule.within

    def target(self, where: str) -> int:
        """The step of the newest state before the first of the skipped updates.

        Raises:
            BactrianError: training was there too often, or the state is gone.
        """
        first = self.skipped[0]
        steps = [int(path.name.removeprefix("step-")) for path in checkpoints.found(self.folder)]
        step = processes.present().told(max((each for each in steps if each < first), default=-1))
        if step < 0:
            raise BactrianError(f"{where}: no state before step {first} is left in {self.folder} to go back to")
        if self.returns.count(step) == OFTEN:
            raise BactrianError(
                f"{where}: {self.rule.after} updates were skipped again after going back {OFTEN} times to the state "
                f"after step {step}: the data do not explain it; lower the learning rate"
            )
        return step

    def back(self, like: Like | None) -> SavedState:
        """The state of `target`; the skipped updates are forgotten."""
        step = self.target("going back")
        self.returns.append(step)
        self.skipped.clear()
        return checkpoints.load(self.folder / f"step-{step:06d}", like)

    def resume(self, step: int) -> None:
        """Training goes on after this step, whose checkpoint is the newest: states of later ones will be made again."""
        if processes.present().leader:
            for path in checkpoints.found(self.folder):
                if int(path.name.removeprefix("step-")) > step:
                    shutil.rmtree(path)
        if self.keeps(step) and (self.checkpoints / f"step-{step:06d}").is_dir():  # a kill came between
            self.keep(step)
        processes.present().barrier()

    def state(self) -> dict[str, torch.Tensor]:
        """What it remembers, for a checkpoint."""
        return {
            "skipped": torch.tensor([*self.skipped], dtype=torch.int64),
            "returns": torch.tensor(self.returns, dtype=torch.int64),
        }

    def restore(self, tensors: dict[str, torch.Tensor]) -> None:
        """Take back what `state` gave."""
        self.skipped.extend(map(int, tensors["skipped"].tolist()))
        self.returns = [int(step) for step in tensors["returns"].tolist()]
