"""Weights whole in each of several processes: each computes some of an update's micro-batches, their gradients add up.

Any model that is trained in one process is trained so, adapters and weights in 4 bits too; it must fit each GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

from bactrian.model.language_model import Decoder
from bactrian.store.processes import Processes
from bactrian.train.backend import LocalBackend

BUCKET = 2**24  # numbers that are exchanged at a time


class ReplicatedBackend(LocalBackend):
    """As in one process, but that `step` adds up the gradients of all before it moves the weights, everywhere alike."""

    def __init__(self, group: Processes) -> None:
        super().__init__()
        self.group = group

    def expect(self, micro_batches: int) -> None:
        self.optimiser.expect(max(2, micro_batches))  # a gradient that is added to others is kept in float32

    def step(self, rate: float, clip: float | None, allows: Callable[[float], bool] | None = None) -> float:
        self._add_up()
        return super().step(rate, clip, allows)

    def exact(self, model: Decoder) -> dict[str, torch.Tensor]:
        return super().exact(model) if self.group.leader else {}

    def settle(self, model: Decoder) -> bool:
        return self.group.leader

    def save(self, model: Decoder, folder: Path) -> None:
        if self.group.leader:
            super().save(model, folder)
        self.group.barrier()

    @torch.no_grad()
    def _add_up(self) -> None:
        masters = self.optimiser.masters
        moved = self.group.most([float(master.grad is not None) for master in masters])
        gradients: list[torch.Tensor] = []
        for master, anywhere in zip(masters, moved, strict=True):
            if anywhere:
                if master.grad is None:
                    master.grad = torch.zeros_like(master)
                gradients.append(master.grad)
        for bucket in _buckets(gradients):
            flat = torch.cat([gradient.reshape(-1) for gradient in bucket])
            self.group.add(flat)
            pieces = torch.split(flat, [gradient.numel() for gradient in bucket])
            for gradient, piece in zip(bucket, pieces, strict=True):
                gradient.copy_(piece.view_as(gradient))


def _buckets(tensors: Sequence[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    """In their order, of one dtype each and of about BUCKET numbers."""
    bucket: list[torch.Tensor] = []
    for tensor in tensors:
        if bucket and (tensor.dtype != bucket[0].dtype or sum(map(torch.Tensor.numel, bucket)) >= BUCKET):
            yield bucket
            bucket = []
        bucket.append(tensor)
    if bucket:
        yield bucket
