"""How near each text of a set is to a text of another: is it new, or a copy?

Distance is 1 less the cosine of TF-IDF. The eight nearest by main directions are compared word by word: a copy has the
same direction, so it is among them unless eight others have it too; a text that shares only some words may be missed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from bactrian.data.likeness.vectors import spelled
from bactrian.data.synth.rouge_novelty import common_length, rouge_l

CANDIDATES = 8
_BLOCK = 500
Floats = NDArray[np.float64]
Places = NDArray[np.int64]


@dataclass(frozen=True)
class Nearest:
    """Of each text: the place of the nearest one, and the distance, 0 to 1. [N] each."""

    place: Places
    distance: Floats


def nearest(
    own: Floats, others: Floats, own_words: sparse.csr_matrix, other_words: sparse.csr_matrix, itself: bool = False
) -> Nearest:
    """The nearest of M other texts to each of N.

    Args:
        own, others: [N, r] and [M, r], main directions.
        own_words, other_words: [N, V] and [M, V], TF-IDF.
        itself: the others are the texts themselves, and none is near to itself. M > 1 then.
    """
    width = min(CANDIDATES, others.shape[0] - itself)
    place, distance = np.zeros(len(own), np.int64), np.ones(len(own))
    narrow = others.astype(np.float32).T
    for first in range(0, len(own), _BLOCK):
        block = np.arange(first, min(first + _BLOCK, len(own)))
        cosines = own[block].astype(np.float32) @ narrow
        if itself:
            cosines[np.arange(len(block)), block] = -2
        found = np.sort(np.argpartition(-cosines, width - 1, axis=1)[:, :width], axis=1)
        left = own_words[np.repeat(block, width)]
        exact = np.asarray(left.multiply(other_words[found.ravel()]).sum(axis=1)).reshape(found.shape)
        best = np.argmax(exact, axis=1)
        rows = np.arange(len(block))
        place[block], distance[block] = found[rows, best], 1 - np.clip(exact[rows, best], 0, 1)
    return Nearest(place, distance)


def word_overlap(pairs: Sequence[tuple[str, str]]) -> list[float]:
    """ROUGE-L F1 of each two texts, of their words as for overlaps (any script), of their first READ characters.

    1 exactly where the words are the same.
    """
    found = []
    for left, right in zip(spelled([a for a, _ in pairs]), spelled([b for _, b in pairs]), strict=True):
        numbers: dict[str, int] = {}
        a, b = ([numbers.setdefault(word, len(numbers)) for word in side] for side in (left, right))
        found.append(1.0 if a == b else rouge_l(common_length(a, b), len(a), len(b)))
    return found
