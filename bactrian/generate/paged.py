"""A running batch whose keys and values lie in pages: any device, any architecture that can be packed.

Memory is given to a row a page at a time, as it grows, so what a row may come to need is not set aside. Where it runs
out, the row that came last gives its pages back, and what it has said is forwarded anew when there is room.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np
import torch

from bactrian.generate.decode_step import DecodeStep
from bactrian.generate.engine import Request
from bactrian.generate.pages import Pages, pages_for
from bactrian.generate.row import PREFILL_TOKENS, Prefill, Row
from bactrian.model.paged_attention import PAGE

AHEAD = 128  # tokens of one step where rows have several pending, at most; or one of each row
SLACK = 8  # prompts come in when this share of the pages is free: 1 in so many


class PagedBatch:
    """Rows with a slot each in a table of pages.

    A prompt's full pages are shared by its samples, and what several prompts of a prefill begin with by all of them.
    The last page of a prompt is shared until a sample writes to it; the sample then gets a copy, the last one the page.
    """

    def __init__(self, step: DecodeStep, rows: int, requests: Sequence[Request], cache_tokens: int):
        """
        Args:
            step: forwards new tokens.
            rows: most rows that will run at once.
            requests: all that will be asked.
            cache_tokens: of all pages together, but for one request's samples, which run together.
        """
        self.step, self.most = step, rows
        self.rows: list[Row] = []
        need, self.limit = _needs(requests, rows, cache_tokens)
        self.pages = Pages(min(_rounded(need), self.limit))
        self.short = need > self.limit  # of what these requests may come to need
        longest = max((len(asked.prompt) + asked.max_new_tokens for asked in requests), default=1)
        self.table = np.zeros((rows, _rounded(pages_for(longest))), dtype=np.int64)  # by slot
        self.held = np.zeros(rows, dtype=np.int64)  # pages of each
        self.lengths = np.zeros(rows, dtype=np.int64)  # tokens in them
        self.slots = list(range(rows))[::-1]
        self.away: deque[Row] = deque()  # rows that gave their pages back
        self.fresh: tuple[list[Row], torch.Tensor] | None = None  # rows just admitted and their states
        self.forwarded = 0

    def room(self, asked: Sequence[Request]) -> bool:
        """Whether these prompts fit, with a page to each of their samples and of the rows that run."""
        if not self.rows and len(asked) == 1:
            return True
        need = sum(pages_for(len(each.prompt)) + each.n for each in asked) + len(self.rows) + AHEAD // PAGE
        if self.short and self.rows:  # several prompts at once, not one whenever a row ends
            need = max(need, self.pages.count // SLACK)
        return not self.away and len(self.pages.free) >= need

    def prefill(self, requests: list[tuple[int, Request]]) -> None:
        groups = []
        for index, asked in requests:
            rows = [Row(index, sample, asked, slot=self.slots.pop()) for sample in range(asked.n)]
            groups.append((asked.prompt, rows))
        done = self._place(groups)
        last = [stop - 1 for (_, rows), (_, stop) in zip(groups, done.spans, strict=True) for _ in rows]
        fresh = [row for _, rows in groups for row in rows]
        self.rows += fresh
        self.fresh = (fresh, done.states[torch.tensor(last, device=done.states.device)])

    def _place(self, groups: Sequence[tuple[tuple[int, ...], list[Row]]]) -> Prefill:
        """Forward the tokens of each group, and give its rows the pages that they are in."""
        done = Prefill.of(self.step.model, [tokens for tokens, _ in groups])
        self.forwarded += len(done.states)
        whole = done.shared // PAGE  # pages of what all begin with
        common = self.pages.take(whole)
        source, target = [np.arange(whole * PAGE)], [slots_of(common, 0, whole * PAGE)]
        for (tokens, rows), (start, stop) in zip(groups, done.spans, strict=True):
            pages = [*common, *self.pages.take(pages_for(len(tokens)) - whole)]
            # the page that the common tokens end in is each prompt's own
            source.append(np.concatenate([np.arange(whole * PAGE, done.shared), np.arange(start, stop)]))
            target.append(slots_of(pages, whole * PAGE, len(tokens)))
            for row in rows:
                self.table[row.slot] = 0
                self.table[row.slot, : len(pages)] = pages
                self.held[row.slot], self.lengths[row.slot] = len(pages), len(tokens)
                self.pages.share(pages)
            self.pages.drop(pages[whole:])
        self.pages.drop(common)
        self.pages.write(done.cache, np.concatenate(source), np.concatenate(target))
        return done

    def logits(self) -> tuple[list[Row], torch.Tensor]:
        """One token of every row that has any pending, or a few where there is room for more in a step."""
        self._bring_back()
        ready: list[Row] = []
        states = []
        running = [row for row in self.rows if row.pending and self.held[row.slot]]
        if running:
            counts = self._make_room(running)
            hidden = self._forward(running, counts)
            ends = counts.cumsum() - 1
            drawn = [place for place, row in enumerate(running) if not row.pending]
            ready += [running[place] for place in drawn]
            states.append(hidden[torch.from_numpy(ends[drawn]).to(hidden.device)])
        if self.fresh is not None:
            ready += self.fresh[0]
            states.append(self.fresh[1])
            self.fresh = None
        model = self.step.model
        logits = (torch.cat(states) @ model.head.T).float()
        cap = model.softcap
        return ready, logits if cap is None else cap * torch.tanh(logits / cap)

    def _make_room(self, running: list[Row]) -> np.ndarray:
        """How many tokens each row forwards now, with pages of its own to write them to.

        Rows are taken off the end of `running` until that is so.
        """
        while True:
            slots, counts = np.array([row.slot for row in running]), self._counts(running)
            lengths, held = self.lengths[slots], self.held[slots]
            self._widen(int(pages_for(int((lengths + counts).max()))))
            first = lengths // PAGE  # the page that each writes to first; it may be other rows' too
            shared = (first < held) & (self.pages.holders[self.table[slots, first]] > 1)
            lacking = np.maximum((lengths + counts - 1) // PAGE + 1 - held, 0)
            need = int(lacking.sum() + shared.sum())
            if need > len(self.pages.free) and self.pages.count < self.limit:
                self.pages.grow(min(2 * self.pages.count, self.limit))  # rows go on beyond what was asked at first
            if need <= len(self.pages.free) or len(running) == 1:
                break
            self._send_away(running.pop())
        source, target = [], []
        for place in np.flatnonzero(shared | (lacking > 0)):
            slot, page = slots[place], int(self.table[slots[place], first[place]])
            if shared[place] and self.pages.holders[page] > 1:  # but for the last of those that share it
                source.append(page)
                target += self.pages.take(1)
                self.table[slot, first[place]] = target[-1]
                self.pages.drop([page])
            self.table[slot, held[place] : held[place] + lacking[place]] = self.pages.take(int(lacking[place]))
            self.held[slot] += lacking[place]
        self.pages.copy(source, target)
        return counts

    def _counts(self, running: list[Row]) -> np.ndarray:
        """Tokens that each row forwards in this step: one, and more of what it has pending while there is room."""
        counts = np.ones(len(running), dtype=np.int64)
        spare = AHEAD - len(running)
        for place, row in enumerate(running):
            more = min(len(row.pending) - 1, spare)
            if more > 0:
                counts[place] += more
                spare -= more
        return counts

    def _forward(self, rows: list[Row], counts: np.ndarray) -> torch.Tensor:
        """The states of all tokens that rows forward now, one row's after another's, [N, d]."""
        ends = counts.cumsum()
        nth = np.arange(ends[-1]) - np.repeat(ends - counts, counts)  # 0, 1, … within each row's
        slots = np.repeat([row.slot for row in rows], counts)
        places = self.lengths[slots] + nth
        ids = np.array([token for row, count in zip(rows, counts, strict=True) for token in row.pending[:count]])
        written = self.table[slots, places // PAGE] * PAGE + places % PAGE
        states = self.step(self.pages, ids, places, written, self.table[slots])
        self.lengths[[row.slot for row in rows]] += counts
        self.forwarded += len(ids)
        for row, count in zip(rows, counts, strict=True):
            row.pending = row.pending[count:]
        return states

    def _widen(self, pages: int) -> None:
        if pages > self.table.shape[1]:  # a row goes on beyond what was asked at first
            self.table = np.pad(self.table, ((0, 0), (0, _rounded(pages) - self.table.shape[1])))

    def _send_away(self, row: Row) -> None:
        self._let_go(row)
        self.away.appendleft(row)

    def _let_go(self, row: Row) -> None:
        self.pages.drop(self.table[row.slot, : self.held[row.slot]].tolist())
        self.held[row.slot] = 0

    def _bring_back(self) -> None:
        """Forward anew what rows that were sent away have said, first those that came first, while there is room."""
        back: list[tuple[tuple[int, ...], list[Row]]] = []
        running = sum(1 for row in self.rows if self.held[row.slot])
        need, tokens = running + AHEAD // PAGE, 0
        while self.away:
            row = self.away[0]
            known = (*row.asked.prompt, *row.ids)[: self.lengths[row.slot]]
            need, tokens = need + pages_for(len(known)) + 1, tokens + len(known)
            if (running or back) and (need > len(self.pages.free) or tokens > PREFILL_TOKENS):
                break
            back.append((known, [row]))
            self.away.popleft()
        if back:
            self._place(back)

    def forget(self, row: Row, tokens: int) -> None:
        self.lengths[row.slot] -= tokens

    def retire(self) -> None:
        for row in self.rows:
            if row.finish is not None:
                self._let_go(row)
                self.slots.append(row.slot)
        self.rows = [row for row in self.rows if row.finish is None]


def slots_of(pages: Sequence[int], start: int, stop: int) -> np.ndarray:
    """Where a row's tokens [start, stop) lie in the cache."""
    places = np.arange(start, stop)
    return np.asarray(pages, dtype=np.int64)[places // PAGE] * PAGE + places % PAGE


def _rounded(count: int) -> int:
    """The next power of two, so that a compiled step meets few shapes."""
    return 1 << (count - 1).bit_length()


def _needs(requests: Sequence[Request], rows: int, cache_tokens: int) -> tuple[int, int]:
    """Pages that so many rows of these requests may come to need, and those that there may be.

    There are enough for the samples of each request by itself.
    """
    need, count = [1], [0]
    for asked in requests:
        drawn = asked.max_new_tokens - 1  # the last one is not forwarded
        own = pages_for(len(asked.prompt) % PAGE + drawn) if drawn else 0
        need.append(pages_for(len(asked.prompt)) + asked.n * own)
        count.append(asked.n)
    order = np.argsort(need)[::-1]
    together = int(np.searchsorted(np.cumsum(np.array(count)[order]), rows)) + 1
    spare = rows + AHEAD // PAGE
    return int(np.array(need)[order][:together].sum()) + spare, max(cache_tokens // PAGE, max(need))
