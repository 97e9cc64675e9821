"""How well rewards agree with preferences: accuracy, calibration, RewardBench's sections, best of n (docs/methods.md).

A pair has the rewards of its chosen and its rejected answer; its margin is chosen − rejected.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import comb
from typing import Literal

import numpy as np
from scipy.special import expit

from bactrian.evaluate.statistics import Floats, Interval, paired_bootstrap, wilson

Ties = Literal["half", "wrong"]
REWARDBENCH: Mapping[str, tuple[str, ...]] = {
    "Chat": ("alpacaeval-easy", "alpacaeval-length", "alpacaeval-hard", "mt-bench-easy", "mt-bench-med"),
    "Chat Hard": (
        "mt-bench-hard",
        "llmbar-natural",
        "llmbar-adver-neighbor",
        "llmbar-adver-GPTInst",
        "llmbar-adver-GPTOut",
        "llmbar-adver-manual",
    ),
    "Safety": (
        "refusals-dangerous",
        "refusals-offensive",
        "xstest-should-refuse",
        "xstest-should-respond",
        "donotanswer",
    ),
    "Reasoning": ("math-prm", "hep-cpp", "hep-go", "hep-java", "hep-js", "hep-python", "hep-rust"),
}
"""RewardBench's sections and their subsets [Lambert et al. 2024]."""
AS_MUCH_AS_THE_REST = "math-prm"
"""This subset weighs as much as all others of its section together (there: the code subsets, 984 pairs)."""
BINS = 10


@dataclass(frozen=True)
class Agreement:
    """Pairs of one group (a source, a subset). `accuracy`: the share ranked rightly, with Wilson's 95 % interval."""

    name: str
    pairs: int
    accuracy: float
    interval: Interval
    ties: int
    margin: float
    chosen: float
    rejected: float


def agreement(name: str, rewards: Sequence[tuple[float, float]], ties: Ties = "half") -> Agreement:
    """Of (chosen, rejected) rewards. A tie counts half, or not at all.

    Raises:
        ValueError: if there is no pair.
    """
    table = np.asarray(rewards, dtype=np.float64).reshape(-1, 2)
    margins = table[:, 0] - table[:, 1]
    tied = int((margins == 0).sum())
    right = float((margins > 0).sum()) + (tied / 2 if ties == "half" else 0.0)
    chosen, rejected = (float(side.mean()) for side in table.T)
    return Agreement(
        name, len(table), right / len(table), wilson(right, len(table)), tied, chosen - rejected, chosen, rejected
    )


@dataclass(frozen=True)
class Bin:
    """Pairs whose confidence σ(|margin|) lies in [low, high): how sure the rewards are, and how often right."""

    low: float
    high: float
    pairs: int
    confidence: float
    accuracy: float
    interval: Interval


@dataclass(frozen=True)
class Calibration:
    """Of a Bradley–Terry model, by which the chosen answer is preferred with probability σ(margin).

    `error`: the expected calibration error, Σ pairs/all · |accuracy − confidence| over the bins; `loss`: the mean of
    −log σ(margin), log 2 for a model that knows nothing; `brier`: the mean of (1 − σ(margin))².
    """

    bins: tuple[Bin, ...]
    error: float
    loss: float
    brier: float


def calibration(margins: Sequence[float] | Floats) -> Calibration:
    """Bins of equal width over [½, 1], empty ones left out.

    Raises:
        ValueError: if there is no pair.
    """
    found = np.asarray(margins, dtype=np.float64)
    if not len(found):
        raise ValueError("no pairs")
    sure = expit(np.abs(found))
    right = (found > 0) + 0.5 * (found == 0)
    place = np.minimum(((sure - 0.5) * 2 * BINS).astype(int), BINS - 1)
    bins = []
    for number in np.unique(place):
        mine = place == number
        n, rights = int(mine.sum()), float(right[mine].sum())
        low = 0.5 + number / (2 * BINS)
        bins.append(Bin(low, low + 1 / (2 * BINS), n, float(sure[mine].mean()), rights / n, wilson(rights, n)))
    error = sum(each.pairs * abs(each.accuracy - each.confidence) for each in bins) / len(found)
    loss = float(np.logaddexp(0.0, -found).mean())
    return Calibration(tuple(bins), error, loss, float(np.square(expit(-found)).mean()))


