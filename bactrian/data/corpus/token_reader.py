"""Training instances of a set of tokens, in an order that a seed decides, from any place on and for any workers.

All documents are one stream, cut into instances of equal length; the last one is shorter where it does not come out
even. So every token is in exactly one instance, and each instance is seen once an epoch. What stands at a place of
the order is computed (permutation.py): to resume is to go on from a number.
"""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bactrian.data.corpus.permutation import Permutation
from bactrian.data.corpus.token_files import TokenSet

AHEAD = 256
"""Places of the order that are worked out together."""


class TokenReader:
    """Instances of `length` tokens, shuffled by `seed`, each epoch in an order of its own.

    >>> reader = TokenReader(folder, length=4096, seed=42)
    >>> for ids in reader.instances(step * batch, (step + 1) * batch, worker=0, workers=4): ...

    Places count through the epochs: place `len(reader)` is the first of the second epoch. Each worker takes the places
    that are `worker` modulo `workers`; together they have the same instances, however many there are.
    """

    def __init__(self, folder: Path, length: int, seed: int) -> None:
        """
        Raises:
            BactrianError: as `TokenSet.load`.
            ValueError: a length below 1, or no tokens.
        """
        self.about = TokenSet.load(folder)
        if length < 1 or not self.about.tokens:
            raise ValueError(f"found the length {length} for {self.about.tokens} tokens, expected some of both")
        self.length, self.seed = length, seed
        self._shards = [np.memmap(folder / shard.file, dtype=self.about.dtype, mode="r") for shard in self.about.shards]
        self._ends = np.cumsum([shard.tokens for shard in self.about.shards])
        self._order = lru_cache(maxsize=2)(lambda epoch: Permutation(len(self), self.seed, epoch))

    def __len__(self) -> int:
        """Instances an epoch."""
        return -(-self.about.tokens // self.length)

    def instances(
        self, start: int = 0, stop: int | None = None, worker: int = 0, workers: int = 1
    ) -> Iterator[NDArray[np.int64]]:
        """The instances at places start … stop − 1 that are this worker's; without `stop` for ever."""
        place = start + (worker - start) % workers
        while stop is None or place < stop:
            after = place + AHEAD * workers
            places = np.arange(place, after if stop is None else min(after, stop), workers)
            yield from map(self.instance, self.numbers_at(places).tolist())
            place = after

    def at(self, place: int) -> NDArray[np.int64]:
        """[length] token ids of the instance at a place of the order; the last of the stream may be shorter."""
        return self.instance(int(self.numbers_at(np.array([place]))[0]))

    def numbers_at(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """[N] which instances stand at these places of the order."""
        epochs, within = np.divmod(places, len(self))
        found = np.empty(len(places), dtype=np.int64)
        for epoch in np.unique(epochs).tolist():
            mine = epochs == epoch
            found[mine] = self._order(epoch).of(within[mine])
        return found

    def instance(self, number: int) -> NDArray[np.int64]:
        """[length] token ids of an instance by its number in the stream.

        Raises:
            IndexError: for a number that there is not.
        """
        if not 0 <= number < len(self):
            raise IndexError(f"found instance {number}, expected one of 0 … {len(self) - 1}")
        start = number * self.length
        return self._tokens(start, min(start + self.length, self.about.tokens))

    def _tokens(self, start: int, stop: int) -> NDArray[np.int64]:
        parts: list[NDArray[np.int64]] = []
        shard = int(np.searchsorted(self._ends, start, side="right"))
        while start < stop:
            first = int(self._ends[shard]) - len(self._shards[shard])
            upto = min(stop, int(self._ends[shard]))
            parts.append(self._shards[shard][start - first : upto - first].astype(np.int64))
            start, shard = upto, shard + 1
        return np.concatenate(parts)

    def starts(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """The places of an instance at which a document, or what is left of one, begins: 0, and after each end
        token."""
        after = np.flatnonzero(ids[:-1] == self.about.end) + 1
        return np.concatenate([np.zeros(1, np.int64), after])
