"""`bactrian data`: what it counts, for files, folders, patterns, artifacts; hostile text cannot steer a terminal."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from bactrian.cli.main import invoke
from bactrian.data.io.files import write_rows
from bactrian.data.io.survey import MOST_GROUPS, OTHERS, Lengths, characters, survey
from bactrian.store.manifest import Licence

ROW = {"instruction": "2 + 2?", "output": "4"}


def lines(*rows: Any) -> str:
    return "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert invoke(["data", *arguments]) == 0
    return capsys.readouterr().out


def test_a_file_s_sources_layouts_licences_lengths_and_bad_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = {"instruction": "x" * 1000, "output": "y", "source": "b", "license": "cc-by-nc-4.0", "note": 1}
    (tmp_path / "a.jsonl").write_text(lines(ROW, ROW, long, "{half", {"persona": "a nurse"}))
    table = shown(capsys, str(tmp_path / "a.jsonl"))
    rows = [line.split() for line in table.splitlines() if "%" in line]
    assert rows == [
        ["a.jsonl", "alpaca", "unknown", "[unclear]", "2", "50.0%", "7"],
        ["b", "alpaca", "cc-by-nc-4.0", "[NC]", "1", "25.0%", "1,001"],
        ["a.jsonl", "(none", "known)", "unknown", "[unclear]", "1", "25.0%", "7"],
    ]
    assert "1 file, 0.0 MiB, 5 rows, 1,022 characters" in table
    bars = {cells[0]: cells[1:] for line in table.splitlines() if "–" in line and (cells := line.split())}
    assert bars["4–7"] == ["3", "█" * 40] and bars["512–1,023"] == ["1", "█" * 14] and bars["64–127"] == ["0"]
    assert "half up to 7, nine tenths up to 981; longest 1,001" in table
    assert "As training rows (conversation): 3 as they are, 2 cannot be used" in table
    assert "dropped: not JSON: 1 (" in table and "a.jsonl, line 4" in table and "dropped: no known layout: 1" in table
    assert "columns that its layout does not read (rows): note (1)" in table
    assert shown(capsys, str(tmp_path / "a.jsonl"), "--limit", "1").count("%") == 1


def test_folders_patterns_text_and_artifacts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_text(f"question,answer\n{name},1\n")
    (tmp_path / "c.txt").write_text("One.\nTwo.\n\nThree.\n")
    assert "2 files" in shown(capsys, str(tmp_path)) and "question_answer" in shown(capsys, str(tmp_path / "*.csv"))
    assert "2 rows" in shown(capsys, str(tmp_path / "c.txt"), "--text-rows", "paragraph")
    write_rows([{"text": "a", "source": "s", "license": "MIT"}], tmp_path / "made")
    assert "text     MIT" in shown(capsys, str(tmp_path / "made"))


def test_what_is_wrong_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.jsonl").write_text("")
    for arguments, complaint in (
        ([str(tmp_path / "a.jsonl")], "a.jsonl: empty, no rows"),
        ([str(tmp_path / "b.jsonl")], "b.jsonl: no such file or folder; did you mean"),
        ([str(tmp_path / "a.jsonl"), "--layout", "alpacca"], "--layout: found 'alpacca', expected auto or one of"),
        (["nothing", "--store", str(tmp_path)], "nothing"),
    ):
        assert invoke(["data", *arguments]) == 2
        assert complaint in capsys.readouterr().err


def test_hostile_text_is_escaped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evil = "\x1b]0;owned\x07\x1b[2J[bold red]x[/]\r\u202e"
    file = tmp_path / "\x1b[31mred.jsonl"
    bad = {"messages": [{"role": evil, "content": evil}]}
    file.write_text(lines({**ROW, "source": evil, "license": evil, evil: 1}, bad, {evil: evil}, f'{{"a": "{evil[:9]}'))
    assert invoke(["data", str(file)]) == 0
    captured = capsys.readouterr()
    for text in (captured.out, captured.err):
        assert not set(text) & {"\x1b", "\x07", "\r", "\u202e"}
    assert "\\x1b]0;owned\\x07" in captured.out and "[bold red]x[/]" in captured.out


def test_quantiles_are_near_and_the_histogram_holds_every_row() -> None:
    draw = random.Random(0)
    sizes = sorted([0, 1, 2, *(round(2 ** draw.uniform(0, 20)) for _ in range(5000))])
    lengths = Lengths()
    for size in sizes:
        lengths.add(size)
    for share in (0.1, 0.5, 0.9, 0.99):
        exact = sizes[round(share * len(sizes))]
        assert lengths.quantile(share) == pytest.approx(exact, rel=0.05)
    assert lengths.quantile(1) <= lengths.longest == sizes[-1] and lengths.total == sum(sizes)
    assert sum(rows for _, rows in lengths.by_doubling()) == len(sizes)
    assert [least for least, _ in lengths.by_doubling()][:4] == [0, 1, 2, 4] and Lengths().by_doubling() == []


def test_many_sources_take_bounded_memory_and_all_rows_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(lines(*[{"text": "a", "source": f"s{i}"} for i in range(MOST_GROUPS + 50)]))
    *_, found = survey(tmp_path / "a.jsonl")
    assert len(found.groups) <= MOST_GROUPS + 1 and found.groups.total() == MOST_GROUPS + 50
    assert found.groups[OTHERS, "text", Licence.of(OTHERS, "")] == 50
    assert characters({"role": "user", "content": ["ab", {"value": "c", "n": 3}]}) == 3


def test_diversity_and_a_comparison_as_tables_json_and_a_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    things = [f"{thing}{n}" for n in range(12) for thing in ("bee", "ship", "loaf")]
    made = [
        {"instruction": f"Tell me how many {thing} are on the {place}", "output": "4"}
        for thing in things
        for place in ("hill", "sea")
    ]
    real = [
        {"question": f"{thing.upper()}? In {n} words, {chr(27)}[2J please.", "answer": "5"}
        for n, thing in enumerate(things)
    ]
    (tmp_path / "made.jsonl").write_text(lines(*made))
    (tmp_path / "real.jsonl").write_text(lines(*real))
    paths = [str(tmp_path / "made.jsonl"), "--against", str(tmp_path / "real.jsonl")]
    table = shown(capsys, *paths, "--diversity")
    for part in (
        "distinct-2",
        "dispersion",
        "topics' entropy",
        "told apart (AUC)",
        "word for word in B",
        "A is told by",
    ):
        assert part in table, part
    assert "\x1b" not in table and "36 texts, 36 different" in table
    told = json.loads(shown(capsys, *paths, "--to", "json", "--html", str(tmp_path / "page.html")))
    assert told["against"]["two_sample"]["auc"] > 0.9 and set(told["names"].values()) == {paths[0], paths[2]}
    page = (tmp_path / "page.html").read_text()
    assert "Beside other data" in page and "Topics of both together" in page and "\x1b" not in page
    whole = json.loads(shown(capsys, paths[0], "--diversity", "--of", "answers", "--to", "json"))
    assert whole["diversity"]["different"] == 1 and whole["diversity"]["dispersion"] == pytest.approx(0)


def test_what_is_wrong_with_a_comparison_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.jsonl").write_text(lines(ROW))
    (tmp_path / "b.jsonl").write_text(lines({"prompt": "a", "chosen": "b"}))
    for arguments, complaint in (
        (["--to", "json"], "--to json: found neither --diversity nor --against"),
        (["--against", str(tmp_path / "c.jsonl")], "c.jsonl: no such file or folder"),
        (["--against", str(tmp_path / "b.jsonl")], "b.jsonl: found no row with prompts to compare"),
    ):
        assert invoke(["data", str(tmp_path / "a.jsonl"), *arguments]) == 2
        assert complaint in capsys.readouterr().err
