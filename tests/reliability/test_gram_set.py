"""N-grams of a corpus: exactly those that are there, and nothing across the end of a text."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bactrian.data.overlap.gram_set import GramSet, batches, token_hashes
from bactrian.data.overlap.words import gram_hashes

WORDS = st.lists(st.sampled_from("abcd"), max_size=14)


def copied_by_hand(corpus: list[list[str]], said: list[str], n: int) -> int:
    grams = {tuple(text[at : at + n]) for text in corpus for at in range(len(text) - n + 1)}
    covered = set()
    for at in range(len(said) - n + 1):
        if tuple(said[at : at + n]) in grams:
            covered |= set(range(at, at + n))
    return len(covered)


@given(st.lists(WORDS, max_size=6), WORDS, st.integers(2, 4))
def test_the_words_that_are_copied(corpus: list[list[str]], said: list[str], n: int) -> None:
    grams = GramSet.of_texts([" ".join(text) for text in corpus], n)
    assert grams.copied(" ".join(said)) == (copied_by_hand(corpus, said, n), len(said))


@given(
    st.lists(st.lists(st.integers(0, 3), max_size=12), max_size=6), st.lists(st.integers(0, 3), min_size=3, max_size=3)
)
def test_tokens(documents: list[list[int]], asked: list[int]) -> None:
    there = any(document[at : at + 3] == asked for document in documents for at in range(len(document) - 2))
    hashes = gram_hashes(token_hashes(np.array(asked)), 3)
    assert GramSet.of_tokens(documents, 3).holds(hashes).tolist() == [there]


def test_marks_and_capitals_do_not_count() -> None:
    grams = GramSet.of_texts(["The cat sat, on the mat."], 4)
    assert grams.copied('"THE CAT sat on" me') == (4, 5)
    assert list(batches(range(5), 2)) == [[0, 1], [2, 3], [4]]
