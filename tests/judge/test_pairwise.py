"""Pairs are drawn as Tülu 3 draws them."""

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from bactrian.judge.pairwise import ScoredAnswer, preferences

answers = st.lists(
    st.builds(ScoredAnswer, st.sampled_from(["a", "b", "c", "d", " "]), st.sampled_from([1.0, 2.5, 2.75, 4.0])),
    max_size=6,
)


@given(answers, st.integers(1, 3), st.sampled_from([0.0, 0.25, 2.0]), st.integers(0, 99))
def test_pairs_keep_their_promises(given_answers: list[ScoredAnswer], pairs: int, margin: float, seed: int) -> None:
    found = preferences(given_answers, Random(seed), pairs, margin)
    top = max((answer.score for answer in given_answers if answer.text.strip()), default=0.0)
    assert len(found) <= pairs and len({rejected.text for _, rejected in found}) == len(found)
    for chosen, rejected in found:
        assert chosen.score == top and chosen.text != rejected.text and rejected.text.strip()
        assert chosen.score - rejected.score >= max(margin, 0.25)
    possible = any(
        a.score == top and b.text.strip() and b.text != a.text and b.score < top and top - b.score >= margin
        for a in given_answers
        if a.text.strip()
        for b in given_answers
    )
    assert bool(found) <= possible


def test_rejected_is_any_of_the_worse_and_not_always_the_worst() -> None:
    four = [ScoredAnswer(text, score) for text, score in (("best", 4.0), ("good", 3.0), ("poor", 2.0), ("worst", 1.0))]
    drawn = Counter(preferences(four, Random(seed))[0][1].text for seed in range(600))
    assert set(drawn) == {"good", "poor", "worst"} and all(150 < count < 250 for count in drawn.values())
    assert (
        preferences(four, Random(0), margin=2.5)[0][1].text == "worst"
        and preferences(four, Random(0), margin=3.5) == []
    )
