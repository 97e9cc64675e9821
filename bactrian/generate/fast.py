"""A running batch on the decoder of our own: prompts' caches are shared by their samples, never copied per row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from bactrian.generate.decode_kernels import RUN, run_of, tokens_of
from bactrian.generate.decoder import FastDecoder
from bactrian.generate.engine import Request
from bactrian.generate.row import Prefill, Row
from bactrian.model.trunks import Trunk, stacked

TRUNK, PROMPT, OWN = range(3)  # the runs of a row: what all its prefill's prompts begin with, the rest, its own
LENGTH = RUN.index("length")


class FastBatch:
    """Rows with a slot each in one cache [layers, 2, slots, Hkv, capacity, D], which holds what was drawn, no prompt.

    Each row's attention goes over three runs of keys and values (see `Run` in decode.c). A prompt's stay where its
    prefill put them for as long as one of its samples runs.
    """

    def __init__(self, decoder: FastDecoder, rows: int, capacity: int):
        """
        Args:
            rows, capacity: most rows that will run at once, and new tokens of the longest.
        """
        self.decoder, self.most, self.capacity = decoder, rows, capacity
        self.rows: list[Row] = []
        self.free = list(range(rows))[::-1]
        self.runs = np.zeros((rows, 3, len(RUN)), dtype=np.int64)
        self.prompts: list[tuple[torch.Tensor, ...]] = [()] * rows  # by slot: keeps its prompt's caches alive
        self.trunks: dict[tuple[int, ...], Trunk] = {}  # those that the last prefill went on from
        self.fresh: tuple[list[Row], torch.Tensor] | None = None  # rows just admitted and their states
        self.forwarded = 0
        self.cache = self._allocate()

    def _allocate(self) -> torch.Tensor:
        _, kv_heads, dim = self.decoder.heads
        model = self.decoder.model
        return torch.empty(len(self.decoder.layers), 2, self.most, kv_heads, self.capacity, dim, dtype=model.dtype)

    def room(self, asked: Sequence[Request]) -> bool:
        return True  # each of `most` rows has its place

    def prefill(self, requests: list[tuple[int, Request]]) -> None:
        trunks = self._grow_trunks([asked.trunk for _, asked in requests])
        done = Prefill.of(self.decoder.model, [asked.prompt for _, asked in requests], trunks)
        self.forwarded += len(done.states)
        cache = stacked(done.cache)  # [layers, 2, Hkv, T, D]
        done.cache.clear()
        fresh: list[Row] = []
        last = []
        for (index, asked), trunk, (start, stop) in zip(requests, trunks, done.spans, strict=True):
            above = (cache, done.shared) if trunk is None else (trunk.cache, len(trunk.ids))
            for sample in range(asked.n):
                row = Row(index, sample, asked, slot=self.free.pop())
                self.prompts[row.slot] = (cache, above[0])
                self.runs[row.slot, TRUNK] = run_of(above[0], 0, above[1])
                self.runs[row.slot, PROMPT] = run_of(cache, start, stop - start)
                self.runs[row.slot, OWN] = run_of(self.cache[:, :, row.slot], 0, 0)
                fresh.append(row)
                last.append(stop - 1)
        self.rows += fresh
        self.fresh = (fresh, done.states[torch.tensor(last)])
        longest = max(len(asked.prompt) for _, asked in requests) + self.capacity
        self.decoder.reserve(longest)

    def _grow_trunks(self, asked: list[tuple[int, ...]]) -> list[Trunk | None]:
        """A trunk for each request that names one; a new one is forwarded, those no longer asked for are let go."""
        grown: dict[tuple[int, ...], Trunk] = {}
        for ids in dict.fromkeys(filter(None, asked)):
            if ids not in self.trunks:
                self.forwarded += len(ids)
            grown[ids] = self.trunks.get(ids) or Trunk.grow(self.decoder.model, ids)
        self.trunks = grown
        return [grown.get(ids) for ids in asked]

    def logits(self) -> tuple[list[Row], torch.Tensor]:
        ready, states = [], []
        if running := [row for row in self.rows if row.pending]:
            ready += running
            states.append(self._forward(running))
        if self.fresh is not None:
            ready += self.fresh[0]
            states.append(self.fresh[1])
            self.fresh = None
        return ready, self.decoder.logits(torch.cat(states))

    def _forward(self, rows: list[Row]) -> torch.Tensor:
        """Forward what rows have pending, several tokens of a row at once: the states of each row's last, [B, d]."""
        counts = np.array([len(row.pending) for row in rows])
        slots = np.array([row.slot for row in rows])
        self._grow(int((self.runs[slots, OWN, LENGTH] + counts).max()))
        ends = counts.cumsum()
        nth = np.arange(ends[-1]) - np.repeat(ends - counts, counts)  # 0, 1, … within each row's
        runs = self.runs[np.repeat(slots, counts)]
        runs[:, OWN, LENGTH] += nth + 1
        seen = runs[:, :, LENGTH].sum(1)
        states = self.decoder.states(
            torch.tensor([token for row in rows for token in row.pending]),
            torch.from_numpy(seen - 1),
            tokens_of(3 * torch.arange(len(runs)), torch.full((len(runs),), 3), torch.from_numpy(seen)),
            torch.from_numpy(runs.reshape(-1, len(RUN))),
        )
        self.runs[slots, OWN, LENGTH] += counts
        self.forwarded += len(runs)
        for row in rows:
            row.pending = []
        return states if len(states) == len(rows) else states[torch.from_numpy(ends - 1)]

    def _grow(self, need: int) -> None:
        if need <= self.capacity:
            return
        old, self.capacity = self.cache, 2 * need
        self.cache = self._allocate()
        self.cache[:, :, :, :, : old.shape[4]] = old
        for row in self.rows:
            length = self.runs[row.slot, OWN, LENGTH]
            self.runs[row.slot, OWN] = run_of(self.cache[:, :, row.slot], 0, length)
        self.decoder.reserve(int(self.runs[:, :, LENGTH].sum(1).max()) + self.capacity)

    def forget(self, row: Row, tokens: int) -> None:
        self.runs[row.slot, OWN, LENGTH] -= tokens

    def retire(self) -> None:
        for row in self.rows:
            if row.finish is not None:
                self.prompts[row.slot] = ()
                self.free.append(row.slot)
        self.rows = [row for row in self.rows if row.finish is None]
