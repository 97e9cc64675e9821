"""A guard against loss spikes: an update whose loss or gradient norm is far above the last ones' is not made.

The rule is that of OLMo-core's skip-step optimisers, which OLMo 2 32B and later models were trained with: skip where
the loss or the norm exceeds the mean of the last `window` by more than `sigma` of their standard deviations, once half
a window is known. What was skipped stays in the window, so that training goes on where losses have moved for good.
Ours differs in one point: what is not finite is skipped too but never enters the window, whose mean it would spoil for
as long as it stayed there.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import torch

from bactrian.errors import BactrianError

FEWEST = 20  # values of a window that says anything
HOPELESS = 20  # updates in a row whose loss or gradient is not finite


@dataclass(frozen=True)
class SkipRule:
    """window: updates that an update is held against. sigma: standard deviations above their mean that are let pass."""

    window: int = 128
    sigma: float = 6.0


class SpikeGuard:
    """Says of each update whether it may be made; remembers those before it."""

    def __init__(self, rule: SkipRule) -> None:
        self.rule = rule
        self.losses: deque[float] = deque(maxlen=rule.window)
        self.norms: deque[float] = deque(maxlen=rule.window)
        self.not_finite = 0  # in a row

    def allows(self, loss: float, norm: float) -> bool:
        """Whether an update of this loss and gradient norm may be made. Asked once for each update.

        Raises:
            BactrianError: too many updates in a row were not finite: the weights themselves are spoilt.
        """
        if not (math.isfinite(loss) and math.isfinite(norm)):
            self.not_finite += 1
            if self.not_finite == HOPELESS:
                raise BactrianError(
                    f"{HOPELESS} updates in a row have a loss or gradient that is not finite (loss {loss}, norm "
                    f"{norm}): skipping updates does not help; lower the learning rate"
                )
            return False
        self.not_finite = 0
        enough = len(self.losses) + 1 >= max(FEWEST, self.rule.window // 2)
        fine = not enough or (self._near(loss, self.losses) and self._near(norm, self.norms))
        self.losses.append(loss)
        self.norms.append(norm)
        return fine

    def _near(self, value: float, before: deque[float]) -> bool:
        deviation, mean = torch.std_mean(torch.tensor(before, dtype=torch.float64))
        return value - float(mean) <= self.rule.sigma * float(deviation)

    def state(self) -> dict[str, torch.Tensor]:
        """What it remembers, for a checkpoint."""
        return {
            "losses": torch.tensor(self.losses, dtype=torch.float64),
            "norms": torch.tensor(self.norms, dtype=torch.float64),
            "not_finite": torch.tensor(self.not_finite),
        }

    def restore(self, tensors: dict[str, torch.Tensor]) -> None:
        """Take back what `state` gave."""
        self.losses = deque(tensors["losses"].tolist(), maxlen=self.rule.window)
        self.norms = deque(tensors["norms"].tolist(), maxlen=self.rule.window)
        self.not_finite = int(tensors["not_finite"])
