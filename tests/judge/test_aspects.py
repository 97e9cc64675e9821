"""Aspect judging: what the judge is asked, and what is read of the ways in which judges answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bactrian.judge.aspects import ASPECTS, aspect_question, mean_rating, shuffled_order
from bactrian.judge.reading import ratings_of_texts

PLAIN = "Text 1\nRating: 4\nRationale: Good.\n\nText 2\nRating: 1\nRationale: Bad."
WAYS = {
    "as asked": PLAIN,
    "bold": "**Text 1**\n**Rating:** 4\n**Rationale:** Good.\n**Text 2**\n**Rating**: 1",
    "headings": "#### Output for Text 1\nRating: [4]\n#### Output for Text 2\nRating: 1/5",
    "in capitals": "TEXT 1:\nRATING: 4\nTEXT 2:\nSCORE = 1",
    "numbers alone": "Text 1: 4\nText 2: 1",
    "with types": "Text 1\nType: 1, 3\nRating: 4\nRationale: so\nText 2\nType: N/A\nRating: 1",
    "ratings alone": "Rating: 4\nRating: 1",
    "a preamble that quotes the layout": "Text 1\nText 2\nI shall rate.\n" + PLAIN,
    "the other way round": "Text 2\nRating: 1\nText 1\nRating: 4",
    "a third text that was not asked for": PLAIN + "\nText 3\nRating: 5",
}


@pytest.mark.parametrize("way", WAYS)
def test_ratings_are_read_however_they_are_written(way: str) -> None:
    assert [each.rating for each in ratings_of_texts(WAYS[way], 2)] == [4, 1]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("", [None, None]),
        ("I would rather not.", [None, None]),
        ("Text 1\nRating: N/A\nText 2\nRating: 3", [None, 3]),
        ("Text 1\nRating: 0\nText 2\nRating: 6", [None, None]),
        ("Text 1\nRating: 4.5\nText 2\nRating: 5.0", [None, 5]),
        ("Text 1\nRating: 14\nText 2\nRating: 10", [None, None]),
        ("Text 1\nRating: 2", [2, None]),
        ("Rating: 2", [None, None]),
        ("Rating: 2\nRating: 3\nRating: 4", [None, None]),
        ("Text 2\nRating: 5", [None, 5]),
        ("Text 12\nRating: 5\nText 1\nRating: 3", [3, None]),
    ],
)
def test_what_is_no_rating_is_none(said: str, expected: list[int | None]) -> None:
    assert [each.rating for each in ratings_of_texts(said, 2)] == expected


def test_rationale_and_kinds_are_kept() -> None:
    first, second = ratings_of_texts(WAYS["with types"], 2)
    assert (first.rationale, first.kinds, second.kinds) == ("so", (1, 3), ())
    assert not second.unread
    assert [each.unread for each in ratings_of_texts("Text 1\nRating: N/A\nText 2\nRating: 9", 2)] == [False, True]


@given(st.text(max_size=300), st.integers(1, 5))
def test_anything_can_be_read(text: str, count: int) -> None:
    found = ratings_of_texts(text, count)
    assert len(found) == count and all(each.rating in (None, 1, 2, 3, 4, 5) for each in found)


@given(st.lists(st.text(min_size=1, max_size=40), min_size=1, max_size=4), st.sampled_from(sorted(ASPECTS)))
def test_the_question_holds_every_text_once_in_marks_of_its_own(texts: list[str], name: str) -> None:
    asked = aspect_question(ASPECTS[name], "Say {x} \\1.", texts)
    mark = asked.split("<instruction ")[1][:8]
    assert not any(mark in text for text in texts)
    for number, text in enumerate(texts, 1):
        assert f"<text {number} {mark}>\n{text}\n</text {number} {mark}>" in asked
    assert asked.count("Say {x} \\1.") >= 1 and asked.count("\nRationale: one sentence") == len(texts)
    assert ("N/A if nothing" in asked) == ASPECTS[name].optional


def test_orders_are_shuffled_and_always_the_same() -> None:
    orders = [tuple(shuffled_order(4, 0, f"row {n}", "honesty")) for n in range(200)]
    assert len(set(orders)) == 24 and all(sorted(order) == [0, 1, 2, 3] for order in orders)
    assert (
        orders[7] == tuple(shuffled_order(4, 0, "row 7", "honesty")) != tuple(shuffled_order(4, 1, "row 7", "honesty"))
    )
    first = [order[0] for order in orders]
    assert all(30 < first.count(text) < 70 for text in range(4))


def test_a_score_leaves_out_what_was_not_rated() -> None:
    assert mean_rating([4, None, 2, None]) == 3.0 and mean_rating([5, None, None, None]) is None
    assert mean_rating([3]) == 3.0 and mean_rating([None]) is None
