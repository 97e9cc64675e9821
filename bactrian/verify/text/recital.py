"""Whether a text recites another one [ParaPO, Chen et al. 2025; our definitions, docs/reciting.md].

The published table's aggregation cannot be recovered from the released code. Ours: the longest common subsequence of
words and marks between the gold text and as much of the answer, over the gold text's length. A text recites from half.
"""

from bactrian.errors import BactrianError
from bactrian.verify.registry import register
from bactrian.verify.text.recited import recited
from bactrian.verify.verdict import Example, Problem, Verdict, unparsable


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
