"""Whether a text is new beside a whole pool of texts, by ROUGE-L [Lin 2004; Self-Instruct, Wang et al. 2023].

The score of two texts is the F1 of their longest common subsequence of words: L words long, it gives P = L / |a|,
R = L / |b|, F = 2PR / (P + R), in the order of operations of the package rouge-score, so that no decision differs by
rounding. Every text of the pool counts, and few are compared: a common subsequence is no longer than what the two have
in common as bags of words, and that is counted for the whole pool at once, in an index from words to texts.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from bactrian.errors import BactrianError
from bactrian.subsequence import common_with, places_of

WORD = re.compile(r"[a-z0-9]+")
SLACK = 1e-9
"""Bounds are looser by this; scores themselves are exact."""


def rouge_words(text: str) -> list[str]:
    """The words that ROUGE counts: runs of ASCII letters and digits, in lower case.

    >>> rouge_words("Don't panic, café!")
    ['don', 't', 'panic', 'caf']
    """
    return WORD.findall(text.lower())


def rouge_l(common: int, a: int, b: int) -> float:
    """F1 of a common subsequence of `common` words between texts of `a` and `b` words."""
    if not common:
        return 0.0
    precision, recall = common / a, common / b
    return 2 * precision * recall / (precision + recall)


class RougePool:
    """Texts that were taken, and whether another is new beside all of them."""

    def __init__(self, threshold: float = 0.7) -> None:
        """
        Args:
            threshold: a text is new while its score with each of the pool is not above it.

        Raises:
            BactrianError: a threshold outside (0, 1].
        """
        if not 0 < threshold <= 1:
            raise BactrianError(f"novelty: found the threshold {threshold}, expected more than 0 and at most 1")
        self.threshold = threshold
        self.compared = 0
        """Longest common subsequences that were worked out so far."""
        self._words: dict[str, int] = {}
        self._texts: list[array[int]] = []  # the words of each, by number
        self._lengths = array("i")
        self._holding: dict[tuple[str, int], array[int]] = {}  # (word, k) → texts that hold it at least k times

    def __len__(self) -> int:
        return len(self._texts)

    def add(self, text: str) -> int:
        """Take a text into the pool; its place there."""
        number, words = len(self._texts), rouge_words(text)
        for each in _numbered(words):
            self._holding.setdefault(each, array("i")).append(number)
        self._texts.append(array("i", (self._words.setdefault(word, len(self._words)) for word in words)))
        self._lengths.append(len(words))
        return number

    def like(self, text: str) -> tuple[int, float] | None:
        """The first text of the pool whose score with this one is above the threshold, and the score; None if new."""
        words = rouge_words(text)
        bounds = self._bounds(words)
        near = np.flatnonzero(bounds > self.threshold - SLACK).tolist()
        places = self._places(words) if near else {}
        for number in near:
            score = self._score(places, len(words), number)
            if score > self.threshold:
                return number, score
        return None

    def nearest(self, text: str, count: int = 10) -> list[tuple[int, float]]:
        """The `count` texts of the pool with the highest scores above 0, best first, among equals the earlier."""
        words = rouge_words(text)
        bounds, places = self._bounds(words), self._places(words)
        best: list[tuple[float, int]] = []
        for number in np.argsort(-bounds, kind="stable").tolist():
            if bounds[number] <= 0 or (len(best) == count and bounds[number] < -best[-1][0] - SLACK):
                break
            if score := self._score(places, len(words), number):
                best = sorted([*best, (-score, number)])[:count]
        return [(number, -score) for score, number in best]

    def _bounds(self, words: Sequence[str]) -> NDArray[np.float64]:
        """The most that the score of these words with each text can be, by the words that the two share [N]."""
        lists = [np.frombuffer(self._holding[each], np.int32) for each in _numbered(words) if each in self._holding]
        if not lists:
            return np.zeros(len(self._texts))
        shared = np.bincount(np.concatenate(lists), minlength=len(self._texts))
        bounds: NDArray[np.float64] = 2 * shared / (np.frombuffer(self._lengths, np.int32) + len(words))
        return bounds

    def _places(self, words: Sequence[str]) -> dict[Hashable, int]:
        return places_of(self._words.get(word, -1) for word in words)

    def _score(self, places: dict[Hashable, int], length: int, number: int) -> float:
        self.compared += 1
        other = self._texts[number]
        return rouge_l(common_with(places, length, other), length, len(other))


def _numbered(words: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Each word with how often it has come so far, so that a bag of words is a set."""
    seen: Counter[str] = Counter()
    for word in words:
        seen[word] += 1
        yield word, seen[word]
