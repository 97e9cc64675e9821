"""Before an evaluation: what difference could be seen, and how many questions one needs to see it."""

from __future__ import annotations

from math import ceil, sqrt

from scipy.optimize import brentq
from scipy.stats import norm


def spread_of(n: int, score: float, level: float = 0.95) -> float:
    """Half the width of one score's interval: z √(p(1−p)/n), the normal approximation."""
    return float(norm.ppf((1 + level) / 2)) * sqrt(score * (1 - score) / n)


def disagreement(score: float, difference: float) -> float:
    """Share of questions that two models answer differently if their answers are independent: p₁(1−p₂) + p₂(1−p₁)."""
    first, second = score - difference / 2, score + difference / 2
    first, second = min(1.0, max(0.0, first)), min(1.0, max(0.0, second))
    return first * (1 - second) + second * (1 - first)


def power_of(n: int, difference: float, apart: float, alpha: float = 0.05) -> float:
    """The chance that McNemar's test finds a paired difference, by its normal approximation [Connor
    1987].

    With discordance ψ and difference δ: Φ((|δ|√n − z √ψ) / √(ψ − δ²)).

    Raises:
        ValueError: unless |δ| ≤ ψ ≤ 1.
    """
    if not abs(difference) <= apart <= 1:
        raise ValueError(f"a difference of {difference:g} needs a disagreement of at least as much, found {apart:g}")
    z = float(norm.ppf(1 - alpha / 2))
    spread = sqrt(max(apart - difference * difference, 1e-12))
    return float(norm.cdf((abs(difference) * sqrt(n) - z * sqrt(apart)) / spread))


def needed(difference: float, score: float, apart: float | None = None, power: float = 0.8, alpha: float = 0.05) -> int:
    """Questions for a paired difference: ((z_α √ψ + z_β √(ψ − δ²)) / δ)² [Connor 1987]; ψ as for
    independent answers unless `apart` says otherwise.

    Raises:
        ValueError: for no difference, or one larger than the disagreement.
    """
    if difference <= 0:
        raise ValueError("a difference of 0 cannot be found")
    psi = disagreement(score, difference) if apart is None else apart
    if difference > psi:
        raise ValueError(f"a difference of {difference:g} needs a disagreement of at least as much, found {psi:g}")
    high, low = float(norm.ppf(1 - alpha / 2)), float(norm.ppf(power))
    return ceil(((high * sqrt(psi) + low * sqrt(psi - difference**2)) / difference) ** 2)


def detectable(n: int, score: float, apart: float | None = None, power: float = 0.8, alpha: float = 0.05) -> float:
    """The smallest paired difference that n questions find with this power; 1 if there is none below that."""

    def missing(difference: float) -> float:
        psi = disagreement(score, difference) if apart is None else apart
        return power_of(n, difference, max(psi, difference), alpha) - power

    most = 2 * min(score, 1 - score) if apart is None else min(apart, 1.0)
    most = max(most, 1e-6)
    return float(brentq(missing, 1e-9, most)) if missing(most) > 0 else 1.0


def seed_spread(scores: list[float], level: float = 0.95) -> tuple[float, float, tuple[float, float]]:
    """Mean, standard deviation (n − 1) and interval of the mean over training seeds, by Student's
    t.

    Raises:
        ValueError: for fewer than two.
    """
    from scipy.stats import t

    if len(scores) < 2:
        raise ValueError("the spread over seeds needs at least two of them")
    mean = sum(scores) / len(scores)
    deviation = sqrt(sum((score - mean) ** 2 for score in scores) / (len(scores) - 1))
    half = float(t.ppf((1 + level) / 2, len(scores) - 1)) * deviation / sqrt(len(scores))
    return mean, deviation, (mean - half, mean + half)
