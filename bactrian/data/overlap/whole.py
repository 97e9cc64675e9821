"""Exact mode: a test item matches a row one of whose texts has the same words, all of them, and no others."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from bactrian.data.overlap.index import I64, IndexedItem
from bactrian.data.overlap.match import Matches, Texts
from bactrian.data.overlap.words import U64, Words, spell, split, word_hashes

_STEP = np.uint64(0xA0761D6478BD642F)


class WholeMatcher:
    """Finds training texts that are a test item, up to case, punctuation and white space, whatever their length."""

    def __init__(self, items: Sequence[IndexedItem]) -> None:
        texts = [item.text for item in items]
        self._items: defaultdict[str, list[int]] = defaultdict(list)
        for number, key in enumerate(_keys(texts)):
            if key:
                self._items[key].append(number)
        self._hashes = np.unique(text_hashes(split(texts)))

    def matches(self, batch: Texts) -> Matches:
        """What the rows of a batch contain; every score is 1."""
        hashes = text_hashes(split(batch.texts))
        at = np.minimum(np.searchsorted(self._hashes, hashes), len(self._hashes) - 1)
        maybe = np.flatnonzero(self._hashes[at] == hashes)
        keys = _keys([batch.texts[text] for text in maybe.tolist()])
        pairs = {
            (int(batch.row[text]), item)
            for text, key in zip(maybe, keys, strict=True)
            for item in self._items.get(key, ())
        }
        found = np.array(sorted(pairs), np.int64).reshape(-1, 2)
        return Matches(found[:, 0], found[:, 1], np.ones(len(found)))


def _keys(texts: Sequence[str]) -> list[str]:
    """Each text's words with one space between them."""
    words = split(texts)
    spelled, bounds = spell(words), _bounds(words)
    return [" ".join(spelled[first:last]) for first, last in pairwise(bounds)]


def _bounds(words: Words) -> I64:
    """Where each text's words begin, and the end of the last."""
    return np.searchsorted(words.text, np.arange(len(words.offsets) + 1))


def text_hashes(words: Words) -> U64:
    """A hash of all words of each text, in order; 0 for a text without words."""
    bounds = _bounds(words)
    place = np.arange(len(words)) - bounds[words.text]
    powers = np.cumprod(np.full(1 + place.max(initial=0), _STEP))
    sums = np.concatenate((np.zeros(1, np.uint64), np.cumsum(word_hashes(words) * powers[place])))
    found: U64 = sums[bounds[1:]] - sums[bounds[:-1]]
    return found
