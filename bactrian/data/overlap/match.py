"""Which test items a batch of training rows contains, by the definition of Tülu 3's overlap.

Let item i have fields f of T_f words each, and let C_f be the words of f that lie in a window of n words which also
stands in one user turn of row j. Then score_ij = mean over fields of |C_f| / T_f, and i matches j iff score_ij ≥ the
threshold (½ by default). One single row must reach it: coverage by different rows does not add up. A field of fewer
than n words has no windows and counts as 0. Where the reference compares with > and the published definition says
"at least half", we take ≥: they differ only at exactly the threshold.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bactrian.data.overlap.index import I64, Hits, Index, ranges
from bactrian.data.overlap.words import Bools, split, word_hashes

Rule = Literal["coverage", "any"]

COMMON = 16
"""An n-gram in more items than these is looked at last."""
SLACK = 1e-12
"""Two different scores differ by more than this unless an item's fields have 10^11 words; rounding by less."""
EXPANSION = 4_000_000
"""Places looked up at once: bounds the memory of a batch that consists of one sentence that all items share."""


@dataclass(frozen=True)
class Texts:
    """A batch of training texts: `row[t]` is the row, counted within the batch, that text t belongs to, rising."""

    texts: Sequence[str]
    row: I64


@dataclass(frozen=True)
class Matches:
    """Pairs of a row of the batch and an item that it contains [M], with the score of each; by row, then item."""

    rows: I64
    items: I64
    scores: NDArray[np.float64]

    def only(self, which: Bools | I64) -> "Matches":
        """Some of them, in the order given."""
        return Matches(self.rows[which], self.items[which], self.scores[which])


