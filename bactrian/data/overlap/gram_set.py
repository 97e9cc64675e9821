"""All n-grams of a corpus by their hashes: which words of a text, or which next token, would be verbatim from it.

Exact up to collisions of 64-bit hashes: of a billion n-grams, one window in 2 · 10^10 is found that is not there. A
gram takes 8 bytes; a Bloom filter, as MemFree's authors used, would take 1 to 3 and be wrong more often.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from itertools import islice
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from bactrian.data.overlap.words import U64, Bools, gram_hashes, split, whole_grams, word_hashes

BATCH = 2000
"""Texts that are taken apart at a time."""
_MIX = np.uint64(0xD6E8FEB86659FD93)
Item = TypeVar("Item")


class GramSet:
    """Hashes of n-grams, sorted [G]."""

    def __init__(self, n: int, parts: Iterable[U64]) -> None:
        """
        Args:
            n: items of a gram. parts: their hashes, any number of arrays.
        """
        self.n = n
        merged: list[U64] = [np.zeros(0, np.uint64)]
        for part in parts:  # arrays of about one size are merged, so that each hash is sorted a few times only
            merged.append(part)
            while len(merged) > 1 and len(merged[-2]) <= 2 * len(merged[-1]):
                merged.append(np.union1d(merged.pop(), merged.pop()))
        self.grams: U64 = reduce(np.union1d, reversed(merged))

    def holds(self, hashes: U64) -> Bools:
        """Which of the hashes are in the set."""
        if not len(self.grams):
            return np.zeros(len(hashes), np.bool_)
        places = np.searchsorted(self.grams, hashes).clip(max=len(self.grams) - 1)
        found: Bools = self.grams[places] == hashes
        return found

    @classmethod
    def of_texts(cls, texts: Iterable[str], n: int) -> GramSet:
        """Of words, as `overlap` splits them: case, white space and most marks do not count."""
        return cls(n, (_text_grams(some, n) for some in batches(texts, BATCH)))

    @classmethod
    def of_tokens(cls, documents: Iterable[Sequence[int]], n: int) -> GramSet:
        """Of token ids."""
        return cls(n, (_token_grams(some, n) for some in batches(documents, BATCH)))

    def copied(self, text: str) -> tuple[int, int]:
        """Words of a text that lie in an n-gram of the set, and all its words.

        >>> grams = GramSet.of_texts(["the cat sat on the mat"], 3)
        >>> grams.copied("A cat: The cat sat on a mat.")
        (4, 8)
        """
        words = split([text])
        covered = np.zeros(len(words), np.bool_)
        if len(words) >= self.n:
            found = np.flatnonzero(self.holds(gram_hashes(word_hashes(words), self.n)))
            for step in range(self.n):
                covered[found + step] = True
        return int(covered.sum()), len(words)


def token_hashes(ids: NDArray[np.int64]) -> U64:
    """A hash of each token id, spread over 64 bits."""
    hashes = (ids.astype(np.uint64) + np.uint64(1)) * _MIX
    hashes ^= hashes >> np.uint64(32)
    return hashes * _MIX


def batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """The items, `size` at a time."""
    left = iter(items)
    while some := list(islice(left, size)):
        yield some


def _text_grams(texts: Sequence[str], n: int) -> U64:
    words = split(texts)
    if len(words) < n:
        return np.zeros(0, np.uint64)
    return np.unique(gram_hashes(word_hashes(words), n)[whole_grams(words, n)])


def _token_grams(documents: Sequence[Sequence[int]], n: int) -> U64:
    whole = [gram_hashes(token_hashes(np.asarray(each, np.int64)), n) for each in documents if len(each) >= n]
    return np.unique(np.concatenate(whole)) if whole else np.zeros(0, np.uint64)
