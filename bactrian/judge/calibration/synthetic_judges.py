"""Judges whose true risk is known, to see whether a calibration keeps its promise.

Each has a law of its confidence and of how likely it is to be wrong at each; nothing else is known about an item.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bactrian.judge.calibration.search import Flags, Floats


@dataclass(frozen=True)
class SyntheticJudges:
    """One or more judges of the same items. `draw` gives confidences and risks [m, *shape] of new items."""

    name: str
    draw: Callable[[np.random.Generator, tuple[int, ...]], tuple[Floats, Floats]]

    def items(self, rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[Floats, Flags]:
        """Confidences and wrong, [m, *shape], of items drawn independently."""
        confidences, risks = self.draw(rng, shape)
        return confidences, rng.random(risks.shape) < risks


def _single(law: Callable[[Floats], tuple[Floats, Floats]]) -> Callable[..., tuple[Floats, Floats]]:
    def draw(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[Floats, Floats]:
        confidences, risks = law(rng.random(shape))
        return confidences[None], risks[None]

    return draw


def _falling(u: Floats) -> tuple[Floats, Floats]:
    """Risk falls in a straight line from .4 at confidence .5 to .02 at 1."""
    return 0.5 + u / 2, 0.4 - 0.38 * u


def _coarse(u: Floats) -> tuple[Floats, Floats]:
    """Five votes: three confidences only, .6, .8 and 1, as of a judge that is sampled."""
    votes = np.digitize(u, [0.25, 0.55])
    return np.choose(votes, [0.6, 0.8, 1.0]), np.choose(votes, [0.4, 0.2, 0.06])


def _overconfident(u: Floats) -> tuple[Floats, Floats]:
    """The surest twentieth is wrong more often than what comes after it; a fixed sequence begins there."""
    return 0.5 + u / 2, np.where(u > 0.95, 0.25, 0.35 - 0.33 * u)


def _chance(u: Floats) -> tuple[Floats, Floats]:
    """Confidence says nothing, and a quarter is wrong: nothing may be accepted."""
    return 0.5 + u / 2, np.full(u.shape, 0.25)


def _three(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[Floats, Floats]:
    """Three judges, each better than the one before; an item that is hard for one is hard for all."""
    hard = rng.random(shape)
    found = []
    for strength in (0.0, 0.5, 1.0):
        seen = np.clip(hard + rng.normal(0, 0.25 - 0.1 * strength, shape), 0, 1)
        found.append((1 - seen / 2, np.clip((0.5 - 0.15 * strength) * hard**1.5, 0, 0.5)))
    return np.stack([c for c, _ in found]), np.stack([r for _, r in found])


SYNTHETIC = (
    SyntheticJudges("risk falls with confidence", _single(_falling)),
    SyntheticJudges("three confidences only", _single(_coarse)),
    SyntheticJudges("overconfident at the top", _single(_overconfident)),
    SyntheticJudges("confidence says nothing", _single(_chance)),
    SyntheticJudges("cascade of three", _three),
)
