"""Texts as vectors: words weighted by TF-IDF, and their main directions (latent semantic analysis).

No model and nothing beyond numpy and scipy: it runs anywhere in seconds, and a direction is made of words that can be
named. What it cannot see is that two texts say the same in different words. Source: Deerwester et al. 1990; the
directions by subspace iteration from a fixed start [Halko et al. 2011].
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from bactrian.data.overlap.words import spell, split

READ = 8_000
"""Characters of a text whose words count."""
VOCABULARY = 20_000
"""Words that count: those of most texts."""
DIRECTIONS = 64
NO_WORD = "(no word)"
"""In place of the words of a text that has none that count."""
_BATCH = 2_000_000  # characters
_MORE, _ROUNDS = 16, 4  # of the subspace iteration
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class WordCounts:
    """counts [N, V], sparse: how often each word occurs in each text; lengths [N]: words of each text, all of them."""

    words: tuple[str, ...]
    counts: sparse.csr_matrix
    lengths: NDArray[np.int64]


def word_counts(texts: Sequence[str], most: int = VOCABULARY) -> WordCounts:
    """The words of N texts, folded as for overlaps; those of the most texts, at most `most`, and NO_WORD."""
    numbers: dict[str, int] = {}
    sizes, found_words = [], []
    for words in spelled(texts):
        sizes.append(len(words))
        found_words += [numbers.setdefault(word, len(numbers)) for word in words]
    lengths, columns = np.array(sizes, np.int64), np.array(found_words, np.int64)
    rows = np.repeat(np.arange(len(texts)), lengths)
    shape = len(texts), max(1, len(numbers))
    found = sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=shape)  # adds up what is there twice
    # among words of as many texts the one that came first: of sorted texts that is no matter of order
    kept = np.sort(np.argsort(-np.bincount(found.indices, minlength=shape[1]), kind="stable")[:most])
    counts = found[:, kept]
    wordless = (counts.getnnz(axis=1) == 0).astype(np.float64)
    names = list(numbers) or [""]
    named = (*(names[number] for number in kept.tolist()), NO_WORD)
    return WordCounts(named, sparse.csr_matrix(sparse.hstack([counts, wordless[:, None]])), lengths)


def spelled(texts: Sequence[str], read: int = READ) -> Iterator[list[str]]:
    """The words of each text, folded as for overlaps, of its first `read` characters."""
    for batch in _batches(texts, read):
        words = split(batch)
        names = spell(words)
        bounds = np.searchsorted(words.text, np.arange(len(batch) + 1)).tolist()
        yield from (names[start:end] for start, end in pairwise(bounds))


def _batches(texts: Sequence[str], read: int) -> Iterator[list[str]]:
    """The texts, each cut to `read` characters, about _BATCH characters at a time."""
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text[:read])
        size += len(batch[-1])
        if size >= _BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def tf_idf(counts: sparse.csr_matrix) -> sparse.csr_matrix:
    """[N, V]: (1 + log count)(1 + log N/df), rows of length 1. No smoothing: copies of every text change nothing."""
    texts = np.bincount(counts.indices, minlength=counts.shape[1])
    weighted = counts.copy()
    weighted.data = (1 + np.log(weighted.data)) * (1 + np.log(counts.shape[0] / texts[counts.indices]))
    norms = np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=1)).ravel())
    return sparse.csr_matrix(sparse.diags(1 / np.where(norms > 0, norms, 1)) @ weighted)


def main_directions(weighted: sparse.csr_matrix, weights: Floats, count: int = DIRECTIONS) -> Floats:
    """[N, r] for N texts of TF-IDF: their coordinates in the r <= `count` directions that hold most of them, length 1.

    Args:
        weights: [N], how much each text counts where directions are sought; they add up to 1.
    """
    scaled = sparse.csr_matrix(sparse.diags(np.sqrt(weights)) @ weighted)
    width = min(count + _MORE, *scaled.shape)
    basis = scaled @ np.random.default_rng(0).standard_normal((scaled.shape[1], width))
    for _ in range(_ROUNDS):
        basis = scaled @ (scaled.T @ np.linalg.qr(basis)[0])
    small = (scaled.T @ np.linalg.qr(basis)[0]).T  # [width, V]
    squares, turned = np.linalg.eigh(small @ small.T)
    best = np.argsort(-squares, kind="stable")[:count]
    best = best[squares[best] > 1e-12 * squares.max()]
    axes = (small.T @ turned[:, best]) / np.sqrt(squares[best])
    vectors: Floats = weighted @ axes
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(norms > 1e-9, norms, 1)
