"""Learning-rate schedules, by optimiser step (docs/methods.md)."""

from __future__ import annotations

import math
from typing import Literal

Schedule = Literal["linear", "cosine", "constant", "anneal"]


def learning_rate(
    step: int, steps: int, peak: float, schedule: Schedule = "linear", warmup: float = 0.0, floor: float = 0.0
) -> float:
    """The rate of optimiser step `step` (0-based) of `steps`.

    Args:
        peak: rate after the warm-up.
        schedule: "linear" to 0; "cosine" to floor x peak; "constant"; "anneal": from the peak linearly to 0 without
            warm-up.
        warmup: share of the steps over which the rate rises linearly; the first step already moves.
        floor: of the cosine, as a share of the peak.
    """
    rising = 0 if schedule == "anneal" else math.ceil(warmup * steps)
    if step < rising:
        return peak * (step + 1) / (rising + 1)
    done = (step - rising) / max(1, steps - rising)
    if schedule == "constant":
        return peak
    if schedule == "cosine":
        return peak * (floor + (1 - floor) * (1 + math.cos(math.pi * done)) / 2)
    return peak * (1 - done)
