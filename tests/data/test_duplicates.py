"""Duplicates: signatures against exact Jaccard and against datasketch's idea of them, pairs against brute force."""

import random
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bactrian.data.curate.duplicates import PLACES, band_width, exact_pairs, near_pairs, signatures, text_key

WORDS = [f"w{n}" for n in range(3000)]


def text(draw: random.Random, words: int) -> str:
    return " ".join(draw.choices(WORDS, k=words))


def edited(original: str, share: float, draw: random.Random) -> str:
    return " ".join(draw.choice(WORDS) if draw.random() < share else word for word in original.split())


def grams(text: str, n: int) -> set[tuple[str, ...]]:
    words = text.casefold().split()
    return {tuple(words[i : i + n]) for i in range(max(1, len(words) - n + 1))}


def jaccard(a: str, b: str, n: int) -> float:
    left, right = grams(a, n), grams(b, n)
    return len(left & right) / len(left | right)


def corpus(seed: int) -> list[str]:
    draw = random.Random(seed)
    originals = [text(draw, draw.randint(40, 120)) for _ in range(60)]
    return originals + [edited(each, share, draw) for each in originals for share in (0.0, 0.005, 0.02, 0.1)]


def test_signatures_estimate_the_jaccard_similarity_of_the_sets_of_n_grams() -> None:
    texts = corpus(1)
    places = signatures(texts, 5)
    sets = [grams(each, 5) for each in texts]
    pairs = [(i, j) for i, j in combinations(range(len(texts)), 2) if sets[i] & sets[j]]
    exact = [len(sets[i] & sets[j]) / len(sets[i] | sets[j]) for i, j in pairs]
    errors = [float((places[i] == places[j]).mean()) - s for (i, j), s in zip(pairs, exact, strict=True)]
    assert len(pairs) > 200
    assert abs(np.mean(errors)) < 0.01
    assert np.std(errors) < 1.3 * 0.5 / np.sqrt(PLACES)  # √(s(1−s)/128) is largest at ½


@given(st.lists(st.sampled_from("abc"), max_size=12), st.integers(1, 6))
def test_equal_sets_of_n_grams_have_equal_signatures_and_word_order_matters(words: list[str], n: int) -> None:
    once = " ".join(words)
    places = signatures([once, f"  {once.upper()} \n", f"{once} zz"], n)
    assert (places[0] == places[1]).all()
    assert grams(once, n) == grams(f"{once} zz", n) or not (places[0] == places[2]).all()


def test_a_signature_does_not_depend_on_the_batch() -> None:
    texts = corpus(2)
    whole = signatures(texts, 3)
    assert (np.concatenate([signatures(texts[:7], 3), signatures(texts[7:], 3)]) == whole).all()
    assert signatures([], 3).shape == (0, PLACES)


@given(st.lists(st.sampled_from(["a", "A ", "b", " c\n", "d  d", "D d"])), st.integers(0, 3))
def test_exact_pairs_keep_the_best_of_each_set(texts: list[str], seed: int) -> None:
    rank = np.random.default_rng(seed).integers(0, 3, len(texts))
    keys = np.frombuffer(b"".join(map(text_key, texts)), dtype="V16")
    found = {pair.dropped: pair.kept for pair in exact_pairs(keys, [rank])}
    for number, each in enumerate(texts):
        same = [i for i, other in enumerate(texts) if other.split() and text_key(other) == text_key(each)]
        best = min(same, key=lambda i: (rank[i], i))
        assert found.get(number, number) == best


@pytest.mark.parametrize("threshold", [0.6, 0.8, 0.9])
def test_near_pairs_are_those_of_brute_force_over_the_same_signatures(threshold: float) -> None:
    texts = corpus(3)
    places = signatures(texts, 5)
    rank = np.random.default_rng(0).integers(0, 5, len(texts))
    order = sorted(range(len(texts)), key=lambda i: (rank[i], i))
    alike = {(i, j): float((places[i] == places[j]).mean()) for i in order for j in order}
    stays: list[int] = []
    expected: dict[int, float] = {}
    for row in order:
        near = [alike[row, kept] for kept in stays if alike[row, kept] >= threshold]
        if near:
            expected[row] = max(near)
        else:
            stays.append(row)
    found = near_pairs(places, [rank], threshold, band_width(threshold), np.arange(len(texts)))
    missed = set(expected) - {pair.dropped for pair in found}
    assert len(missed) <= 0.03 * len(expected)  # what no band joins
    for pair in found:
        assert alike[pair.dropped, pair.kept] == pair.similarity >= threshold
        assert not any(other.dropped == pair.kept for other in found)


def test_planted_near_duplicates_are_found_and_different_texts_are_not() -> None:
    draw = random.Random(5)
    originals = [text(draw, 100) for _ in range(300)]
    copies = [edited(each, 0.01, draw) for each in originals]  # one word of a hundred changes 5 of 96 n-grams
    texts = originals + copies
    true = {300 + i for i in range(300) if jaccard(originals[i], copies[i], 5) >= 0.87}  # two errors above 0.8
    found = near_pairs(signatures(texts, 5), [], 0.8, band_width(0.8), np.arange(600))
    dropped = {pair.dropped for pair in found}
    assert len(true) > 200 and len(dropped & true) / len(true) > 0.97
    assert all(pair.dropped == pair.kept + 300 for pair in found)


def test_a_band_is_narrow_enough_for_the_threshold() -> None:
    for threshold in (0.5, 0.7, 0.8, 0.9, 1.0):
        width = band_width(threshold)
        assert 1 - (1 - threshold**width) ** (PLACES // width) >= 0.95
        assert 1 - (1 - threshold ** (2 * width)) ** (PLACES // (2 * width)) < 0.95 or width == 32
