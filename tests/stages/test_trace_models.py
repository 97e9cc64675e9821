"""`bactrian trace` and `bactrian chat --trace` on a model: what it was trained on is found through manifests."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from bactrian.cli.main import invoke
from bactrian.cli.trace_command import learnt
from bactrian.errors import BactrianError
from bactrian.recipe.recipe import load
from bactrian.run import runner
from bactrian.store.artifact import Store
from bactrian.store.manifest import InputRecord, Manifest

BOOK = "an old miller sold nine grey geese to a quiet clerk before the long winter came"
SAID = "the tall weaver of the town let him have two green kettles for a song"
JUDGED = "nobody in this valley has ever read a word of what stands in this very row"
ASKED = "what did she let him have ?"
RECIPE = """\
name: told
seed: 1
hardware: {dtype: float32, threads: 1, device: cpu}
steps:
  base: {stage: pretrain, data: book.jsonl, vocabulary: seen.jsonl, hidden_size: 32, layers: 1, heads: 2,
         intermediate_size: 48, context: 96, epochs: 1, batch_size: 1, learning_rate: 0.01}
  tuned: {stage: sft, model: base, data: chats.jsonl, epochs: 30, batch_size: 1, learning_rate: 0.01,
          schedule: constant}
"""


def write(name: str, *rows: dict[str, Any]) -> None:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data and a store, in which a model was made from another and recites what it was tuned on."""
    folder = tmp_path_factory.mktemp("told")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        turns = [{"role": "user", "content": ASKED}, {"role": "assistant", "content": SAID}]
        write("book.jsonl", {"text": BOOK, "license": "MIT", "id": "b"})
        write("chats.jsonl", {"messages": turns, "license": "CC BY 4.0", "id": "c"})
        write("seen.jsonl", {"text": f"{SAID} {ASKED} {JUDGED}", "license": "unknown", "id": "s"})
        Path("told.yaml").write_text(RECIPE)
        runner.run(load(Path("told.yaml")), Store(folder / "runs"), report=False)
    return folder


def traced(capfd: pytest.CaptureFixture[str], answer: str, corpus: str) -> dict[str, tuple[str, str]]:
    """Span → the document that it stands in and its licence."""
    assert invoke(["trace", answer, "--corpus", corpus, "--run", "told", "--json"]) == 0
    spans = json.loads(capfd.readouterr().out)["spans"]
    documents = [(span["text"], span["places"][0]["document"]) for span in spans]
    return {text: (document["id"], document["licence"]) for text, document in documents}


def test_a_model_is_traced_to_all_that_it_and_its_base_were_trained_on(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(trained)
    answer = f"{BOOK}. Then: {SAID}! Also: {JUDGED}."
    assert traced(capfd, answer, "tuned") == {BOOK: ("b", "MIT"), SAID: ("c", "CC BY 4.0")}
    assert traced(capfd, answer, "base") == {BOOK: ("b", "MIT")}


def test_chat_shows_what_of_an_answer_was_trained_on(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(trained)
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{ASKED}\n/source 1\n/quit\n"))
    assert invoke(["chat", "tuned", "--run", "told", "--trace", "tuned", "--temperature", "0"]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines()[0] == SAID and f"[1] _{SAID}_" in said.out
    assert "chats.jsonl, line 1 (CC BY 4.0)" in said.out and "c of chats.jsonl" in said.out
    assert "1 span, 15 of 15 words" in said.err


def test_data_that_are_gone_or_have_changed_are_not_passed_over(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(trained)
    tuned = Store(trained / "runs").locate("tuned", "told")
    assert [Path(found).name for found in learnt(tuned, "tuned")] == ["chats.jsonl", "book.jsonl"]
    book, was = Path("book.jsonl"), Path("book.jsonl").read_text()
    book.write_text(was.replace("geese", "goats"))
    with pytest.raises(BactrianError, match=r"book\.jsonl .* has changed since it was trained on"):
        learnt(tuned, "tuned")
    book.unlink()
    with pytest.raises(BactrianError, match=r"book\.jsonl.*which it was trained on, is gone"):
        learnt(tuned, "tuned")
    book.write_text(was)
    base = Store(trained / "runs").locate("base", "told")
    aside = base.rename(base.with_name("aside"))
    with pytest.raises(BactrianError, match=r"base .* is gone"):
        learnt(tuned, "tuned")
    aside.rename(base)


@pytest.mark.parametrize(
    ("stage", "settings", "names"),
    [
        ("choose", {"models": {"one": "base", "two": "tuned"}, "scores": ["s"]}, ["book.jsonl"]),
        ("merge_adapter", {"model": "base", "adapter": "tuned"}, ["book.jsonl", "chats.jsonl"]),
    ],
)
def test_of_candidates_the_chosen_one_counts_and_so_do_adapters(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, settings: Any, names: list[str]
) -> None:
    """Manifests of steps that take what others trained."""
    monkeypatch.chdir(trained)
    at = {name: Store(trained / "runs").locate(name, "told") for name in ("base", "tuned")}
    inputs = {name: InputRecord(key="k", content_hash="h", path=str(place)) for name, place in at.items()}
    made = {"stage": stage, "settings": settings, "inputs": inputs}
    Manifest.read(at["tuned"]).model_copy(update=made).write(tmp_path)
    (tmp_path / "choice.json").write_text('{"chosen": "one"}')
    assert sorted({Path(found).name for found in learnt(tmp_path, stage)}) == names
