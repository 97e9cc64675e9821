"""N-gram overlap equals its definition: no miss and no false match, whatever the batches, with colliding hashes too."""

import random
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
from data.overlap import brute
from hypothesis import given, settings
from hypothesis import strategies as st

from bactrian.data.overlap import match as match_module
from bactrian.data.overlap.index import Index, IndexedItem
from bactrian.data.overlap.match import Matcher, Rule, Texts
from bactrian.data.overlap.whole import WholeMatcher

HALF = Fraction(1, 2)


def found(
    items: Sequence[Sequence[str]],
    rows: Sequence[Sequence[str]],
    n: int,
    *,
    rule: Rule = "coverage",
    threshold: float = 0.5,
    hash_bits: int = 64,
    batch: int = 10**9,
) -> dict[tuple[int, int], float]:
    index = Index([IndexedItem("b", str(i), tuple(fields)) for i, fields in enumerate(items)], n, hash_bits)
    matcher = Matcher(index, rule, threshold)
    out = {}
    for first in range(0, len(rows), batch):
        part = rows[first : first + batch]
        owner = np.repeat(np.arange(len(part)), [len(row) for row in part])
        got = matcher.matches(Texts([text for row in part for text in row], owner))
        pairs = zip(got.rows.tolist(), got.items.tolist(), got.scores.tolist(), strict=True)
        out |= {(first + row, item): score for row, item, score in pairs}
    return out


def random_data(seed: int, items: int = 30, rows: int = 40) -> tuple[list[list[str]], list[list[str]]]:
    """Items and rows from a small vocabulary, rows sewn together from pieces of items, so that overlaps abound."""
    draw = random.Random(seed)
    vocabulary = [f"w{i}" for i in range(draw.choice([3, 12, 60]))]

    def text(longest: int) -> list[str]:
        return draw.choices(vocabulary, k=draw.randint(1, longest))

    stock = [[text(24) for _ in range(draw.randint(1, 3))] for _ in range(items)]
    template = text(14)
    stock = [[template + field if draw.random() < 0.6 else field for field in item] for item in stock]

    def row_text() -> str:
        words: list[str] = []
        for _ in range(draw.randint(1, 4)):
            source = draw.choice(draw.choice(stock))
            first = draw.randrange(len(source))
            words += source[first : first + draw.randint(1, 20)] if draw.random() < 0.8 else text(6)
        return "".join(word + draw.choice([" ", ", ", "\n", " - ", ". "]) for word in words)

    joined = [[" ".join(field) for field in item] for item in stock]
    return joined, [[row_text() for _ in range(draw.randint(1, 3))] for _ in range(rows)]


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(("rule", "bits", "common"), [("coverage", 64, 16), ("coverage", 5, 1), ("any", 64, 16)])
def test_equals_brute_force(seed: int, rule: Rule, bits: int, common: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(match_module, "COMMON", common)
    monkeypatch.setattr(match_module, "EXPANSION", 50)
    items, rows = random_data(seed)
    n = 3 + seed % 3
    threshold = HALF if rule == "coverage" else Fraction(0)
    expected = brute.matches(items, rows, n, threshold)
    got = found(items, rows, n, rule=rule, hash_bits=bits)
    assert got.keys() == expected.keys()
    assert all(got[pair] == pytest.approx(float(expected[pair])) for pair in expected)
    assert len(expected) > 20, "random data without overlaps tests nothing"


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.text("ab ,-\n", min_size=1, max_size=30), min_size=1, max_size=2), min_size=1, max_size=6),
    st.lists(st.lists(st.text("abAB .\\?", max_size=40), min_size=1, max_size=2), min_size=1, max_size=6),
    st.integers(1, 4),
    st.fractions(Fraction(1, 10), 1, max_denominator=12),
)
def test_equals_brute_force_on_any_text(
    items: list[list[str]], rows: list[list[str]], n: int, threshold: Fraction
) -> None:
    expected = brute.matches(items, rows, n, threshold)
    assert found(items, rows, n, threshold=float(threshold), hash_bits=8).keys() == expected.keys()


@pytest.mark.parametrize("batch", [1, 3, 17])
def test_batches_do_not_matter(batch: int) -> None:
    items, rows = random_data(5)
    assert found(items, rows, 4, batch=batch) == found(items, rows, 4)


def test_exactly_half_matches_and_a_word_less_does_not() -> None:
    words = [f"w{i}" for i in range(16)]
    assert found([[" ".join(words)]], [[" ".join(words[:8])]], 8) == {(0, 0): 0.5}
    longer = [*words, "more"]
    assert found([[" ".join(longer)]], [[" ".join(words[:8])]], 8) == {}


def test_coverage_of_two_rows_does_not_add_up_and_of_two_turns_does() -> None:
    words = [f"w{i}" for i in range(40)]
    first, second = " ".join(words[:10]), " ".join(words[20:30])
    assert found([[" ".join(words)]], [[first], [second]], 8) == {}
    assert found([[" ".join(words)]], [[first, second]], 8) == {(0, 0): 0.5}


def test_no_window_crosses_turns() -> None:
    words = [f"w{i}" for i in range(8)]
    assert found([[" ".join(words)]], [[" ".join(words[:4]), " ".join(words[4:])]], 8) == {}


def test_short_items_never_match_by_n_grams_and_do_as_a_whole() -> None:
    assert found([["who wrote hamlet"]], [["Who wrote Hamlet?"]], 8) == {}
    whole = WholeMatcher(
        [IndexedItem("b", "0", ("who wrote", "hamlet")), IndexedItem("b", "1", ("who",)), IndexedItem("b", "2", ("?",))]
    )
    got = whole.matches(Texts(["Who wrote 'Hamlet'", "-- Who wrote\nHAMLET?", "!", "who, who"], np.array([0, 0, 1, 2])))
    assert list(zip(got.rows.tolist(), got.items.tolist(), strict=True)) == [(0, 0)]


def test_one_sentence_shared_by_all_items() -> None:
    """Common n-grams are looked at last, and still decide where they cover half."""
    frame = "read the passage below and say which of the answers is right now"
    items = [[f"{frame} {' '.join(f'x{i}y{k}' for k in range(4 + i))}"] for i in range(60)]
    rows = [[frame], [items[50][0]], ["nothing of the kind"]]
    expected = brute.matches(items, rows, 8, HALF)
    got = found(items, rows, 8)
    assert got.keys() == expected.keys() and (0, 0) in got and (0, 59) not in got and (1, 50) in got
