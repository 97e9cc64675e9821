"""Several texts at once, as arrays: what rules of thumb count in them costs a few passes over all words together."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]
Row = dict[str, Any]


class BatchWords:
    """The words of several texts, one text after the other: what white space separates.

    ids [W]: equal words have equal numbers, those of `vocabulary`. lengths [W]: characters. starts, ends [D]: where
    each text's words begin and end.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        split = [text.split() for text in texts]
        counts = np.fromiter(map(len, split), np.int64, len(split))
        words = list(chain.from_iterable(split))
        self.vocabulary = list(dict.fromkeys(words))
        numbers = dict(zip(self.vocabulary, range(len(self.vocabulary)), strict=True))
        self.ids = np.fromiter(map(numbers.__getitem__, words), np.int64, len(words))
        self.counts = counts
        self.ends = np.cumsum(counts)
        self.starts = self.ends - counts
        self.lengths = self.of_each(len)
        self.characters = self.sums(self.lengths)

    def of_each(self, number: Callable[[str], float]) -> Any:
        """[W] what a function says of each word; it is asked once for equal words."""
        return np.array([number(word) for word in self.vocabulary] or [0])[self.ids]

    def sums(self, values: NDArray[Any]) -> Any:
        """[D] sums over the words of each text of values [W]."""
        whole = np.concatenate([values[:0], [0], np.cumsum(values)])
        return whole[self.ends] - whole[self.starts]

    def texts_of(self, places: Numbers) -> Numbers:
        """The numbers of the texts in which words stand, by their places."""
        return np.searchsorted(self.ends, places, side="right")

    @cached_property
    def characters_before(self) -> Numbers:
        """[W + 1] characters of all words before each."""
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(self.lengths)])

    def gram_characters(self, places: Numbers, n: int) -> Numbers:
        """Characters of the n words from each place on."""
        found: Numbers = self.characters_before[places + n] - self.characters_before[places]
        return found


@dataclass(frozen=True)
class RepeatedGrams:
    """The n-grams that occur more than once within their text.

    places [R]: where each occurrence begins, those of one n-gram together and in the text's order. firsts [G]: where in
    `places` each n-gram begins. counts [G]: its occurrences.
    """

    n: int
    places: Numbers
    firsts: Numbers
    counts: Numbers

    def later(self) -> Numbers:
        """The places of all occurrences but the first of each."""
        mask = np.ones(len(self.places), dtype=bool)
        mask[self.firsts] = False
        return self.places[mask]


def repeated_grams(words: BatchWords, most: int) -> Iterator[RepeatedGrams]:
    """For n = 1 … `most` the n-grams that are repeated within a text, exactly: no hashes that might collide.

    An n-gram is repeated only if its first n − 1 words are, so ever fewer places are looked at.
    """
    size = max(1, len(words.vocabulary))
    places = np.arange(len(words.ids), dtype=np.int64)
    ranks = np.repeat(np.arange(len(words.counts), dtype=np.int64), words.counts)
    text_ends = np.repeat(words.ends, words.counts)
    for n in range(1, most + 1):
        fit = text_ends[places] >= places + n
        places, ranks = places[fit], ranks[fit]
        keys = ranks * size + words.ids[places + (n - 1)]
        order = np.argsort(keys, kind="stable")
        keys, places = keys[order], places[order]
        begins = np.flatnonzero(np.concatenate([np.ones(min(1, len(keys)), bool), keys[1:] != keys[:-1]]))
        counts = np.diff(np.concatenate([begins, [len(keys)]]))
        several = counts > 1
        places = places[np.repeat(several, counts)]
        counts = counts[several]
        firsts = np.cumsum(counts) - counts
        yield RepeatedGrams(n, places, firsts, counts)
        ranks = np.repeat(np.arange(len(counts), dtype=np.int64), counts)


class TextBatch:
    """Some documents on their way through taggers: what several of them need is worked out once.

    inputs: "tokenizer", "classifier" → the folder of the model that the step names. languages: whose probability is
    asked for.
    """

    def __init__(
        self, rows: Sequence[Row], inputs: Mapping[str, Path] | None = None, languages: Sequence[str] = ("en",)
    ) -> None:
        self.rows = rows
        self.languages = languages
        self.texts = [str(row["text"]) for row in rows]
        self.inputs = inputs or {}

    @cached_property
    def words(self) -> BatchWords:
        """The words of all texts."""
        return BatchWords(self.texts)

    @cached_property
    def grams(self) -> list[RepeatedGrams]:
        """The repeated n-grams for n = 1 … 10."""
        return list(repeated_grams(self.words, 10))

    @cached_property
    def lines(self) -> list[list[str]]:
        """Each text's lines that are not blank, without the white space around them."""
        return [[line for each in text.splitlines() if (line := each.strip())] for text in self.texts]
