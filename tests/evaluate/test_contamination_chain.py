"""From training data to scores in a recipe: what a model was made from is known by manifests, and held against it."""

import json
from pathlib import Path
from typing import Any

import pytest
from small import SETS, write_sets, write_small

from bactrian.recipe.recipe import load
from bactrian.run import runner
from bactrian.store.artifact import Store

RECIPE = """\
name: chain
seed: 1
hardware: {dtype: float32, threads: 1, device: cpu}
steps:
  first: {stage: sft, model: one, data: first.jsonl, epochs: 1, batch_size: 4, memory: {micro_tokens: 600}}
  second: {stage: sft, model: first, data: second.jsonl, epochs: 1, batch_size: 4, memory: {micro_tokens: 600}}
  scores:
    stage: evaluate
    models: {base: one, first: first, second: second}
    tasks: [gsm8k, arc_easy]
    folders: [sets]
    format: plain
    max_new_tokens: 2
"""


def rows(name: str, texts: list[str]) -> str:
    made = [
        {
            "id": f"{name}{i}",
            "source": "test",
            "license": "CC0-1.0",
            "messages": [{"role": "user", "content": text}, {"role": "assistant", "content": "Yes."}],
        }
        for i, text in enumerate(texts)
    ]
    return "".join(json.dumps(row) + "\n" for row in made)


def test_each_model_is_held_against_all_that_it_was_made_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("BACTRIAN_NO_REEXEC", "1")
    write_small(tmp_path / "one")
    write_sets(tmp_path / "sets")
    asked = [row["question"] for row in SETS["gsm8k_test.jsonl"]]
    other = [f"Something of its own that stands in no test at all, number {i}, to be sure." for i in range(6)]
    (tmp_path / "first.jsonl").write_text(rows("a", [asked[0], *other[:3]]))
    (tmp_path / "second.jsonl").write_text(rows("b", [f"Before. {asked[3]} And after.", asked[4], *other[3:]]))
    (tmp_path / "r.yaml").write_text(RECIPE)
    records = {each.name: each for each in runner.run(load(Path("r.yaml"), ()), Store(Path("runs")))}
    results: dict[str, Any] = json.loads((Path("runs") / records["scores"].path / "results.json").read_text())
    clean = {(s["task"], s["model"]): s["clean"] for s in results["scores"]}
    assert clean["gsm8k", "base"] is None  # a folder from outside: nothing is known of its training data
    assert [clean["gsm8k", name]["held"] for name in ("first", "second")] == [1, 3]
    assert clean["gsm8k", "second"]["questions"] == 3 and clean["arc_easy", "second"]["held"] == 0
    page = (Path("runs") / "chain" / "report.html").read_text()
    assert "3 of its questions" in page and "without them" in page
