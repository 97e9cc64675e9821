"""A set of texts beside another, a synthetic one beside a real one: lengths, words, topics, telling apart, copies."""

from __future__ import annotations

import math
from dataclasses import asdict
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from bactrian.data.likeness.bags import TextBag
from bactrian.data.likeness.nearest import Nearest, nearest, word_overlap
from bactrian.data.likeness.spread import directions, dispersion, topic_entropy
from bactrian.data.likeness.topics import topics
from bactrian.data.likeness.two_sample import two_sample
from bactrian.data.likeness.vectors import main_directions, spelled, tf_idf, word_counts
from bactrian.data.synth.diversity import SAMPLE, distinct, self_bleu
from bactrian.errors import BactrianError

DRAWS = 10
"""Draws of equal size whose distinct n-grams are counted."""
DRAWN_WORDS = 20_000
"""Words of a draw, at most."""
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
NEAR = 0.7
"""ROUGE-L above which a text counts as nearly a copy [Self-Instruct]."""
NEAREST_SHARE = 0.05
EXAMPLES = 10
SHOWN = 1_500
"""Characters of an example."""
Z = 1.959964
Floats = NDArray[np.float64]
Sides = tuple[TextBag, TextBag]


def against(a: TextBag, b: TextBag, seed: int = 0) -> dict[str, Any]:
    """Everything that is said of set A beside set B, as JSON: {a, b, lengths, distinct, dispersion, directions, topics,
    two_sample, copies}. docs/synthesis.md says what each figure means.

    Raises:
        BactrianError: a set without a text.
    """
    for name, bag in (("first", a), ("second", b)):
        if not len(bag):
            raise BactrianError(f"the {name} set holds no text to compare")
    words = word_counts([*a.texts, *b.texts])
    weighted = tf_idf(words.counts)
    half = np.concatenate([a.weights, b.weights]) / 2
    vectors = main_directions(weighted, half)
    own, others = vectors[: len(a)], vectors[len(a) :]
    side_words = [words.lengths[: len(a)], words.lengths[len(a) :]]
    spreads = [dispersion(side, bag.weights) for side, bag in ((own, a), (others, b))]
    told = two_sample(a.texts, b.texts, weighted, words.words, seed)
    return {
        **{name: _about(bag) for name, bag in (("a", a), ("b", b))},
        "lengths": _lengths((a, b), side_words),
        "distinct": _distinct((a, b), seed),
        "dispersion": {name: {"value": v, "interval": list(i)} for name, (v, i) in zip("ab", spreads, strict=True)},
        "directions": {"a": directions(own, a.weights), "b": directions(others, b.weights)},
        "topics": _topics((a, b), vectors, words.counts, words.words, half, seed),
        "two_sample": asdict(told),
        "copies": _copies((a, b), own, others, weighted),
    }


def _about(bag: TextBag) -> dict[str, Any]:
    return {"rows": bag.rows, "different": len(bag), "copies": bag.copies, "drawn": bag.drawn}


def _lengths(sides: Sides, words: list[NDArray[np.int64]]) -> dict[str, Any]:
    """Quantiles in characters and words, the largest gap between the distributions, and the shares by doubling."""
    found: dict[str, Any] = {}
    characters = [np.array([len(text) for text in bag.texts]) for bag in sides]
    for unit, values in (("characters", characters), ("words", words)):
        spread = [np.sort(np.repeat(each, bag.counts)) for each, bag in zip(values, sides, strict=True)]
        at = np.unique(np.concatenate(spread))
        below = [np.searchsorted(each, at, "right") / len(each) for each in spread]
        named = {name: _quantiles(each) for name, each in zip("ab", spread, strict=True)}
        found[unit] = {**named, "gap": float(np.abs(below[0] - below[1]).max()), "shares": _doublings(spread)}
    return found


def _quantiles(values: NDArray[np.int64]) -> dict[str, float]:
    found = dict(zip(("q05", "q25", "q50", "q75", "q95"), np.quantile(values, QUANTILES).tolist(), strict=True))
    return {"mean": float(values.mean()), **found, "longest": float(values.max())}


def _doublings(sides: list[NDArray[np.int64]]) -> list[dict[str, float]]:
    """[{least, a, b}]: shares of the texts with least <= length < 2 · least, from the first to the last there is."""
    steps = [np.where(each > 0, np.floor(np.log2(np.maximum(each, 1))), -1).astype(int) for each in sides]
    first, last = min(int(each.min()) for each in steps), max(int(each.max()) for each in steps)
    return [
        {
            "least": 0 if step < 0 else 2**step,
            "a": float((steps[0] == step).mean()),
            "b": float((steps[1] == step).mean()),
        }
        for step in range(first, last + 1)
    ]


