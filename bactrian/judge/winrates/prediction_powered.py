"""Win rates from few people and many verdicts of a judge: prediction-powered intervals, and how many people they need.

PPI++ [Angelopoulos, Duchi, Zrnic 2023, arXiv 2311.01453]: mean(y) + λ (mean of the judge on all others − its mean on
those that people saw). Whatever the judge is worth, the estimate has no bias; λ, chosen from the data, makes it no less
exact than people alone, which are λ = 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, sqrt

import numpy as np
from scipy.stats import norm
from scipy.stats import t as student

from bactrian.errors import BactrianError
from bactrian.judge.winrates.logistic import ClusterDraws, Floats


@dataclass(frozen=True)
class PoweredRate:
    """A win rate in [0, 1] with its interval; power: λ; classical: the interval of people's verdicts alone.

    saved: the share of people's labels that the judge stands in for: people alone would need labels / (1 − saved).
    """

    rate: float
    interval: tuple[float, float]
    power: float
    people_rate: float
    classical: tuple[float, float]
    labels: int
    judged: int
    saved: float


def powered_rate(
    people: Sequence[float] | Floats,
    judge_there: Sequence[float] | Floats,
    judge_elsewhere: Sequence[float] | Floats,
    prompts_there: Sequence[str] | None = None,
    prompts_elsewhere: Sequence[str] | None = None,
    level: float = 0.95,
) -> PoweredRate:
    """The win rate that people would find, with a t interval over prompts.

    Args:
        people: what people said of some comparisons, [n] in [0, 1]. judge_there: the judge's verdicts on the same, [n].
        judge_elsewhere: its verdicts on further comparisons, drawn as those were, [N].
        prompts_there, prompts_elsewhere: the prompt of each; comparisons of one prompt are one draw. By default all
            differ. No prompt may be in both, or the two parts would not be independent.

    Raises:
        BactrianError: fewer than two prompts that people saw; lists of different lengths; a prompt in both parts.
    """
    y, f, g = (np.asarray(each, dtype=np.float64) for each in (people, judge_there, judge_elsewhere))
    here = list(prompts_there) if prompts_there is not None else [f"there {n}" for n in range(len(y))]
    there = list(prompts_elsewhere) if prompts_elsewhere is not None else [f"elsewhere {n}" for n in range(len(g))]
    if len(y) != len(f) or len(y) != len(here) or len(g) != len(there):
        raise BactrianError(
            f"prediction-powered: found {len(y)} labels of people, {len(f)} verdicts and {len(here)} prompts of the "
            f"same, {len(g)} further verdicts and {len(there)} prompts; expected each part to be equally long"
        )
    if both := sorted(set(here) & set(there)):
        raise BactrianError(
            f"prediction-powered: {len(both)} prompts are in both parts, such as {both[0]!r}; expected those that "
            f"people saw to be apart"
        )
    seen = len(set(here))
    if seen < 2:
        raise BactrianError(f"prediction-powered: found labels of {seen} prompts, expected at least 2")
    v_y, v_f, cov = _spread(y, y, here), _spread(f, f, here), _spread(y, f, here)
    v_g = _spread(g, g, there) if len(set(there)) > 1 else np.inf
    power = float(np.clip(cov / (v_f + v_g), 0.0, 1.0)) if np.isfinite(v_g) and v_f + v_g > 0 else 0.0
    rate = float(y.mean()) + (power * float(g.mean() - f.mean()) if power else 0.0)
    residual = _spread(y - power * f, y - power * f, here)
    variance = residual + (power**2 * v_g if power else 0.0)
    times = float(student.ppf((1 + level) / 2, seen - 1))
    alone = times * sqrt(v_y)
    saved = 1 - variance / v_y if v_y > 0 else 0.0
    return PoweredRate(
        rate,
        _clipped(rate, times * sqrt(variance)),
        power,
        float(y.mean()),
        _clipped(float(y.mean()), alone),
        len(y),
        len(g),
        max(0.0, saved),
    )


def _clipped(rate: float, half: float) -> tuple[float, float]:
    return max(0.0, rate - half), min(1.0, rate + half)


def _spread(a: Floats, b: Floats, prompts: Sequence[str]) -> float:
    """Covariance of the means of a and b, prompts as clusters: Σ_c A_c B_c / n² · C/(C − 1), A_c sums of a − mean."""
    places = ClusterDraws.of(prompts)
    sums = [np.bincount(places.places, each - each.mean(), minlength=places.clusters) for each in (a, b)]
    correction = places.clusters / (places.clusters - 1)
    return float(correction * (sums[0] @ sums[1]) / len(a) ** 2)


@dataclass(frozen=True)
class LabelBudget:
    """What an interval of a width costs: labels of people with the judge's help, and without it."""

    labels: int
    without_judge: int
    correlation: float


def label_budget(
    half_width: float,
    agreement: float,
    verdicts: int,
    win_rate: float = 0.5,
    level: float = 0.95,
) -> LabelBudget:
    """How many comparisons people must label for an interval of ± `half_width`, before anybody has labelled one.

    n with z² σ²/n · (1 − ρ² N/(n + N)) = half_width², σ² = p(1 − p), and ρ the correlation of the judge's verdicts with
    people's: that of two yes-or-no verdicts that agree with this probability, whoever wins. Where several comparisons
    share a prompt, take them for fewer.

    Args:
        agreement: of the judge with one person, in [0.5, 1]. verdicts: N, comparisons that only the judge sees.

    Raises:
        BactrianError: a number out of bounds, named.
    """
    bounds = {"half_width": (half_width, 0, 0.5), "agreement": (agreement, 0.5, 1), "win_rate": (win_rate, 0, 1)}
    for name, (value, low, high) in bounds.items():
        if not low <= value <= high or (name != "agreement" and value in (0, 1)) or value == 0:
            raise BactrianError(f"label budget: {name}: found {value:g}, expected between {low:g} and {high:g}")
    rho = correlation_of(agreement, win_rate)
    z = float(norm.ppf((1 + level) / 2))
    alone = z * z * win_rate * (1 - win_rate) / half_width**2
    # n² + n (N − a) − a N (1 − ρ²) = 0 with a = what people alone need.
    half = (alone - verdicts) / 2
    n = half + sqrt(half * half + alone * verdicts * (1 - rho * rho))
    return LabelBudget(max(2, ceil(n - 1e-9)), max(2, ceil(alone - 1e-9)), rho)


def correlation_of(agreement: float, win_rate: float) -> float:
    """Correlation of two yes-or-no verdicts, if one is the other with errors that strike both sides alike."""
    said = win_rate * agreement + (1 - win_rate) * (1 - agreement)
    covariance = win_rate * agreement - win_rate * said
    return covariance / sqrt(win_rate * (1 - win_rate) * said * (1 - said))
