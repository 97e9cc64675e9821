"""May a judge replace an annotator? The alternative annotator test (Calderon, Reichart and Dror, ACL 2025).

Each annotator in turn is left out, and the judge and that annotator are compared: which of the two agrees more with the
others, item by item? The judge may be worse by ε, as it costs less.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.stats import false_discovery_control, ttest_1samp, wilcoxon

from bactrian.errors import BactrianError
from bactrian.judge.people.agreement import Ratings

Expertise = Literal["expert", "skilled", "crowd"]
EPSILON: Mapping[Expertise, float] = {"expert": 0.2, "skilled": 0.15, "crowd": 0.1}
"""What a judge may be worse by, by the kind of annotators that it would replace (the paper's section 3.3)."""
FEWEST_FOR_T = 30
RIGHT_FROM = 0.5
"""The winning rate from which a judge passes."""


@dataclass(frozen=True)
class LeftOutAnnotator:
    """The comparison with one annotator left out.

    n: items, those of one prompt counted once. judge, person: shares of items on which the judge (the person) agrees
    with the others at least as much as the other does, in [0, 1]; both count where they are equal.
    p: that the judge is worse by ε or more; adjusted: the same for all annotators together (Benjamini–Yekutieli).
    """

    annotator: str
    n: int
    judge: float
    person: float
    p: float
    test: str
    adjusted: float
    won: bool


@dataclass(frozen=True)
class AltTest:
    """The answer: `passes` if the judge wins against at least half of the annotators.

    winning_rate (ω): share of annotators against whom it wins. advantage (ρ): the mean of its shares, to compare
    judges by. without_judge: items of people on which the judge says nothing: left out.
    """

    epsilon: float
    level: float
    winning_rate: float
    advantage: float
    annotators: tuple[LeftOutAnnotator, ...]
    without_judge: int

    @property
    def passes(self) -> bool:
        return self.winning_rate >= RIGHT_FROM


def alt_test(
    people: Ratings,
    judge: Mapping[str, str],
    epsilon: float,
    groups: Mapping[str, Hashable] | None = None,
    level: float = 0.05,
) -> AltTest:
    """The test on the items that the judge and at least two people labelled.

    A t-test of the mean difference against ε, and below 30 items Wilcoxon's signed ranks.

    Args:
        groups: item → its prompt: differences are averaged within one first, since the tests want independent items.
        level: of the false discovery rate.

    Raises:
        BactrianError: fewer than two annotators share items with another and with the judge.
    """
    by_person = {name: _differences(name, people, judge, groups) for name in people}
    compared = {name: found for name, found in by_person.items() if len(found)}
    if len(compared) < 2:
        raise BactrianError(
            "alt-test: expected at least two annotators who labelled items that another annotator and the judge "
            f"labelled too (three or more, and 30 items or more, to rely on), found {len(compared)}"
        )
    tested = [_test(found[:, 0] - found[:, 1], epsilon) for found in compared.values()]
    adjusted = false_discovery_control([p for p, _ in tested], method="by")
    shares = {name: (1 - found).mean(0) for name, found in compared.items()}
    annotators = tuple(
        LeftOutAnnotator(
            name, len(found), float(shares[name][0]), float(shares[name][1]), p, test, float(q), q <= level
        )
        for (name, found), (p, test), q in zip(compared.items(), tested, adjusted.tolist(), strict=True)
    )
    of_people = {item for labelled in people.values() for item in labelled}
    return AltTest(
        epsilon,
        level,
        float(np.mean([each.won for each in annotators])),
        float(np.mean([each.judge for each in annotators])),
        annotators,
        len(of_people - judge.keys()),
    )


def _differences(
    person: str, people: Ratings, judge: Mapping[str, str], groups: Mapping[str, Hashable] | None
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """[groups, 2]: how often the judge loses to the person among a group's items, and the person to the judge."""
    lost: dict[Hashable, list[tuple[bool, bool]]] = {}
    for item, own in people[person].items():
        others = [labelled[item] for name, labelled in people.items() if name != person and item in labelled]
        if not others or item not in judge:
            continue
        agreed_judge, agreed_own = others.count(judge[item]), others.count(own)
        lost.setdefault(item if groups is None else groups[item], []).append(
            (agreed_judge < agreed_own, agreed_own < agreed_judge)
        )
    return np.array([np.mean(each, axis=0) for each in lost.values()]).reshape(-1, 2)


def _test(differences: np.ndarray[tuple[int], np.dtype[np.float64]], epsilon: float) -> tuple[float, str]:
    """p that the mean of (person wins − judge wins) is ε or more, and the test's name."""
    shifted = differences - epsilon
    if not shifted.any():
        return 1.0, "Wilcoxon"
    if len(shifted) < FEWEST_FOR_T or np.ptp(shifted) == 0:  # a t-test cannot divide by a spread of 0
        return float(wilcoxon(shifted, alternative="less").pvalue), "Wilcoxon"
    return float(ttest_1samp(differences, epsilon, alternative="less").pvalue), "t"
