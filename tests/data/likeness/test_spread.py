"""Bags, dispersion, directions and topics: no order, no effect of copies of everything, gold answers."""

import itertools
import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bactrian.data.likeness.bags import text_bag
from bactrian.data.likeness.spread import bag_spread, directions, dispersion
from bactrian.data.likeness.topics import topic_count, topics
from bactrian.data.likeness.vectors import NO_WORD, main_directions, tf_idf, word_counts
from bactrian.data.synth.diversity import diversity
from tests.data.likeness.sets import TOPICS, texts

FOUR = texts(list(TOPICS), 60, 1)


@given(st.lists(st.sampled_from(["a", "b", "c", "d", "e", "f", "g", "h"]), max_size=60), st.randoms())
def test_a_bag_counts_and_no_order_changes_which_texts_are_drawn(rows: list[str], draw: random.Random) -> None:
    whole = text_bag(rows)
    assert dict(zip(whole.texts, whole.counts.tolist(), strict=True)) == Counter(rows)
    few = text_bag(rows, 3)
    draw.shuffle(rows)
    again = text_bag(rows, 3)
    assert few.texts == again.texts and few.counts.tolist() == again.counts.tolist()
    assert len(few) == min(3, len(whole)) and few.drawn == (len(whole) > 3) and few.rows == len(rows)
    assert all(count == Counter(rows)[text] for text, count in zip(few.texts, few.counts, strict=True))


@settings(max_examples=8, deadline=None)
@given(st.permutations(FOUR), st.integers(2, 4))
def test_neither_order_nor_copies_of_every_row_change_a_figure(rows: list[str], times: int) -> None:
    first = diversity(FOUR)
    assert diversity(rows) == first
    copied = bag_spread(text_bag(rows * times))
    assert copied["copies"] == pytest.approx(1 - 1 / times)
    for name in ("different", "dispersion", "dispersion_interval", "directions", "topics"):
        assert copied[name] == first[name], name


def test_copies_of_one_text_have_no_spread_and_texts_without_a_word_in_common_the_most() -> None:
    same = bag_spread(text_bag(["Three bees meet two."] * 7))
    assert (
        same["dispersion"] == pytest.approx(0)
        and same["directions"] == pytest.approx(1)
        and same["copies"] == pytest.approx(6 / 7)
    )
    assert same["topics"]["entropy"] == 0 and same["topics"]["k"] == 1
    apart = bag_spread(text_bag([f"word{n}a word{n}b" for n in range(20)]))
    assert apart["dispersion"] == pytest.approx(1 - 1 / 20) and apart["directions"] == pytest.approx(20)
    half = bag_spread(text_bag(["one two", "one two", "one two", "three four"]))
    assert half["dispersion"] == pytest.approx(1 - (0.75**2 + 0.25**2))
    assert bag_spread(text_bag([])) == {}


def test_dispersion_is_the_mean_over_pairs() -> None:
    bag = text_bag([*FOUR, *FOUR[:9]])
    vectors = main_directions(tf_idf(word_counts(bag.texts).counts), bag.weights)
    pairs = itertools.product(range(len(bag)), repeat=2)
    brute = sum(bag.weights[i] * bag.weights[j] * (1 - vectors[i] @ vectors[j]) for i, j in pairs)
    value, (low, high) = dispersion(vectors, bag.weights)
    assert value == pytest.approx(brute) and low < value < high


def test_the_interval_of_dispersion_holds_that_of_other_draws() -> None:
    values, intervals = [], []
    for seed in range(40):
        bag = text_bag(texts(list(TOPICS), 80, seed))
        vectors = main_directions(tf_idf(word_counts(bag.texts).counts), bag.weights)
        value, interval = dispersion(vectors, bag.weights)
        values.append(value)
        intervals.append(interval)
    middle = np.mean(values)
    assert sum(low <= middle <= high for low, high in intervals) >= 34


def test_directions_count_what_is_used() -> None:
    axes = np.eye(6)
    assert directions(axes, np.full(6, 1 / 6)) == pytest.approx(6)
    assert directions(axes, np.array([0.5, 0.5, 0, 0, 0, 0])) == pytest.approx(2)


def test_planted_topics_are_found_and_named() -> None:
    bag = text_bag(FOUR)
    words = word_counts(bag.texts)
    vectors = main_directions(tf_idf(words.counts), bag.weights)
    found = topics(vectors, words.counts, words.words, bag.weights)
    assert len(found.shares) == topic_count(60) == 5 and found.shares.sum() == pytest.approx(1)
    assert list(found.shares) == sorted(found.shares, reverse=True)
    for number, named in enumerate(found.words):
        own = {next(t for t, w in TOPICS.items() if word in w) for word in named[:4] if word not in ("the", "and")}
        assert len(own) == 1, (number, named)
    spread = bag_spread(bag)["topics"]
    assert 1.9 < spread["entropy"] <= spread["most"] == pytest.approx(np.log2(5))


def test_words_of_every_script_count_and_texts_without_any_are_alike() -> None:
    found = word_counts(["蜂は花へ", "蜂も飛ぶ", "...", "!!!"])
    assert "蜂" in found.words and found.lengths.tolist() == [4, 4, 0, 0]
    column = found.words.index(NO_WORD)
    assert found.counts[:, column].toarray().ravel().tolist() == [0, 0, 1, 1]
    assert bag_spread(text_bag(["...", "!!!"]))["dispersion"] == pytest.approx(0)


def test_many_words_are_cut_to_those_of_the_most_texts() -> None:
    found = word_counts(["one two", "one three", "one two four"], 2)
    assert set(found.words) == {"one", "two", NO_WORD} and found.lengths.tolist() == [2, 2, 3]
