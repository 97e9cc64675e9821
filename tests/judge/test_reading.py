"""What judges say, in one word or number: the last one counts, and what is none is None."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bactrian.judge.reading import last_label, last_rating

LABELS = {"refuses": "refuse", "complies": "comply"}


@pytest.mark.parametrize(
    ("judgement", "expected"),
    [
        ("Good. Rating: 7", 7),
        ("**Rating:** [10]", 10),
        ("Rating: 3, no. RATING 4", 4),
        ("Rating: 11", None),
        ("Rating: 0", None),
        ("7", None),
        ("Rating: 7.0", 7),
        ("Rating: 8/10", 8),
        ("Rating: 7.5", None),  # nor is it 7
        ("Rating: 3? No. Rating: 7.5", None),  # the last one counts, and it is none
        ("the underrating: 5", None),
        ("", None),
    ],
)
def test_a_rating_of_ten(judgement: str, expected: int | None) -> None:
    assert last_rating(judgement) == expected


@pytest.mark.parametrize(
    ("judgement", "expected"),
    [
        ("It complies? No, it REFUSES.", "refuse"),
        ("The answer refuſeſ", "refuse"),  # regular expressions fold ſ into s
        ("It refused, and complied.", None),
        ("", None),
    ],
)
def test_a_label(judgement: str, expected: str | None) -> None:
    assert last_label(judgement, LABELS) == expected


@given(st.text(max_size=200))
def test_anything_can_be_read(text: str) -> None:
    assert last_rating(text) in (None, *range(1, 11)) and last_label(text, LABELS) in (None, "refuse", "comply")
