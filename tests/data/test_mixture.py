"""Mixtures of references: counts, repeats, independence of the other sources, and the shuffle on the disk."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bactrian.data.curate.mixture import draw, places, rows_within, shares, shuffled
from bactrian.data.io.shuffle import Shuffle
from bactrian.errors import BactrianError


@given(st.integers(1, 40), st.integers(0, 150), st.integers(0, 5))
def test_every_row_is_drawn_about_as_often_as_any_other(size: int, count: int, seed: int) -> None:
    drawn = draw("a", size, count, seed)
    times = np.bincount(drawn.rows, minlength=size)
    assert len(drawn.rows) == len(drawn.keys) == count
    assert times.max() - times.min() <= 1
    assert sorted(drawn.rows[:size].tolist()) == sorted(set(drawn.rows[:size].tolist()))


@given(st.integers(1, 40), st.integers(0, 60), st.integers(0, 60))
def test_a_smaller_amount_is_the_beginning_of_a_larger(size: int, first: int, more: int) -> None:
    small, large = draw("a", size, first, 0), draw("a", size, first + more, 0)
    assert (large.rows[:first] == small.rows).all() and (large.keys[:first] == small.keys).all()


def test_without_one_source_the_mixture_is_the_same_with_its_rows_taken_out() -> None:
    parts = {name: draw(name, size, count, 7) for name, size, count in (("a", 50, 30), ("b", 20, 45), ("c", 9, 9))}
    names = list(parts)
    sources, rows = shuffled(list(parts.values()))
    whole = [(names[s], r) for s, r in zip(sources.tolist(), rows.tolist(), strict=True)]
    for left_out in names:
        kept = [name for name in names if name != left_out]
        sources, rows = shuffled([parts[name] for name in kept])
        found = [(kept[s], r) for s, r in zip(sources.tolist(), rows.tolist(), strict=True)]
        assert found == [each for each in whole if each[0] != left_out]


def test_the_order_is_a_fair_shuffle() -> None:
    positions = [np.flatnonzero(shuffled([draw("a", 50, 50, s), draw("b", 50, 50, s)])[0] == 0) for s in range(200)]
    assert np.mean(positions) == pytest.approx(49.5, abs=1)
    assert len({tuple(each) for each in positions}) == 200


@given(st.lists(st.integers(0, 9), min_size=1, max_size=30), st.integers(0, 400))
def test_rows_within_a_budget_of_tokens(tokens: list[int], budget: int) -> None:
    counts = np.array(tokens)
    taken = rows_within("a", counts, budget, 3)
    used = counts[draw("a", len(tokens), taken, 3).rows].sum()
    one_more = counts[draw("a", len(tokens), taken + 1, 3).rows].sum()
    assert used <= budget
    assert one_more > budget or not counts.any()


@given(st.integers(0, 1000), st.lists(st.floats(0.01, 10), min_size=1, max_size=8))
def test_shares_add_up_and_are_within_one_of_the_exact(total: int, weights: list[float]) -> None:
    split = shares(total, weights)
    assert sum(split) == total
    assert all(abs(part - weight * total / sum(weights)) <= 1 for part, weight in zip(split, weights, strict=True))


def test_rows_of_an_empty_source() -> None:
    assert not len(draw("a", 0, 0, 0).rows)
    with pytest.raises(BactrianError, match="source a: found no rows, expected 3"):
        draw("a", 0, 3, 0)


def test_places_name_every_position_once() -> None:
    order = shuffled([draw("a", 5, 12, 0), draw("b", 4, 3, 0)])
    found = Counter(place for source in (0, 1) for _, where in places(source, *order) for place in where)
    assert found == Counter(range(15))
    for source in (0, 1):
        for row, where in places(source, *order):
            assert all(order[0][p] == source and order[1][p] == row for p in where)


def test_the_shuffle_gives_rows_in_the_order_of_their_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bactrian.data.io.shuffle.ROWS", 7)
    order = np.random.default_rng(0).permutation(100).tolist()
    with Shuffle(tmp_path, 100) as shuffle:
        assert len(shuffle.paths) == 15
        for place in order:
            shuffle.put({"text": f"{place} ü\n\ud800", "n": place}, place)
        assert [row["n"] for row in shuffle] == list(range(100))
        assert next(iter(shuffle))["text"] == "0 ü\n\ud800"
    assert not list(tmp_path.iterdir())
