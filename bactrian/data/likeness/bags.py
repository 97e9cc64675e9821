"""A set of texts in a form that has no order: the different texts, sorted, and how often each occurs."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LIMIT = 10_000
"""Different texts that are looked at; of more, those with the smallest hashes."""
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TextBag:
    """Different texts, sorted.

    counts [N]: how often each occurs. rows: all rows that were read. drawn: the texts are LIMIT of more.
    """

    texts: tuple[str, ...]
    counts: NDArray[np.int64]
    rows: int
    drawn: bool

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def weights(self) -> Floats:
        """[N], the share of each text. Exactly the same where every row is there twice, or k times."""
        reduced = self.counts // max(1, math.gcd(*self.counts.tolist()))
        shares: Floats = reduced / reduced.sum()
        return shares

    @property
    def copies(self) -> float:
        """Share of the rows that say what another row says: 1 less the different texts over the rows."""
        return 1 - len(self) / int(self.counts.sum()) if len(self) else 0.0


def text_bag(texts: Iterable[str], limit: int = LIMIT) -> TextBag:
    """The bag of some texts, in memory for `2 * limit` of them.

    Of more different texts than `limit` those with the smallest hashes stay: a draw that no order of rows changes.
    """
    counts: dict[str, int] = {}
    rows, ceiling = 0, None
    for text in texts:
        rows += 1
        if text not in counts and ceiling is not None and text_hash(text) > ceiling:
            continue
        counts[text] = counts.get(text, 0) + 1
        if len(counts) > 2 * limit:
            counts, ceiling = _smallest(counts, limit)
    drawn = ceiling is not None or len(counts) > limit
    if len(counts) > limit:
        counts, _ = _smallest(counts, limit)
    ordered = sorted(counts)
    return TextBag(tuple(ordered), np.array([counts[text] for text in ordered], np.int64), rows, drawn)


def text_hash(text: str, salt: str = "") -> bytes:
    """Eight bytes that are as good as random, the same at each time."""
    return hashlib.blake2b(f"{salt}{text}".encode("utf-8", "surrogatepass"), digest_size=8).digest()


def _smallest(counts: dict[str, int], limit: int) -> tuple[dict[str, int], bytes]:
    """The `limit` texts with the smallest hashes, and the largest of these hashes."""
    hashes = sorted((text_hash(text), text) for text in counts)[:limit]
    return {text: counts[text] for _, text in hashes}, hashes[-1][0]
