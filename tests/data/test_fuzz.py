"""Ten thousand rows of every kind of damage: no crash, every bad row counted where it stands, every good row kept."""

import gzip
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bactrian.data.io.adoption import Account, Adoption, adopt
from bactrian.data.io.files import read_rows, scan_rows
from bactrian.data.io.formats import Fault
from bactrian.data.io.layouts import LAYOUTS
from bactrian.data.io.rows import validate_row
from bactrian.errors import BactrianError
from bactrian.stages.data.source import DataSource
from bactrian.store.artifact import Input, Workspace
from bactrian.store.manifest import Kind

ASKED, SAID = {"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}


def good(text: str, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}, SAID], **more}


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value] if depth % 2 else {"a": value}
    return value


def plain(row: Any) -> bytes:
    return json.dumps(row).encode()


GOOD: list[Callable[[random.Random], bytes]] = [
    lambda r: plain(good(f"What is {r.random()}?")),
    lambda r: plain(good("".join(chr(r.randint(1, 0xD7FF)) for _ in range(r.randint(1, 40))).strip() or "a")),
    lambda r: json.dumps(good("naïve 🐪 \u2028\u0085"), ensure_ascii=False).encode(),
    lambda r: plain(good("nul \0 inside")),
    lambda r: plain(good("a", extra=None, n=10 ** r.randint(1, 300))),
    lambda r: plain(good("a", deep=nested(r.randint(1, 60)))),
    lambda r: plain(good("a", nan=float("nan"), inf=float("-inf"))),
    lambda r: b"  " + plain(good("a")) + b" \t\r",
    lambda r: plain(good("a " * r.randint(1, 2000))),
    lambda r: plain({"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}),
    lambda r: plain(good("an emoji in two escapes 🐪", tag="\U0001f42a")),
]
WRONG: list[Any] = [
    None,
    True,
    7,
    -0.5,
    "",
    "text",
    [],
    {},
    [[]],
    [None],
    [{}],
    {"a": 1},
    2**64,
    [1, "a"],
    [ASKED, None],
]
BAD: list[Callable[[random.Random], bytes]] = [
    lambda r: plain(good("a"))[: r.randint(1, 60)],  # cut off
    lambda r: plain(good("a")) + b"}",
    lambda r: plain({"messages": r.choice(WRONG)}),
    lambda r: plain({"messages": [ASKED, {"role": r.choice(WRONG), "content": "4"}]}),
    lambda r: plain(
        {"messages": [ASKED, {"role": "assistant", "content": r.choice([w for w in WRONG if w != "text"])}]}
    ),
    lambda r: plain(r.choice([w for w in WRONG if not isinstance(w, dict)])),
    lambda r: plain(r.choice([{}, {"a": 1}, {"message": [ASKED, SAID]}])),
    lambda r: b'{"messages": [{"role": "user", "content": "\\ud83d"}, {"role": "assistant", "content": "4"}]}',
    lambda r: b'{"messages": [{"role": "user", "content": "\xff\xfe"}, {"role": "assistant", "content": "4"}]}',
    lambda r: b'{"messages": [{"role": "user", "content": "a\0b"}, {"role": "assistant", "content": "4"}]}',
    lambda r: b'{"n": ' + b"9" * r.randint(4301, 6000) + b"}",
    lambda r: b'{"deep": ' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    lambda r: b'{"deep": ' + b"[" * 20_000,
    lambda r: (
        b'{"messages": [], "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "4"}]}'
    ),
    lambda r: plain({"messages": [ASKED, ASKED]}),
    lambda r: plain({"messages": [SAID, ASKED, SAID]}),
    lambda r: bytes(
        r.choice([c for c in range(1, 256) if c not in b"\n\r\t \x0b\x0c"]) for _ in range(r.randint(1, 30))
    ),
    lambda r: b"\xef\xbb\xbf" + plain(good("a byte order mark in the middle")),
]


def damaged(seed: int, count: int, giants: int) -> tuple[list[bytes], set[int]]:
    """Lines, and the numbers (from 1) of those that are good."""
    draw = random.Random(seed)
    lines, kept = [], set()
    for number in range(1, count + 1):
        if draw.random() < 0.5:
            kept.add(number)
            lines.append(draw.choice(GOOD)(draw))
        else:
            lines.append(draw.choice(BAD)(draw))
    for number in draw.sample(range(2, count), giants):
        kept.add(number)
        lines[number - 1] = plain(good("x" * 50 * 2**20))
    return lines, kept


def places(drops: Path) -> list[int]:
    """Line numbers in drops.jsonl."""
    found = [json.loads(line)["where"] for line in drops.read_text().splitlines()]
    return [int(where.split(", line ")[1].split(",")[0]) for where in found]


@pytest.mark.parametrize("packed", [False, True])
def test_ten_thousand_damaged_rows(packed: bool, tmp_path: Path) -> None:
    lines, kept = damaged(seed=int(packed), count=5000, giants=1)
    content = b"\xef\xbb\xbf" + b"\n".join(lines) + b"\n"
    file = tmp_path / ("a.jsonl.gz" if packed else "a.jsonl")
    file.write_bytes(gzip.compress(content, 1, mtime=0) if packed else content)
    workspace = Workspace.temporary(tmp_path / "made", {"a": Input("a", file, Kind.DATA, "")})
    DataSource(data="a", license="MIT", bad_limit=1).run(workspace)
    rows = read_rows(workspace.output, "conversation")
    assert [int(row["id"].split(":")[1]) for row in rows] == sorted(kept)
    assert places(workspace.output / "drops.jsonl") == [n for n in range(1, len(lines) + 1) if n not in kept]
    counts = workspace.metrics
    assert counts["rows_kept"] == len(kept) and counts["rows_dropped"] == len(lines) - len(kept)


def test_a_file_that_is_cut_off_anywhere_gives_the_rows_before_the_cut(tmp_path: Path) -> None:
    draw = random.Random(0)
    lines = [plain(good(f"{draw.random()} {draw.random()}")) for _ in range(2000)]
    whole = gzip.compress(b"\n".join(lines) + b"\n", mtime=0)
    file = tmp_path / "a.jsonl.gz"
    for cut in (
        1,
        9,
        10,
        11,
        500,
        *(draw.randrange(12, len(whole)) for _ in range(20)),
        len(whole) - 8,
        len(whole) - 1,
    ):
        file.write_bytes(whole[:cut])
        *rows, (last, where) = scan_rows(file)
        assert isinstance(last, Fault) and last.reason.startswith("cut off")
        assert [row for row, _ in rows] == [json.loads(line) for line in lines[: len(rows)]]
        assert where == (f"{file}, line {len(rows) + 1}" if rows else str(file))
        if cut > len(whole) // 2:
            assert len(rows) > len(lines) // 4


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["user", "gpt", "4"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["role", "content", "from", "value", "a"]), inner, max_size=3)
    ),
    max_leaves=8,
)
TURN = st.builds(
    lambda who, what, keys: dict(zip(keys, (who, what), strict=True)),
    st.sampled_from(["user", "assistant", "system", "human", "gpt", "tool"]),
    st.sampled_from(["a", "b", " ", "\ud800"]) | JSON,
    st.sampled_from([("role", "content"), ("from", "value")]),
)
VALUE = JSON | st.lists(TURN, max_size=4)


