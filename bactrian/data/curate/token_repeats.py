"""Tokens that say the same again and again: a short span, dozens of times in a row.

Such sequences set off loss spikes [OLMo 2, Walsh et al. 2025]: a sequence in which a span of 1 to 13 tokens stands 32
times or more in a row is not trained on.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

LONGEST_SPAN = 13
TIMES = 32


def repeats(ids: Sequence[int] | npt.NDArray[np.integer], times: int = TIMES, longest_span: int = LONGEST_SPAN) -> bool:
    """Whether some span of at most `longest_span` tokens stands `times` times in a row.

    A span of p tokens stands n times in a row where (n - 1) p tokens in a row equal the one p places before them.

    >>> repeats([7, 1, 2, 1, 2, 1, 2, 8], times=3), repeats([7, 1, 2, 1, 2, 1, 3, 8], times=3)
    (True, False)
    """
    tokens = np.asarray(ids)
    return any(
        _longest_run(tokens[span:] == tokens[:-span]) >= (times - 1) * span
        for span in range(1, longest_span + 1)
        if len(tokens) >= times * span
    )


def _longest_run(true: npt.NDArray[np.bool_]) -> int:
    """The most true values in a row."""
    edges = np.flatnonzero(np.concatenate(([True], ~true, [True])))
    return int(np.diff(edges).max()) - 1
