"""Topics of texts: groups by k-means, each with the words that tell it from the others, and its share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from bactrian.data.likeness.vectors import NO_WORD

MOST_TOPICS = 20
TELLING = 8
"""Words that are named of each topic."""
PRIOR = 100.0
"""Texts' worth of words, spread as in all texts, that each side of a comparison of words gets beforehand."""
_STARTS, _STEPS = 4, 60
Floats = NDArray[np.float64]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Topics:
    """labels [N], 0 the largest topic; shares [k]; words: the most telling of each; middles [k]: its usual text."""

    labels: Labels
    shares: Floats
    words: list[list[str]]
    middles: list[int]


def topic_count(texts: int) -> int:
    """How many topics N different texts are put into: √(N/2), at least 2 and at most 20, and not more than texts.

    >>> [topic_count(n) for n in (1, 10, 50, 200, 10_000)]
    [1, 2, 5, 10, 20]
    """
    return min(texts, MOST_TOPICS, max(2, round((texts / 2) ** 0.5)))


def topics(vectors: Floats, counts: sparse.csr_matrix, words: tuple[str, ...], weights: Floats) -> Topics:
    """The topics of N texts.

    Args:
        vectors: [N, r], of length 1.
        counts: [N, V], of `words`.
        weights: [N], the share of each text.
    """
    labels = _k_means(vectors, weights, topic_count(len(vectors)))
    shares = np.bincount(labels, weights)
    order = np.argsort(-shares, kind="stable")
    order = order[shares[order] > 0]
    place = np.zeros(len(shares), np.int64)
    place[order] = np.arange(len(order))
    labels = place[labels]
    middles = []
    for number in range(len(order)):
        own = np.flatnonzero(labels == number)
        middles.append(int(own[np.argmax(vectors[own] @ (weights[own] @ vectors[own]))]))
    return Topics(labels, shares[order], telling_words(counts, words, labels, weights, len(order)), middles)


def _k_means(vectors: Floats, weights: Floats, k: int) -> Labels:
    """The best of some starts [k-means++, Arthur and Vassilvitskii 2007], by the weighted squares that are left."""
    best: tuple[float, Labels] | None = None
    for start in range(_STARTS):
        labels, left = _lloyd(vectors, weights, _first_centres(vectors, weights, k, np.random.default_rng(start)))
        if best is None or left < best[0]:
            best = left, labels
    assert best is not None
    return best[1]


def _first_centres(vectors: Floats, weights: Floats, k: int, draw: np.random.Generator) -> Floats:
    chosen = [int(draw.choice(len(vectors), p=weights))]
    nearest = _squares(vectors, vectors[chosen])[:, 0]
    while len(chosen) < k:
        chances = weights * nearest
        if chances.sum() <= 0:  # fewer different vectors than topics
            break
        chosen.append(int(draw.choice(len(vectors), p=chances / chances.sum())))
        nearest = np.minimum(nearest, _squares(vectors, vectors[chosen[-1:]])[:, 0])
    return vectors[chosen]


def _lloyd(vectors: Floats, weights: Floats, centres: Floats) -> tuple[Labels, float]:
    labels = np.full(len(vectors), -1)
    for _ in range(_STEPS):
        squares = _squares(vectors, centres)
        new = np.argmin(squares, axis=1)
        if np.array_equal(new, labels):
            break
        labels = new
        masses = np.bincount(labels, weights, len(centres))
        own = sparse.csr_matrix((weights, (labels, np.arange(len(labels)))), shape=(len(centres), len(vectors)))
        sums = own @ vectors
        centres = np.where(masses[:, None] > 0, sums / np.where(masses > 0, masses, 1)[:, None], centres)
    squares = _squares(vectors, centres)
    return labels.astype(np.int64), float(weights @ squares[np.arange(len(labels)), labels])


def _squares(vectors: Floats, centres: Floats) -> Floats:
    """[N, k], squared distances."""
    own = (vectors**2).sum(axis=1)[:, None] + (centres**2).sum(axis=1)[None]
    return np.maximum(0, own - 2 * vectors @ centres.T)


def telling_words(
    counts: sparse.csr_matrix, words: tuple[str, ...], labels: Labels, weights: Floats, groups: int
) -> list[list[str]]:
    """Of each group the words that are most surely more frequent in it than in the rest.

    By the z-score of the log odds that a text holds the word, with a prior as all texts have it [Monroe et al. 2008].
    Words of one or two Latin letters or digits name no topic and are left out.
    """
    size = len(labels)
    held = counts.copy()
    held.data = np.ones_like(held.data)
    own = sparse.csr_matrix((weights * size, (labels, np.arange(size))), shape=(groups, size)) @ held  # [k, V]
    inside = np.asarray(own.todense())
    every = inside.sum(axis=0)
    prior = PRIOR * every / every.sum() + 0.01
    usable = np.array([(len(word) > 2 or not word.isascii()) and word != NO_WORD for word in words])
    named = []
    for mine in inside:
        a, b = mine + prior, every - mine + prior
        z = (np.log(a / (a.sum() - a + 0.01)) - np.log(b / (b.sum() - b + 0.01))) / np.sqrt(1 / a + 1 / b)
        z[~usable] = -np.inf
        best = np.argsort(-z, kind="stable")[:TELLING]
        named.append([words[number] for number in best.tolist() if z[number] > 0])
    return named
