"""Verifier `shout`: the answer must be in capitals."""

from bactrian.verify import Example, Problem, Verdict, register
from bactrian.verify.verdict import compared, unparsable

EXAMPLES = [
    Example("YES, 7!", "", "right"),
    Example("Yes", "", "wrong"),
    Example("7!", "", "wrong"),
    Example(" ", "", "unparsable"),
]


@register("shout", examples=EXAMPLES)
def shout(problem: Problem, completion: str) -> Verdict:
    """Right if the text has letters, and all of them are capitals."""
    if not completion.strip():
        return unparsable("an empty answer")
    return compared(completion.isupper(), completion, "capitals", "in")
