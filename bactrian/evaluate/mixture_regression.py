"""The loss of small models by the mixture that they were trained on, and the mixture for which it is least.

For each domain of held-out text, log loss = c + Σ θ_s w_s over the sources' shares w: the log-linear regression of
Olmo 3's swarm [Olmo team 2025; Chen et al. 2026], with a ridge on θ that leave-one-out validation chooses. A mean of
exponentials of linear functions is convex, so the mixture of the least mean loss within linear bounds is one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bactrian.errors import BactrianError

Numbers = NDArray[np.float64]
RIDGES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)


@dataclass(frozen=True)
class DomainFit:
    """One domain's regression.

    errors: by run, what leave-one-out validation predicts over what was measured, log. spread: the same of the mean
    of the other runs.
    """

    domain: str
    constant: float
    slopes: tuple[float, ...]
    ridge: float
    errors: tuple[float, ...]
    spread: tuple[float, ...]

    @property
    def error(self) -> float:
        """Root mean square of the validated errors, of the logarithm: about relative."""
        return float(np.sqrt(np.mean(np.square(self.errors))))

    @property
    def error_of_mean(self) -> float:
        return float(np.sqrt(np.mean(np.square(self.spread))))

    @property
    def beats_mean(self) -> bool:
        """Surely: the squared errors are less than the mean's by two standard errors of their difference."""
        less = np.square(self.spread) - np.square(self.errors)
        return bool(less.mean() > 2 * less.std(ddof=1) / np.sqrt(len(less)))

    def at(self, weights: Numbers) -> float:
        """The predicted loss of a mixture."""
        return float(np.exp(self.constant + np.dot(self.slopes, weights)))


@dataclass(frozen=True)
class ChosenMixture:
    """Shares of the sources, in their order; the objective there and at the reference mixture; sources at their cap."""

    weights: tuple[float, ...]
    objective: float
    reference: float
    capped: tuple[int, ...]


def fit_domain(domain: str, weights: Numbers, losses: Sequence[float]) -> DomainFit:
    """The regression of one domain.

    Args:
        weights: (runs, sources), rows that add up to 1.

    Raises:
        BactrianError: fewer than four runs.
    """
    runs = len(weights)
    if runs < 4:
        raise BactrianError(f"swarm: found {runs} runs, expected at least 4, better five for each source")
    told = np.log(losses)
    best: tuple[float, float, Numbers] | None = None
    for ridge in RIDGES:
        errors = np.array([_left_out(weights, told, run, ridge) for run in range(runs)])
        score = float(np.square(errors).mean())
        if best is None or score < best[0]:
            best = (score, ridge, errors)
    assert best is not None
    constant, slopes = _solved(weights, told, best[1])
    spread = [(told.sum() - each) / (runs - 1) - each for each in told]
    return DomainFit(domain, constant, tuple(map(float, slopes)), best[1], tuple(best[2]), tuple(map(float, spread)))


def _left_out(weights: Numbers, told: Numbers, run: int, ridge: float) -> float:
    kept = np.arange(len(told)) != run
    constant, slopes = _solved(weights[kept], told[kept], ridge)
    return float(constant + slopes @ weights[run] - told[run])


def _solved(weights: Numbers, told: Numbers, ridge: float) -> tuple[float, Numbers]:
    """Shares add up to 1, so the slopes are told apart by the ridge alone, which makes their mean 0."""
    centre, middle = weights.mean(0), told.mean()
    x, y = weights - centre, told - middle
    slopes = np.linalg.solve(x.T @ x + ridge * np.eye(x.shape[1]), x.T @ y)
    return float(middle - slopes @ centre), slopes


def best_mixture(
    fits: Sequence[DomainFit], importance: Mapping[str, float], caps: Numbers, reference: Numbers
) -> ChosenMixture:
    """The mixture whose weighted mean of predicted losses is least, with no share above its cap.

    Args:
        importance: of each domain; by default all alike.
        caps: largest share of each source.
        reference: a mixture to compare with, which is also where the search begins.

    Raises:
        BactrianError: the caps leave less than a whole mixture.
    """
    from scipy.optimize import LinearConstraint, minimize

    if caps.sum() < 1:
        raise BactrianError(
            f"swarm: the sources, at most repeated as often as they may be, fill {caps.sum():.0%} of the mixture; "
            "expected more text, more repeats or fewer tokens"
        )
    shares = np.array([importance.get(fit.domain, 1.0 if not importance else 0.0) for fit in fits])
    shares = shares / shares.sum()
    slopes = np.array([fit.slopes for fit in fits])

    def objective(weights: Numbers) -> tuple[float, Numbers]:
        losses = shares * np.array([fit.at(weights) for fit in fits])
        return float(losses.sum()), losses @ slopes

    start = np.minimum(reference, caps)
    room = caps - start
    start = start + room * ((1 - start.sum()) / room.sum() if room.sum() else 0.0)
    found = minimize(
        objective,
        start,
        jac=True,
        method="SLSQP",
        bounds=[(0.0, float(min(1.0, cap))) for cap in caps],
        constraints=[LinearConstraint(np.ones(len(caps)), 1.0, 1.0)],
        options={"maxiter": 500, "ftol": 1e-12},
    )
    weights = np.clip(found.x, 0.0, caps)
    weights = weights / weights.sum()
    at_cap = tuple(int(i) for i in np.flatnonzero((caps < 1) & (weights > caps - 1e-4)))
    return ChosenMixture(tuple(map(float, weights)), objective(weights)[0], objective(reference)[0], at_cap)