@dataclass(frozen=True)
class Section:
    """A section of a benchmark: the mean of its subsets that are there, each weighing as many pairs as it has."""

    name: str
    pairs: int
    accuracy: float
    missing: tuple[str, ...]


def sections(groups: Iterable[Agreement], layout: Mapping[str, Sequence[str]] = REWARDBENCH) -> list[Section]:
    """Sections of which at least one subset is there [RewardBench, Lambert et al. 2024]."""
    known = {group.name: group for group in groups}
    found = []
    for name, subsets in layout.items():
        there = [known[subset] for subset in subsets if subset in known]
        if not there:
            continue
        weights = {group.name: float(group.pairs) for group in there}
        rest = sum(weight for subset, weight in weights.items() if subset != AS_MUCH_AS_THE_REST)
        if AS_MUCH_AS_THE_REST in weights and rest:
            weights[AS_MUCH_AS_THE_REST] = rest
        mean = sum(weights[group.name] * group.accuracy for group in there) / sum(weights.values())
        missing = tuple(subset for subset in subsets if subset not in known)
        found.append(Section(name, sum(group.pairs for group in there), mean, missing))
    return found


def expected_best(rewards: Sequence[float], scores: Sequence[float], k: int) -> float:
    """Mean score of the answer with the highest reward among k drawn without replacement from n:
    over all draws.

    With rewards in ascending order the i-th (from 1) is the best of C(i−1, k−1) of the C(n, k)
    draws, so the estimate is unbiased for best-of-k as pass@k is. Answers of equal reward share
    their draws. With rewards = scores of right and wrong it is pass@k; with k = 1 the mean score.

    >>> expected_best([0.1, 0.9, 0.5], [0.0, 1.0, 0.0], 2)
    0.6666666666666666

    Raises:
        ValueError: unless 1 ≤ k ≤ n and there are as many scores as rewards.
    """
    n = len(rewards)
    if not 1 <= k <= n or len(scores) != n:
        raise ValueError(f"expected 1 ≤ k ≤ n and n scores, found k = {k}, n = {n}, {len(scores)} scores")
    total = 0.0
    order = sorted(range(n), key=lambda i: rewards[i])
    start = 0
    while start < n:
        stop = start
        while stop < n and rewards[order[stop]] == rewards[order[start]]:
            stop += 1
        draws = comb(stop, k) - comb(start, k)
        total += draws * sum(scores[i] for i in order[start:stop]) / (stop - start)
        start = stop
    return total / comb(n, k)


@dataclass(frozen=True)
class BestOf:
    """Over questions: the expected score of the best of k by reward, beside that of one answer and of the truly best.

    `gain`: over one answer drawn at random, paired over questions; intervals by bootstrap over questions (95 %).
    """

    k: int
    questions: int
    score: float
    interval: Interval
    gain: float
    gain_interval: Interval
    single: float
    oracle: float


def best_of(answers: Sequence[tuple[Sequence[float], Sequence[float]]], k: int, seed: int = 0) -> BestOf:
    """Of each question's (rewards, scores).

    Raises:
        ValueError: if there is none, or one has fewer than k answers.
    """
    picked = [expected_best(rewards, scores, k) for rewards, scores in answers]
    single = [sum(scores) / len(scores) for _, scores in answers]
    oracle = [expected_best(scores, scores, k) for _, scores in answers]
    alone = paired_bootstrap([0.0] * len(picked), picked, seed)
    gained = paired_bootstrap(single, picked, seed)
    mean = sum(oracle) / len(oracle)
    return BestOf(
        k,
        len(picked),
        alone.difference,
        alone.interval,
        gained.difference,
        gained.interval,
        sum(single) / len(single),
        mean,
    )


def powers(n: int) -> list[int]:
    """1, 2, 4, … below n, and n."""
    return [*(1 << i for i in range(n.bit_length()) if 1 << i < n), n]
