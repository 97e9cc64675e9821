"""Made rows are held against every known test set that is at hand, unless the recipe says otherwise."""

import json
from pathlib import Path
from typing import Any

import pytest

from bactrian.data.io.files import read_rows
from bactrian.data.overlap.benchmarks import known_as
from bactrian.errors import BactrianError
from bactrian.evaluate.catalogue import catalogue
from bactrian.recipe.recipe import load
from bactrian.run.keys import tasks
from bactrian.stages.synth.synthesise import Synthesise
from bactrian.store.artifact import Input, Workspace
from bactrian.store.hardware import Hardware
from bactrian.store.manifest import Kind
from tests.synth.mock import TEST_ITEM, dropped, generator, personas, workspace

BASE: dict[str, Any] = {"seeds": "seeds.jsonl", "prompt": "For: {{ persona }}"}
TEXTS = {"bits_wikitext", "bits_c4", "recited_book", "recited_web", "quotation", "creativity", "popular_book"}
"""Tasks of the catalogue that are texts to be continued: nothing is asked in them that a made prompt could hold."""


@pytest.fixture
def sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of evaluation sets with one that is known, SVAMP, and a file that is none."""
    folder = tmp_path / "sets"
    folder.mkdir()
    (folder / "svamp.jsonl").write_text(json.dumps({"Body": TEST_ITEM, "Question": "How many?", "Answer": "33"}) + "\n")
    (folder / "notes.jsonl").write_text('{"text": "nothing is asked here"}\n')
    monkeypatch.setenv("BACTRIAN_EVAL_DATA", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


def against(**settings: Any) -> list[str]:
    return Synthesise(**BASE, generators=[{"model": "m"}], **settings).resolved().against


def test_known_test_sets_are_added_to_those_that_are_named(sets: Path) -> None:
    known = str(sets)
    assert against() == [known]
    assert against(against=["mine.jsonl"]) == ["mine.jsonl", known]
    assert against(against=[known]) == [known]
    assert against(against=["mine.jsonl"], gates={"known": False}) == ["mine.jsonl"]
    assert against(gates={"decontaminate": False}) == []


def test_where_none_is_at_hand_a_step_without_test_items_is_refused(sets: Path) -> None:
    (sets / "svamp.jsonl").unlink()
    with pytest.raises(BactrianError, match=r"no known test set in the folders that BACTRIAN_EVAL_DATA names"):
        against()
    assert against(against=["mine.jsonl"]) == ["mine.jsonl"]


def test_a_row_that_holds_a_known_item_is_dropped(
    sets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(body: dict[str, Any]) -> str:
        return TEST_ITEM if "of 3 bees" in body["messages"][-1]["content"] else f"Tell me of {body['seed']}, please."

    with generator(said) as (settings, _):
        stage = Synthesise(**BASE, generators=[settings], gates={"novelty": None}).resolved()
        work = workspace(tmp_path, personas(3))
        (known,) = stage.against  # the folder: of what is in it, what is known
        work.inputs[known] = Input(known, Path(known), Kind.DATA, "5eed")
        stage.run(work)
    assert [(each["reason"], each["answer"]) for each in dropped(work)] == [("holds a test item", "1/0")]
    assert len(read_rows(work.output)) == 2
    record = work.decontamination
    assert record is not None and record.against == ("svamp",)
    told = capsys.readouterr()
    assert "1 items of 1 test sets; known and not at hand: advfactuality" in told.out + told.err


def test_the_key_is_that_of_what_was_looked_for(sets: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "name: r\nsteps:\n  people: {stage: personas, count: 3}\n  made:\n    stage: synthesise\n    seeds: people\n"
        "    prompt: 'For: {{ persona }}'\n    generators: [{server: {url: 'http://localhost:1/v1', model: m}}]\n"
    )

    def keys() -> list[str]:
        return [each.key for each in tasks(load(recipe), Hardware())]

    first = keys()
    assert keys() == first
    with (sets / "svamp.jsonl").open("a") as file:
        file.write(json.dumps({"Body": "Another", "Question": "one?", "Answer": "2"}) + "\n")
    second = keys()
    assert second[0] == first[0] and second[1] != first[1]


def test_every_public_task_that_asks_is_a_known_test_set() -> None:
    unknown = {
        f"{task.name}: {begin}"
        for task in catalogue().values()
        if task.name not in TEXTS
        for begin in task.source.files
        if known_as(f"{begin}.jsonl") is None
    }
    assert not unknown, "made rows would not be held against these"


def test_a_workspace_without_test_items_says_so(tmp_path: Path) -> None:
    with generator(lambda body: "Tell me.") as (settings, _):
        work: Workspace = workspace(tmp_path, personas(1))
        with pytest.raises(BactrianError, match="no test items"):
            Synthesise(**BASE, generators=[settings]).run(work)
