"""Stage `trace_index`, `bactrian trace` and its page: from files and artifacts to sources, with their licences."""

import io
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from bactrian.cli import trace_command
from bactrian.cli.main import invoke
from bactrian.cli.trace_command import read_answer
from bactrian.cli.trace_console import TracedAnswers
from bactrian.data.overlap.trace import traced_spans as spans
from bactrian.data.overlap.trace.corpus_index import CorpusIndex
from bactrian.errors import BactrianError
from bactrian.report.traced import write_trace_page
from bactrian.stages.reliability.trace_index import TraceIndex
from bactrian.store.artifact import Input, Workspace
from bactrian.store.manifest import Kind, Licence

SAID = "Grey herons stand in the shallows for hours before they strike at a passing fish."
ASKED = "Could you tell me why the old lighthouse keeper painted every third stair blue?"
BOOK = "It was a bright cold day in April,\nand the clocks were striking thirteen times in the square."
HOSTILE = (
    '</pre><script>alert(1)</script><img src=x onerror=alert(1)> "\u202e" {{ 7*7 }} such words as these stand here too'
)


def rows() -> list[dict[str, Any]]:
    turns = [{"role": "user", "content": ASKED}, {"role": "assistant", "content": SAID}]
    return [
        {"id": "c1", "source": "chats", "license": "CC BY-NC 4.0", "messages": turns},
        {"id": "h1", "source": "</b>", "license": "<i>MIT</i>", "text": HOSTILE},
        {"id": "t1", "source": "texts", "license": "", "text": f"Once more: {SAID.upper()} {SAID}"},
    ]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows()))
    (tmp_path / "book.txt").write_text(f"Chapter one\n\n{BOOK}\n\nThe end.\n")
    return tmp_path


def index_of(files: Path, **settings: Any) -> tuple[CorpusIndex, Workspace]:
    inputs = {name: Input(name, files / name, Kind.DATA, "") for name in ("train.jsonl", "book.txt")}
    workspace = Workspace.temporary(files / "work", inputs)
    TraceIndex(data=list(inputs), **settings).run(workspace)
    return CorpusIndex(workspace.output), workspace


def test_sources_roles_and_licences_are_those_of_the_rows(files: Path) -> None:
    index, workspace = index_of(files)
    found = spans.trace(f"I say: {SAID} And you asked: {ASKED} Then: {BOOK}", index)
    said, asked, book = ([(p.document, p.text) for p in span.places] for span in found.spans)
    assert [(d.id, d.source, d.licence, d.role, d.field) for d, _ in said] == [
        ("c1", "chats", "CC BY-NC 4.0", "assistant", "messages.1.content"),
        ("t1", "texts", "", "", "text"),
        ("t1", "texts", "", "", "text"),
    ] or [d.licence for d, _ in said].count("CC BY-NC 4.0") == 1
    assert found.spans[0].count == 3 and {text.lower() for _, text in said} == {SAID.lower()[:-1]}
    assert [(d.id, d.role, d.where) for d, _ in asked] == [("c1", "user", "train.jsonl, line 1")]
    assert [(d.source, d.licence, d.where) for d, _ in book] == [("book.txt", "unknown", "book.txt, line 3")]
    assert book[0][1] == BOOK[:-1]
    assert Licence.of("chats", "CC BY-NC 4.0") in workspace.licences
    assert {licence.source: licence.marks for licence in workspace.licences}["texts"] == ("unclear",)
    assert workspace.metrics["documents"] == 7.0


def test_match_exact_tells_case_and_white_space_apart(files: Path) -> None:
    index, _ = index_of(files, match="exact")
    assert [span.count for span in spans.trace(SAID, index).spans] == [2]
    assert spans.trace(SAID.replace(" ", "  "), index).spans == ()
    assert [span.count for span in spans.trace(SAID.upper(), index).spans] == [1]


def test_a_row_that_cannot_be_read_stops_the_stage(files: Path) -> None:
    (files / "train.jsonl").write_text('{"text": "one two"}\nnot JSON\n')
    with pytest.raises(BactrianError, match=r"train\.jsonl, line 2, column 1: not JSON"):
        index_of(files)


def run(*arguments: str) -> int:
    return invoke(["trace", *arguments])


