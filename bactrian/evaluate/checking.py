"""How often a verifier errs: gold answers, hand-written hard negatives, and mutations of both.

A case is a completion whose label is known. False positives are not right and are called right; false negatives are
right and are called anything else. What the verifier fails on (timed out, crashed) is an error either way.
"""

import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bactrian.errors import BactrianError
from bactrian.evaluate.statistics import Interval, wilson
from bactrian.verify import Item, Pool, Verdict, verifier
from bactrian.verify.maths.equivalent_pairs import PAIRS

MATHS = ("math", "math_value", "math_verify", "math_hendrycks")
"""Verifiers that the hand-written pairs are put to."""
THOUGHT = "<think>Is it 12, or (B)? \\boxed{99}. The answer is 98. #### 97, no.</think>\n"
REPORTED = 20


@dataclass(frozen=True)
class Case:
    """One completion: `right` is its label, `kind` where it comes from."""

    kind: str
    item: Item
    right: bool


@dataclass(frozen=True)
class Rate:
    """Errors among the cases of one kind and label, and the 95 % interval (Wilson) of their share."""

    kind: str
    right: bool
    errors: int
    n: int
    interval: Interval
    outcomes: Mapping[str, int]


def own_cases(name: str) -> Iterator[Case]:
    """The verifier's own examples, and for those of mathematics the hand-written pairs, each answer in a box."""
    for example in verifier(name).examples:
        item = Item(name, example.completion, example.ground_truth, example.settings, example.prompt)
        yield Case("own examples", item, example.outcome == "right")
    if name in MATHS:
        for pairs in PAIRS:
            for answers, right in ((pairs.same, True), (pairs.other, False)):
                for answer in answers:
                    yield Case("hand-written pairs", Item(name, f"So \\boxed{{{answer}}}.", pairs.gold), right)


def row_cases(name: str, rows: Sequence[Mapping[str, Any]], where: str) -> Iterator[Case]:
    """Of problem rows with solutions: each solution is right for its row, and not for the next with
    another answer.

    Raises:
        BactrianError: where no row of this verifier has a solution.
    """
    own = verifier(name).own  # nothing is known of what it judges: any row is for it
    meant = (name, *MATHS, "gsm8k")  # a row for one verifier of mathematics can be put to the others
    mine = [{**row, "dataset": name} for row in rows if row.get("solution") and (own or row["dataset"] in meant)]
    if not mine:
        raise BactrianError(f"{where}: no row for the verifier {name} has a 'solution' to check it on")
    for place, row in enumerate(mine):
        yield Case("solutions", Item.of(row, row["solution"]), True)
        other = next((o for o in mine[place + 1 :] + mine[:place] if o["ground_truth"] != row["ground_truth"]), None)
        if other is not None:
            yield Case("solutions of other problems", Item.of(row, other["solution"]), False)


def mutations(cases: Sequence[Case], verdicts: Sequence[Verdict], seed: int) -> Iterator[Case]:
    """What follows from right cases: with a thinking section in front still right; with one digit changed no more.

    The digit is the last of the answer as extracted, where that holds one number and stands in the completion once.
    """
    draw = random.Random(f"mutations/{seed}")
    for case, verdict in zip(cases, verdicts, strict=True):
        if not case.right:
            continue
        found = verifier(case.item.dataset)
        if not found.sees_thinking and case.item.settings.get("thinking", "") == "":
            yield Case("a thinking section before", case.item._replace(completion=THOUGHT + case.item.completion), True)
        changed = one_digit_changed(case.item.completion, verdict.extracted or "", draw)
        if changed is not None and not found.sees_thinking and found.place != "thread":
            yield Case("a digit changed", case.item._replace(completion=changed), False)


def one_digit_changed(completion: str, extracted: str, draw: random.Random) -> str | None:
    """The completion with another last digit in its answer; None if that is not one number, or stands there twice."""
    numbers = list(re.finditer(r"[0-9]+(?:[.,][0-9]+)*", extracted))
    if len(numbers) != 1 or completion.count(extracted) != 1:
        return None
    place = numbers[0].end() - 1
    digit = draw.choice([d for d in "123456789" if d != extracted[place]])
    return completion.replace(extracted, extracted[:place] + digit + extracted[place + 1 :])


def check(name: str, cases: Iterable[Case], pool: Pool, seed: int = 0) -> tuple[list[Rate], list[tuple[Case, Verdict]]]:
    """Error rates by kind and label, all kinds together first; and the cases that it gets wrong.

    Raises:
        BactrianError: for an unknown verifier.
    """
    given = list(cases)
    said = pool.verify_all([case.item for case in given])
    derived = list(mutations(given, said, seed))
    pairs = [
        *zip(given, said, strict=True),
        *zip(derived, pool.verify_all([case.item for case in derived]), strict=True),
    ]
    kinds = dict.fromkeys(case.kind for case, _ in pairs)
    rates = [rate("all", right, pairs) for right in (True, False)]
    for kind in kinds:
        among = [(case, verdict) for case, verdict in pairs if case.kind == kind]
        rates += [rate(kind, right, among) for right in (True, False)]
    return [each for each in rates if each.n], [(case, verdict) for case, verdict in pairs if wrongly(case, verdict)]


def wrongly(case: Case, verdict: Verdict) -> bool:
    """Whether a verdict is an error. A case with a crashing ground truth is one that is meant to be so."""
    failed = verdict.outcome in ("timed_out", "crashed") and case.kind != "own examples"
    return failed or (verdict.outcome == "right") != case.right


def rate(kind: str, right: bool, pairs: Sequence[tuple[Case, Verdict]]) -> Rate:
    mine = [(case, verdict) for case, verdict in pairs if case.right == right]
    errors = sum(wrongly(case, verdict) for case, verdict in mine)
    interval = wilson(errors, len(mine)) if mine else (0.0, 1.0)
    return Rate(kind, right, errors, len(mine), interval, dict(Counter(verdict.outcome for _, verdict in mine)))
