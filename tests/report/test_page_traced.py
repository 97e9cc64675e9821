"""The report of a run that has an index over its training data: spans of answers underlined, sources on click."""

import json
import time
from pathlib import Path

import pyarrow.parquet as parquet
import pytest
from chromium import CHROMIUM, Chromium

from bactrian.data.overlap.trace.build import build
from bactrian.data.overlap.trace.corpus_index import CorpusIndex
from bactrian.data.overlap.trace.documents import TracedDocument
from bactrian.data.overlap.trace.traced_spans import trace
from bactrian.report.traced import write_trace_page
from bactrian.store.hashes import files_below, hash_files
from tests.report.fabricate import write_manifest, write_run
from tests.report.test_report import HOSTILE, artifact, assert_inert, edit, page


def run_with_index(store: Path) -> tuple[Path, Path]:
    """A run whose base model recites all that it says, and the folder of the index."""
    run = write_run(store)
    rows = parquet.read_table(artifact(run, "scores") / "questions.parquet").to_pylist()
    said = dict.fromkeys(row["completion"] for row in rows if row["model"] == "base" and row["mode"] == "greedy")
    folder = store / "artifacts" / "trace_index-1"
    folder.mkdir()
    write_manifest(folder, "trace_index", "words", "data", 1.0)
    texts = [f"{HOSTILE} {text} {HOSTILE}" for text in said]
    documents = [TracedDocument(HOSTILE, "s", HOSTILE, "d", f"row {n}", "text") for n in range(len(texts))]
    build(zip(documents, texts, strict=True), folder, store / "scratch", "words", 10**6)
    names = [file.relative_to(folder).as_posix() for file in files_below(folder)]
    edit(folder / "manifest.json", files=hash_files(folder, [name for name in names if name != "manifest.json"]))
    step = {
        "name": "words",
        "stage": "trace_index",
        "kind": "data",
        "path": "artifacts/trace_index-1",
        "status": "made",
    }
    edit(run / "run.json", steps=[*json.loads((run / "run.json").read_text())["steps"], step])
    return run, folder


def test_recited_answers_are_underlined_and_lead_to_their_sources(tmp_path: Path) -> None:
    run, folder = run_with_index(tmp_path)
    found = page(run)
    assert_inert(found)
    links = [attributes for tag, attributes in found.elements if tag == "a" and attributes.get("class") == "traced"]
    ids = [attributes["id"] for _, attributes in found.elements if "id" in attributes]
    assert links and all(str(link["href"])[1:] in ids for link in links) and len(ids) == len(set(ids))
    assert "spans of at least 8 words that stand in the training data (step words)" in found.text
    assert "letter for letter" in found.text and "⟨U+202E⟩RTL" in found.text
    (folder / "shard-00000" / "form.bin").unlink()
    found = page(run)
    assert "Answers are not traced" in found.text and found.source.count('class="traced"') == 0


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here to show the page in")
def test_spans_and_sources_are_reached_by_keyboard(tmp_path: Path) -> None:
    """Tab to a span, Enter to its source, Tab and Enter back to the span; Space folds the source."""
    texts = [f"{HOSTILE} one two three four five six seven eight nine", "a b c d e f g h i j k"]
    said = [TracedDocument(f"d{n}", "s", "MIT", "data", f"row {n}", "text") for n in range(2)]
    folder = tmp_path / "index"
    folder.mkdir()
    build(zip(said, texts, strict=True), folder, folder / "scratch", "words", 10**6)
    found = trace("Well: one two three four five six seven eight nine. But A B C D E F G H I J!", CorpusIndex(folder))
    page = write_trace_page([("answer", found)], "data", 8, tmp_path / "page.html")
    at = "document.activeElement"
    with Chromium(tmp_path / "browser") as browser:
        tab = browser.tab()
        tab.open(page.as_uri())
        tab.wait("document.querySelectorAll('a.traced').length == 2 && document.readyState == 'complete'")
        assert tab.run("document.querySelectorAll('details.traced-source[open]').length") == 0
        for span, words in enumerate(("one two three four five six seven eight nine", "A B C D E F G H I J"), 1):
            tab.run(f"document.querySelectorAll('a.traced')[{span - 1}].focus()") if span > 1 else tab.press("Tab")
            tab.wait(f"{at}.className == 'traced' && {at}.textContent == {json.dumps(words)}")
            tab.press("Enter")
            tab.wait(f"{at}.id == 'a1-{span}' && {at}.closest('details').open && {at}.getBoundingClientRect().height")
            assert f"d{span - 1} of s" in tab.run(f"{at}.innerText") and "MIT" in tab.run(f"{at}.innerText")
            for _ in range(9):  # a key that comes while the browser is still on its way to the source is lost
                tab.press("Tab")
                time.sleep(0.3)
                if tab.run(f"{at}.textContent == 'back to the answer'"):
                    break
            assert tab.run(f"{at}.textContent") == "back to the answer"
            tab.press("Enter")
            tab.wait(f"{at}.id == 'at-a1-{span}' && {at}.textContent == '{span}'")
        tab.run("document.querySelector('details.traced-source summary').focus()")
        tab.press(" ")
        tab.wait("!document.querySelector('details.traced-source').open")
        assert tab.run("document.querySelectorAll('main script, main img').length") == 0
