"""The small side of the comparison: every n-gram of every test item, in sorted arrays.

Training rows are streamed past it, so memory does not depend on how many there are. Hashes only find candidates: every
hit is compared word by word, character by character, before it counts, so nothing is missed and nothing is invented.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bactrian.data.overlap.words import U64, Bools, Words, gram_hashes, spell, split, whole_grams, word_hashes
from bactrian.errors import BactrianError

I32 = NDArray[np.int32]
I64 = NDArray[np.int64]

FIELDS_AT_ONCE = 2_000
_FILTER_BITS = 27  # 16 MiB, of which 3 million n-grams fill 2 %


@dataclass(frozen=True)
class IndexedItem:
    """One test item: its benchmark, its id there, and the fields that hold what a model is asked, at least one."""

    benchmark: str
    id: str
    fields: tuple[str, ...]

    @property
    def text(self) -> str:
        """All fields, one after another."""
        return "\n".join(self.fields)


@dataclass(frozen=True)
class Hits:
    """N-grams of test items found in a batch of training texts: windows' first words [H], and which n-grams [H]."""

    windows: I64
    grams: I64


class Index:
    """All n-grams of some test items. Positions count the words of all fields of all items, one after another."""

    def __init__(self, items: Sequence[IndexedItem], n: int = 8, hash_bits: int = 64) -> None:
        """`hash_bits`: fewer bits make more hashes collide, which tests want.

        Raises:
            BactrianError: without items.
        """
        if not items:
            raise BactrianError("no test items to compare with")
        self.items, self.n = items, n
        self._drop = np.uint64(64 - hash_bits)
        self.field_item = np.repeat(np.arange(len(items)), [len(item.fields) for item in items])
        self.item_fields = np.bincount(self.field_item, minlength=len(items))
        self._words: dict[str, int] = {}
        self._read([field for item in items for field in item.fields])
        self._sort()
        self._fill_filter()

    def _read(self, fields: Sequence[str]) -> None:
        """ids [P]: the word at each position; bounds [F + 1]: where fields begin; at [W]: windows within one field."""
        ids, counts, grams, at, done = [], [], [], [], 0
        for first in range(0, len(fields), FIELDS_AT_ONCE):
            words = split(fields[first : first + FIELDS_AT_ONCE])
            ids.append(np.array([self._words.setdefault(w, len(self._words)) for w in spell(words)], np.int32))
            counts.append(np.bincount(words.text, minlength=len(words.offsets)))
            whole = np.flatnonzero(whole_grams(words, self.n))
            grams.append(gram_hashes(word_hashes(words), self.n)[whole] >> self._drop)
            at.append(whole + done)
            done += len(words)
        self.ids: I32 = np.concatenate(ids)
        self.field_words: I64 = np.concatenate(counts)
        self.bounds: I64 = np.concatenate(([0], np.cumsum(self.field_words)))
        self._at, self._hashes = np.concatenate(at), np.concatenate(grams)
        spelled = split(list(self._words))
        self._letters = spelled.chars
        self._word_starts, self._word_lengths = spelled.starts, spelled.ends - spelled.starts

    def _sort(self) -> None:
        """Number the distinct n-grams in order of their hash; postings[slots[g]:slots[g + 1]] are where g stands."""
        order = np.argsort(self._hashes, kind="stable")
        columns = [self.ids[self._at + k] for k in range(self.n)]
        new_hash = _differs(self._hashes[order])
        new_gram = np.logical_or.reduce([_differs(column[order]) for column in columns]) if len(order) else new_hash
        if (new_gram & ~new_hash).any():  # two n-grams of one hash: sort by the words too, so that equal ones meet
            order = np.lexsort((*columns, self._hashes))
            new_gram = np.logical_or.reduce([_differs(column[order]) for column in columns])
        firsts = np.flatnonzero(new_gram)
        self.postings: I64 = self._at[order]
        self.slots: I64 = np.append(firsts, len(order))
        self.hashes: U64 = self._hashes[order][firsts]
        self._longest_run = int(np.diff(np.append(np.flatnonzero(_differs(self.hashes)), len(firsts))).max(initial=0))
        del self._at, self._hashes

    def _fill_filter(self) -> None:
        bits = np.zeros(1 << _FILTER_BITS, np.bool_)
        bits[self._filter_place(self.hashes)] = True
        self._filter = np.packbits(bits, bitorder="little")

    def _filter_place(self, hashes: U64) -> U64:
        return (hashes << self._drop) >> np.uint64(64 - _FILTER_BITS)

    def __len__(self) -> int:
        """How many distinct n-grams there are."""
        return len(self.hashes)

    @property
    def position_field(self) -> I64:
        """The field at each position [P]."""
        return np.repeat(np.arange(len(self.field_words)), self.field_words)

    def find(self, words: Words, hashes: U64) -> Hits:
        """All windows of a batch of texts (`hashes`: of its words) that are n-grams of test items, each verified."""
        grams = gram_hashes(hashes, self.n) >> self._drop
        places = self._filter_place(grams)
        maybe = (self._filter[places >> np.uint64(3)] >> (places & np.uint64(7)).astype(np.uint8)) & np.uint8(1)
        windows = np.flatnonzero(maybe.view(np.bool_) & whole_grams(words, self.n))
        grams = grams[windows]
        found = list(self._candidates(windows, grams, words))
        return Hits(np.concatenate([w for w, _ in found]), np.concatenate([g for _, g in found]))

    def _candidates(self, windows: I64, hashes: U64, words: Words) -> Iterator[tuple[I64, I64]]:
        """Of each hash the first n-gram that has it, then (almost never) the second, and so on; only true ones."""
        at = np.searchsorted(self.hashes, hashes)
        for step in range(max(1, self._longest_run)):
            there = at + step < len(self.hashes)
            there[there] = self.hashes[at[there] + step] == hashes[there]
            some, grams = windows[there], at[there] + step
            true = self._same_words(some, grams, words)
            yield some[true], grams[true]

    def _same_words(self, windows: I64, grams: I64, words: Words) -> Bools:
        """Whether the n words from each window on are the n words of each n-gram: compared by their characters."""
        same = np.ones(len(windows), np.bool_)
        first = self.postings[self.slots[grams]]
        lengths = words.ends - words.starts
        for k in range(self.n):
            ours, theirs = windows + k, self.ids[first + k]
            same &= lengths[ours] == self._word_lengths[theirs]
            left = np.flatnonzero(same)
            unlike = _unlike(
                words.chars,
                words.starts[ours[left]],
                self._letters,
                self._word_starts[theirs[left]],
                lengths[ours[left]],
            )
            same[left[unlike]] = False
        return same


def ranges(starts: I64, lengths: I64) -> tuple[I64, I64]:
    """All numbers of several ranges, one after another, and the range that each belongs to."""
    owner = np.repeat(np.arange(len(starts)), lengths)
    before = np.cumsum(lengths) - lengths
    return np.arange(len(owner)) + (starts - before)[owner], owner


def _unlike(a: NDArray[np.uint32], a_at: I64, b: NDArray[np.uint32], b_at: I64, lengths: I64) -> I64:
    """Which of some pairs of stretches, of equal length within a pair, are not the same (with repetitions)."""
    places, owner = ranges(a_at, lengths)
    unlike: I64 = owner[a[places] != b[places + (b_at - a_at)[owner]]]
    return unlike


def _differs(values: NDArray[np.generic]) -> Bools:
    """Whether each value is another than the one before it; the first is."""
    return np.concatenate((np.ones(min(1, len(values)), np.bool_), values[1:] != values[:-1]))
