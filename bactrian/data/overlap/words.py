"""Texts as words, for both sides of a comparison: lower case, split at white space and punctuation.

The rule is the one under which Tülu 3 reports its overlaps: lower-case, then split at white space, backslashes and
`, . ? ! : ; ( ) " -`. Ours, where that says nothing: the typographic forms of those marks split too (“ ” … — 。), and a
character of a script written without spaces (Han, kana, Thai, Lao, Khmer, Burmese) is a word by itself, or texts in
those scripts could never share eight words. Everything works on arrays of code points, a batch of texts at a time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]
Bools = NDArray[np.bool_]

_MARKS = ',.?!:;()"-\\'
_TYPOGRAPHIC = "“”„‟«»‹›…–—―‐‑‒−‚·。、，．？！：；（）「」『』【】《》〈〉・؟،؛।॥\u200b\u200c\ufeff\u2060"
SINGLES = (
    (0x0E00, 0x0EFF),
    (0x1000, 0x109F),
    (0x1780, 0x17FF),
    (0x3040, 0x30FF),
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)
_SINGLE = np.uint32(1 << 31)  # set in a folded character that is a word by itself
_CASED = 0x1E944  # no letter above it has a lower case

_BASE = 0x9E3779B97F4A7C15  # odd, so it has an inverse modulo 2^64
_INVERSE = pow(_BASE, -1, 1 << 64)
_SPREAD = np.uint64(0xD6E8FEB86659FD93)


@dataclass(frozen=True)
class Words:
    """The words of a batch of texts, in order.

    chars [C]: folded characters of all texts, 0 where one separates words. starts, ends [N]: of each word, in chars.
    text [N]: the index of each word's text, rising. offsets [T]: where each text begins in chars.
    """

    chars: NDArray[np.uint32]
    starts: I64
    ends: I64
    text: I64
    offsets: I64

    def __len__(self) -> int:
        return len(self.starts)

    def spans(self) -> list[tuple[int, int]]:
        """(start, end) of each word in the characters of its own text."""
        base = self.offsets[self.text]
        return list(zip((self.starts - base).tolist(), (self.ends - base).tolist(), strict=True))


def split(texts: Sequence[str]) -> Words:
    """The words of some texts.

    >>> words = split(["Don't stop—me!", "now"])
    >>> [words.chars[s:e].tobytes().decode("utf-32-le") for s, e in zip(words.starts, words.ends)], words.text.tolist()
    (["don't", 'stop', 'me', 'now'], [0, 0, 0, 1])
    """
    joined = "\n".join(("", *texts, ""))
    folded = _folded(joined)
    starts, ends = _plain_bounds(folded) if joined.isascii() else _bounds(folded)
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    offsets = np.cumsum(lengths + 1) - lengths
    return Words(folded, starts, ends, np.searchsorted(offsets, starts, "right") - 1, offsets)


def spell(words: Words) -> list[str]:
    """Each word as text, folded."""
    text = (words.chars & ~_SINGLE).tobytes().decode("utf-32-le", "surrogatepass").replace("\0", " ")
    return [text[start:end] for start, end in zip(words.starts.tolist(), words.ends.tolist(), strict=True)]


def word_hashes(words: Words) -> U64:
    """A 64-bit hash of each word: equal words have equal hashes; what the hash says is checked by the words themselves.

    A polynomial in the characters, from prefix sums modulo 2^64: no loop over words.
    """
    powers, inverses = _powers(1 << max(16, len(words.chars).bit_length()))
    terms = words.chars.astype(np.uint64)
    terms *= powers[: len(terms)]
    np.cumsum(terms, out=terms)
    hashes = terms[words.ends - 1] - terms[words.starts - 1]  # chars begin with a separator, so starts are ≥ 1
    hashes *= inverses[words.starts]
    hashes ^= hashes >> np.uint64(32)
    hashes *= _SPREAD
    hashes ^= hashes >> np.uint64(29)
    return hashes


def gram_hashes(hashes: U64, n: int) -> U64:
    """Hash of the n words from each word on: [N] → [max(0, N − n + 1)]."""
    count = max(0, len(hashes) - n + 1)
    grams = hashes[:count].copy()
    for k in range(1, n):
        grams *= np.uint64(_BASE)
        grams += hashes[k : k + count]
    grams *= _SPREAD
    return grams


def whole_grams(words: Words, n: int) -> Bools:
    """Which of the N − n + 1 windows of n words lie within one text."""
    whole: Bools = words.text[: max(0, len(words) - n + 1)] == words.text[n - 1 :]
    return whole


def _folded(joined: str) -> NDArray[np.uint32]:
    table = _table()
    if joined.isascii():
        return table[:128][np.frombuffer(joined.encode("ascii"), np.uint8)]
    return table[np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), np.uint32)]


def _plain_bounds(folded: NDArray[np.uint32]) -> tuple[I64, I64]:
    """Starts and ends of the runs between separators."""
    inside = folded != 0
    edges = np.flatnonzero(inside[1:] != inside[:-1]) + 1
    return edges[0::2], edges[1::2]


def _bounds(folded: NDArray[np.uint32]) -> tuple[I64, I64]:
    """The same where some characters are words by themselves."""
    inside, single = folded != 0, folded >= _SINGLE
    apart = single[1:] | single[:-1] | (inside[1:] != inside[:-1])
    starts = np.flatnonzero(inside[1:] & apart) + 1
    ends = np.flatnonzero(inside[:-1] & apart) + 1
    return starts, ends


@cache
def _table() -> NDArray[np.uint32]:
    """Code point → folded character: 0 for separators, lower case where that is one character."""
    table = np.arange(0x110000, dtype=np.uint32)
    for code in range(_CASED):
        low = chr(code).lower()
        if len(low) == 1:
            table[code] = ord(low)
        if chr(code).isspace():
            table[code] = 0
    for first, last in SINGLES:
        table[first : last + 1] |= _SINGLE
    table[[ord(mark) for mark in _MARKS + _TYPOGRAPHIC]] = 0
    table[0x2019] = ord("'")
    table[:32] = 0
    table[0x7F:0xA0] = 0
    return table


@cache
def _powers(count: int) -> tuple[U64, U64]:
    """The first `count` powers of the base and of its inverse, modulo 2^64."""
    base, inverse = np.full((2, count), 1, np.uint64)
    base[1:], inverse[1:] = np.uint64(_BASE), np.uint64(_INVERSE)
    return np.cumprod(base), np.cumprod(inverse)
