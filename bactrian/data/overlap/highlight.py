"""Where in two texts the shared n-grams stand: for people who look at a match."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from bactrian.data.overlap.words import spell, split

Piece = tuple[str, bool]
"""A stretch of a text, and whether it is shared."""
LONGEST = 600
"""Characters of a stretch that is not shared, before its middle is left out."""


def shared(texts: Sequence[str], fields: Sequence[str], n: int) -> tuple[list[list[Piece]], list[list[Piece]]]:
    """A row's texts and an item's fields in pieces; shared are all words in a window of n that the other side holds.

    >>> shared(["see the cat sat down"], ["The cat sat."], 3)
    ([[('see ', False), ('the cat sat', True), (' down', False)]], [[('The cat sat', True), ('.', False)]])
    """
    ours, theirs = [_windows(text, n) for text in texts], [_windows(field, n) for field in fields]
    held, asked = ({gram for grams, _ in side for gram in grams} for side in (ours, theirs))
    return (
        [list(_pieces(text, *one, asked, n)) for text, one in zip(texts, ours, strict=True)],
        [list(_pieces(field, *one, held, n)) for field, one in zip(fields, theirs, strict=True)],
    )


def shortened(pieces: Sequence[Piece]) -> list[Piece]:
    """Long stretches that are not shared without their middle."""
    return [(text if covered else _without_middle(text), covered) for text, covered in pieces]


def _without_middle(text: str) -> str:
    if len(text) <= LONGEST:
        return text
    left = len(text) - LONGEST
    return f"{text[: LONGEST // 2]} […{left:,} characters…] {text[-(LONGEST // 2) :]}"


def _windows(text: str, n: int) -> tuple[list[tuple[str, ...]], list[tuple[int, int]]]:
    """All windows of n words, and where each word stands."""
    words = split([text])
    spelled = spell(words)
    return [tuple(spelled[i : i + n]) for i in range(len(spelled) - n + 1)], words.spans()


def _pieces(
    text: str, grams: Sequence[tuple[str, ...]], spans: Sequence[tuple[int, int]], other: set[tuple[str, ...]], n: int
) -> Iterator[Piece]:
    covered = {place for first, gram in enumerate(grams) if gram in other for place in range(first, first + n)}
    at = 0
    for is_covered, run in groupby(range(len(spans)), covered.__contains__):
        places = list(run)
        start, end = spans[places[0]][0], spans[places[-1]][1]
        if is_covered:
            if start > at:
                yield text[at:start], False
            yield text[start:end], True
            at = end
    if at < len(text):
        yield text[at:], False
