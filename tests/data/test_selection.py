"""Selections from a pool: against probabilities worked out by hand, and what every one of them keeps to."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bactrian.data.curate.selection import CandidatePool, any_of, at_random, by_domain, clusters, halving, longest

POOL = CandidatePool(["a"] * 6 + ["b"] * 2, [10, 60, 30, 50, 20, 40, 5, 7])


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 50)), min_size=1, max_size=30),
    st.integers(1, 40),
    st.integers(0, 3),
    st.integers(0, 9),
)
def test_every_selection_takes_distinct_rows_the_first_ones_first_and_as_many_as_it_can(
    rows: list[tuple[str, int]], count: int, firsts: int, seed: int
) -> None:
    pool = CandidatePool(
        [domain for domain, _ in rows], [length for _, length in rows], list(range(0, len(rows), 4))[:firsts]
    )
    for taken in (
        at_random(pool, count, seed),
        longest(pool, count, seed),
        by_domain(pool, count, seed, halving),
        by_domain(pool, count, seed, any_of),
    ):
        assert len(taken) == len(set(taken)) == min(count, len(rows))
        assert taken[: len(pool.first)] == list(pool.first)[:count]
        assert set(taken) <= set(range(len(rows)))


def test_longest_is_by_length_then_by_place() -> None:
    assert longest(POOL, 3, 0) == [1, 3, 5]
    assert longest(CandidatePool(["a"] * 3, [1, 1, 1]), 2, 0) == [0, 1]


def test_a_rank_is_taken_with_a_chance_of_two_to_the_minus_rank() -> None:
    random = np.random.default_rng(0)
    drawn = np.bincount([halving(random, 4) for _ in range(30_000)], minlength=4) / 30_000
    assert drawn == pytest.approx(np.array([8, 4, 2, 1]) / 15, abs=0.01)


def test_s1_takes_domains_alike_and_long_rows_more_often() -> None:
    first = Counter(by_domain(POOL, 1, seed, halving)[0] for seed in range(4000))
    assert sum(first[row] for row in (6, 7)) / 4000 == pytest.approx(0.5, abs=0.03)
    assert first[1] / 4000 == pytest.approx(0.5 * 32 / 63, abs=0.03)  # the longest of six
    assert first[7] / 4000 == pytest.approx(0.5 * 2 / 3, abs=0.03)


def test_diverse_takes_any_row_of_a_domain() -> None:
    first = Counter(by_domain(POOL, 1, seed, any_of)[0] for seed in range(4000))
    assert [first[row] / 4000 for row in range(6)] == pytest.approx([1 / 12] * 6, abs=0.02)


def test_after_the_uniform_part_weights_decide() -> None:
    taken = by_domain(POOL, 5, 0, any_of, uniform=0, weights={"a": 1.0})
    assert {POOL.domains[row] for row in taken} == {"a"}
    assert len(by_domain(POOL, 8, 0, any_of, uniform=0, weights={"a": 1.0})) == 6  # b has no weight
    counts = Counter(POOL.domains[by_domain(POOL, 1, seed, any_of, 1, {"a": 1.0})[0]] for seed in range(2000))
    assert counts["b"] / 2000 == pytest.approx(0.5, abs=0.04)


def test_clusters_put_texts_of_one_topic_together() -> None:
    topics = ("matrix determinant eigenvalue vector", "protein cell enzyme membrane", "sonnet verse poet rhyme")
    random = np.random.default_rng(0)
    texts = [" ".join(random.permutation(topic.split())) for topic in topics for _ in range(20)]
    found = clusters(texts, 3, 0)
    assert len(set(found)) == 3 and all(len(set(found[i : i + 20])) == 1 for i in (0, 20, 40))
    assert found == clusters(texts, 3, 0)
