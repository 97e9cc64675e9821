"""Novelty by ROUGE-L: the index decides what a table of all pairs decides, to the last bit."""

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bactrian.data.synth.rouge_novelty import RougePool, rouge_l, rouge_words
from bactrian.errors import BactrianError
from bactrian.subsequence import common_length

TEXTS = st.lists(st.sampled_from("abcde"), max_size=12).map(" ".join)


def table_length(a: list[str], b: list[str]) -> int:
    """The textbook's table, which shares nothing with what is tested."""
    row = [0] * (len(b) + 1)
    for x in a:
        new = [0]
        for j, y in enumerate(b, 1):
            new.append(row[j - 1] + 1 if x == y else max(row[j], new[-1]))
        row = new
    return row[-1]


def reference(a: str, b: str) -> float:
    """ROUGE-L as the package rouge-score computes it, in its order of operations."""
    words = [[w for w in re.split(r"\s+", re.sub(r"[^a-z0-9]+", " ", text.lower())) if w] for text in (a, b)]
    if not all(words):
        return 0.0
    common = table_length(*words)
    precision, recall = common / len(words[1]), common / len(words[0])
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0


@given(st.lists(st.integers(0, 4), max_size=40), st.lists(st.integers(0, 4), max_size=40))
def test_the_common_subsequence_is_the_table_s(a: list[int], b: list[int]) -> None:
    assert common_length(a, b) == table_length(list(map(str, a)), list(map(str, b)))


@settings(deadline=None)
@given(st.lists(TEXTS, max_size=12), TEXTS, st.sampled_from([0.3, 0.5, 2 / 3, 0.7, 0.8, 1.0]))
def test_the_pool_decides_as_all_pairs_do(pool: list[str], text: str, threshold: float) -> None:
    ours = RougePool(threshold)
    for each in pool:
        ours.add(each)
    scores = [reference(each, text) for each in pool]
    above = [(number, score) for number, score in enumerate(scores) if score > threshold]
    assert ours.like(text) == (above[0] if above else None)
    best = sorted(((n, s) for n, s in enumerate(scores) if s > 0), key=lambda each: (-each[1], each[0]))
    assert ours.nearest(text, 3) == best[:3]


def test_a_larger_pool_and_words_unlike_its_own() -> None:
    draw = random.Random(3)
    words = [f"w{n}" for n in range(300)]
    texts = [
        " ".join(draw.choices(words, weights=[1 / (n + 1) for n in range(300)], k=draw.randint(3, 30)))
        for _ in range(120)
    ]
    pool = RougePool()
    for text in texts:
        pool.add(text)
    asked = [
        *texts[:20],
        *(f"{text} {draw.choice(words)} new words here" for text in texts[20:35]),
        "nothing known",
        "",
    ]
    for text in asked:
        scores = [reference(each, text) for each in texts]
        first = next(((n, s) for n, s in enumerate(scores) if s > 0.7), None)
        assert pool.like(text) == first
    assert pool.compared < len(asked) * len(texts) / 50, "most pairs are never compared"


def test_at_the_threshold_the_last_bit_decides_as_it_does_in_rouge_score() -> None:
    pool = RougePool(0.5)
    pool.add("one two three four")
    assert pool.like("one two five six") is None, "0.5 is not above 0.5"
    assert rouge_l(4, 5, 5) > 0.8, "4 of 5 words is 0.8, and in floating point a little more"
    pool = RougePool(0.8)
    pool.add("one two three four five")
    assert pool.like("one two three four six") == (0, rouge_l(4, 5, 5))


def test_decisions_are_those_of_rouge_score_where_it_is_installed() -> None:
    """Its words and scores; `benchmarks/synthesis.py` compares far more of them."""
    scorer = pytest.importorskip("rouge_score.rouge_scorer").RougeScorer(["rougeL"], use_stemmer=False)
    draw = random.Random(1)
    words = ["The", "cat's", "mat,", "naïve", "U.S.", "3.5", "don't", "a-b_c", "ß", "İ", "end.", "And"]
    texts = [" ".join(draw.choices(words, k=draw.randint(0, 12))) for _ in range(80)]
    for a, b in zip(texts, reversed(texts), strict=True):
        pool = RougePool(0.5)
        pool.add(a)
        score = scorer.score(a, b)["rougeL"].fmeasure
        assert score == reference(a, b)
        assert (pool.like(b) is not None) == (score > 0.5)


def test_words_are_ascii_in_lower_case() -> None:
    assert rouge_words("Don't PANIC, café №7_b!") == ["don", "t", "panic", "caf", "7", "b"]
    with pytest.raises(BactrianError, match=r"found the threshold 0.*more than 0"):
        RougePool(0)
