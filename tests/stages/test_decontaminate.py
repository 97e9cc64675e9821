"""The stage and its command: what goes, what stays, what is written about it."""

import json
from pathlib import Path
from typing import Any

import pytest

from bactrian.cli.main import invoke
from bactrian.data.io.files import read_rows
from bactrian.errors import BactrianError
from bactrian.stages.data.decontaminate import Decontaminate
from bactrian.store.artifact import Input, Workspace
from bactrian.store.manifest import Kind

QUESTIONS = [f"How many apples does person number {i} have if {i + 3} of them were eaten today?" for i in range(20)]
FILES = {"train": "train.jsonl", "test": "gsm8k_test.jsonl"}
MANY = [f"Explain in {i} words why the number {i} is liked by so many as {i} of all people" for i in range(50)]


def conversation(source: str, number: int, text: str) -> dict[str, Any]:
    turns = [{"role": "user", "content": text}, {"role": "assistant", "content": "Yes."}]
    return {"id": f"{source}{number}", "source": source, "license": "MIT", "messages": turns}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """`dirty` holds 3 of 20 questions, `clean` none, `little` one: 5 %."""
    rows = [conversation(source, i, text) for source in ("dirty", "clean", "little") for i, text in enumerate(MANY)]
    rows += [conversation("dirty", 100 + i, f"Please help me.\n{QUESTIONS[i]} Thank you.") for i in range(3)]
    rows += [conversation("little", 100, QUESTIONS[7].upper())]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "gsm8k_test.jsonl").write_text("".join(json.dumps({"question": q}) + "\n" for q in QUESTIONS))
    (tmp_path / "other.jsonl").write_text(json.dumps({"id": "o", "ask": MANY[0], "text": ""}) + "\n")
    return tmp_path


def run(files: Path, **settings: Any) -> tuple[list[dict[str, Any]], dict[str, Any], Workspace]:
    settings = {"data": ["train"], "against": ["gsm8k_test.jsonl"], **settings}
    inputs = {
        name: Input(name, files / f"{name.removesuffix('.jsonl')}.jsonl", Kind.DATA, name)
        for name in settings["data"] + settings["against"]
    }
    workspace = Workspace.temporary(files / "work", inputs)
    Decontaminate(**settings).run(workspace)
    return read_rows(workspace.output), json.loads((workspace.output / "overlap.json").read_text()), workspace


@pytest.mark.parametrize(
    ("settings", "gone"),
    [
        ({"action": "report"}, set()),
        ({"action": "rows", "share": 0.06}, {"dirty100", "dirty101", "dirty102"}),
        ({"action": "rows"}, {"dirty100", "dirty101", "dirty102", "little100"}),
        ({"action": "sources", "share": 0.06}, {f"dirty{i}" for i in [*range(50), 100, 101, 102]}),
        ({"mode": "any"}, {"dirty100", "dirty101", "dirty102", "little100"}),
        ({"mode": "exact"}, {"little100"}),
        ({"threshold": 1.0, "n": 3}, {"dirty100", "dirty101", "dirty102", "little100"}),
        ({"n": 30}, set()),
    ],
)
def test_actions_and_modes(files: Path, settings: dict[str, Any], gone: set[str]) -> None:
    before = {row["id"] for row in read_rows(files / "train.jsonl")}
    kept, about, workspace = run(files, **settings)
    assert before - {row["id"] for row in kept} == gone
    assert about["dropped"] == len(gone) == workspace.metrics["rows_dropped"]
    assert about["benchmarks"] == {"gsm8k": 20}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "154 rows, 4 dropped, 150 stay; none of them matches a test item"),
        (
            {"share": 0.06},
            "154 rows, 3 dropped, 151 stay; 1 of them matches a test item: their sources hold no more than 6.0% of any "
            "benchmark (share: 0.06; 0 drops them)",
        ),
        (
            {"action": "report"},
            "154 rows, 0 dropped, 154 stay; 4 of them match a test item: action: report drops nothing",
        ),
        (
            {"n": 30},
            "0 dropped, 154 stay; none of them matches a test item; 20 of 20 test items are shorter than 30 words",
        ),
    ],
)
def test_the_terminal_says_what_goes_and_why_any_stay(
    files: Path, capsys: pytest.CaptureFixture[str], settings: dict[str, Any], said: str
) -> None:
    run(files, **settings)
    assert said in capsys.readouterr().err


def test_rarely_matched_sources_lose_their_rows_too_unless_told_otherwise(tmp_path: Path) -> None:
    """One of 70 items, 1.4 %: gone by default, kept by the published rule."""
    items = QUESTIONS[:1] + [f"{i} {' '.join(f'word{i}x{j}' for j in range(9))}" for i in range(69)]
    (tmp_path / "gsm8k_test.jsonl").write_text("".join(json.dumps({"question": item}) + "\n" for item in items))
    rows = [conversation("a", 0, QUESTIONS[0]), conversation("a", 1, MANY[0])]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for share, kept in ((0.0, ["a1"]), (0.02, ["a0", "a1"])):
        given = {name: Input(name, tmp_path / file, Kind.DATA, name) for name, file in FILES.items()}
        workspace = Workspace.temporary(tmp_path / str(share), given)
        settings = {} if share == 0 else {"share": share}
        Decontaminate(data=["train"], against=["test"], **settings).run(workspace)
        assert [row["id"] for row in read_rows(workspace.output)] == kept


def test_what_it_writes(files: Path) -> None:
    _, about, workspace = run(files)
    cells = {cell["source"]: (cell["matched"], cell["rows"], cell["share"]) for cell in about["cells"]}
    assert cells == {"dirty": (3, 3, 0.15), "little": (1, 1, 0.05)}
    assert "| dirty | 53 | gsm8k | 20 | 3 | 15.0% | 3 |" in (workspace.output / "README.md").read_text()
    matches = read_rows(workspace.output / "matches.parquet")
    assert [(match["id"], match["item"]) for match in matches] == [
        ("dirty100", "row 1"),
        ("dirty101", "row 2"),
        ("dirty102", "row 3"),
        ("little100", "row 8"),
    ]
    assert matches[0]["texts"] == [f"Please help me.\n{QUESTIONS[0]} Thank you."]
    assert matches[0]["fields"] == QUESTIONS[:1]


def test_other_files_and_answers(files: Path) -> None:
    kept, about, _ = run(files, against=["other.jsonl"], fields={"other.jsonl": ["ask"]})
    assert about["dropped"] == 3 and len(kept) == 151
    (files / "bad.jsonl").write_text('{"ask": "What?"}')
    with pytest.raises(BactrianError, match=r"bad.jsonl, line 1: found the columns 'ask', expected messages"):
        run(files, against=["bad.jsonl"])


def test_as_a_command(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = files / "runs"
    arguments = ["decontaminate", "--data", str(files / "train.jsonl"), "--against", str(files), "--store", str(store)]
    assert invoke(arguments) == 0
    assert "| dirty | 53 | gsm8k | 20 | 3 | 15.0% | 3 |" in capsys.readouterr().err
    assert len(list(store.glob("artifacts/decontaminate-*/matches.parquet"))) == 1


def test_nothing_left(files: Path) -> None:
    (files / "leak.jsonl").write_text(json.dumps({"text": QUESTIONS[0]}))
    with pytest.raises(BactrianError, match="nothing is left"):
        run(files, data=["leak"])
