"""Exact and near duplicates of a stream of rows, from fixed-size fingerprints of each.

Exact: equal texts, blind to letter case and to the amount of white space. Near: the Jaccard similarity of the sets of
word n-grams, estimated by MinHash (Broder 1997): of two sets' signatures, the share of equal places. Pairs to compare
are found by locality-sensitive hashing: signatures are cut into bands of equal width, and a pair meets where one whole
band is equal, which at similarity s has the chance 1 − (1 − s^width)^bands. Signatures are rensa's; a band is sorted.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from bactrian.store.extras import lacks

Hashes = NDArray[np.uint64]
Signatures = NDArray[np.uint32]
Numbers = NDArray[np.int64]

PLACES = 128
"""Of a signature: the estimate's standard error at similarity s is √(s(1−s)/128), at 0.8 that is 0.035."""
SEED = 1
NEIGHBOURS = 32
"""In a band's bucket each row is compared with the first and with this many after it; larger buckets are templates."""
_ODD = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class DuplicatePair:
    """A row that is dropped, the row that stays for it (numbers in the stream), and how alike they are."""

    dropped: int
    kept: int
    similarity: float  # estimated, 1.0 for exact ones
    exact: bool


def text_key(text: str) -> bytes:
    """16 bytes that are equal for texts that are equal but for letter case and white space."""
    return hashlib.blake2b(" ".join(text.split()).casefold().encode("utf-8", "surrogatepass"), digest_size=16).digest()


def signatures(texts: Sequence[str], words: int) -> Signatures:
    """[len(texts), PLACES] MinHash signatures of the sets of `words` neighbouring words; shorter texts are one n-gram.

    Words are hashed once and n-grams made from their hashes, as 64-bit numbers: no text is built for an n-gram.
    """
    try:
        from rensa import RMinHash
    except ImportError:
        raise lacks("near duplicates", "data") from None

    hashed = RMinHash.hash_token_sets([text.casefold().split() for text in texts])
    lengths = np.array([len(row) for row in hashed], dtype=np.int64)
    flat = np.fromiter(chain.from_iterable(hashed), dtype=np.uint64, count=int(lengths.sum()))
    grams, counts = _grams(flat, lengths, words)
    ends = np.r_[0, np.cumsum(counts)].astype(np.uint64)
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(grams, ends, num_perm=PLACES, seed=SEED)
    return np.array(matrix.to_rows(), dtype=np.uint32).reshape(len(texts), PLACES)


def _grams(hashes: Hashes, lengths: Numbers, words: int) -> tuple[Hashes, Numbers]:
    """Hashes of the n-grams of texts that lie one after the other, and how many each text has (at least 1).

    `hashes` are those of the words, `lengths` [texts] says how many each text has. h ← (h ≪ 23 | h ≫ 41)·odd ⊕ next, so
    that the order of words matters. A text shorter than n is one n-gram of all its words; one without words is 0.
    """
    counts = np.maximum(1, lengths - words + 1)
    starts = np.repeat(np.cumsum(lengths) - lengths, counts)
    starts += np.arange(len(starts)) - np.repeat(np.cumsum(counts) - counts, counts)
    left = np.repeat(np.minimum(lengths, words), counts)
    grams = np.zeros(len(starts), dtype=np.uint64)
    for offset in range(words):
        within = np.flatnonzero(left > offset)
        gram = grams[within]
        grams[within] = ((gram << np.uint64(23)) | (gram >> np.uint64(41))) * _ODD ^ hashes[starts[within] + offset]
    return grams, counts


def exact_pairs(keys: NDArray[np.void], ranks: Sequence[Numbers]) -> list[DuplicatePair]:
    """Rows with an equal 16-byte key: all but the best of each set are dropped.

    `ranks`: what decides, the most important first, smaller is better; after that the earlier row.
    """
    _, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
    several = np.flatnonzero(counts[inverse] > 1)
    if not len(several):
        return []
    order = several[np.lexsort((several, *[rank[several] for rank in reversed(ranks)], inverse[several]))]
    groups = inverse[order]
    first = np.flatnonzero(np.r_[True, groups[1:] != groups[:-1]])
    best = np.repeat(order[first], np.diff(np.r_[first, len(order)]))
    return [DuplicatePair(int(row), int(kept), 1.0, True) for row, kept in zip(order, best, strict=True) if row != kept]


