"""Whether all processes still have memory, asked before each exchange of a micro-batch that may not fit.

Where weights are sharded, processes wait for each other in each layer: one that ran out of memory, and no more, would
leave the others waiting for ever. So each says before an exchange of weights or gradients that it is well, and one that
ran out says so in the same place. All then give the micro-batch up together, and begin it anew in smaller parts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from bactrian.store.processes import Processes


class OthersOut(torch.OutOfMemoryError):
    """Another process ran out of memory in the micro-batch that all compute now."""


class Abreast:
    """What the processes of a group say to each other while they compute a micro-batch together."""

    def __init__(self, group: Processes) -> None:
        self.group, self.asks = group, False

    @contextmanager
    def trying(self) -> Iterator[None]:
        """Within, all compute one micro-batch, asking.

        Raises:
            torch.OutOfMemoryError: in each process, where one of them ran out: `OthersOut` in those that did not.
        """
        self.asks = True
        try:
            yield
            self.ask()
        except torch.OutOfMemoryError:
            if self.asks:  # it is this process that ran out, and nobody knows it yet
                self._said(out=True)
            raise
        finally:
            self.asks = False

    def ask(self) -> None:
        """
        Raises:
            OthersOut: some process is out of memory.
        """
        if self.asks and self._said(out=False):
            raise OthersOut("another process has no memory left")

    def _said(self, out: bool) -> bool:
        """Say how it is here; whether any is out, after which nobody asks any more."""
        said = torch.tensor([int(out)])
        self.group.add(said)
        if int(said):
            self.asks = False
        return bool(said)

    def stand_between(self, unit: Any) -> None:
        """From now on what a unit of `fully_shard` exchanges is asked about before."""
        unit.set_custom_all_gather(_Gather(self))
        unit.set_custom_reduce_scatter(_Reduce(self))


def can_begin_anew() -> bool:
    """Whether this torch gives up half a forward or backward of sharded weights cleanly (from 2.13 on)."""
    from torch.distributed.fsdp import FSDPModule

    return hasattr(FSDPModule, "reset_iter_state")


class _Exchange:
    """What torch's default exchanges do, but that they ask first."""

    def __init__(self, abreast: Abreast) -> None:
        self.abreast = abreast

    def allocate(self, size: Sequence[int], *, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        return torch.empty(*size, dtype=dtype, device=device)


class _Gather(_Exchange):
    def __call__(
        self, output_tensor: torch.Tensor, input_tensor: torch.Tensor, group: Any, async_op: bool = False
    ) -> Any:
        import torch.distributed as dist

        self.abreast.ask()
        return dist.all_gather_single(output_tensor, input_tensor, group=group, async_op=async_op)


class _Reduce(_Exchange):
    def __call__(
        self, output_tensor: torch.Tensor, input_tensor: torch.Tensor, group: Any, op: Any, async_op: bool = False
    ) -> Any:
        import torch.distributed as dist

        self.abreast.ask()
        return dist.reduce_scatter_single(output_tensor, input_tensor, op=op, group=group, async_op=async_op)
