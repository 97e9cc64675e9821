"""Scanning: nothing depends on batches, threads or kills; the table counts what was found; matches have their texts."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bactrian.data.overlap import scan as scan_module
from bactrian.data.overlap.index import Index, IndexedItem
from bactrian.data.overlap.match import Matcher
from bactrian.data.overlap.scan import Scan, evidence, matched_rows, scan
from bactrian.data.overlap.table import doomed, tabulate, too_short

WORDS = [f"w{i}" for i in range(5000)]
Row = dict[str, Any]


def some_items(count: int = 40) -> list[IndexedItem]:
    draw = random.Random(1)
    return [IndexedItem(f"b{i % 3}", str(i), (" ".join(draw.sample(WORDS, 20)),)) for i in range(count)]


def training_rows(items: list[IndexedItem], count: int = 600) -> list[Row]:
    """Every tenth row holds an item, or the first 12 of its 20 words; the others hold none."""
    draw = random.Random(2)
    rows = []
    for number in range(count):
        words = draw.sample(WORDS, 30)
        if number % 10 == 0:
            words = items[number // 10 % len(items)].text.split()[: 12 if number % 20 else 20] + words
        turns = [{"role": "user", "content": " ".join(words)}, {"role": "assistant", "content": items[3].text}]
        rows.append({"id": f"r{number}", "source": f"s{number % 2}", "messages": turns})
    return rows


def run(rows: list[Row], items: list[IndexedItem], folder: Path, threads: int = 1, stop: int | None = None) -> Scan:
    def stream() -> Iterator[tuple[Row, str]]:
        for number, row in enumerate(rows):
            if number == stop:
                raise KeyboardInterrupt
            yield row, f"row {number}"

    return scan(stream(), items, Matcher(Index(items)), folder, threads=threads)


def everything(folder: Path) -> list[Row]:
    return [row for batch in evidence(folder) for row in batch.to_pylist()]


def test_finds_the_planted_rows_and_shows_both_texts(tmp_path: Path) -> None:
    items, rows = some_items(), training_rows(some_items())
    found = run(rows, items, tmp_path)
    assert found.sources == {"s0": 300, "s1": 300}
    assert sorted(matched_rows(tmp_path)) == list(range(0, 600, 10))
    for match in everything(tmp_path):
        item = items[int(match["item"])]
        assert (match["benchmark"], match["fields"]) == (item.benchmark, list(item.fields))
        assert match["texts"] == [rows[match["row"]]["messages"][0]["content"]]
        assert match["score"] == pytest.approx(1.0 if match["row"] % 20 == 0 else 0.6) and match["items"] == 1


@pytest.mark.parametrize(("threads", "size"), [(1, 300), (3, 5_000), (2, 10**9)])
def test_batches_and_threads_do_not_matter(
    tmp_path: Path, threads: int, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    items, rows = some_items(), training_rows(some_items())
    expected = run(rows, items, tmp_path / "one")
    monkeypatch.setattr(scan_module, "BATCH_CHARACTERS", size)
    again = run(rows, items, tmp_path / "other", threads)
    assert again == expected and everything(tmp_path / "other") == everything(tmp_path / "one")


def test_a_killed_scan_goes_on_and_ends_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items, rows = some_items(), training_rows(some_items())
    expected = run(rows, items, tmp_path / "whole")
    monkeypatch.setattr(scan_module, "BATCH_CHARACTERS", 2_000)
    monkeypatch.setattr(scan_module, "SECONDS_BETWEEN_PARTS", 0.0)
    for stop in (150, 151, 400):
        with pytest.raises(KeyboardInterrupt):
            run(rows, items, tmp_path / "cut", stop=stop)
    looked_at: list[int] = []
    again = scan(
        ((looked_at.append(i) or row, "") for i, row in enumerate(rows)), items, Matcher(Index(items)), tmp_path / "cut"
    )
    assert (again.rows, again.sources, again.items) == (expected.rows, expected.sources, expected.items)
    assert everything(tmp_path / "cut") == everything(tmp_path / "whole")
    assert again.parts > 4


def test_table_and_decisions(tmp_path: Path) -> None:
    items = [
        IndexedItem("b", "0", ("a b c d e f g h",)),
        IndexedItem("b", "1", ("i j k l m n o p",)),
        IndexedItem("b", "2", ("short",)),
    ]
    counts = {("x", "b"): 5, ("y", "b"): 1}
    table = tabulate(items, too_short(items, 8), {"x": 10, "y": 10}, {"x": [0, 1], "y": [0]}, counts)
    assert table.short == {"b": 1}
    assert [(cell.source, cell.share) for cell in table.cells] == [("x", 2 / 3), ("y", 1 / 3)]
    rows = {1: "x", 2: "y"}
    assert doomed(table, rows, "report", 0.0) == (set(), set())
    assert doomed(table, rows, "rows", 0.4) == ({1}, set())
    assert doomed(table, rows, "rows", 0.0) == ({1, 2}, set())
    assert doomed(table, rows, "sources", 0.4) == (set(), {"x"})
    assert doomed(table, rows, "sources", 2 / 3) == (set(), set())
