"""A running batch on transformers' own forward: any device, any architecture that can be packed."""

from __future__ import annotations

import torch

from bactrian.generate.engine import Request
from bactrian.generate.row import Prefill, Row
from bactrian.model.attention import CachedAttention
from bactrian.model.language_model import LanguageModel


class PlainBatch:
    """The rows that are running: the first len(rows) rows of the cache, in any order.

    Keys and values per layer are [rows, Hkv, capacity, D] each, allocated once, and again only to grow. A row that
    leaves has its place taken by the last one.
    """

    def __init__(self, model: LanguageModel, rows: int, capacity: int):
        """
        Args:
            rows, capacity: most rows that will run at once, and tokens of the longest, its prompt included.
        """
        self.model, self.most, self.capacity = model, rows, capacity
        self.rows: list[Row] = []
        self.keys: list[torch.Tensor] = []
        self.values: list[torch.Tensor] = []
        self.lengths = torch.zeros(rows, dtype=torch.long, device=model.device)  # tokens in each row's cache
        self.fresh: torch.Tensor | None = None  # [b, d]: states of rows just admitted, whose first token is not drawn
        self.forwarded = 0

    def prefill(self, requests: list[tuple[int, Request]]) -> None:
        done = Prefill.of(self.model, [asked.prompt for _, asked in requests])
        self.forwarded += len(done.states)
        if not self.keys:
            # zeros, not whatever memory holds: a masked slot that is not a number would still spoil its row's sums
            shape = (self.most, done.cache[0][0].shape[1], self.capacity)
            self.keys = [k.new_zeros(*shape, k.shape[2]) for k, _ in done.cache]
            self.values = [v.new_zeros(*shape, v.shape[2]) for _, v in done.cache]
        last = []
        for (index, asked), (start, stop) in zip(requests, done.spans, strict=True):
            first, shared = len(self.rows), done.shared
            self.rows += [Row(index, sample, asked) for sample in range(asked.n)]
            last += [stop - 1] * asked.n
            mine, length = slice(first, len(self.rows)), shared + stop - start
            self.lengths[mine] = length
            for keys, values, (k, v) in zip(self.keys, self.values, done.cache, strict=True):
                for rows, new in ((keys[mine], k), (values[mine], v)):
                    rows[:, :, :shared] = new[:shared].transpose(0, 1)
                    rows[:, :, shared:length] = new[start:stop].transpose(0, 1)
        self.fresh = done.states[torch.tensor(last, device=done.states.device)]

    def logits(self) -> tuple[list[Row], torch.Tensor]:
        """One token of every row that has any pending; rows just admitted sit at the end and have none."""
        running = len(self.rows) - (0 if self.fresh is None else len(self.fresh))
        ready, states = [], []
        if running:
            self._grow(int(self.lengths[:running].max()) + 1)
            ids = torch.tensor([[row.pending.pop(0)] for row in self.rows[:running]])
            lengths = self.lengths[:running]
            layout = CachedAttention([k[:running] for k in self.keys], [v[:running] for v in self.values], lengths)
            hidden = self.model.hidden(ids, lengths[:, None], layout)[:, 0]
            self.lengths[:running] += 1
            self.forwarded += running
            drawn = [place for place, row in enumerate(self.rows[:running]) if not row.pending]
            ready += [self.rows[place] for place in drawn]
            states.append(hidden[torch.tensor(drawn, dtype=torch.long, device=hidden.device)])
        if self.fresh is not None:
            ready += self.rows[running:]
            states.append(self.fresh)
            self.fresh = None
        logits = (torch.cat(states) @ self.model.head.T).float()
        cap = self.model.softcap
        return ready, logits if cap is None else cap * torch.tanh(logits / cap)

    def _grow(self, need: int) -> None:
        if need <= self.capacity:
            return
        self.capacity = 2 * need
        for layers in (self.keys, self.values):
            for i, old in enumerate(layers):
                layers[i] = old.new_zeros(*old.shape[:2], self.capacity, old.shape[3])
                layers[i][:, :, : old.shape[2]] = old

    def forget(self, row: Row, tokens: int) -> None:
        self.lengths[self.rows.index(row)] -= tokens

    def retire(self) -> None:
        for place in range(len(self.rows) - 1, -1, -1):
            if self.rows[place].finish is None:
                continue
            end = len(self.rows) - 1
            if place != end:
                length = int(self.lengths[end])
                for layer in (*self.keys, *self.values):
                    layer[place, :, :length] = layer[end, :, :length]
                self.lengths[place] = length
                self.rows[place] = self.rows[end]
            self.rows.pop()
