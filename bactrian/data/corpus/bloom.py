"""A Bloom filter (Bloom 1970): a set of keys in few bits, which takes some keys for known that it never saw.

For n keys and a false-positive rate p it has m = −n ln p / (ln 2)² bits and k = m/n · ln 2 of them a key. Once more
than n keys are in, the rate is above p; `rate` says what it is.
"""

import hashlib
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.uint64]
_ONES = np.array([number.bit_count() for number in range(256)])


def text_keys(texts: Sequence[str]) -> Keys:
    """[len(texts), 2] 128-bit keys of texts, blind to the amount of white space."""
    digests = b"".join(
        hashlib.blake2b(" ".join(text.split()).encode("utf-8", "surrogatepass"), digest_size=16).digest()
        for text in texts
    )
    return np.frombuffer(digests, dtype=np.uint64).reshape(len(texts), 2)


class ExactSeen:
    """All keys that were added: no false positives, about 100 bytes a key."""

    def __init__(self) -> None:
        self._keys: set[bytes] = set()

    def add(self, keys: Keys) -> NDArray[np.bool_]:
        """[len(keys)] whether each was there before, earlier in `keys` too; then all are."""
        found = np.empty(len(keys), dtype=bool)
        for number, key in enumerate(keys):
            name = key.tobytes()
            found[number] = name in self._keys
            self._keys.add(name)
        return found

    def rate(self) -> float:
        """Of false positives: none."""
        return 0.0

    def __len__(self) -> int:
        return len(self._keys)


class BloomSeen:
    """A Bloom filter for about `expected` keys with this rate of false positives."""

    def __init__(self, expected: int, rate: float) -> None:
        self.bits = max(64, math.ceil(-expected * math.log(rate) / math.log(2) ** 2))
        self.probes = max(1, round(self.bits / expected * math.log(2)))
        self._table = np.zeros((self.bits + 7) // 8, dtype=np.uint8)
        self._added = 0

    @property
    def bytes(self) -> int:
        """What it takes in memory."""
        return self._table.nbytes

    def add(self, keys: Keys) -> NDArray[np.bool_]:
        """[len(keys)] whether each seems to have been there before, earlier in `keys` too; then all are.

        Whether a key is known from earlier in `keys` is told exactly: so there are, if anything, fewer false positives
        than one by one.
        """
        places = self._places(keys)
        found = self._known(places)
        again = _again(keys)
        fresh = places[~(found | again)].ravel()
        bits = np.left_shift(np.uint8(1), (fresh & np.uint64(7)).astype(np.uint8))
        np.bitwise_or.at(self._table, fresh >> np.uint64(3), bits)
        self._added += int((~(found | again)).sum())
        return found | again

    def _known(self, places: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """[len(places)] whether all bits of each key are set."""
        found: NDArray[np.bool_] = np.ones(len(places), dtype=bool)
        for column in places.T:
            found &= (self._table[column >> np.uint64(3)] >> (column & np.uint64(7)).astype(np.uint8)) & 1 == 1
        return found

    def _places(self, keys: Keys) -> NDArray[np.uint64]:
        """[len(keys), probes] the bits of each key, by double hashing (Kirsch and Mitzenmacher 2008)."""
        steps = np.arange(self.probes, dtype=np.uint64)
        found: NDArray[np.uint64] = (keys[:, :1] + steps * (keys[:, 1:] | np.uint64(1))) % np.uint64(self.bits)
        return found

    def rate(self) -> float:
        """The rate of false positives now, from the share of bits that are set."""
        ones = int(np.bincount(self._table, minlength=256) @ _ONES)
        return float((ones / self.bits) ** self.probes)

    def __len__(self) -> int:
        return self._added


def _again(keys: Keys) -> NDArray[np.bool_]:
    """[len(keys)] whether an earlier key is equal."""
    order = np.lexsort((keys[:, 1], keys[:, 0]))  # stable: of equal keys the earlier comes first
    found = np.zeros(len(keys), dtype=bool)
    found[order[1:]] = (keys[order[1:]] == keys[order[:-1]]).all(axis=1)
    return found
