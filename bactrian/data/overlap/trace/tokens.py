"""Texts as tokens, and as bytes in which equal tokens are equal bytes.

Whether a token begins between two characters is said by these two alone, so a passage has the same tokens wherever it
stands. Letters, digits and `_` join, and what attaches to the character before it (combining marks, joiners,
variation selectors) never begins a token but after white space. Every other character is a token by itself, and so is
each one of the scripts that are written without spaces (`words.SINGLES`).

The form of a text is its tokens in UTF-8, DELIMITER after each. Folded, letters are in lower case, character by
character (so `İ` is `i` and a final sigma a sigma), and white space is left out; else it is a token like others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from unicodedata import category

import numpy as np
from numpy.typing import NDArray

from bactrian.data.overlap.words import SINGLES

U32 = NDArray[np.uint32]
I64 = NDArray[np.int64]
Bools = NDArray[np.bool_]

DELIMITER, END = 0xFE, 0xFF
"""Bytes that no UTF-8 holds: after a token, and after a text."""
WHITE, WORD, SINGLE, ATTACHED, JOINER, OTHER = range(6)
_TABLE = 0x20000  # the rest is rare Han, selectors and private use: looked up as it comes
_ZWJ, _SKIN_TONES = 0x200D, range(0x1F3FB, 0x1F400)


@dataclass(frozen=True)
class TokenForm:
    """The tokens of some texts, and their form.

    form [F]: uint8, with END after each text. start, end [N]: each token in the characters of all texts joined.
    at [N]: where it begins in `form`. word [N]: whether it counts as one. text [N]: the number of its text.
    first [T]: where each text's form begins. chars [T + 1]: where each text begins in the joined characters.
    """

    form: NDArray[np.uint8]
    start: I64
    end: I64
    at: I64
    word: Bools
    text: I64
    first: I64
    chars: I64

    def __len__(self) -> int:
        return len(self.start)


def utf8(text: str) -> bytes:
    """UTF-8, with lone surrogates kept."""
    return text.encode("utf-8", "surrogatepass")


def token_form(texts: Sequence[str], fold: bool = True) -> TokenForm:
    """Tokens and form of texts, each by itself.

    >>> found = token_form(["Don't  STOP", "İé"])
    >>> [bytes(each) for each in found.form.tobytes().split(b"\\xff")][:2]
    [b"don\\xfe'\\xfet\\xfestop\\xfe", b'i\\xc3\\xa9\\xfe']
    """
    chars = _offsets(np.fromiter(map(len, texts), np.int64, len(texts)))
    codes = _codes("".join(texts), fold)
    kinds = _kinds(codes)
    start, end = _bounds(kinds, chars[:-1], fold)
    return _written(codes, kinds, start, end, chars, fold)


def token_bounds(text: str, fold: bool = True) -> tuple[I64, I64]:
    """Where the tokens of a text begin and end: what `token_form` says, alone."""
    return _bounds(_kinds(_codes(text, fold)), np.zeros(1, np.int64), fold)


def _bounds(kinds: NDArray[np.uint8], chars: I64, fold: bool) -> tuple[I64, I64]:
    """Where the tokens begin and end; `chars`: where the texts do."""
    begins = _begins(kinds)
    begins[chars[chars < len(kinds)]] = True
    start = np.flatnonzero(begins)
    end = np.append(start[1:], len(kinds))[: len(start)]
    if fold:
        inked = kinds[start] != WHITE
        start, end = start[inked], end[inked]
    return start, end


def next_token(text: str, at: int, fold: bool = True) -> int:
    """The first place from `at` on, above 0, at which a token begins, or the end of the text."""
    reach = 1024
    while at < len(text):
        codes = _codes(text[at - 1 : at + reach], fold)
        begins = np.flatnonzero(_begins(_kinds(codes))[1:])
        if len(begins):
            return at + int(begins[0])
        at, reach = at + len(codes) - 1, reach * 2
    return len(text)


def byte_offsets(text: str) -> I64:
    """Where each character begins in UTF-8, and the end: [C + 1]."""
    return _offsets(_byte_lengths(_codes(text, fold=False)))


def _codes(text: str, fold: bool) -> U32:
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    return _lower()[codes] if fold else codes


def _offsets(sizes: NDArray[np.int64]) -> I64:
    return np.concatenate((np.zeros(1, np.int64), np.cumsum(sizes)))


def _byte_lengths(codes: U32) -> I64:
    """Bytes of each character in UTF-8."""
    sizes = np.ones(len(codes), np.int64)
    for limit in (0x80, 0x800, 0x10000):
        sizes += codes >= limit
    return sizes


def _written(codes: U32, kinds: NDArray[np.uint8], start: I64, end: I64, chars: I64, fold: bool) -> TokenForm:
    text = np.searchsorted(chars, start, "right") - 1
    kept = codes[kinds != WHITE] if fold else codes
    bare = np.frombuffer(utf8(kept.tobytes().decode("utf-32-le", "surrogatepass")), np.uint8)
    sizes = _byte_lengths(codes)
    if fold:
        sizes[kinds == WHITE] = 0
    before = _offsets(sizes)  # bytes before each character, without marks
    number = np.arange(len(start))
    at = before[start] + number + text
    marks = np.concatenate((before[end] + number + text, _ends(before, text, chars)))
    form = np.full(len(bare) + len(marks), DELIMITER, np.uint8)
    free = np.ones(len(form), np.bool_)
    free[marks] = False
    form[free] = bare
    ends = marks[len(start) :]
    form[ends] = END
    word = np.isin(kinds[start], (WORD, SINGLE))
    first = np.concatenate((np.zeros(1, np.int64), ends + 1))[:-1]
    return TokenForm(form, start, end, at, word, text, first, chars)


def _ends(before: I64, text: I64, chars: I64) -> I64:
    """Where END stands after each text."""
    tokens = np.cumsum(np.bincount(text, minlength=len(chars) - 1))
    ends: I64 = before[chars[1:]] + tokens + np.arange(len(chars) - 1)
    return ends


def _begins(kinds: NDArray[np.uint8]) -> Bools:
    """Whether a token begins at each character."""
    begins = np.ones(len(kinds), np.bool_)
    before, here = kinds[:-1], kinds[1:]
    attaches = (here == ATTACHED) | (here == JOINER)
    joins = (here == WORD) & ((before == WORD) | (before == ATTACHED) | (before == JOINER))
    joins |= attaches | ((before == JOINER) & (here != WHITE))
    begins[1:] = ~joins | (before == WHITE)
    return begins


def _kinds(codes: U32) -> NDArray[np.uint8]:
    kinds = _table()[np.minimum(codes, _TABLE - 1)]
    if len(codes) and int(codes.max()) >= _TABLE:
        above = codes >= _TABLE
        distinct, which = np.unique(codes[above], return_inverse=True)
        kinds[above] = np.array([_kind(int(code)) for code in distinct], np.uint8)[which]
    return kinds


@cache
def _table() -> NDArray[np.uint8]:
    """Kind of each code point below _TABLE."""
    return np.fromiter(map(_kind, range(_TABLE)), np.uint8, _TABLE)


def _kind(code: int) -> int:
    character = chr(code)
    if code == _ZWJ:
        return JOINER
    if character.isspace():
        return WHITE
    if category(character) in ("Mn", "Mc", "Me", "Cf") or code in _SKIN_TONES:
        return ATTACHED
    if not character.isalnum():
        return WORD if character == "_" else OTHER
    return SINGLE if any(first <= code <= last for first, last in SINGLES) else WORD


@cache
def _lower() -> U32:
    """Code point → its lower case, one character always."""
    table = np.arange(0x110000, dtype=np.uint32)
    for code in range(0x1E944):  # no letter above it has a lower case
        low = chr(code).lower()
        table[code] = ord(low[0])
    table[ord("ς")] = ord("σ")
    return table
