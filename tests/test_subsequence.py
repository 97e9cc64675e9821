"""The common subsequence by bits is the textbook's table, whatever the items are."""

from hypothesis import given
from hypothesis import strategies as st

from bactrian.subsequence import common_length, common_with, places_of


def table_length(a: str, b: str) -> int:
    """Dynamic programming over prefixes, which shares nothing with what is tested."""
    row = [0] * (len(b) + 1)
    for x in a:
        new = [0]
        for j, y in enumerate(b, 1):
            new.append(row[j - 1] + 1 if x == y else max(row[j], new[-1]))
        row = new
    return row[-1]


TEXTS = st.text("abcd", max_size=90)


@given(TEXTS, TEXTS)
def test_it_is_the_table_s(a: str, b: str) -> None:
    assert common_length(a, b) == common_length(b, a) == table_length(a, b)
    assert common_with(places_of(a), len(a), b) == table_length(a, b)


@given(TEXTS, TEXTS, TEXTS)
def test_more_text_never_has_less_in_common(a: str, b: str, more: str) -> None:
    length = common_length(a, b)
    assert length <= common_length(a, b + more) <= length + len(more)
    assert common_length(a, a) == len(a)
