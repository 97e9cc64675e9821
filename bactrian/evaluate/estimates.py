"""Scores with error bars whatever they are made of: questions in clusters, macro averages, shares and part marks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from scipy.stats import binomtest, norm

from bactrian.evaluate.statistics import Floats, Interval, wilson


@dataclass(frozen=True)
class Estimate:
    """A mean, its standard error, and a 95 % interval."""

    score: float
    error: float
    interval: Interval


def clopper_pearson(right: int, n: int, level: float = 0.95) -> Interval:
    """The exact interval of a share (Clopper & Pearson 1934), by scipy."""
    found = binomtest(right, n).proportion_ci(level, method="exact")
    return float(found.low), float(found.high)


def cluster_error(values: Sequence[float] | Floats, clusters: Sequence[str]) -> float:
    """Standard error of a mean whose values come in clusters: √(G/(G−1) Σ_g (Σ_{i∈g} r_i)²) / n, r_i = x_i − mean.

    Liang & Zeger (1986) with the usual small-sample factor. "" is a cluster of its own each time; with each value
    alone it is the plain s/√n. 0 for fewer than two clusters.
    """
    x = np.asarray(values, dtype=np.float64)
    names = [cluster or f"\0{number}" for number, cluster in enumerate(clusters)]
    _, which = np.unique(names, return_inverse=True)
    sums = np.bincount(which, weights=x - x.mean())
    count = len(sums)
    return sqrt(count / (count - 1) * float(np.square(sums).sum())) / len(x) if count > 1 else 0.0


def estimate(
    values: Sequence[float], clusters: Sequence[str] = (), groups: Sequence[str] = (), macro: bool = False
) -> Estimate:
    """The mean of one value per question, or with `macro` the mean over groups of their means.

    Groups are strata: the variance of a macro mean is Σ SE_g² / K². A group of one question, whose
    variance nobody can know from itself, takes the average variance within groups. Interval:
    Wilson's at the effective sample size p(1−p)/SE², so that it stays in [0, 1] and is right for
    plain shares; values must lie in [0, 1] then, else it is mean ± z SE.

    Raises:
        ValueError: without values.
    """
    if not len(values):
        raise ValueError("no values")
    clusters = clusters or [""] * len(values)
    if not macro:
        score, error = float(np.mean(values)), cluster_error(values, clusters)
    else:
        score, error = _macro(np.asarray(values, dtype=np.float64), list(clusters), list(groups))
    return Estimate(score, error, _interval(values, score, error))


def _macro(values: Floats, clusters: list[str], groups: list[str]) -> tuple[float, float]:
    members = {name: [i for i, each in enumerate(groups) if each == name] for name in dict.fromkeys(groups)}
    means = {name: float(values[which].mean()) for name, which in members.items()}
    inner = np.concatenate([values[which] - means[name] for name, which in members.items()])
    freedom = len(values) - len(members)
    within = float(np.square(inner).sum()) / freedom if freedom > 0 else float(values.var())
    total = 0.0
    for which in members.values():
        error = cluster_error(values[which], [clusters[i] for i in which]) if len(which) > 1 else sqrt(within)
        total += error * error
    return float(np.mean(list(means.values()))), sqrt(total) / len(members)


def _interval(values: Sequence[float], score: float, error: float) -> Interval:
    if min(values) < 0 or max(values) > 1:
        half = float(norm.ppf(0.975)) * error
        return score - half, score + half
    p = min(1.0, max(0.0, score))
    effective = p * (1 - p) / error**2 if error > 0 and 0 < p < 1 else float(len(values))
    return wilson(p * effective, effective)


def stratified(means: Sequence[Estimate]) -> tuple[Estimate, float]:
    """The mean of several independent means, each of the same weight, and the two-sided p-value of its being zero.

    Its variance is Σ SE² / n²; interval and p are of the normal distribution. With no spread at all the interval is the
    point, and p is 1 or 0.
    """
    mean = sum(each.score for each in means) / len(means)
    error = sqrt(sum(each.error**2 for each in means)) / len(means)
    half = float(norm.ppf(0.975)) * error
    p = float(2 * norm.sf(abs(mean) / error)) if error else float(mean == 0)
    return Estimate(mean, error, (mean - half, mean + half)), p


def bootstrap_ratio(
    above: Sequence[float], below: Sequence[float], seed: int = 0, resamples: int = 2_000
) -> tuple[float, Interval]:
    """Σ above / Σ below and its 95 % percentile interval, pairs drawn with replacement (bits per byte)."""
    a, b = np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
    drawn = np.random.default_rng(seed).integers(len(a), size=(resamples, len(a)))
    ratios = a[drawn].sum(1) / b[drawn].sum(1)
    low, high = (float(bound) for bound in np.quantile(ratios, [0.025, 0.975]))
    return float(a.sum() / b.sum()), (low, high)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for being several, in their order (Holm 1979): the k-th smallest of m times m − k + 1."""
    order = np.argsort(p_values, kind="stable")
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order.tolist()):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = highest
    return adjusted
