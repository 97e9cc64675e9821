"""AlpacaEval 2's difficulties of instructions, recovered from what is published: weights, preferences, win rates.

The published fits use a vector γ that is no part of the leaderboard's files. It follows from them: each model's weights
(φ, ψ, θ) say how likely it is to win at each γ, so its preferences tell where each instruction's γ lies; and its
length-controlled win rate is the mean of σ(θ + ψγ), which fixes how the γ are spread. Here γ lies on a grid, with a
prior whose log-density is a polynomial that is fitted to both [empirical Bayes; Efron 2016, Biometrika 103 (1)].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares, minimize
from scipy.special import expit
from scipy.stats import norm

from bactrian.errors import BactrianError
from bactrian.judge.winrates.length_control import AnchorRows
from bactrian.judge.winrates.logistic import Floats

GRID = np.linspace(-6, 6, 61)
EXACT = 1e4
"""Weight of a published win rate's squared error, in points: they are exact, so the fit has to meet them."""
DEGREE = 4
"""Of the polynomial that is the log-density of γ."""
LAYERS = norm.ppf((np.arange(24) + 0.5) / 24)
ANCHOR_SHARE = 0.1
"""Weight of a row of the two baselines told to be short or long: λ/2 with λ = 0.2 [AlpacaEval's code]."""
INSTRUCTIONS = 805


@dataclass(frozen=True)
class PublishedModel:
    """One model of the leaderboard, with what is published of it.

    outcomes: P(its answer beats the baseline's) of each annotated instruction, [n]. length: `length_feature`, [n].
    places: which difficulty its fit took for each of them, [n]: the k-th of those it has an annotation of, which is
    another instruction's from the first missing one on. weights: (φ, ψ, θ). win_rate: length-controlled, in percent.
    """

    name: str
    outcomes: Floats
    length: Floats
    places: NDArray[np.int64]
    weights: Floats
    win_rate: float

    def log_likelihoods(self, instructions: int) -> Floats:
        """Of its verdicts at each difficulty of the grid, [instructions, grid]."""
        said = np.zeros((instructions, len(GRID)))
        logits = self.weights[2] + self.weights[0] * self.length[:, None] + self.weights[1] * GRID
        said[self.places] = self.outcomes[:, None] * logits - np.logaddexp(0, logits)
        return said


@dataclass(frozen=True)
class RecoveredDifficulty:
    """What is known of γ: how it is spread over instructions (mass on GRID), and of each instruction [n, grid]."""

    mass: Floats
    posterior: Floats

    @property
    def values(self) -> Floats:
        """The mean of each instruction's γ, [n]."""
        return np.asarray(self.posterior @ GRID)

    def win_rate(self, weights: Floats) -> float:
        """The length-controlled win rate in percent of a model with these published weights (φ, ψ, θ)."""
        return float(100 * self.mass @ expit(weights[2] + weights[1] * GRID))


def recover_difficulty(models: Sequence[PublishedModel], instructions: int = INSTRUCTIONS) -> RecoveredDifficulty:
    """γ from these models' weights, preferences and win rates. Leave a model out, and nothing of it is used.

    Raises:
        BactrianError: for fewer than five models.
    """
    if len(models) < 5:
        raise BactrianError(f"win rates: recovering difficulties needs 5 published models, found {len(models)}")
    said = np.sum([each.log_likelihoods(instructions) for each in models], axis=0)
    likelihood = np.exp(said - said.max(axis=1, keepdims=True))
    levels = np.array([100 * expit(each.weights[2] + each.weights[1] * GRID) for each in models])
    published = np.array([each.win_rate for each in models])
    basis = np.linalg.qr(np.vander(GRID / GRID[-1], DEGREE + 1, increasing=True))[0][:, 1:]

    def loss(coefficients: Floats) -> tuple[float, Floats]:
        mass = softmax(basis @ coefficients)
        mixed, missed = likelihood @ mass, levels @ mass - published
        value = -np.log(mixed).sum() + 0.5 * EXACT * (missed @ missed)
        by_mass = EXACT * (levels.T @ missed) - (likelihood / mixed[:, None]).sum(axis=0)
        return float(value), basis.T @ (mass * (by_mass - by_mass @ mass))

    begin = basis.T @ (-0.5 * (GRID / 1.5) ** 2)
    found = minimize(loss, begin, jac=True, method="BFGS", options={"maxiter": 500})
    mass = softmax(basis @ found.x)
    joint = likelihood * mass
    return RecoveredDifficulty(mass, joint / joint.sum(axis=1, keepdims=True))


