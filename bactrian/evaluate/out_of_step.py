"""Gold answers that are out of step with their questions, told by a model's answers: shuffled, moved, renamed.

Three signs for answers that are letters or places among options, where agreement by chance is common, and one for
answers of many kinds. Each is silent where the model does no better than chance and is not sure of itself either: what
such a model says holds nothing to compare the gold answers with.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bactrian.evaluate.grading import name_of
from bactrian.evaluate.records import Record
from bactrian.evaluate.task import Loaded, Question

ENOUGH = 20
"""Answers from which a share says something."""
SURE = 40
"""Questions from which a model's certainty is held against its score."""
FAR = 6.0
"""Standard errors: about one in 10⁹ by chance, with room for the many tasks and places that are tried."""
NEAR = 2.5
"""Standard errors from chance within which a score is no better than chance."""
CERTAIN = 0.25
"""By how much the probability of what is chosen must lie above a blind guess's."""
PLACES = 64
"""Rows by which a column of gold answers may have moved."""

Numbers = NDArray[np.int64]


def out_of_step(loaded: Loaded, records: Sequence[Record]) -> str | None:
    """What is wrong with the gold answers, in words; None where nothing is to be seen."""
    if loaded.task.form == "generate" and loaded.task.verifier != "choice":
        return elsewhere(loaded, records)
    if loaded.task.metric in ("mc1", "mc2", "bits"):
        return None
    chosen, gold = places(loaded, records)
    if len(chosen) < ENOUGH:
        return None
    return renamed(chosen, gold) or moved(chosen, gold) or sure_and_wrong(loaded, records)


def places(loaded: Loaded, records: Sequence[Record]) -> tuple[Numbers, Numbers]:
    """Of each question in order the number of the letter or option that was chosen, and of the gold one (−1: none)."""
    given = {each.question: each.extracted for each in records if each.sample == 0}
    pairs = [(given.get(question.id), gold_name(question)) for question in loaded.questions]
    names = {name: number for number, name in enumerate(sorted({name for pair in pairs for name in pair if name}))}
    columns = np.array([[names.get(name or "", -1) for name in pair] for pair in pairs], dtype=np.int64)
    return columns[:, 0], columns[:, 1]


def gold_name(question: Question) -> str:
    return name_of(question.right[0]) if len(question.right) == 1 else question.truth


def agreement(chosen: Numbers, gold: Numbers) -> tuple[float, float]:
    """Share of questions on which two columns agree, and how many standard errors that is above independent columns'.

    Independent columns agree on Σ_letter p_chosen p_gold of them.
    """
    known = (chosen >= 0) & (gold >= 0)
    a, b = chosen[known], gold[known]
    if not len(a):
        return 0.0, 0.0
    size = int(max(a.max(), b.max())) + 1
    chance = float((np.bincount(a, minlength=size) / len(a)) @ (np.bincount(b, minlength=size) / len(b)))
    share = float((a == b).mean())
    return share, (share - chance) / math.sqrt(max(chance * (1 - chance), 1e-9) / len(a))


def moved(chosen: Numbers, gold: Numbers) -> str | None:
    """The gold column fits when it is moved by some rows, and does not where it is.

    The fit must be sharp: better than by one row more or fewer, so that runs of one letter are no sign.
    """
    own = agreement(chosen, gold)
    if own[1] > NEAR:
        return None
    most = min(PLACES, len(gold) - 1)
    found = {by: agreement(chosen, np.roll(gold, -by)) for by in range(-most, most + 1) if by}
    best = max(found, key=lambda by: found[by][1])
    beside = max((found[by][1] for by in (best - 1, best + 1) if by in found), default=0.0)
    if found[best][1] < FAR or beside > found[best][1] / 2:
        return None
    return (
        f"{found[best][0]:.0%} of the answers are right for the gold answer {abs(best)} "
        f"row{'s' if abs(best) > 1 else ''} {'further on' if best > 0 else 'before'}, {own[0]:.0%} for their own: "
        f"the gold answers are shuffled: moved against the questions"
    )


def renamed(chosen: Numbers, gold: Numbers) -> str | None:
    """The answers fit when letters are exchanged, and do not as they are: counted from 1 and not 0, or turned round."""
    from scipy.optimize import linear_sum_assignment

    known = (chosen >= 0) & (gold >= 0)
    if not known.any():
        return None
    size = int(max(chosen.max(), gold.max())) + 1
    table = np.zeros((size, size))
    np.add.at(table, (chosen[known], gold[known]), 1)
    _, to = linear_sum_assignment(table, maximize=True)
    own = agreement(chosen, gold)
    exchanged = np.where(chosen >= 0, np.asarray(to, dtype=np.int64)[chosen], -1)
    other = agreement(exchanged, gold)
    if own[1] > NEAR or other[1] < FAR or other[0] < own[0] + 0.1:
        return None
    return (
        f"{other[0]:.0%} of the answers are right if the letters are exchanged in one and the same way, "
        f"{own[0]:.0%} as they are: the gold answers are named otherwise than the options"
    )


def sure_and_wrong(loaded: Loaded, records: Sequence[Record]) -> str | None:
    """A model that is sure of letters of every kind and right no more often than a blind guess.

    Only where each option is one letter: sums of log-probabilities of longer texts are sure of anything.
    """
    if loaded.task.form != "rank" or any(len(each) != 1 for q in loaded.questions for each in q.options):
        return None
    peaks = [certainty(each) for each in records]
    kinds = Counter(each.extracted for each in records)
    n = len(records)
    if n < SURE or kinds.most_common(1)[0][1] > 0.6 * n:
        return None
    chance = sum(1 / len(question.options) for question in loaded.questions) / len(loaded.questions)
    right = sum(each.score for each in records) / n
    sure = sum(peaks) / n
    spread = math.sqrt(sum(p * (1 - p) for p in peaks)) / n
    by_chance = right <= chance + NEAR * math.sqrt(chance * (1 - chance) / n)
    if not by_chance or sure < chance + CERTAIN or sure - right < FAR * spread:
        return None
    return (
        f"the model gives its answers a probability of {sure:.0%} and is right {right:.0%} of the time, as often "
        f"as a blind guess ({chance:.0%}): the gold answers or the options look shuffled"
    )


def certainty(record: Record) -> float:
    """The largest share of one option in the probability of all."""
    lls = [value for name, value in record.values.items() if name.startswith("ll_")]
    top = max(lls)
    return 1 / sum(math.exp(ll - top) for ll in lls)


def elsewhere(loaded: Loaded, records: Sequence[Record]) -> str | None:
    """Answers that are other questions' gold answers far more often than their own.

    Looked at where gold answers are of many kinds, so that agreement by chance is rare.
    """
    if loaded.task.metric != "right":
        return None
    golds = {question.id: question.truth for question in loaded.questions}
    pairs = [(each.extracted, golds[each.question]) for each in records if each.extracted]
    if len(pairs) < ENOUGH or len(set(golds.values())) < len(golds) / 3:
        return None
    own = sum(each.outcome == "right" for each in records) / len(records)
    left = Counter(gold for _, gold in pairs)
    found = 0
    for given, _ in pairs:
        if left[str(given)] > 0:
            left[str(given)] -= 1
            found += 1
    share = found / len(pairs)
    if share < 0.6 or own > share / 4:
        return None
    return (
        f"{share:.0%} of the answers are gold answers of the task, {own:.0%} of their own questions: the gold "
        f"answers are shuffled"
    )
