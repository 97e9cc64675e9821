"""Learning-rate schedules, by optimiser step (docs/methods.md), each declared where its function is (`registry`)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated

from bactrian.train.registry import OneOf, Registry

SCHEDULES: Registry[Callable[[float, float], float]] = Registry("schedule")
"""From the share of the steps after the warm-up that are done, in [0, 1), and the floor to a multiple of the peak."""
Schedule = Annotated[str, OneOf(SCHEDULES)]
DECAY = 0.1
"""Share of the steps after the warm-up in which `wsd` falls [Hu et al. 2024: about a tenth is enough]."""


@SCHEDULES.declare("linear", "to 0", takes=["warmup"])
def linear(done: float, floor: float) -> float:
    return 1 - done


@SCHEDULES.declare("cosine", "to floor times the peak", takes=["warmup", "floor"])
def cosine(done: float, floor: float) -> float:
    return floor + (1 - floor) * (1 + math.cos(math.pi * done)) / 2


@SCHEDULES.declare("constant", "stays at the peak", takes=["warmup"])
def constant(done: float, floor: float) -> float:
    return 1.0


@SCHEDULES.declare("wsd", "at the peak, in the last tenth linearly to floor times it", takes=["warmup", "floor"])
def warmup_stable_decay(done: float, floor: float) -> float:
    return 1 - (1 - floor) * max(0.0, done - (1 - DECAY)) / DECAY


@SCHEDULES.declare("anneal", "linear to 0 from the first step on, without warm-up")
def anneal(done: float, floor: float) -> float:
    return 1 - done


def learning_rate(
    step: int, steps: int, peak: float, schedule: str = "linear", warmup: float = 0.0, floor: float = 0.0
) -> float:
    """The rate of optimiser step `step` (0-based) of `steps`.

    Args:
        steps: over which the schedule is laid out; training may end before.
        peak: rate after the warm-up.
        schedule: a name of SCHEDULES.
        warmup: share of the steps over which the rate rises linearly, if the schedule takes it; the first step already
            moves.
        floor: as a share of the peak.
    """
    multiple = SCHEDULES.use(schedule)
    rising = math.ceil(warmup * steps) if "warmup" in SCHEDULES.find(schedule).takes else 0
    if step < rising:
        return peak * (step + 1) / (rising + 1)
    return peak * multiple((step - rising) / max(1, steps - rising), floor)
