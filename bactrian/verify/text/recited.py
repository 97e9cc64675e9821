"""How much of a gold text an answer says, in the gold text's order: a length in several units."""

import re

from bactrian.subsequence import common_length

PIECE = re.compile(r"\w+|[^\w\s]")
UNITS = ("char", "piece", "word")


def units(text: str, unit: str) -> list[str]:
    """A text in units. char: letters and digits in lower case, as published; piece: words and marks, each by itself;
    word: what stands between white space, as published.

    >>> units("Ah, love!", "piece"), units("Ah, love!", "word"), "".join(units("Ah, love!", "char"))
    (['Ah', ',', 'love', '!'], ['Ah,', 'love!'], 'ahlove')
    """
    if unit == "piece":
        return PIECE.findall(text)
    return text.split() if unit == "word" else [each for each in text.lower() if each.isalnum()]


def recited(gold: str, said: str, unit: str = "piece") -> tuple[int, int]:
    """Units of the gold text that the answer has in its order, and how many the gold text has.

    Of the answer, as many units count as the gold text has: more would find more.
    """
    whole, given = units(gold, unit), units(said, unit)
    return common_length(whole, given[: len(whole)]), len(whole)
