"""Loops are found where a plain search finds them."""

from hypothesis import given
from hypothesis import strategies as st

from bactrian.think.loops import LEAST_REPEATS, LEAST_TOKENS, find_loop


def longest_repetition(ids: list[int]) -> int:
    """By the definition: the most tokens of any stretch that is one sequence three times or more; 0 for none."""
    best = 0
    for start in range(len(ids)):
        for period in range(1, (len(ids) - start) // LEAST_REPEATS + 1):
            stop = start + period
            while stop < len(ids) and ids[stop] == ids[stop - period]:
                stop += 1
            if stop - start >= max(LEAST_REPEATS * period, LEAST_TOKENS):
                best = max(best, stop - start)
    return best


@given(st.lists(st.integers(0, 2), max_size=40), st.lists(st.integers(0, 3), min_size=1, max_size=6), st.integers(0, 9))
def test_equals_a_plain_search(noise: list[int], period: list[int], times: int) -> None:
    half = len(noise) // 2
    ids = noise[:half] + period * times + noise[half:]
    found = find_loop(ids)
    assert (found.tokens if found else 0) == longest_repetition(ids)
    if found:
        stretch = ids[found.start : found.start + found.tokens]
        assert stretch[found.period :] == stretch[: -found.period] and found.repeats >= LEAST_REPEATS


def test_no_loop_in_different_tokens() -> None:
    assert find_loop(range(5000)) is None and find_loop([]) is None
