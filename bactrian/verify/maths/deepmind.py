"""DeepMind Mathematics: exact match after a normalisation of the answer's kind [Saxton et al. 2019]."""

import re

from bactrian.verify.maths.answer_tree import UnreadableAnswer
from bactrian.verify.maths.equivalence import equivalent
from bactrian.verify.maths.gsm8k import gold_value
from bactrian.verify.registry import register
from bactrian.verify.text.spans import after_phrase
from bactrian.verify.verdict import Example, Problem, Verdict


def normal(text: str) -> str:
    """Without spaces, dollars and a full stop at the end; ^ as **; lower case where it is a word or a letter."""
    text = re.sub(r"\s+", "", text.strip().strip("$").removesuffix(".")).replace("^", "**").replace("\\cdot", "*")
    return text.lower() if text.isalpha() else text


def same(given: str, gold: str) -> bool:
    """Equal as texts after `normal`, as numbers, or item by item of a list."""
    mine, its = normal(given), normal(gold)
    if mine == its:
        return True
    if "," in its:
        parts = [text.split(",") for text in (mine, its)]
        return len(parts[0]) == len(parts[1]) and all(map(same, *parts))
    numbers = gold_value(mine), gold_value(its)
    if None not in numbers:
        return numbers[0] == numbers[1]
    try:
        return equivalent(mine.replace("**", "^"), its.replace("**", "^"))
    except UnreadableAnswer:
        return False


@register(
    "deepmind",
    place="worker",
    examples=(
        Example("So h = 3. Therefore, the answer is: 3", "3", "right"),
        Example("The answer is: 2*x**2 + 3", "2*x**2 + 3", "right"),
        Example("The answer is: 2x^2+3.", "2*x**2 + 3", "right"),
        Example("Therefore, the answer is: true", "True", "right"),
        Example("Therefore, the answer is: -3, 4", "-3,4", "right"),
        Example("Therefore, the answer is: 6/4", "3/2", "right"),
        Example("Therefore, the answer is: 4, -3", "-3, 4", "wrong"),
        Example("Therefore, the answer is: 2*x**3 + 3", "2*x**2 + 3", "wrong"),
        Example("It is 3", "3", "unparsable"),
    ),
)
def deepmind(problem: Problem, completion: str) -> Verdict:
    """What follows the last "the answer is", equal to the ground truth as a number, an expression or a list."""
    given = after_phrase(completion)
    if not given:
        return Verdict(0.0, "unparsable", None, "no 'the answer is …'")
    right = same(given, problem.ground_truth)
    return Verdict(float(right), "right" if right else "wrong", given[:500], f"against {problem.ground_truth[:60]!r}")
