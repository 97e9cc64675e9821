"""Whether a text recites another one [ParaPO, Chen et al. 2025; our definitions, docs/reliability.md].

The published table's aggregation cannot be recovered from the released code. Ours: the longest common subsequence of
words and marks between the gold text and as much of the answer, over the gold text's length. A text recites from half.
"""

import re

from bactrian.errors import BactrianError
from bactrian.subsequence import common_length
from bactrian.verify.registry import register
from bactrian.verify.verdict import Example, Problem, Verdict, unparsable

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


@register(
    "recital",
    examples=(
        Example("the quick brown fox jumps over the dog", "the quick brown fox jumps over the dog", "right"),
        Example("the quick red fox leaps over the dog", "the quick brown fox jumps over the dog", "right"),
        Example("and the very quick brown", "quick brown foxes", "wrong"),
        Example("a slow grey cat sleeps", "the quick brown fox jumps over the dog", "wrong"),
        Example("dog the over jumps fox brown quick the", "the quick brown fox jumps over the dog", "wrong"),
        Example("", "the quick brown fox", "unparsable"),
    ),
    settings={"threshold": 0.5},
)
def recital(problem: Problem, completion: str) -> Verdict:
    """Right, which here means recited, if the share of the gold text that is said in its order is at least `threshold`;
    the score is that share."""
    if not completion.strip():
        return unparsable("an empty answer")
    common, whole = recited(problem.ground_truth, completion)
    share = common / whole if whole else 0.0
    right = share >= float(problem.settings["threshold"])
    reason = f"{common} of {whole} words and marks in order"
    return Verdict(share, "right" if right else "wrong", completion.strip()[:500], reason)


@register("verbatim", examples=(), place="judge", settings={"threshold": 0.5})
def verbatim(problem: Problem, completion: str) -> Verdict:
    """The share of the words that lie in long word sequences of a corpus; right, which means copied, from
    `threshold`."""
    raise BactrianError("rows of dataset 'verbatim' need the corpus that is looked in: give the setting corpus")
