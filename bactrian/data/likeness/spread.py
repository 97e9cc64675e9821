"""How far apart the texts of one set are: dispersion, directions and topics of their vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bactrian.data.likeness.bags import TextBag
from bactrian.data.likeness.topics import Topics, topics
from bactrian.data.likeness.vectors import main_directions, tf_idf, word_counts

EXAMPLE = 240
"""Characters of a text that stands for its topic."""
Z = 1.959964  # of a 95 % interval
Floats = NDArray[np.float64]


def bag_spread(bag: TextBag) -> dict[str, Any]:
    """{different, copies, drawn, dispersion, dispersion_interval, directions, topics} of the texts of a bag.

    dispersion: `dispersion`; directions: `directions`; topics: {k, entropy, most, clusters: [{share, words, example}]}.
    Empty without a text.
    """
    if not len(bag):
        return {}
    words = word_counts(bag.texts)
    vectors = main_directions(tf_idf(words.counts), bag.weights)
    value, interval = dispersion(vectors, bag.weights)
    found = topics(vectors, words.counts, words.words, bag.weights)
    return {
        "different": len(bag),
        "copies": bag.copies,
        "drawn": bag.drawn,
        "dispersion": value,
        "dispersion_interval": list(interval),
        "directions": directions(vectors, bag.weights),
        "topics": {**topic_entropy(found.shares), "clusters": _clusters(bag, found)},
    }


def dispersion(vectors: Floats, weights: Floats) -> tuple[float, tuple[float, float]]:
    """Mean cosine distance of two texts drawn at random, with replacement, and its 95 % interval.

    Of vectors of length 1 that is 1 − |mean|², so no pair is looked at; 0 for a set of copies. The interval is that of
    another draw of as many texts, by the delta method.

    Args:
        vectors: [N, r], of length 1.
        weights: [N], the share of each text.
    """
    mean = weights @ vectors
    along = vectors @ mean
    square = float(mean @ mean)
    error = 2 * float(np.sqrt(max(0.0, weights @ (along - square) ** 2) * (weights @ weights)))
    value = min(1.0, max(0.0, 1 - square))
    return value, (max(0.0, value - Z * error), min(1.0, value + Z * error))


def directions(vectors: Floats, weights: Floats) -> float:
    """How many directions the texts take, as if all were as much used: from 1 to the number of dimensions.

    exp of the entropy of the spectrum of their second moments [Vendi score, Friedman and Dieng 2023].
    """
    spectrum = np.linalg.eigvalsh(vectors.T @ (weights[:, None] * vectors))
    shares = spectrum[spectrum > 1e-15] / spectrum[spectrum > 1e-15].sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def topic_entropy(shares: Floats) -> dict[str, Any]:
    """{k, entropy, most}: topics, the entropy of their shares in bits, and the most that it could be."""
    some = shares[shares > 0]
    return {
        "k": len(shares),
        "entropy": max(0.0, float(-(some * np.log2(some)).sum())),
        "most": float(np.log2(len(shares))),
    }


def _clusters(bag: TextBag, found: Topics) -> list[dict[str, Any]]:
    sides = zip(found.shares.tolist(), found.words, found.middles, strict=True)
    return [{"share": share, "words": words, "example": bag.texts[at][:EXAMPLE]} for share, words, at in sides]
