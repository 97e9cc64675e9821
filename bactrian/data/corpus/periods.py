"""Tokens that repeat with a short period: what OLMo 2 keeps out of its training data, since it led to spikes of the
loss (spans of 1 to 13 tokens that occur 32 times or more in a row) [Walsh et al. 2025]."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

LONGEST_PERIOD = 13
LEAST_TIMES = 32


class PeriodicRun(NamedTuple):
    """Tokens start … end − 1 repeat with a period; `times` whole periods fit in."""

    start: int
    end: int
    period: int
    times: int


def periodic_runs(
    ids: NDArray[np.integer], longest: int = LONGEST_PERIOD, least_times: int = LEAST_TIMES
) -> list[PeriodicRun]:
    """The runs of at least `least_times` repeats of a span of 1 … `longest` tokens, in order.

    A run is as long as it can be: tokens of a span that is begun once more belong to it. One that lies within a run
    of a shorter period is not told again.
    """
    found: list[PeriodicRun] = []
    for period in range(1, longest + 1):
        if len(ids) < period * least_times:
            break
        same = np.concatenate([[False], ids[period:] == ids[:-period], [False]])
        edges = np.flatnonzero(same[1:] != same[:-1])
        starts, lengths = edges[::2], np.diff(edges)[::2] + period
        for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
            if length >= period * least_times and not any(
                run.start <= start and start + length <= run.end for run in found
            ):
                found.append(PeriodicRun(start, start + length, period, length // period))
    return sorted(found)
