"""Thinking that repeats itself, as it may when its end is suppressed too often."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEAST_REPEATS = 3
LEAST_TOKENS = 16
"""A stretch counts as a loop if it says the same LEAST_REPEATS times and is at least so many tokens long."""
LONGEST_PERIOD = 512


@dataclass(frozen=True)
class Loop:
    """Tokens [start, start + tokens) repeat themselves every `period` tokens."""

    start: int
    period: int
    tokens: int

    @property
    def repeats(self) -> float:
        """How often the period is said, the first time included."""
        return self.tokens / self.period


def find_loop(ids: Sequence[int]) -> Loop | None:
    """The longest stretch of tokens that is one sequence said three times or more; None if there is none.

    Of equally long ones that with the shortest period. Time is n × the longest period looked for (n/3, at most 512).

    >>> find_loop([9, *[1, 2, 3, 4] * 5, 7])
    Loop(start=1, period=4, tokens=20)
    """
    tokens = np.asarray(ids)
    best: Loop | None = None
    for period in range(1, min(len(tokens) // LEAST_REPEATS, LONGEST_PERIOD) + 1):
        same = np.concatenate([[False], tokens[period:] == tokens[:-period], [False]])
        edges = np.flatnonzero(same[1:] != same[:-1])
        if not len(edges):
            continue
        starts, lengths = edges[::2], edges[1::2] - edges[::2]
        longest = int(lengths.argmax())
        found = Loop(int(starts[longest]), period, int(lengths[longest]) + period)
        enough = found.tokens >= max(LEAST_REPEATS * period, LEAST_TOKENS)
        if enough and (best is None or found.tokens > best.tokens):
            best = found
    return best