@pytest.mark.parametrize("layout", ["auto", *LAYOUTS])
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_whatever_a_row_holds_it_is_in_form_or_refused(layout: str, data: st.DataObject) -> None:
    known = sorted(
        LAYOUTS[layout].reads if layout != "auto" else {name for one in LAYOUTS.values() for name in one.reads}
    )
    rows = data.draw(
        st.lists(st.dictionaries(st.sampled_from([*known, "id", "license", "zz"]), VALUE, max_size=6), max_size=4)
    )
    verifier = data.draw(st.sampled_from(["", "gsm8k"]))
    account = Account()
    scanned = [(row, f"f, line {n}") for n, row in enumerate(rows, 1)]
    made = list(adopt(scanned, Adoption("s", "MIT", layout, keep=("zz",), verifier=verifier), account))
    assert len(made) == len(rows) == account.tally.total
    for row in made:
        if not isinstance(row, Fault):
            assert account.kind is not None
            try:
                validate_row(row, account.kind, "here")
            except BactrianError as error:
                assert "surrogate" in str(error)  # which files of JSON never give, see formats.py


@pytest.mark.parametrize(
    "name", ["a.jsonl", "a.json", "a.csv", "a.txt", "a.parquet", "a.jsonl.gz", "a.csv.zst", "a.json.gz"]
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_under_any_name(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    for row, where in scan_rows(tmp_path / name):
        assert str(tmp_path / name) in where and (isinstance(row, Fault) or json.dumps(row).encode())