def near_pairs(
    signature: Signatures, ranks: Sequence[Numbers], threshold: float, width: int, rows: Numbers
) -> list[DuplicatePair]:
    """Of the given `rows`, those that are at least `threshold` like a better one that stays.

    Rows are gone through from the best to the worst; one is dropped if it is like a row that stayed. So no chain of
    small steps drops a row for another that it has little in common with, and every kept row is unlike all others kept.
    `kept` is the most similar of them, then the better.
    """
    place = np.empty(len(signature), dtype=np.int64)
    order = rows[np.lexsort((rows, *[rank[rows] for rank in reversed(ranks)]))]
    place[order] = np.arange(len(order))
    alike: dict[int, list[tuple[float, int]]] = {}  # worse row → (similarity, better row)
    for left, right in _candidates(signature, width, order):
        similarity = _agreement(signature, left, right)
        near = similarity >= threshold
        for a, b, s in zip(left[near].tolist(), right[near].tolist(), similarity[near].tolist(), strict=True):
            better, worse = (a, b) if place[a] < place[b] else (b, a)
            alike.setdefault(worse, []).append((s, better))
    found: dict[int, DuplicatePair] = {}
    for row in sorted(alike, key=lambda row: int(place[row])):
        stays = [(-s, int(place[better]), better) for s, better in alike[row] if better not in found]
        if stays:
            s, _, kept = min(stays)
            found[row] = DuplicatePair(row, kept, -s, False)
    return list(found.values())


def _candidates(signature: Signatures, width: int, order: Numbers) -> Iterator[tuple[Numbers, Numbers]]:
    """Pairs of rows that share a band, each pair once a band."""
    for start in range(0, signature.shape[1] - width + 1, width):
        band = _band(signature, start, width, order)
        by_band = np.argsort(band, kind="stable")  # within a bucket the best row comes first
        sorted_band, sorted_rows = band[by_band], order[by_band]
        first = np.flatnonzero(np.r_[True, sorted_band[1:] != sorted_band[:-1]])
        sizes = np.diff(np.r_[first, len(sorted_band)])
        starts = np.repeat(first, sizes)
        ahead = np.arange(len(starts))
        yield sorted_rows[starts[ahead > starts]], sorted_rows[ahead > starts]
        for step in range(1, min(NEIGHBOURS, int(sizes.max(initial=1))) + 1):
            left = np.flatnonzero(starts[:-step] == starts[step:]) if step < len(starts) else np.zeros(0, np.int64)
            left = left[left > starts[left]]  # pairs with the first are given above
            if not len(left):
                break
            yield sorted_rows[left], sorted_rows[left + step]


def _band(signature: Signatures, start: int, width: int, rows: Numbers) -> Hashes:
    """One 64-bit hash of each row's places start … start + width − 1."""
    band = np.zeros(len(rows), dtype=np.uint64)
    for place in range(start, start + width):
        band = (band ^ signature[rows, place].astype(np.uint64)) * _ODD
        band ^= band >> np.uint64(29)
    return band


def _agreement(signature: Signatures, left: Numbers, right: Numbers) -> NDArray[np.float64]:
    """Share of equal places of pairs of signatures, some at a time."""
    found = np.empty(len(left))
    for start in range(0, len(left), 1 << 16):
        part = slice(start, start + (1 << 16))
        found[part] = (signature[left[part]] == signature[right[part]]).mean(axis=1)
    return found


def band_width(threshold: float) -> int:
    """The widest band that finds a pair at `threshold` with a chance of at least 95 % (of those that divide PLACES)."""
    widths = [width for width in (1, 2, 4, 8, 16, 32) if 1 - (1 - threshold**width) ** (PLACES // width) >= 0.95]
    return max(widths, default=1)