def _distinct(sides: Sides, seed: int) -> dict[str, Any]:
    """distinct-1 to -3 of draws of as many words from each side: mean, least and most; and self-BLEU of as many texts.

    More words hold more repetitions, so unequal sizes cannot be compared.
    """
    told = [list(spelled(bag.texts)) for bag in sides]
    totals = [
        sum(len(words) * int(count) for words, count in zip(side, bag.counts, strict=True))
        for side, bag in zip(told, sides, strict=True)
    ]
    size = min(DRAWN_WORDS, math.ceil(min(totals) / 2))
    found: dict[str, Any] = {"words": size, "draws": DRAWS}
    for name, side, bag in zip("ab", told, sides, strict=True):
        drawn = [_draw(side, bag, size, np.random.default_rng([seed, number, ord(name)])) for number in range(DRAWS)]
        for n in (1, 2, 3):
            values = [distinct(texts, n) for texts in drawn]
            found.setdefault(f"distinct_{n}", {})[name] = {
                "mean": sum(values) / DRAWS,
                "least": min(values),
                "most": max(values),
            }
    texts = min(SAMPLE, *map(len, sides))
    found["self_bleu"] = {"texts": texts, "a": None, "b": None}
    for name, side in zip("ab", told, strict=True):
        if texts > 1:
            found["self_bleu"][name] = self_bleu(Random(f"self-bleu/{seed}").sample(side, texts))
    return found


def _draw(side: list[list[str]], bag: TextBag, size: int, draw: np.random.Generator) -> list[list[str]]:
    """Rows in a drawn order until they have so many words; the last is cut."""
    taken: list[list[str]] = []
    for number in draw.permutation(np.repeat(np.arange(len(side)), bag.counts)):
        if size <= 0:
            break
        taken.append(side[number][:size])
        size -= len(side[number])
    return taken


def _topics(
    sides: Sides, vectors: Floats, counts: sparse.csr_matrix, words: tuple[str, ...], half: Floats, seed: int
) -> dict[str, Any]:
    """Topics of both sets together, each set weighing half, and how much of them the two have in common.

    overlap: Σ min(share in A, share in B). by_chance: [2.5 %, 97.5 %] of the overlap of two draws of these sizes from
    one source with the mean shares. divergence: Jensen-Shannon, in bits.
    """
    found = topics(vectors, counts, words, half)
    cut = len(sides[0])
    shares = [
        np.bincount(labels, bag.weights, len(found.shares))
        for labels, bag in ((found.labels[:cut], sides[0]), (found.labels[cut:], sides[1]))
    ]
    mean = (shares[0] + shares[1]) / 2
    draw = np.random.default_rng(seed)
    drawn = [draw.multinomial(len(bag), mean / mean.sum(), 400) / len(bag) for bag in sides]
    chance = np.quantile(np.minimum(*drawn).sum(axis=1), [0.025, 0.975])
    entropies = [topic_entropy(each)["entropy"] for each in (*shares, mean)]
    texts = (*sides[0].texts, *sides[1].texts)
    return {
        "k": len(mean),
        "overlap": float(np.minimum(*shares).sum()),
        "by_chance": chance.tolist(),
        "divergence": max(0.0, entropies[2] - (entropies[0] + entropies[1]) / 2),
        "entropy": {"a": entropies[0], "b": entropies[1]},
        "clusters": [
            {"a": a, "b": b, "words": named, "example": texts[at][:SHOWN]}
            for a, b, named, at in zip(*(each.tolist() for each in shares), found.words, found.middles, strict=True)
        ],
    }


def _copies(sides: Sides, own: Floats, others: Floats, weighted: sparse.csr_matrix) -> dict[str, Any]:
    """How near the texts of A are to those of B, beside how near those of B are to one another; the nearest pairs."""
    a, b = sides
    matrices = weighted[: len(a)], weighted[len(a) :]
    near = nearest(own, others, *matrices)
    overlap = np.array(
        word_overlap([(text, b.texts[at]) for text, at in zip(a.texts, near.place.tolist(), strict=True)])
    )
    found: dict[str, Any] = {
        "exact": _share(overlap == 1.0, a),
        "near": _share(overlap > NEAR, a),
        "a_to_b": _distances(near.distance),
        "b_to_b": None,
        "nearer": None,
        "examples": _examples(sides, near, overlap),
    }
    if len(b) > 1:
        among = nearest(others, others, matrices[1], matrices[1], itself=True)
        limit = float(np.quantile(among.distance, NEAREST_SHARE))
        nearer = {**_share(near.distance <= limit, a), "limit": limit, "usual": float((among.distance <= limit).mean())}
        found |= {"b_to_b": _distances(among.distance), "nearer": nearer}
    return found


def _share(hits: NDArray[np.bool_], bag: TextBag) -> dict[str, Any]:
    """{texts, share, interval} of different texts, with Wilson's interval."""
    count, n = int(hits.sum()), len(bag)
    p = count / n
    middle, width = (p + Z * Z / (2 * n)), Z * math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n))
    ends = [max(0.0, (middle - width) / (1 + Z * Z / n)), min(1.0, (middle + width) / (1 + Z * Z / n))]
    return {"texts": count, "share": p, "interval": ends}


def _distances(distances: Floats) -> dict[str, float]:
    return dict(zip(("q05", "q25", "q50", "q75", "q95"), np.quantile(distances, QUANTILES).tolist(), strict=True))


def _examples(sides: Sides, near: Nearest, overlap: Floats) -> list[dict[str, Any]]:
    """The pairs that are most alike, in full as far as SHOWN goes."""
    best = np.lexsort((near.distance, -overlap))[:EXAMPLES]
    return [
        {
            "a": sides[0].texts[number][:SHOWN],
            "b": sides[1].texts[int(near.place[number])][:SHOWN],
            "distance": float(near.distance[number]),
            "rouge_l": float(overlap[number]),
        }
        for number in best.tolist()
    ]
