"""The page on data: what it shows of each kind of artifact, and that texts in it stay texts."""

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bactrian.cli.main import invoke
from bactrian.data.io.files import write_rows
from bactrian.data.overlap.highlight import LONGEST, shared, shortened
from bactrian.errors import BactrianError
from bactrian.report.data_page import ROWS, _said, write_data_page
from bactrian.stages.data.decontaminate import Decontaminate
from bactrian.store.artifact import Input, Workspace
from bactrian.store.manifest import Kind

HOSTILE = '<script>alert("x")</script><img src=x onerror=alert(1)>\u202e</pre></body> {{ 7*7 }}'
QUESTION = "How many apples does Ann have if three of them were eaten today by Bob?"


class SeenData(HTMLParser):
    """All tags, texts inside <mark>, and all text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.marked: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        if tag == "mark":
            self.marked.append("")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.marked and self.tags[-1] == "mark" and not self.marked[-1]:
            self.marked[-1] = data


def page(path: Path, target: Path) -> SeenData:
    seen = SeenData()
    seen.feed(write_data_page(path, target).read_text())
    return seen


def conversation(number: int, text: str, source: str = "s") -> dict[str, Any]:
    turns = [{"role": "user", "content": text}, {"role": "assistant", "content": "Yes."}]
    return {"id": f"r{number}", "source": source, "license": "MIT", "messages": turns}


def decontaminated(folder: Path, rows: list[dict[str, Any]]) -> Path:
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "gsm8k_test.jsonl").write_text(json.dumps({"question": QUESTION}) + '\n{"question": "Short?"}\n')
    inputs = {name: Input(name, folder / name, Kind.DATA, "") for name in ("train.jsonl", "gsm8k_test.jsonl")}
    workspace = Workspace.temporary(folder / "work", inputs)
    Decontaminate(data=["train.jsonl"], against=["gsm8k_test.jsonl"]).run(workspace)
    return workspace.output


def test_matches_are_shown_with_both_texts_and_the_shared_words_marked(tmp_path: Path) -> None:
    rows = [conversation(0, f"Well, {QUESTION.upper()} Say it. {HOSTILE}"), conversation(1, "Something else.")]
    seen = page(decontaminated(tmp_path, rows), tmp_path / "page.html")
    assert QUESTION.upper()[:-1] in seen.marked and QUESTION[:-1] in seen.marked
    assert "50.0" in seen.text and "1 of 2" in seen.text and "gsm8k 1 of 2" in seen.text
    assert seen.tags.count("script") == 1 and "img" not in seen.tags
    assert '<script>alert("x")' in seen.text and "{{ 7*7 }}" in seen.text and "⟨U+202E⟩" in seen.text


def test_rows_drops_and_duplicates(tmp_path: Path) -> None:
    folder = tmp_path / "artifact"
    write_rows([conversation(n, f"Question {n}") for n in range(3 * ROWS)], folder, card=f"# Card {HOSTILE}")
    (folder / "drops.jsonl").write_text(json.dumps({"where": "f, line 3", "reason": HOSTILE, "detail": "d"}) + "\n")
    pair = {
        "similarity": 0.91,
        "dropped_id": "a",
        "dropped_source": "x",
        "dropped_text": HOSTILE,
        "kept_id": "b",
        "kept_source": "y",
        "kept_text": None,
    }
    pq.write_table(pa.Table.from_pylist([pair]), folder / "duplicates.parquet")
    seen = page(folder, tmp_path / "page.html")
    assert f"{ROWS} of {3 * ROWS}" in seen.text and seen.text.count("Question ") == ROWS
    assert "f, line 3" in seen.text and "0.91" in seen.text and "not held against test items here" in seen.text
    assert seen.tags.count("script") == 1 and "img" not in seen.tags
    assert write_data_page(folder, tmp_path / "again.html").read_text() == (tmp_path / "page.html").read_text()


def test_other_peoples_files_and_rows_that_cannot_be_used(tmp_path: Path) -> None:
    good = {"instruction": "Add one and one.", "input": "", "output": "Two."}
    (tmp_path / "alpaca.jsonl").write_text(f"{json.dumps(good)}\nnonsense\n{json.dumps(good)}\n")
    seen = page(tmp_path / "alpaca.jsonl", tmp_path / "page.html")
    assert seen.text.count("Add one and one.") == 2 and "alpaca.jsonl, line 2" in seen.text


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps(conversation(0, "Hello?")))
    assert invoke(["data", str(tmp_path / "a.jsonl"), "--html", str(tmp_path / "a.html")]) == 0
    assert str(tmp_path / "a.html") in capsys.readouterr().out and "Hello?" in (tmp_path / "a.html").read_text()


def test_nowhere_to_write(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps(conversation(0, "Hello?")))
    with pytest.raises(BactrianError, match="cannot be written"):
        write_data_page(tmp_path / "a.jsonl", tmp_path / "no" / "a.html")


def test_pieces_are_the_whole_text_and_mark_what_counts() -> None:
    texts, fields = shared(["x a b c d, e! y", "p q"], ["A b c d e f", "c d e"], 3)
    assert ["".join(piece for piece, _ in pieces) for pieces in texts + fields] == [
        "x a b c d, e! y",
        "p q",
        "A b c d e f",
        "c d e",
    ]
    assert [[piece for piece, marked in pieces if marked] for pieces in texts + fields] == [
        ["a b c d, e"],
        [],
        ["A b c d e"],
        ["c d e"],
    ]
    long = shortened([("y" * 5 * LONGEST, False), ("z" * 5 * LONGEST, True)])
    assert len(long[0][0]) < 2 * LONGEST and len(long[1][0]) == 5 * LONGEST


def test_matches_come_first_and_their_list_is_open(tmp_path: Path) -> None:
    folder = decontaminated(tmp_path, [conversation(0, QUESTION), conversation(1, "Something else.")])
    source = write_data_page(folder, tmp_path / "page.html").read_text()
    assert source.index('id="overlap"') < source.index('id="sources"') < source.index('id="rows"')
    assert '<details class="cell" open>' in source


def test_turns_are_a_chat_and_calls_of_tools_are_shown(tmp_path: Path) -> None:
    call = {"name": "look_up", "arguments": json.dumps({"word": HOSTILE})}
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Which?"},
        {"role": "assistant", "content": "That.", "reasoning_content": "I wonder."},
    ]
    folder = tmp_path / "artifact"
    write_rows([{**conversation(0, ""), "messages": turns}], folder)
    source = write_data_page(folder, tmp_path / "page.html").read_text()
    assert [source.index(f'<div class="turn {role}">') for role in ("system", "user", "assistant")]
    assert "I wonder.\n\nThat." in source and 'href="#drops"' not in source and 'href="#duplicates"' not in source
    assert "look_up" in _said({"role": "assistant", "content": None, "tool_calls": [call]})


def test_calls_of_tools_and_what_they_give_are_shown_as_turns(tmp_path: Path) -> None:
    call = {"name": "weather", "arguments": json.dumps({"city": HOSTILE})}
    turns = [
        {"role": "user", "content": "Oslo?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": HOSTILE},
        {"role": "assistant", "content": "Grey."},
    ]
    (tmp_path / "rows.jsonl").write_text(json.dumps({"messages": turns}) + "\n")
    seen = page(tmp_path / "rows.jsonl", tmp_path / "page.html")
    assert '→ weather {"city": "<script>alert(\\"x\\")</script>' in seen.text and "tool" in seen.text
    assert seen.text.count("<img src=x onerror=alert(1)>") == 2 and "img" not in seen.tags