def test_the_command_makes_an_index_once_and_uses_it_again(files: Path, capfd: pytest.CaptureFixture[str]) -> None:
    store, answer = str(files / "runs"), f"Well. {SAID}"
    arguments = [answer, "--corpus", str(files / "train.jsonl"), "--corpus", str(files / "book.txt"), "--store", store]
    assert run(*arguments, "--json") == 0
    said = json.loads(capfd.readouterr().out)
    (span,) = said["spans"]
    assert (answer[span["start"] : span["end"]], span["count"], span["verbatim"]) == (SAID[:-1], 3, True)
    place = span["places"][0]
    assert place["document"]["licence"] in ("CC BY-NC 4.0", "") and place["text"] == SAID[:-1]
    (made,) = (files / "runs" / "artifacts").glob("trace_index-*")
    before = made.stat().st_mtime_ns
    assert run(*arguments) == 0
    out = capfd.readouterr().out
    assert "c1 of chats" in out and "CC BY-NC 4.0" in out and "1 span, 15 of 16 words (93.8\u202f%)" in out
    assert made.stat().st_mtime_ns == before and len(list((files / "runs" / "artifacts").glob("trace_index-*"))) == 1
    page = files / "page.html"
    assert (
        run("Nothing of this.", "--corpus", "trace_index", "--run", "trace", "--store", store, "--html", str(page)) == 0
    )
    assert "no span of it stands in the training data" in capfd.readouterr().out and page.is_file()
    (files / "book.txt").write_text("Another book altogether.")
    assert run(answer, "--corpus", str(made), "--store", store) == 2
    assert "has changed since this index was made" in capfd.readouterr().err
    assert run(*arguments) == 0  # named by its data, it is made anew
    assert len(list((files / "runs" / "artifacts").glob("trace_index-*"))) == 2


def test_a_damaged_index_is_refused(files: Path, capfd: pytest.CaptureFixture[str]) -> None:
    store = str(files / "runs")
    assert run(SAID, "--corpus", str(files / "book.txt"), "--store", store) == 0
    (made,) = (files / "runs" / "artifacts").glob("trace_index-*")
    text = made / "shard-00000" / "text.bin"
    text.write_bytes(text.read_bytes().replace(b"clocks", b"docks!"))
    assert run(SAID, "--corpus", str(made), "--store", store) == 2
    assert "changed file shard-00000/text.bin" in capfd.readouterr().err


def test_what_is_given_as_an_answer(tmp_path: Path) -> None:
    file = tmp_path / "answer.txt"
    file.write_text("é\n", encoding="utf-8")
    assert read_answer(str(file)) == "é\n"
    assert read_answer("-", io.StringIO("typed")) == "typed"
    assert read_answer("word " * 5000) == "word " * 5000 and read_answer("a\0b c") == "a\0b c"
    with pytest.raises(BactrianError, match="found no such file"):
        read_answer(str(tmp_path / "anser.txt"))
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(BactrianError, match="not UTF-8"):
        read_answer(str(file))
    assert (trace_command.LEAST, trace_command.PLACES) == (spans.LEAST_WORDS, spans.PLACES)


class Tags(HTMLParser):
    """Tags, links and ids of a page, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        self.links += [str(given["href"])] if "href" in given else []
        self.ids += [str(given["id"])] if "id" in given else []
        assert not any(name.startswith("on") or name == "style" for name in given)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_escapes_and_every_link_leads_to_a_source(files: Path) -> None:
    index, _ = index_of(files)
    answers = [("<b>one</b>", spans.trace(f"{HOSTILE} {SAID} \ud800", index)), ("two", spans.trace("Nothing.", index))]
    page = write_trace_page(answers, "<corpus>", 8, files / "page.html").read_text(encoding="utf-8")
    seen = Tags()
    seen.feed(page)
    assert seen.tags.count("script") == 1 and "img" not in seen.tags and "b" in seen.tags
    assert seen.links and all(link.startswith("#") and link[1:] in seen.ids for link in seen.links)
    assert len(seen.ids) == len(set(seen.ids))
    for text in ("</pre><script>alert(1)</script>", "{{ 7*7 }}", "<i>MIT</i>", "⟨U+202E⟩", "<corpus>", "c1 of chats"):
        assert text in seen.text
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page


def test_the_console_shows_spans_and_sources(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    index, _ = index_of(files)
    out = io.StringIO()
    traced = TracedAnswers(index, 8, out)
    traced.source("1")
    traced.show(f"\x1b[31m {SAID}")
    assert f"[1] _{SAID[:-1]}_" in out.getvalue() and "3 times" in out.getvalue()
    traced.source("1")
    assert "c1 of chats" in out.getvalue() and "CC BY-NC 4.0" in out.getvalue() and "\x1b" not in out.getvalue()
    traced.source("2")
    assert "expected a number from 1 to 1" in capsys.readouterr().err