def softmax(logits: Floats) -> Floats:
    raised = np.exp(logits - logits.max())
    return np.asarray(raised / raised.sum())


def recover_anchors(
    models: Sequence[PublishedModel],
    difficulty: RecoveredDifficulty,
    concise: tuple[Floats, float],
    verbose: tuple[Floats, float],
) -> AnchorRows:
    """Rows that stand for the two baselines told to be short or long, which the published fits add to every model's.

    `concise`, `verbose`: published weights and raw win rate in percent of either. Their answers' lengths are not
    published: tanh of a normal variable, whose mean and deviation are such that the published weights of `models` are
    where the slope of their likelihood and that of the rows cancel, and that the raw win rates come out.
    """
    slopes = np.array([_slopes(each, difficulty) for each in models])
    weights = [concise[0], verbose[0]]
    raw = np.array([concise[1], verbose[1]])
    scale = np.array([1.0, 0.15])  # the difficulty's slope is that much noisier than the length's

    def missed(spreads: Floats) -> Floats:
        rows, rates = _anchor_rows(spreads, weights, difficulty.mass)
        pulls = [_pull(rows, each.weights) for each in models]
        return np.concatenate([((slopes - np.array(pulls)) * scale).ravel(), 3 * (rates - raw)])

    found = least_squares(missed, np.array([1.0, -1.0, -0.5, -0.5]), loss="soft_l1", max_nfev=40)
    return _anchor_rows(found.x, weights, difficulty.mass)[0]


def _slopes(model: PublishedModel, difficulty: RecoveredDifficulty) -> Floats:
    """Slope of a model's log-likelihood by φ and ψ at its published weights, γ drawn from what is known of it."""
    mine = difficulty.posterior[model.places]
    logits = model.weights[2] + model.weights[0] * model.length[:, None] + model.weights[1] * GRID
    left = mine * (model.outcomes[:, None] - expit(logits))
    return np.array([(left * model.length[:, None]).sum(), (left * GRID).sum()])


def _anchor_rows(spreads: Floats, weights: Sequence[Floats], mass: Floats) -> tuple[AnchorRows, Floats]:
    """The rows, and the raw win rates that they amount to."""
    parts, rates = [], []
    for (mean, log_deviation), (phi, psi, theta) in zip(spreads.reshape(2, 2), weights, strict=True):
        length = np.tanh(mean + np.exp(np.clip(log_deviation, -6, 3)) * LAYERS)
        length, gamma = np.repeat(length, len(GRID)), np.tile(GRID, len(LAYERS))
        outcomes = expit(theta + phi * length + psi * gamma)
        share = np.tile(mass, len(LAYERS)) / len(LAYERS)
        parts.append((length, gamma, outcomes, ANCHOR_SHARE * INSTRUCTIONS * share))
        rates.append(100 * float(outcomes @ share))
    return AnchorRows(*(np.concatenate(column) for column in zip(*parts, strict=True))), np.array(rates)


def _pull(rows: AnchorRows, weights: Floats) -> Floats:
    """Slope of the rows' loss by φ and ψ."""
    left = rows.weights * (expit(weights[0] * rows.length + weights[1] * rows.difficulty) - rows.outcomes)
    return np.array([left @ rows.length, left @ rows.difficulty])
