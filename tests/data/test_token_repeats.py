"""Spans that stand many times in a row are found, wherever they are, and nothing else is."""

from hypothesis import given
from hypothesis import strategies as st

from bactrian.data.curate.token_repeats import LONGEST_SPAN, TIMES, repeats

few = st.lists(st.integers(0, 2), max_size=40)


def by_hand(ids: list[int], times: int, longest: int) -> bool:
    """Each place, each span: does what stands there stand `times` times?"""
    return any(
        ids[at : at + span * times] == ids[at : at + span] * times
        for span in range(1, longest + 1)
        for at in range(len(ids) - span * times + 1)
    )


@given(few, st.integers(2, 5), st.integers(1, 6))
def test_as_by_hand(ids: list[int], times: int, longest: int) -> None:
    assert repeats(ids, times, longest) == by_hand(ids, times, longest)


@given(few, st.lists(st.integers(0, 9), min_size=1, max_size=LONGEST_SPAN), few)
def test_what_is_planted_is_found_at_published_numbers(before: list[int], span: list[int], after: list[int]) -> None:
    assert repeats([*before, *span * TIMES, *after])


def test_one_time_less_or_a_longer_span_is_no_repeat() -> None:
    span = list(range(1, LONGEST_SPAN + 1))
    assert repeats(span * TIMES) and not repeats(span * (TIMES - 1)) and not repeats([*span, 99] * TIMES)
    assert not repeats([]) and not repeats([5])
