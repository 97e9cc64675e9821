"""One set beside another: halves of one set cannot be told apart, disjoint topics can, copies are found."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bactrian.data.likeness.against import against
from bactrian.data.likeness.bags import text_bag
from bactrian.data.likeness.nearest import nearest, word_overlap
from bactrian.data.likeness.two_sample import area, auc_interval, two_sample
from bactrian.data.likeness.vectors import main_directions, tf_idf, word_counts
from bactrian.errors import BactrianError
from tests.data.likeness.sets import TOPICS, texts

FOUR = texts(list(TOPICS), 240, 7)
LEFT, RIGHT = ["bees", "ships"], ["bread", "stars"]


@settings(max_examples=4, deadline=None)
@given(st.randoms(use_true_random=False))
def test_no_order_of_rows_changes_a_figure(draw: random.Random) -> None:
    a, b = [*FOUR[:60], *FOUR[:5]], FOUR[50:110]
    first = against(text_bag(a), text_bag(b))
    assert against(text_bag(draw.sample(a, len(a))), text_bag(draw.sample(b, len(b)))) == first


def test_halves_of_one_set_are_not_told_apart() -> None:
    held, overlaps = 0, 0
    for seed in range(20):
        shuffled = random.Random(seed).sample(FOUR, len(FOUR))
        halves = [text_bag(shuffled[:120]), text_bag(shuffled[120:])]
        both = [text for half in halves for text in half.texts]
        words = word_counts(both)
        test = two_sample(halves[0].texts, halves[1].texts, tf_idf(words.counts), words.words)
        held += test.interval[0] <= 0.5 <= test.interval[1]
        if seed < 5:
            topics = against(*halves)["topics"]
            overlaps += topics["overlap"] >= topics["by_chance"][0]
    assert held >= 17, "of 20 intervals of 95 %"
    assert overlaps >= 4


def test_disjoint_topics_are_told_apart_and_nothing_is_a_copy() -> None:
    found = against(text_bag(texts(LEFT, 100, 1)), text_bag(texts(RIGHT, 130, 2)))
    test = found["two_sample"]
    assert test["auc"] > 0.97 and 0.9 < test["interval"][0] < test["interval"][1] <= 1
    assert found["topics"]["overlap"] < 0.1 and found["topics"]["divergence"] > 0.8
    assert found["copies"]["exact"]["texts"] == 0 and found["copies"]["nearer"]["share"] < 0.05
    told = [{each["feature"] for each in test[f"tells_{side}"]} for side in "ab"]
    for features, own, other in ((told[0], LEFT, RIGHT), (told[1], RIGHT, LEFT)):
        assert len(features & {word for topic in own for word in TOPICS[topic]}) >= 5
        assert not features & {word for topic in other for word in TOPICS[topic]}


def test_what_differs_by_marks_or_length_alone_is_told_apart() -> None:
    shouted = [text.rstrip(".?!") + " **" for text in FOUR[:100]]
    assert against(text_bag(shouted), text_bag(FOUR[100:200]))["two_sample"]["auc"] > 0.95
    longer = [f"{a} {b} {c}" for a, b, c in zip(FOUR[:80], FOUR[20:100], FOUR[40:120], strict=True)]
    found = against(text_bag(longer), text_bag(FOUR[120:220]))
    assert found["two_sample"]["auc"] > 0.95 and found["lengths"]["words"]["gap"] > 0.95


def test_copies_are_found_whatever_their_case_and_new_texts_are_not() -> None:
    real, new = FOUR[:100], FOUR[100:180]
    copied = [text.upper() for text in real[:10]]
    nearly = [" ".join([*text.split()[:-1], "indeed"]) for text in real[10:20]]
    copies = against(text_bag([*new, *copied, *nearly]), text_bag(real))["copies"]
    assert copies["exact"]["texts"] == 10 and 20 <= copies["near"]["texts"] <= 24
    low, high = copies["exact"]["interval"]
    assert low < 0.1 < high and [each["rouge_l"] for each in copies["examples"]] == [1.0] * 10
    assert {each["b"] for each in copies["examples"]} == set(real[:10])
    same = against(text_bag(real), text_bag(real))
    assert same["copies"]["exact"]["share"] == 1 and same["topics"]["overlap"] == pytest.approx(1)
    assert same["two_sample"]["auc"] == 0.5 and same["lengths"]["characters"]["gap"] == 0


def test_a_set_that_keeps_close_to_the_real_one_is_nearer_than_usual() -> None:
    real = FOUR[:120]
    close = [" ".join(random.Random(text).sample(words := text.split(), len(words))) for text in real]
    nearer = against(text_bag(close), text_bag(real))["copies"]["nearer"]
    assert nearer["share"] > 0.9 and nearer["interval"][0] > 0.05
    fresh = against(text_bag(FOUR[120:]), text_bag(real))["copies"]["nearer"]
    assert fresh["interval"][0] <= 0.06


def test_distinct_n_does_not_depend_on_the_sizes() -> None:
    pool = texts(list(TOPICS), 900, 3)
    distinct = against(text_bag(pool[:100]), text_bag(pool[100:]))["distinct"]
    for n in (1, 2, 3):
        each = distinct[f"distinct_{n}"]
        assert abs(each["a"]["mean"] - each["b"]["mean"]) < 0.03
        assert each["a"]["least"] <= each["a"]["mean"] <= each["a"]["most"]
    poor = against(text_bag(texts("bees", 100, 4, words=6)), text_bag(pool[100:]))["distinct"]["distinct_2"]
    assert poor["a"]["most"] < poor["b"]["least"]


def test_the_nearest_is_the_nearest() -> None:
    words = word_counts([*FOUR[:40], *FOUR[40:48]])
    weighted = tf_idf(words.counts)
    vectors = main_directions(weighted, np.full(48, 1 / 48))
    found = nearest(vectors[:40], vectors[40:], weighted[:40], weighted[40:])
    cosines = (weighted[:40] @ weighted[40:].T).toarray()
    assert found.distance == pytest.approx(1 - cosines.max(axis=1))
    assert np.allclose(cosines[np.arange(40), found.place], cosines.max(axis=1))
    among = nearest(vectors[:9], vectors[:9], weighted[:9], weighted[:9], itself=True)
    assert (among.place != np.arange(9)).all()


def test_overlap_of_words_is_rouge_l_of_any_script() -> None:
    assert word_overlap([("a b c d", "A, b; C d!"), ("a b c d", "a x c y"), ("蜂は花", "蜂も花"), ("", "a")]) == [
        1.0,
        0.5,
        pytest.approx(2 / 3),
        0.0,
    ]


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=2, max_size=30))
def test_the_area_is_the_share_of_pairs_in_order(scored: list[tuple[int, bool]]) -> None:
    scores = np.array([float(score) for score, _ in scored])
    labels = np.array([int(label) for _, label in scored])
    if labels.min() == labels.max():
        return
    pairs = [(one > none) + (one == none) / 2 for one in scores[labels == 1] for none in scores[labels == 0]]
    assert area(scores, labels) == pytest.approx(sum(pairs) / len(pairs))


@given(st.floats(0, 1), st.integers(10, 5000), st.integers(10, 5000))
def test_an_interval_holds_its_area_narrows_with_texts_and_has_no_side(value: float, m: int, n: int) -> None:
    low, high = auc_interval(value, m, n)
    assert 0 <= low <= value + 1e-9 and value - 1e-9 <= high <= 1 and high - low > 0
    mirrored = auc_interval(1 - value, m, n)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-6)
    narrow = auc_interval(value, 4 * m, 4 * n)
    assert narrow[1] - narrow[0] < high - low


def test_sets_that_are_too_small_are_said_to_be() -> None:
    found = against(text_bag(["One text."]), text_bag(["Another text.", "And one more."]))
    assert found["two_sample"]["auc"] is None and found["copies"]["exact"]["texts"] == 0
    assert against(text_bag(["One text."]), text_bag(["One text."]))["copies"]["nearer"] is None
    with pytest.raises(BactrianError, match="the second set holds no text"):
        against(text_bag(["a"]), text_bag([]))
