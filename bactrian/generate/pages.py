"""The key-value cache of a running batch in pages of a fixed number of tokens, shared by whoever begins alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch

from bactrian.model.paged_attention import PAGE


def pages_for(tokens: int) -> int:
    """Pages that so many tokens take."""
    return -(-tokens // PAGE)


@contextmanager
def kept() -> Iterator[None]:
    """What is made within outlives the call and is written to by compiled steps: to torch it is no inference's."""
    with torch.inference_mode(False), torch.no_grad():
        yield


class Pages:
    """Keys and values [Hkv, pages x PAGE, D] of each layer, allocated once, and who holds which page.

    Page 0 is nobody's: what is computed only to fill a batch is written there. Numbers are always finite, as a masked
    key that is not a number would still spoil its row's sums.
    """

    def __init__(self, count: int):
        """
        Args:
            count: pages to give away.
        """
        self.count = count
        self.keys: list[torch.Tensor] = []
        self.values: list[torch.Tensor] = []
        self.holders = np.zeros(count + 1, dtype=np.int64)  # rows that hold each page
        self.free = list(range(count, 0, -1))  # the one given back last is given away first
        self.most_held = 0  # pages held at the same time, so far

    def take(self, count: int) -> list[int]:
        """Pages that nobody holds, held once now. Where there are too few, the cache grows, by a copy of it."""
        if count > len(self.free):
            self.grow(self.count + max(count - len(self.free), self.count))
        taken = [self.free.pop() for _ in range(count)]
        self.holders[taken] = 1
        self.most_held = max(self.most_held, self.count - len(self.free))
        return taken

    def share(self, pages: Sequence[int]) -> None:
        """Held once more."""
        self.holders[list(pages)] += 1

    def drop(self, pages: Iterable[int]) -> None:
        """Held once less; what nobody holds can be given away again."""
        for page in pages:
            self.holders[page] -= 1
            if not self.holders[page]:
                self.free.append(page)

    @kept()
    def write(self, cache: Sequence[tuple[torch.Tensor, torch.Tensor]], tokens: np.ndarray, slots: np.ndarray) -> None:
        """Write tokens [M] of each layer's (k, v), [T, Hkv, D] each, to slots [M]: page x PAGE + place within it."""
        if not self.keys:
            self.keys = [self._empty(k) for k, _ in cache]
            self.values = [self._empty(v) for _, v in cache]
        device = cache[0][0].device
        source, target = (torch.from_numpy(each).to(device) for each in (tokens, slots))
        for keys, values, (k, v) in zip(self.keys, self.values, cache, strict=True):
            keys.index_copy_(1, target, k.index_select(0, source).transpose(0, 1))
            values.index_copy_(1, target, v.index_select(0, source).transpose(0, 1))

    def _empty(self, like: torch.Tensor) -> torch.Tensor:
        _, heads, dim = like.shape
        return torch.zeros(heads, (self.count + 1) * PAGE, dim, dtype=like.dtype, device=like.device)

    @kept()
    def copy(self, source: Sequence[int], target: Sequence[int]) -> None:
        """Copy whole pages."""
        if not source:
            return
        device = self.keys[0].device
        read, written = (torch.tensor(list(each), dtype=torch.long, device=device) for each in (source, target))
        for each in (*self.keys, *self.values):
            pages = each.view(each.shape[0], -1, PAGE, each.shape[2])
            pages.index_copy_(1, written, pages.index_select(1, read))

    @kept()
    def grow(self, count: int) -> None:
        """Have so many pages, by a copy of all."""
        self.free = [*range(count, self.count, -1), *self.free]
        self.holders = np.append(self.holders, np.zeros(count - self.count, dtype=np.int64))
        self.count = count
        for layers in (self.keys, self.values):
            for place, old in enumerate(layers):
                layers[place] = old.new_zeros(old.shape[0], (count + 1) * PAGE, old.shape[2])
                layers[place][:, : old.shape[1]] = old
