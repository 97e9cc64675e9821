"""Which rows of which source a mixture takes, and in what order: references only, no row is read.

Everything is drawn from random streams named by (seed, source): the rows that a source gives, and their places relative
to each other, do not depend on the other sources. So a mixture without one source is the mixture with its rows taken
out, which is what an ablation wants to compare.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from bactrian.errors import BactrianError

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class SourceRows:
    """What a mixture takes of one source: row numbers (from 0) in the order drawn, and the key of each one's place.

    rows [n], keys [n]. A row that is taken again has its number in `rows` again.
    """

    rows: Numbers
    keys: NDArray[np.uint64]


def draw(label: str, size: int, count: int, seed: int) -> SourceRows:
    """`count` of `size` rows: without replacement, as often over all rows as it takes, then a
    random remainder.

    Raises:
        BactrianError: if rows are wanted of a source that has none.
    """
    if size == 0 and count:
        raise BactrianError(f"source {label}: found no rows, expected {count:,}")
    random, order = _random(label, seed, "rows"), np.zeros(0, dtype=np.int64)
    while len(order) < count:
        order = np.concatenate([order, random.permutation(size)[: count - len(order)]])
    keys = _random(label, seed, "places").integers(0, 2**64, size=count, dtype=np.uint64)
    return SourceRows(order, keys)


def rows_within(label: str, tokens: Numbers, budget: int, seed: int) -> int:
    """How many rows `draw` may take so that they have at most `budget` tokens; `tokens` of each row of the source."""
    total = int(tokens.sum())
    if total == 0:
        return 0
    whole, rest = divmod(budget, total)
    last = draw(label, len(tokens), len(tokens) * (whole + 1), seed).rows[whole * len(tokens) :]
    return whole * len(tokens) + int(np.searchsorted(np.cumsum(tokens[last]), rest, side="right"))


def shares(total: int, weights: Sequence[float]) -> list[int]:
    """`total` split in proportion to the weights, in whole numbers that add up to it (largest remainder)."""
    exact = np.array(weights) * total / sum(weights)
    whole = np.floor(exact).astype(int)
    left = total - int(whole.sum())
    whole[np.argsort(whole - exact, kind="stable")[:left]] += 1
    return [int(number) for number in whole]


def shuffled(drawn: Sequence[SourceRows]) -> tuple[NDArray[np.int16], Numbers]:
    """(source [N], row [N]) of every reference of the mixture, in its order."""
    keys = np.concatenate([each.keys for each in drawn]) if drawn else np.zeros(0, np.uint64)
    order = np.argsort(keys, kind="stable")
    sources = np.repeat(np.arange(len(drawn), dtype=np.int16), [len(each.rows) for each in drawn])
    rows = np.concatenate([each.rows for each in drawn]) if drawn else np.zeros(0, np.int64)
    return sources[order], rows[order]


def places(source: int, sources: NDArray[np.int16], rows: Numbers) -> Iterator[tuple[int, list[int]]]:
    """(row number, its places in the mixture) for each row of one source that is taken, in the order of the source."""
    where = np.flatnonzero(sources == source)
    numbers = rows[where]
    by_row = np.argsort(numbers, kind="stable")
    numbers, where = numbers[by_row], where[by_row]
    bounds = np.r_[0, np.flatnonzero(numbers[1:] != numbers[:-1]) + 1, len(numbers)]
    for start, end in pairwise(bounds if len(numbers) else ()):
        yield int(numbers[start]), where[start:end].tolist()


def _random(label: str, seed: int, what: str) -> np.random.Generator:
    digest = hashlib.sha256(f"mix/{seed}/{label}/{what}".encode("utf-8", "surrogatepass")).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))
