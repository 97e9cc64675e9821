"""The report of a run that has an index over its training data: spans of answers underlined, sources on click."""

import json
from pathlib import Path

import pyarrow.parquet as parquet

from bactrian.data.overlap.trace.build import build
from bactrian.data.overlap.trace.documents import TracedDocument
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
