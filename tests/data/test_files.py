"""Reading and writing rows: every format, exact round trips, and errors that say where and what."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bactrian.data.io.files import read_hub, read_rows, scan_hub, write_rows
from bactrian.data.io.formats import TextRows, scan
from bactrian.data.io.rows import drop_nulls
from bactrian.data.io.tally import Tally
from bactrian.errors import BactrianError

ROWS = [{"id": str(i), "text": f"Zeile {i} 🐪\u2028", "source": "s", "license": "MIT"} for i in range(3)]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()
UNITS: tuple[TextRows, ...] = ("line", "paragraph", "document")
CELLS = "".join(",".join(row.values()) + "\n" for row in ROWS)


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return bytes(sink.getvalue().to_pybytes())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", LINES),
        ("a.jsonl", b"\xef\xbb\xbf" + LINES.replace(b"\n", b"\r\n\r\n")),
        ("a.jsonl.gz", gzip.compress(LINES, mtime=0)),  # no clock in the name of a test: each process names it anew
        ("a.jsonl.zst", zstd(LINES)),
        ("a.json", json.dumps(ROWS, indent=1).encode()),
        ("a.json.gz", gzip.compress(json.dumps(ROWS, indent=1).encode(), mtime=0)),
        ("a.csv", "\ufeffid,text,source,license\r\n".encode() + CELLS.encode()),
        ("a.csv.zst", zstd(b"id,text,source,license\n" + CELLS.encode())),
        ("a.tsv", b"id\ttext\tsource\tlicense\n" + CELLS.replace(",", "\t").encode()),
    ],
)
def test_formats(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert read_rows(tmp_path / name) == read_rows(tmp_path) == read_rows(str(tmp_path), "text") == ROWS


def test_a_folder_is_read_in_the_order_of_names_and_an_artifact_from_its_data_file(tmp_path: Path) -> None:
    (tmp_path / "b.jsonl").write_bytes(LINES.splitlines(keepends=True)[2])
    (tmp_path / "a.jsonl").write_bytes(b"".join(LINES.splitlines(keepends=True)[:2]))
    (tmp_path / "notes.txt").write_text("not data")
    assert read_rows(tmp_path) == ROWS
    write_rows(ROWS[:1], tmp_path)
    assert read_rows(tmp_path) == ROWS[:1] == read_rows(tmp_path / "data.parquet")


def test_patterns_are_read_in_the_order_of_names(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for i, name in enumerate(("train-1.jsonl", "train-0.jsonl", "test-0.jsonl")):
        (tmp_path / "data" / name).write_bytes(LINES.splitlines(keepends=True)[i])
    assert read_rows(tmp_path / "data" / "train-*.jsonl") == [ROWS[1], ROWS[0]]
    assert read_rows(tmp_path / "**" / "*.jsonl") == [ROWS[2], ROWS[1], ROWS[0]]
    with pytest.raises(BactrianError, match=r"dev-\*: no such file or folder"):
        read_rows(tmp_path / "data" / "dev-*")


def test_plain_text_by_line_paragraph_and_document(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("\n One.\nTwo. \n \n\nThree.\n")
    found = {unit: [(row["text"], where.split(", ")[1]) for row, where in scan(file, unit)] for unit in UNITS}
    assert found["line"] == [(" One.", "line 2"), ("Two. ", "line 3"), ("Three.", "line 6")]
    assert found["paragraph"] == [(" One.\nTwo.", "line 2"), ("Three.", "line 6")]
    assert found["document"] == [(" One.\nTwo. \n \n\nThree.", "line 2")]


BROKEN: list[tuple[str, bytes, str]] = [
    ("a.jsonl", LINES[:-30], ", line 3, column 35: not JSON: Unterminated string starting at (half a JSON"),
    ("a.jsonl", LINES + b'"text"\n', ", line 4: expected a JSON object, found str 'text'"),
    ("a.jsonl", b'\n{"text": 1} {"text": 2}\n', ", line 2, column 13: not JSON: Extra data; the line is"),
    ("a.jsonl", b'{"text": "a"}\n{"text": "\xff"}\n', ", line 2: not UTF-8: byte 11 is 0xff"),
    ("a.jsonl", b" \n", ": empty, no rows"),
    ("a.jsonl", b"", ": empty, no rows"),
    ("a.json", b"", ": empty, no rows"),
    ("a.json", b"[]", ": empty, no rows"),
    ("a.json", b'{"a": 1}', ": expected a list of rows, found dict"),
    ("a.json", b'[{"a": 1}, 2]', ", row 2: expected a JSON object, found int 2"),
    ("a.json", b'[{"a": 1}', ", line 1, column 10: not JSON"),
    ("a.json", LINES, ", line 2, column 1: not JSON: Extra data (one object per line? then name it .jsonl)"),
    ("a.jsonl.gz", gzip.compress(LINES, mtime=0)[:-12], ", line 3: cut off or damaged, cannot be decompressed"),
    ("a.jsonl.gz", LINES, ": cut off or damaged, cannot be decompressed: Not a gzipped file"),
    ("a.jsonl.zst", zstd(LINES)[:-12], ": cut off or damaged, cannot be decompressed"),
    ("a.jsonl.zst", LINES, ": cut off or damaged, cannot be decompressed"),
    ("a.parquet", LINES, ": not a Parquet file, or damaged"),
    ("a.xlsx", LINES, ": unknown format; expected a name that ends in .parquet, .jsonl"),
    ("a.jsonl", b'{"text": "a"}\n{"text": "a", "text": "b"}\n', ", line 2: not JSON: field 'text' is there twice"),
    ("a.jsonl", b'{"text": "a", "n": ' + b"9" * 5000 + b"}", ", line 1: not JSON: Exceeds the limit"),
    ("a.jsonl", b'{"text": "a", "n": ' + b"[" * 9**5 + b"]" * 9**5 + b"}", ", line 1: nested too deep"),
    ("a.jsonl", b'{"text": "\\ud83d"}', ", line 1: half of a surrogate pair, which is not text: '\\ud83d'"),
    ("a.csv", b"id,text\n1,a\n2\n", ", line 3: another number of cells than the first line: 1, not 2"),
    ("a.csv", b"id,id\n1,a\n", ", line 1: not CSV: two columns of one name"),
    ("a.csv", b'id,text\n1,"a\nb"\n2,"a"b\n', ", line 4: not CSV: ',' expected after '\"'"),
    ("a.csv", b"text\n\xff\n", ", line 2: not UTF-8"),
    ("a.csv.gz", gzip.compress(b"text\n" + b"a\n" * 99, mtime=0)[:-12], ", line "),
]


@pytest.mark.parametrize(("name", "content", "complaint"), BROKEN)
def test_broken_files_are_named(name: str, content: bytes, complaint: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(BactrianError) as caught:
        read_rows(file)
    assert str(caught.value).startswith(f"{file}{complaint}")


def test_a_damaged_parquet_file_is_named(tmp_path: Path) -> None:
    write_rows(ROWS, tmp_path)
    file = tmp_path / "data.parquet"
    whole = file.read_bytes()
    for damaged in (whole[:-20], whole[: len(whole) // 2], b"PAR1" + whole[40:]):
        file.write_bytes(damaged)
        with pytest.raises(BactrianError, match=r"data.parquet: not a Parquet file, or damaged"):
            read_rows(tmp_path)


def test_missing_files_and_what_was_meant(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_bytes(LINES)
    with pytest.raises(BactrianError, match=r"trian.jsonl: no such file or folder; did you mean .*/train.jsonl\?"):
        read_rows(tmp_path / "trian.jsonl")
    with pytest.raises(BactrianError, match=r"zzz: no such file or folder \(.* holds train.jsonl\)"):
        read_rows(tmp_path / "zzz")
    with pytest.raises(BactrianError, match=r"b/c.jsonl: no such file or folder \(nor a folder .*/b\)"):
        read_rows(tmp_path / "b" / "c.jsonl")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BactrianError, match=r"no data files .* in this folder; it holds nothing"):
        read_rows(tmp_path / "empty")
    (tmp_path / "empty" / "data").mkdir()
    (tmp_path / "empty" / "data" / "a.jsonl").write_bytes(LINES)
    with pytest.raises(BactrianError, match=r"a.jsonl is deeper: name its like by a pattern, such as .*empty/\*\*/"):
        read_rows(tmp_path / "empty")


def test_rows_of_a_kind_are_checked_where_they_stand_and_completed(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    good, bad = {"text": "a", "solution": None}, {"text": ""}
    file.write_text(json.dumps(good) + "\n\n" + json.dumps(bad) + "\n")
    with pytest.raises(BactrianError, match=r"a.jsonl, line 3, field 'text': found an empty text"):
        read_rows(file, "text")
    file.write_text(json.dumps(good) + "\n")
    (row,) = read_rows(file, "text")
    assert set(row) == {"id", "source", "license", "text"} and row["source"] == "a.jsonl"
    write_rows(ROWS, tmp_path / "made")
    with pytest.raises(BactrianError, match=r"data.parquet, row 1: no field 'messages'"):
        read_rows(tmp_path / "made", "conversation")


WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
TURN = st.fixed_dictionaries(
    {"role": WORDS, "content": WORDS}, optional={"weight": st.sampled_from([0, 1, 0.5]), "reasoning_content": WORDS}
)
TURNS = st.lists(TURN, max_size=3)
ROW = st.fixed_dictionaries(
    {"id": WORDS},
    optional={
        "messages": TURNS,
        "prompt": TURNS,
        "text": WORDS,
        "ground_truth": WORDS,
        "source": WORDS,
        "license": WORDS | st.none(),
        "level": st.integers(-(2**63), 2**63 - 1),
        "share": st.floats(allow_nan=False),
        "flag": st.booleans(),
        "tags": st.lists(WORDS | st.none(), max_size=3),
        "nested": st.fixed_dictionaries(
            {"always": WORDS}, optional={"x": st.lists(st.integers(0, 9)), "y": st.booleans()}
        ),
    },
)


@settings(max_examples=75, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(ROW, min_size=1, max_size=6))
def test_round_trip_is_exact(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    write_rows(rows, tmp_path)
    assert read_rows(tmp_path) == drop_nulls(rows)


def test_the_schema_does_not_depend_on_the_order_of_rows_or_keys(tmp_path: Path) -> None:
    rows = [
        {"zeta": 1, "source": "s", "id": "1"},
        {"id": "2", "messages": [{"content": "a", "role": "user"}], "alpha": 2},
    ]
    write_rows(rows, tmp_path / "a")
    write_rows([dict(reversed(row.items())) for row in reversed(rows)], tmp_path / "b")
    schema = pq.read_schema(tmp_path / "a" / "data.parquet")
    assert schema == pq.read_schema(tmp_path / "b" / "data.parquet")
    assert schema.names == ["id", "messages", "source", "alpha", "zeta"]
    assert schema.field("messages").type == pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ([{"level": 1}, {"level": "high"}], "column 'level': its values do not have one type"),
        ([{"level": True}, {"level": 1}], "column 'level': its values do not have one type"),
        ([{"level": 2**70}], "column 'level': its values do not have one type"),
        ([{"text": 3}], "column 'text': its values do not have one type"),
        ([{"text": "\ud83d"}], "column 'text': its values do not have one type"),
        ([{"meta": {}}], "column 'meta': Parquet has no empty objects"),
        (
            [{"messages": [{"role": "user", "content": "a", "mood": "b"}]}],
            "column 'messages': a message has the unknown field",
        ),
        ([], "no rows to write"),
    ],
)
def test_rows_that_parquet_cannot_hold_are_refused(rows: list[Any], complaint: str, tmp_path: Path) -> None:
    with pytest.raises(BactrianError, match=complaint):
        write_rows(rows, tmp_path / "made")


def test_the_card_counts_sources_and_licences(tmp_path: Path) -> None:
    write_rows([*ROWS, {"id": "9", "source": "a|b", "license": "cc-by-nc-4.0"}], tmp_path, "# Sums\n\nMade for a test.")
    card = (tmp_path / "README.md").read_text()
    assert card.startswith("# Sums\n\nMade for a test.\n\n4 rows.\n")
    assert "| s | MIT |  | 3 |\n| a\\|b | cc-by-nc-4.0 | NC | 1 |\n" in card


def test_the_hub_s_failures_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets, "load_dataset", lambda repo, subset, **how: [{"text": "a", "note": None}])
    assert read_hub("x/y", "test") == [{"text": "a"}]
    assert read_hub("x/y", "test", kind="text")[0]["source"] == "x/y"
    with pytest.raises(BactrianError, match=r"x/y/main/test, row 1: no field 'messages'"):
        read_hub("x/y", "test", "main", kind="conversation")

    def fail(repo: str, subset: str | None, **how: str) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(BactrianError, match="x/y/test: could not be read from the Hub: ConnectionError: no network"):
        read_hub("x/y", "test")


def test_the_hub_s_client_itself_streams_a_folder(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train-0.jsonl").write_text('{"text": "a", "n": null}\n{"text": "b", "n": 1}\n')
    for files in (None, "data/*.jsonl"):
        rows = [row for row, _ in scan_hub(str(tmp_path), files=files)]
        assert rows == [{"text": "a"}, {"text": "b", "n": 1}]


def test_tally() -> None:
    tally = Tally()
    tally.keep(997)
    for line in (3, 9):
        tally.truncate("longer than 512 tokens", f"line {line}")
    for line in range(5):
        tally.drop("empty", f"line {line} " + "x" * 300)
    assert tally.total == 1004
    assert tally.counts() == {"rows_kept": 997, "rows_truncated": 2, "rows_dropped": 5}
    assert str(tally).startswith(
        "1,004 rows: 997 kept whole, 2 truncated, 5 dropped\n"
        "  truncated: longer than 512 tokens: 2 (line 3; line 9)\n"
        "  dropped: empty: 5 (line 0 xxx"
    )
    assert str(tally).endswith("…; …)")
    assert len(tally.as_dict()["dropped"]["empty"]["examples"]) == 3 and json.dumps(tally.as_dict())


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([{"role": "a", "deep": [{"x": 1}]}], [{"role": "a", "deep": [{"x": 1}]}]),
        ([{"role": None, "deep": []}], [{"deep": []}]),
        ([{"role": "a", "deep": [{"x": None}]}], [{"role": "a", "deep": [{}]}]),
        (None, None),
    ],
)
def test_nulls_of_parquet_are_left_out_at_any_depth_and_only_they(messages: Any, expected: Any, tmp_path: Path) -> None:
    message = pa.struct([("role", pa.string()), ("deep", pa.list_(pa.struct([("x", pa.int64())])))])
    kept = {"messages": [{"role": "b", "deep": []}], "n": {"word": "c"}}
    schema = pa.schema([("messages", pa.list_(message)), ("n", pa.struct([("word", pa.string())]))])
    table = pa.Table.from_pylist([kept, {"messages": messages, "n": {"word": "d"}}], schema)
    pq.write_table(table.add_column(2, "coded", pa.array(["x", None]).dictionary_encode()), tmp_path / "a.parquet")
    found = {"n": {"word": "d"}} if expected is None else {"messages": expected, "n": {"word": "d"}}
    assert read_rows(tmp_path / "a.parquet") == [kept | {"coded": "x"}, found]
