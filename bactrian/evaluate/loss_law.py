"""A law of how the loss falls with parameters and tokens, fitted to runs of several sizes [Hoffmann et al. 2022].

    L(N, D) = A / N^α + B / D^β + E

As OLMo's ladder has it: Huber's loss on the logarithm, minimised from many starts [Bhagia et al. 2024]. Where only one
of N and D varies, or both in proportion, the data cannot tell the two terms apart, and one is left out.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bactrian.errors import BactrianError

HUBER = 1e-3
"""Residuals of the logarithm above this count linearly."""
Form = Literal["both", "parameters", "tokens"]
TERMS: dict[Form, tuple[int, ...]] = {"both": (0, 1), "parameters": (0,), "tokens": (1,)}
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class TrainedSize:
    """A run: parameters, tokens it was trained on, and its loss on held-out text."""

    name: str
    parameters: float
    tokens: float
    loss: float


@dataclass(frozen=True)
class LossLaw:
    """The law. A term that was left out has a coefficient of 0."""

    form: Form
    a: float
    alpha: float
    b: float
    beta: float
    floor: float

    def at(self, parameters: float, tokens: float) -> float:
        """The loss of a run of this size and length."""
        found = self.floor
        if self.form in ("both", "parameters"):
            found += self.a / parameters**self.alpha
        if self.form in ("both", "tokens"):
            found += self.b / tokens**self.beta
        return found


@dataclass(frozen=True)
class FittedLaw:
    """A law with what the residuals' bootstrap says of it.

    residuals: log of the measured loss over the law's, in the order of the runs. samples: laws of resampled runs.
    """

    law: LossLaw
    runs: tuple[TrainedSize, ...]
    residuals: tuple[float, ...]
    samples: tuple[LossLaw, ...]
    draws: tuple[float, ...]

    def interval(self, name: str) -> tuple[float, float]:
        """95 % of a coefficient: a, alpha, b, beta, floor."""
        return _middle([getattr(each, name) for each in self.samples])

    def predicted(self, parameters: float, tokens: float) -> tuple[float, tuple[float, float]]:
        """The loss of another run, and 95 % of what one such run would measure: law and scatter together."""
        told = [
            each.at(parameters, tokens) * math.exp(draw) for each, draw in zip(self.samples, self.draws, strict=True)
        ]
        return self.law.at(parameters, tokens), _middle(told)


def form_of(runs: Sequence[TrainedSize]) -> Form:
    """The largest form that these runs can tell.

    Raises:
        BactrianError: they are too few, or too alike.
    """
    sizes, lengths = ({getattr(run, name) for run in runs} for name in ("parameters", "tokens"))
    logs = np.log([[run.parameters, run.tokens] for run in runs])
    apart = np.linalg.matrix_rank(logs - logs.mean(0), tol=0.05) == 2
    if len(sizes) >= 3 and len(lengths) >= 3 and apart and len(runs) > 5:
        return "both"
    if len(sizes) >= 4:
        return "parameters"
    if len(lengths) >= 4:
        return "tokens"
    raise BactrianError(
        f"ladder: found {len(runs)} runs of {len(sizes)} sizes and {len(lengths)} lengths to fit, expected four sizes, "
        "four lengths, or six runs of three sizes and three lengths"
    )


def fit(runs: Sequence[TrainedSize], seed: int, samples: int = 300, form: Form | None = None) -> FittedLaw:
    """The law of these runs, and `samples` laws of runs whose residuals were drawn anew.

    Raises:
        BactrianError: the runs cannot tell a law.
    """
    form = form or form_of(runs)
    sizes = np.array([[run.parameters, run.tokens] for run in runs], dtype=np.float64)
    losses = np.log([run.loss for run in runs])
    centre = np.log(sizes).mean(0)
    logs = np.log(sizes) - centre
    best = min((_minimised(start, logs, losses, form) for start in _starts(losses, form)), key=lambda found: found[0])[
        1
    ]
    fitted = _predicted(best, logs, form)
    residuals = losses - fitted
    free = max(1, len(runs) - len(best))
    scatter = (residuals - residuals.mean()) * math.sqrt(len(runs) / free)
    random = np.random.default_rng([seed, 0x1ADDE2])
    drawn = [_minimised(best, logs, fitted + random.choice(scatter, len(runs)), form)[1] for _ in range(samples)]
    return FittedLaw(
        _law(best, centre, form),
        tuple(runs),
        tuple(map(float, residuals)),
        tuple(_law(each, centre, form) for each in drawn),
        tuple(map(float, random.choice(scatter, samples))),
    )


def _starts(losses: Numbers, form: Form) -> list[Numbers]:
    """[log E, then for each term log of its coefficient at the mean run, and its exponent]."""
    low = float(losses.min())
    floors = [low - 0.05, low - 0.5]
    each = list(itertools.product([low - 1.0], [0.25, 0.8]))
    terms = len(TERMS[form])
    return [
        np.array([floor, *itertools.chain.from_iterable(chosen)])
        for floor in floors
        for chosen in itertools.product(each, repeat=terms)
    ]


def _parts(values: Numbers, logs: Numbers, form: Form) -> Numbers:
    """The logarithms of the law's summands, run by run."""
    rows = [np.full(len(logs), values[0])]
    for place, axis in enumerate(TERMS[form]):
        rows.append(values[1 + 2 * place] - values[2 + 2 * place] * logs[:, axis])
    return np.stack(rows)


def _predicted(values: Numbers, logs: Numbers, form: Form) -> Numbers:
    found: Numbers = np.logaddexp.reduce(_parts(values, logs, form), axis=0)
    return found


def _minimised(start: Numbers, logs: Numbers, losses: Numbers, form: Form) -> tuple[float, Numbers]:
    from scipy.optimize import minimize

    def loss(values: Numbers) -> tuple[float, Numbers]:
        parts = _parts(values, logs, form)
        told = np.logaddexp.reduce(parts, axis=0)
        shares, apart = np.exp(parts - told), told - losses
        size = np.abs(apart)
        total = np.where(size <= HUBER, 0.5 * apart**2, HUBER * (size - 0.5 * HUBER)).sum()
        slope = np.clip(apart, -HUBER, HUBER)
        gradient = [float(slope @ shares[0])]
        for place, axis in enumerate(TERMS[form]):
            gradient += [float(slope @ shares[1 + place]), float(slope @ (-shares[1 + place] * logs[:, axis]))]
        return float(total) / HUBER**2, np.array(gradient) / HUBER**2

    top = float(losses.max())
    bounds = [(top - 12.0, top), *[(top - 12.0, top + 2.0), (0.01, 3.0)] * len(TERMS[form])]
    found = minimize(
        loss, np.clip(start, *np.array(bounds).T), jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 300}
    )
    return float(found.fun), np.asarray(found.x, dtype=np.float64)


def _law(values: Numbers, centre: Numbers, form: Form) -> LossLaw:
    """With the sizes' means taken out again."""
    told = {0: (0.0, 0.0), 1: (0.0, 0.0)}
    for place, axis in enumerate(TERMS[form]):
        coefficient, power = float(values[1 + 2 * place]), float(values[2 + 2 * place])
        told[axis] = (math.exp(coefficient + power * float(centre[axis])), power)
    return LossLaw(form, *told[0], *told[1], floor=math.exp(float(values[0])))


def _middle(values: Sequence[float]) -> tuple[float, float]:
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