class Matcher:
    """Finds the matches of batches of texts. Holds no state between batches, so batches may run side by side."""

    def __init__(self, index: Index, rule: Rule = "coverage", threshold: float = 0.5) -> None:
        """`rule`: "any" takes one shared n-gram for a match, as s1 does, whatever the threshold."""
        self.index, self.threshold = index, threshold if rule == "coverage" else 0.0
        self._field_weight = 1.0 / (index.item_fields[index.field_item] * np.maximum(index.field_words, 1))
        self._windows_of_items()

    def matches(self, batch: Texts) -> Matches:
        """What the rows of a batch contain."""
        words = split(batch.texts)
        hits = self.index.find(words, word_hashes(words))
        rows, grams = self._distinct(batch.row[words.text[hits.windows]], hits)
        found = [self._reaching(rows[part], grams[part]) for part in self._parts(rows, grams)]
        return _joined(found)

    def _distinct(self, rows: I64, hits: Hits) -> tuple[I64, I64]:
        """(row, n-gram) pairs, each once, sorted."""
        pairs = _distinct_sorted(rows * len(self.index) + hits.grams)
        return pairs // max(1, len(self.index)), pairs % max(1, len(self.index))

    def _parts(self, rows: I64, grams: I64) -> Iterator[slice]:
        """Slices of the pairs that hold whole rows and about EXPANSION places each."""
        sizes = np.cumsum(self._telling_slots[grams + 1] - self._telling_slots[grams])
        first = 0
        while first < len(rows):
            last = int(np.searchsorted(sizes, (sizes[first - 1] if first else 0) + EXPANSION, "right"))
            last = int(np.searchsorted(rows, rows[min(max(last, first), len(rows) - 1)], "right"))
            yield slice(first, last)
            first = last

    def _reaching(self, rows: I64, grams: I64) -> Matches:
        """Candidates from all but the commonest n-grams of each item; then, for those, the exact score."""
        slots = self._telling_slots
        places, owner = ranges(slots[grams], slots[grams + 1] - slots[grams])
        first = self._scored(rows[owner], self._telling[places])
        reach = first.scores + self._hidden[first.items] >= self.threshold - SLACK
        whole = reach & (self._hidden[first.items] == 0)
        again = self._rescored(first.rows[reach & ~whole], first.items[reach & ~whole], rows, grams)
        got = _joined([first.only(whole), again.only(again.scores >= self.threshold - SLACK)])
        return got.only(np.lexsort((got.items, got.rows)))

    def _scored(self, rows: I64, positions: I64) -> Matches:
        """Scores of all (row, item) pairs with a shared window; `positions`: where the windows stand in the items."""
        index = self.index
        keys = _distinct_sorted(rows * len(index.ids) + positions)
        if not len(keys):
            return _none()
        rows, positions = keys // len(index.ids), keys % len(index.ids)
        # fields lie one after another and a window ends within its field, so a next window that starts at least n later
        # is all that another field or row can be
        covered = np.minimum(np.diff(keys, append=keys[-1] + index.n), index.n)
        fields = self._position_field[positions]
        weights = covered * self._field_weight[fields]
        pair = rows * len(index.items) + index.field_item[fields]
        starts = np.flatnonzero(np.concatenate(([True], pair[1:] != pair[:-1])))
        return Matches(rows[starts], index.field_item[fields[starts]], np.add.reduceat(weights, starts))

    def _rescored(self, rows: I64, items: I64, hit_rows: I64, hit_grams: I64) -> Matches:
        """The full scores of given pairs: each window of each item is looked up among its row's n-grams."""
        found = []
        hits = hit_rows * len(self.index) + hit_grams
        sizes = self._item_windows[items + 1] - self._item_windows[items]
        for part in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(np.cumsum(sizes) // EXPANSION)) + 1):
            places, owner = ranges(self._item_windows[items[part]], sizes[part])
            windows, owner = self._windows[places], part[owner]
            wanted = rows[owner] * len(self.index) + self._window_gram[places]
            at = np.searchsorted(hits, wanted)
            there = np.zeros(len(at), np.bool_)
            there[at < len(hits)] = hits[at[at < len(hits)]] == wanted[at < len(hits)]
            # rows repeat, once for each item, so pairs are told apart by their number
            scored = self._scored(owner[there], windows[there])
            found.append(Matches(rows[scored.rows], scored.items, scored.scores))
        return _joined(found)

    def _windows_of_items(self) -> None:
        """Windows in order of position with their n-grams, and postings without what is common and cannot decide."""
        index = self.index
        self._position_field = index.position_field
        gram_of_posting = np.repeat(np.arange(len(index)), np.diff(index.slots))
        order = np.argsort(index.postings)
        self._windows, self._window_gram = index.postings[order], gram_of_posting[order]
        item_of_window = index.field_item[self._position_field[self._windows]]
        self._item_windows = np.searchsorted(item_of_window, np.arange(len(index.items) + 1))
        self._hidden = np.zeros(len(index.items))
        telling = np.ones(len(order), np.bool_)
        if self.threshold > 0:
            telling[order] = self._hide_common(np.diff(index.slots)[self._window_gram], item_of_window)
        self._telling = index.postings[telling]
        self._telling_slots = np.concatenate(([0], np.cumsum(telling)))[index.slots]

    def _hide_common(self, counts: I64, item_of_window: I64) -> Bools:
        """False for windows that need no posting.

        A row that shares only an item's hidden windows cannot reach the threshold, so it need not become a candidate
        through them: of each item the commonest are hidden as long as together they cover less than the threshold.
        """
        telling = np.ones(len(counts), np.bool_)
        for item in np.unique(item_of_window[counts > COMMON]):
            own = np.arange(self._item_windows[item], self._item_windows[item + 1])
            common = own[counts[own] > COMMON]
            hidden: set[int] = set()
            weight = 0.0
            for window in common[np.argsort(-counts[common], kind="stable")].tolist():
                at = int(self._windows[window])
                new = [place for place in range(at, at + self.index.n) if place not in hidden]
                more = len(new) * float(self._field_weight[self._position_field[at]])
                if weight + more >= self.threshold - 2 * SLACK:
                    break
                hidden.update(new)
                weight += more
                telling[window] = False
            self._hidden[item] = weight
        return telling


def _distinct_sorted(keys: I64) -> I64:
    """As np.unique, which goes through a hash table first and is slower here."""
    keys = np.sort(keys)
    distinct: I64 = keys[np.concatenate((np.ones(min(1, len(keys)), np.bool_), keys[1:] != keys[:-1]))]
    return distinct


def _joined(parts: Sequence[Matches]) -> Matches:
    columns = [(part.rows, part.items, part.scores) for part in parts]
    return Matches(*map(np.concatenate, zip(*columns, strict=True))) if columns else _none()


def _none() -> Matches:
    return Matches(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
