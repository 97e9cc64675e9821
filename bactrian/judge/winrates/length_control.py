"""Length-controlled win rates of AlpacaEval 2 [Dubois et al. 2024, arXiv 2404.04475, section 3].

logit P(model wins) = θ + φ·tanh(Δ/s) + ψ·γ, with Δ = characters of the baseline's answer − of the model's, s the
standard deviation of Δ, and γ the difficulty of the instruction, which all models share. The controlled win rate is
what the fit says at Δ = 0. The published code fits it with an L1 penalty whose strength is found by cross-validation;
that picks next to no penalty (docs/judges.md), so there is none here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from bactrian.errors import BactrianError
from bactrian.judge.winrates.logistic import ClusterDraws, Floats, fit_logistic

MODELS_FOR_DIFFICULTY = 5


@dataclass(frozen=True)
class LengthControl:
    """A fitted model: φ (length), ψ (difficulty), θ (constant), and the win rate at equal lengths, in [0, 1]."""

    length: float
    difficulty: float
    constant: float
    win_rate: float

    @property
    def coefficients(self) -> Floats:
        return np.array([self.length, self.difficulty, self.constant])


@dataclass(frozen=True)
class AnchorRows:
    """Comparisons of the baseline with itself told to be short or long: without a θ, they hold φ and ψ in place.

    length, difficulty, outcomes, weights: [k] each.
    """

    length: Floats
    difficulty: Floats
    outcomes: Floats
    weights: Floats


def length_feature(baseline: Sequence[float] | Floats, model: Sequence[float] | Floats) -> Floats:
    """tanh(Δ/s) from the characters of both answers to each instruction, [n]; zeros where all Δ are equal.

    Raises:
        BactrianError: the two are not equally many, or fewer than two.
    """
    first, second = np.asarray(baseline, dtype=np.float64), np.asarray(model, dtype=np.float64)
    if len(first) != len(second) or len(first) < 2:
        raise BactrianError(
            f"win rates: found {len(first)} lengths of the baseline and {len(second)} of the model, expected as many "
            f"of each, and two at least"
        )
    difference = first - second
    spread = float(difference.std(ddof=1))
    # Equal differences: their own size is all that there is to divide by, and none of them tells a thing from another.
    return np.tanh(difference / spread) if spread > 1e-12 else np.zeros(len(difference))


def control_length(
    outcomes: Floats,
    length: Floats,
    difficulty: Floats,
    anchors: AnchorRows | None = None,
    weights: Floats | None = None,
    start: Floats | None = None,
) -> LengthControl:
    """Fits the model to one model's comparisons with the baseline.

    Args:
        outcomes: how likely the model's answer is the better one, [n] in [0, 1].
        length: `length_feature`, [n]. difficulty: γ, [n]; zeros for none.
        anchors: rows that are added, if any.
        weights: how often each comparison counts, [n].
        start: coefficients to begin with, [3].

    Raises:
        BactrianError: no fit is found: the model wins or loses everything.
    """
    features = np.column_stack([length, difficulty, np.ones(len(outcomes))])
    counted = np.ones(len(outcomes)) if weights is None else weights
    rows, targets, times = features, outcomes, counted
    if anchors is not None:
        added = np.column_stack([anchors.length, anchors.difficulty, np.zeros(len(anchors.outcomes))])
        rows, targets = np.concatenate([features, added]), np.concatenate([outcomes, anchors.outcomes])
        times = np.concatenate([counted, anchors.weights])
    found = fit_logistic(rows, targets, times, start=start)
    level = expit(found[2] + found[1] * difficulty)
    phi, psi, theta = (float(each) for each in found)
    return LengthControl(phi, psi, theta, float(np.average(level, weights=counted)))


def joint_difficulty(outcomes: Floats, ridge: float = 1.0, sweeps: int = 200) -> Floats:
    """γ of each instruction from many models' comparisons with one baseline, mean 0 and variance 1, [n].

    The fit logit P(model m wins on x) = θ_m + γ_x without length, with ridge/2 · γ² for each instruction. So no
    difficulty needs to be published: only the models at hand are used.

    Args:
        outcomes: [models, n] in [0, 1]; NaN where there is no verdict.

    Raises:
        BactrianError: for fewer than five models, which say too little of an instruction.
    """
    _check_models(outcomes)
    return _standard(_joint_fit(outcomes, ridge, sweeps)[1], np.ones(outcomes.shape[1]))


def resampled_difficulty(
    outcomes: Floats, draws: ClusterDraws, resamples: int, seed: int, ridge: float = 1.0, sweeps: int = 200
) -> Floats:
    """`joint_difficulty` fitted anew on every draw of the instructions: [resamples, n].

    An instruction's γ follows from its own verdicts and from the models' levels, which differ from draw to draw; an
    instruction that was not drawn has one too.

    Args:
        draws: of the n instructions, each a cluster of its own.

    Raises:
        BactrianError: as `joint_difficulty`.
    """
    _check_models(outcomes)
    start = _joint_fit(outcomes, ridge, sweeps)
    return draws.refitted(
        lambda times: _standard(_joint_fit(outcomes, ridge, sweeps, times, start)[1], times), resamples, seed
    )


def _check_models(outcomes: Floats) -> None:
    if len(outcomes) < MODELS_FOR_DIFFICULTY:
        raise BactrianError(
            f"win rates: the difficulty of instructions needs {MODELS_FOR_DIFFICULTY} models, found {len(outcomes)}"
        )


def _joint_fit(
    outcomes: Floats,
    ridge: float,
    sweeps: int,
    times: Floats | None = None,
    start: tuple[Floats, Floats] | None = None,
) -> tuple[Floats, Floats]:
    """θ of the models [models] and γ of the instructions [n]; `times`: how often each instruction counts, [n]."""
    models, prompts = outcomes.shape
    known = ~np.isnan(outcomes)
    target = np.where(known, outcomes, 0.0)
    counted = np.ones(prompts) if times is None else times
    level, found = (np.zeros(models), np.zeros(prompts)) if start is None else start
    for _ in range(sweeps):
        expected = np.where(known, expit(level[:, None] + found), 0.0)
        spread = expected * (1 - expected)
        moved = np.clip((target - expected) @ counted / (spread @ counted + 1e-6), -1, 1)
        level = level + moved
        expected = np.where(known, expit(level[:, None] + found), 0.0)
        spread = expected * (1 - expected)
        step = np.clip(((target - expected).sum(0) - ridge * found) / (spread.sum(0) + ridge), -1, 1)
        found = found + step
        if max(float(np.abs(moved).max()), float(np.abs(step).max())) < 1e-8:
            break
    return level, found


def _standard(difficulty: Floats, times: Floats) -> Floats:
    """With mean 0 and variance 1 over what was drawn."""
    centred: Floats = difficulty - np.average(difficulty, weights=times)
    deviation = float(np.sqrt(np.average(centred**2, weights=times)))
    return centred / deviation if deviation > 1e-12 else centred
