"""A short answer that must hold one of the accepted names (PopQA, Natural Questions, TriviaQA)."""

from bactrian.verify.registry import register
from bactrian.verify.text.spans import golds, squad
from bactrian.verify.verdict import Example, Problem, Verdict


@register(
    "contains",
    examples=(
        Example("It is Paris, in France.", '["Paris", "City of Light"]', "right"),
        Example("the city of light", '["Paris", "City of Light"]', "right"),
        Example("Parisian", "Paris", "wrong"),
        Example("London", '["Paris"]', "wrong"),
        Example("", "Paris", "unparsable"),
        Example("The.", "Paris", "unparsable"),
    ),
)
def contains(problem: Problem, completion: str) -> Verdict:
    """Right if an accepted answer stands in the text as whole words, both normalised as SQuAD's.

    Whether parts of words count is not published for PopQA as Tülu 3 scores it [unverified: our choice]; here they do
    not: "Ali" is not in "Italian". A gold answer that is all articles and punctuation counts for nothing.
    """
    given = squad(completion)
    if not given:
        return Verdict(0.0, "unparsable", None, "an empty answer")
    accepted = {gold: squad(gold) for gold in golds(problem.ground_truth)}
    found = next((gold for gold, words in accepted.items() if words and f" {words} " in f" {given} "), "")
    return Verdict(
        float(bool(found)),
        "right" if found else "wrong",
        completion.strip()[:500],
        f"holds {found[:60]!r}" if found else f"does not hold {problem.ground_truth[:60]}",
    )
