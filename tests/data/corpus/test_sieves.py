"""Rules over attributes: what is kept, what is replaced, what was seen; and the Bloom filter's stated rate."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bactrian.data.corpus.bloom import BloomSeen, ExactSeen, text_keys
from bactrian.data.corpus.sieves import (
    BoundsSieve,
    CorpusDocument,
    Edit,
    SeenDocuments,
    SeenParagraphs,
    SpanSieve,
    measured,
    plain_url,
)
from bactrian.errors import BactrianError


def candidate(text: str, attributes: dict[str, Any] | None = None, **columns: Any) -> CorpusDocument:
    return CorpusDocument({"id": "1", "text": text, **columns}, attributes or {}, "rows.jsonl, line 1")


@pytest.mark.parametrize("rate", [0.1, 0.01])
def test_a_bloom_filter_that_is_full_has_the_rate_that_was_asked_for(rate: float) -> None:
    bloom = BloomSeen(20_000, rate)
    assert not bloom.add(text_keys(["one"]))[0] and bloom.add(text_keys([" one \n"]))[0]
    bloom.add(text_keys([f"in {i}" for i in range(20_000)]))
    assert bloom.add(text_keys([f"in {i}" for i in range(0, 20_000, 7)])).all()  # never misses one
    fresh = BloomSeen(20_000, rate)
    fresh._table = bloom._table.copy()
    keys = text_keys([f"out {i}" for i in range(20_000)])
    false = np.mean([fresh._known(fresh._places(part)).mean() for part in np.array_split(keys, 4)])
    assert false == pytest.approx(rate, rel=0.15) and bloom.rate() == pytest.approx(rate, rel=0.1)
    assert bloom.bytes < 20_000 * 1.5


@given(st.lists(st.lists(st.integers(0, 30), max_size=20), max_size=6))
def test_both_memories_say_the_same_of_what_is_there(batches: list[list[int]]) -> None:
    exact, bloom, before = ExactSeen(), BloomSeen(1_000, 1e-9), set[int]()
    for batch in batches:
        keys = text_keys([str(number) for number in batch])
        expected = []
        for number in batch:
            expected.append(number in before)
            before.add(number)
        assert exact.add(keys).tolist() == bloom.add(keys).tolist() == expected
    assert len(exact) == len(bloom) == len(before)


@given(st.text("ab c", max_size=20), st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=5))
def test_replaced_parts_are_gone_and_the_rest_stays_in_order(text: str, pairs: list[tuple[int, int]]) -> None:
    each = candidate(text)
    spans = sorted((min(a, b, len(text)), min(max(a, b), len(text))) for a, b in pairs)
    each.replace([Edit(start, end, "") for start, end in spans])
    covered = {at for start, end in spans for at in range(start, end)}
    assert each.edited() == "".join(c for at, c in enumerate(text) if at not in covered)
    assert each.size == len(each.edited())


def test_what_stands_for_a_part_is_put_in_once() -> None:
    each = candidate("call 555 now, or ann@x.org")
    each.replace([Edit(5, 8, "[PHONE]"), Edit(17, 26, "[EMAIL]"), Edit(6, 7, "?")])
    assert each.edited() == "call [PHONE] now, or [EMAIL]"


def test_measures_of_spans() -> None:
    spans: list[Any] = [[0, 2, 1.0], [4, 8, 4.0]]
    names = ("max", "min", "mean", "sum", "count", "share")
    assert [measured(spans, name, 12) for name in names] == [4, 1, 2.5, 5, 2, 0.5]  # type: ignore[arg-type]
    assert [measured([], name, 12) for name in names] == [None, None, None, 0, 0, 0]  # type: ignore[arg-type]
    assert measured(3.0, "mean", 12) == 3.0


def test_bounds_keep_or_drop_and_say_what_of_documents_without_the_attribute() -> None:
    batch = [candidate("a", {"x": 1.0}), candidate("b", {"x": 5.0}), candidate("c"), candidate("d", {"x": []})]
    keep = BoundsSieve("x", "max", 2, None, inside=True, keep_missing=False)
    assert keep(batch) == ["1", None, "has none", "has none"]
    assert BoundsSieve("x", "max", 2, None, inside=False, keep_missing=True)(batch) == [None, "5", None, None]
    assert BoundsSieve("x", "count", None, 0, inside=True, keep_missing=True)([batch[3]]) == [None]


def test_spans_by_score_and_too_many_of_them() -> None:
    each = candidate("one two three", {"x": [[0, 4, 0.9], [4, 8, 0.1]], "n": 1.0})
    assert SpanSieve("x", "", 0.5, None, 0)([each]) == ["1 spans"] and each.edited() == "one two three"
    assert SpanSieve("x", "", 0.5, None, 1)([each]) == [None] and each.edited() == "two three"
    assert SpanSieve("x", "_", None, None, None)([each]) == [None] and each.edited() == "_three"
    gone = candidate("all", {"x": [[0, 3, 1.0]]})
    assert SpanSieve("x", " ", None, None, None)([gone]) == ["nothing is left"]
    with pytest.raises(BactrianError, match=r"rows.jsonl, line 1, attribute 'n': found the number 1, expected spans"):
        SpanSieve("n", "", None, None, None)([each])


def test_documents_seen_before_by_text_and_by_url() -> None:
    texts = SeenDocuments(ExactSeen(), None)
    assert texts([candidate("a  b"), candidate("a\nb"), candidate("A b")]) == [None, "a\nb", None]
    assert texts([candidate("a b")]) == ["a b"]
    urls = SeenDocuments(ExactSeen(), "url")
    given = ["http://www.A.org/x/#top", "https://a.org/x", "https://a.org/x?page=2", "http://[bad", "http://[bad"]
    flaws = urls([candidate("t", url=url) for url in given] + [candidate("t"), candidate("t")])
    assert [flaw is None for flaw in flaws] == [True, False, True, True, False, True, True]
    assert plain_url("HTTPS://www.Ex.org/Path/") == "ex.org/Path"


def test_paragraphs_seen_before_are_cut_and_too_many_drop_the_document() -> None:
    footer = "All rights are reserved here.\n"
    sieve = SeenParagraphs(ExactSeen(), 1, 0.5)
    batch = [candidate("First.\n\n" + footer), candidate("Second text is much longer than the footer is.\n" + footer)]
    assert sieve(batch) == [None, None]
    assert [each.edited() for each in batch] == [
        "First.\n\n" + footer,
        "Second text is much longer than the footer is.\n",
    ]
    assert sieve([candidate("x\n" + footer)]) == ["94% of the characters"]
    short = SeenParagraphs(ExactSeen(), 3, None)
    batch = [candidate("Yes.\nYes.\nIt is so.\nIt is so."), candidate("It is so.")]
    assert short(batch) == [None, "nothing is left"] and batch[0].edited() == "Yes.\nYes.\nIt is so.\n"


def test_a_paragraph_that_was_cut_already_is_not_remembered() -> None:
    sieve = SeenParagraphs(ExactSeen(), 1, None)
    first, second = candidate("Footer.\nText."), candidate("Footer.\nMore.")
    first.replace([Edit(0, 8, "")])
    assert sieve([first, second]) == [None, None]
    assert second.edited() == "Footer.\nMore."
