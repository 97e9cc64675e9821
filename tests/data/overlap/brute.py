"""The definition of overlap in plain Python, word by word, to hold the library against. Shares no code with it."""

import re
from collections.abc import Sequence
from fractions import Fraction

SPLIT = re.compile(r"[\s\\,.?!:;()\"\-]+")


def words_of(text: str) -> list[str]:
    """ASCII only: lower case, split at white space and the marks of the definition."""
    return [word for word in SPLIT.split(text.lower()) if word]


def score(fields: Sequence[str], texts: Sequence[str], n: int) -> Fraction:
    """The mean over an item's fields of the share of words in windows of n that some text of one row holds too."""
    grams = {tuple(w[i : i + n]) for text in texts for w in [words_of(text)] for i in range(len(w) - n + 1)}
    total = Fraction(0)
    for field in fields:
        words = words_of(field)
        shared = [i for i in range(len(words) - n + 1) if tuple(words[i : i + n]) in grams]
        covered = {place for i in shared for place in range(i, i + n)}
        total += Fraction(len(covered), max(1, len(words)))
    return total / len(fields)


def matches(
    items: Sequence[Sequence[str]], rows: Sequence[Sequence[str]], n: int, threshold: Fraction
) -> dict[tuple[int, int], Fraction]:
    """{(row, item): score} of all pairs that reach the threshold; a threshold of 0 wants one shared window."""
    scores = {(j, i): score(item, row, n) for j, row in enumerate(rows) for i, item in enumerate(items)}
    return {pair: value for pair, value in scores.items() if value and value >= threshold}
