"""Error bars and paired tests. The question is the unit of chance everywhere: samples of one question are a cluster."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, norm

Interval = tuple[float, float]
Floats = NDArray[np.float64]

RESAMPLES = 10_000
CHUNK = 1 << 22
"""Numbers held at a time while resampling."""


@dataclass(frozen=True)
class Comparison:
    """Two systems on the same questions: after − before, its 95 % interval, and the two-sided p-value of no difference.

    `gained` and `lost` count the questions on which the later system did better, and worse.
    """

    difference: float
    interval: Interval
    p: float
    test: str
    gained: int
    lost: int


def wilson(right: float, n: float, level: float = 0.95) -> Interval:
    """Wilson's score interval of a share `right / n` (Wilson 1927); both may be fractional (an
    effective sample size).

    (p + z²/2n ± z √(p(1−p)/n + z²/4n²)) / (1 + z²/n); inside [0, 1], contains p, and has width at p
    = 0 and 1.

    Raises:
        ValueError: unless 0 ≤ right ≤ n and n > 0.
    """
    if n <= 0 or not 0 <= right <= n:
        raise ValueError(f"expected 0 ≤ right ≤ n and n > 0, found right = {right}, n = {n}")
    p, z = right / n, float(norm.ppf((1 + level) / 2))
    centre, half = p + z * z / (2 * n), z * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return min(p, max(0.0, (centre - half) / scale)), max(p, min(1.0, (centre + half) / scale))


def clustered_wilson(means: Sequence[float] | Floats, samples: int, level: float = 0.95) -> Interval:
    """Interval of mean@n over questions, from each question's mean of `samples` right-or-wrong
    answers.

    Wilson's interval at the effective sample size p(1−p)/SE², where SE² = Σ(mean − p)² / (Q(Q−1))
    is the variance of the mean with questions as clusters (Kish's design effect); kept between Q
    and Q × samples. With one sample, or when all is right or all wrong, it is `wilson(right, Q)`.

    Raises:
        ValueError: if there is no question.
    """
    values = np.asarray(means, dtype=np.float64)
    questions = len(values)
    if questions == 0:
        raise ValueError("no questions")
    p = float(np.clip(values.mean(), 0.0, 1.0))
    variance = float(values.var(ddof=1)) / questions if questions > 1 else 0.0
    effective = float(questions)
    if variance > 0:
        effective = float(np.clip(p * (1 - p) / variance, questions, questions * samples))
    return wilson(p * effective, effective, level)


def mcnemar(before: Sequence[bool], after: Sequence[bool], level: float = 0.95) -> Comparison:
    """Exact McNemar test of two systems' right-or-wrong answers to the same questions.

    p: two-sided binomial test of the discordant pairs at ½; 1 when there is none. Interval of the
    difference: Bonett & Price (2012), Wald's with half a pair more in either kind of discordance:
    with p₁ = (gained+1)/(n+2) and p₂ = (lost+1)/(n+2), p₁ − p₂ ± z √((p₁ + p₂ − (p₁ − p₂)²)/(n+2)),
    cut at ±1.

    Raises:
        ValueError: if the two are empty or of different lengths.
    """
    first, second = np.asarray(before, dtype=bool), np.asarray(after, dtype=bool)
    n = paired(len(first), len(second))
    gained, lost = int((second & ~first).sum()), int((first & ~second).sum())
    p = float(binomtest(gained, gained + lost, 0.5).pvalue) if gained + lost else 1.0
    up, down, z = (gained + 1) / (n + 2), (lost + 1) / (n + 2), float(norm.ppf((1 + level) / 2))
    half = z * sqrt((up + down - (up - down) ** 2) / (n + 2))
    interval = (max(-1.0, up - down - half), min(1.0, up - down + half))
    return Comparison((gained - lost) / n, interval, p, "mcnemar", gained, lost)


def paired_bootstrap(
    before: Sequence[float] | Floats,
    after: Sequence[float] | Floats,
    seed: int = 0,
    resamples: int = RESAMPLES,
    level: float = 0.95,
) -> Comparison:
    """Bootstrap of the mean difference of two systems, questions drawn with replacement, the same
    for both.

    `before` and `after`: one number per question (its mean over samples). Interval: percentiles. p:
    the level at which the interval would touch zero, 2 · min(#{d* ≤ 0}, #{d* ≥ 0}) with one added
    to each count and to the number of resamples, at most 1; so it is never below 2/(resamples+1).
    The seed decides all.

    Raises:
        ValueError: if the two are empty or of different lengths.
    """
    n = paired(len(before), len(after))
    difference = np.asarray(after, dtype=np.float64) - np.asarray(before, dtype=np.float64)
    random, means = np.random.default_rng(seed), []
    for start in range(0, resamples, rows := max(1, CHUNK // n)):
        drawn = random.integers(n, size=(min(rows, resamples - start), n))
        means.append(difference[drawn].mean(axis=1))
    resampled = np.concatenate(means)
    tail = (1 - level) / 2
    low, high = (float(bound) for bound in np.quantile(resampled, [tail, 1 - tail]))
    rare = min(int((resampled <= 0).sum()), int((resampled >= 0).sum()))
    p = min(1.0, 2 * (rare + 1) / (resamples + 1))
    gained, lost = int((difference > 0).sum()), int((difference < 0).sum())
    return Comparison(float(difference.mean()), (low, high), p, "paired bootstrap", gained, lost)


def paired(before: int, after: int) -> int:
    if before != after or before == 0:
        raise ValueError(f"expected the same questions for both, found {before} and {after}")
    return before


def pass_at_k(n: int, right: int, k: int) -> float:
    """Unbiased estimate of the chance that at least one of k samples is right, from n samples of
    which `right` are.

    1 − C(n−c, k)/C(n, k) as the stable product 1 − Π_{i=n−c+1..n} (1 − k/i); 1 if n − c < k (Chen
    et al. 2021).

    Raises:
        ValueError: unless 0 ≤ right ≤ n and 1 ≤ k ≤ n.
    """
    if not 0 <= right <= n or not 1 <= k <= n:
        raise ValueError(f"expected 0 ≤ right ≤ n and 1 ≤ k ≤ n, found n = {n}, right = {right}, k = {k}")
    if n - right < k:
        return 1.0
    missed = 1.0
    for i in range(n - right + 1, n + 1):
        missed *= 1 - k / i
    return 1 - missed
