"""Micro-batches that do not fit the memory are cut in halves; the gradient stays what it was.

A loss is a share of the whole update's, so any cut gives the same gradient but for rounding. Where the device has no
memory left for a micro-batch, what the update has added up so far is forgotten, and the update is begun anew with all
micro-batches of that size or more in halves; later updates are cut so from the start. Where processes wait for each
other's layers, all do so where one runs out (`abreast`).
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import torch

from bactrian.errors import BactrianError
from bactrian.progress import note
from bactrian.store import processes
from bactrian.train.backend import MicroBatch, Share

T = TypeVar("T")
ADVICE = (
    "set memory: {recompute: layer}, then optimiser: {states: 8bit} or {offload: true}, or adapter: {}; or make rows "
    "shorter"
)


@dataclass(frozen=True)
class Halvable(Generic[T]):
    """A micro-batch of several items (rows, pairs, problems with their answers), which may be computed in parts.

    compute: the share of the loss of some of the items, in any number of calls. sizes: of the items, in tokens.
    apart: an item as several smaller ones with their sizes, where it can be; else none.
    """

    compute: Callable[[list[T]], Share]
    items: Sequence[T]
    sizes: Sequence[int]
    apart: Callable[[T], list[tuple[T, int]]] | None = None

    def __call__(self) -> Share:
        return self.compute(list(self.items))

    @property
    def size(self) -> int:
        return sum(self.sizes)

    def halves(self) -> list[Halvable[T]]:
        """Two of about equally many tokens; nothing where there is but one item that is no several smaller ones."""
        if len(self.items) < 2:
            smaller: list[tuple[T, int]] = self.apart(self.items[0]) if self.apart is not None else []
            return [replace(self, items=[item], sizes=[size]) for item, size in smaller]
        half, total, at = self.size / 2, 0, 0
        while at < len(self.items) - 1 and total + self.sizes[at] / 2 <= half:
            total += self.sizes[at]
            at += 1
        at = max(1, at)
        parts = (slice(None, at), slice(at, None))
        return [replace(self, items=self.items[part], sizes=self.sizes[part]) for part in parts]


def size_of(piece: MicroBatch | None) -> int:
    """Its tokens; 0 where it does not say."""
    return piece.size if isinstance(piece, Halvable) else 0


@dataclass(frozen=True)
class Failure:
    """What a process had no memory for. `parts`: whether it can be computed in smaller ones."""

    process: str
    tokens: int
    parts: bool
    told: str

    @classmethod
    def of(cls, piece: MicroBatch | None, error: torch.OutOfMemoryError) -> Failure:
        parts = isinstance(piece, Halvable) and bool(piece.halves())
        return cls(processes.present().name, size_of(piece), parts, _told(error))


class Fitting:
    """Remembers which sizes were too large, and which were not; computes micro-batches in parts that are smaller."""

    def __init__(self, too_large: float = math.inf) -> None:
        """
        Args:
            too_large: tokens of a micro-batch that did not fit.
        """
        self.too_large = too_large
        self._fits: int | None = None  # tokens of the largest that did, beside gradients and the optimiser's state

    @property
    def known(self) -> dict[str, float]:
        """For a checkpoint: whoever goes on cuts alike."""
        return {"too_large": self.too_large} if math.isfinite(self.too_large) else {}

    def pieces(self, micro_batch: MicroBatch) -> Iterator[MicroBatch]:
        """The micro-batch, or parts of it that are small enough, or cannot be divided."""
        halves = micro_batch.halves() if isinstance(micro_batch, Halvable) else []
        if halves and isinstance(micro_batch, Halvable) and micro_batch.size >= self.too_large:
            for half in halves:
                yield from self.pieces(half)
        else:
            yield micro_batch

    @staticmethod
    def rounds(own: Sequence[int], filler: int, *, in_step: bool) -> list[int]:
        """Tokens of the largest of the micro-batches that are computed at the same time, one for each time.

        Args:
            own: tokens of each of this process's.
            filler: of what it computes when it has no more of its own.
            in_step: all processes compute equally many.
        """
        if not in_step:
            return list(own)
        every = processes.present().gathered((list(own), filler))
        count = max(len(sizes) for sizes, _ in every)
        return [max(sizes[at] if at < len(sizes) else spare for sizes, spare in every) for at in range(count)]

    def fits(self, tokens: int) -> bool:
        """Whether such a micro-batch went through before."""
        return self._fits is not None and tokens <= self._fits

    def went_through(self, rounds: Sequence[int]) -> None:
        """An update was computed. The first says nothing of later ones, for which the optimiser has its state."""
        self._fits = 0 if self._fits is None else max(self._fits, *rounds, 0)

    def shrink(self, failures: Sequence[Failure]) -> None:
        """A piece did not fit: those of its size are cut from now on.

        Args:
            failures: of this process, or of all that compute in step.

        Raises:
            BactrianError: one cannot be cut, with what to set.
        """
        group = processes.present()
        for each in failures:
            if not each.parts:
                raise BactrianError(
                    f"{f'{each.process}: ' if group.size > 1 else ''}one item of {each.tokens} tokens does not fit the "
                    f"GPU by itself: {ADVICE}. {each.told}"
                )
        first = min(failures, key=lambda each: each.tokens)
        self.too_large = min(self.too_large, first.tokens)
        if first.process == group.name:
            note(
                f"a micro-batch of {first.tokens} tokens does not fit the GPU: such ones are computed in halves from "
                "now on"
            )

    @staticmethod
    def give_back() -> None:
        """What a failed forward or backward left is given back to the device."""
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def no_longer_fits(tokens: int, error: torch.OutOfMemoryError) -> BactrianError:
    """Of a micro-batch that cannot be given up, as other processes wait for it, with what to set."""
    return BactrianError(
        f"{processes.present().name}: a micro-batch of {tokens} tokens does not fit the GPU, and others wait: "
        f"set memory: {{micro_tokens: {max(1, tokens // 2)}}}, or {ADVICE}. {_told(error)}"
    )


def _told(error: torch.OutOfMemoryError) -> str:
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else "no memory left"


def gpu_memory() -> dict[str, float]:
    """For the log, GiB: the most that tensors took of this process's GPU so far; nothing where it has none."""
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return {}
    return {"gpu_gib": torch.cuda.max_memory_allocated() / 2**30}
