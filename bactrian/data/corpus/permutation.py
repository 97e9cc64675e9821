"""A shuffled order that is computed place by place: nothing is stored, and any place of it is reached at once.

A Feistel network with six rounds permutes the numbers below a power of four; numbers that fall beyond the size are sent
through it again until they do not (cycle walking) [Black and Rogaway 2002]. So it is a bijection of 0 … size − 1, for
any size and seed.
"""

import hashlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Places = NDArray[np.uint64]
ROUNDS = 6


class Permutation:
    """A permutation of 0 … size − 1 that `key`, such as (seed, epoch), decides.

    >>> shuffled = Permutation(10, 7, 0)
    >>> sorted(shuffled.of(np.arange(10)).tolist()) == list(range(10))
    True
    """

    def __init__(self, size: int, *key: int) -> None:
        if not 0 < size < 2**62:
            raise ValueError(f"found the size {size}, expected 1 to 2^62")
        self.size = size
        self._half = np.uint64(max(1, ((size - 1).bit_length() + 1) // 2))
        self._mask = np.uint64((1 << int(self._half)) - 1)
        digest = hashlib.blake2b(repr(key).encode(), digest_size=8 * ROUNDS).digest()
        self._keys = np.frombuffer(digest, dtype="<u8").astype(np.uint64)

    def of(self, places: NDArray[np.integer]) -> NDArray[np.int64]:
        """[N] what stands at these places of the order."""
        return self._walked(places, self._forward)

    def inverse(self, numbers: NDArray[np.integer]) -> NDArray[np.int64]:
        """[N] the places at which these numbers stand."""
        return self._walked(numbers, self._backward)

    def __getitem__(self, place: int) -> int:
        return int(self.of(np.array([place]))[0])

    def _walked(self, given: NDArray[np.integer], step: Callable[[Places], Places]) -> NDArray[np.int64]:
        values = np.asarray(given).astype(np.uint64)
        if len(values) and (int(np.min(given)) < 0 or int(values.max()) >= self.size):
            raise IndexError(f"found a place outside 0 … {self.size - 1}")
        values = step(values)
        while len(outside := np.flatnonzero(values >= np.uint64(self.size))):
            values[outside] = step(values[outside])
        return values.astype(np.int64)

    def _forward(self, values: Places) -> Places:
        left, right = values >> self._half, values & self._mask
        for key in self._keys:
            left, right = right, left ^ self._mixed(right, key)
        return (left << self._half) | right

    def _backward(self, values: Places) -> Places:
        left, right = values >> self._half, values & self._mask
        for key in self._keys[::-1]:
            left, right = right ^ self._mixed(left, key), left
        return (left << self._half) | right

    def _mixed(self, half: Places, key: np.uint64) -> Places:
        """splitmix64's finaliser [Steele et al. 2014] of half and key, cut to half the bits."""
        mixed = half * np.uint64(0x9E3779B97F4A7C15) + key
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return (mixed ^ (mixed >> np.uint64(31))) & self._mask
