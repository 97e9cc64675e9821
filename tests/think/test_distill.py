"""A teacher's traces become rows; what cannot teach is dropped and counted; a kill loses nothing."""

import json
from pathlib import Path
from typing import Any

import pytest
from chain import guesser

from bactrian.data.io.files import read_rows, write_rows
from bactrian.data.io.problem_rows import problem
from bactrian.errors import BactrianError
from bactrian.stages.data.distill import Distill
from bactrian.store.artifact import Input, Workspace
from bactrian.store.manifest import Kind
from bactrian.think import attempt


def distill(folder: Path, name: str, **settings: Any) -> Workspace:
    rows = [problem(f"a{'b' * i}?", "Answer: 7", "7", "gsm8k", "test", "MIT") for i in range(12)]
    write_rows([row | {"subject": "digits"} for row in rows], folder / "problems")
    model = folder / "model" if (folder / "model").exists() else guesser(folder / "model")
    inputs = {"t": Input("t", model, Kind.MODEL, "hash"), "p": Input("p", folder / "problems", Kind.DATA, "")}
    workspace = Workspace.temporary(folder / name, inputs)
    given = {"max_thinking_tokens": 12, "answer_tokens": 12, "temperature": 1.0, "format": "tags"}
    Distill(teacher="t", data="p", **given | settings).run(workspace)
    return workspace


def test_traces_are_rows_to_learn_from(tmp_path: Path) -> None:
    workspace = distill(tmp_path, "all")
    rows = read_rows(workspace.output, "conversation")
    account = json.loads((workspace.output / "rows.json").read_text())
    assert 0 < len(rows) < 12 and len(rows) + sum(each["count"] for each in account["dropped"].values()) == 12
    assert {type(row["right"]) for row in rows} == {bool} and {row["subject"] for row in rows} == {"digits"}
    for row in rows:
        question, answer = row["messages"]
        assert question["role"] == "user" and answer["content"] and answer["reasoning_content"]
        assert not {"solution", "ground_truth", "dataset"} & row.keys()
        assert "</think" not in answer["content"] + answer["reasoning_content"]
    right = read_rows(distill(tmp_path, "right", keep="right", samples=4).output)
    assert right and all(row["right"] for row in right)


def test_a_kill_loses_no_finished_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = read_rows(distill(tmp_path, "whole").output)
    append, count = attempt.append, 0

    def die(*given: Any) -> None:
        nonlocal count
        count += 1
        if count == 5:
            raise KeyboardInterrupt
        append(*given)

    monkeypatch.setattr(attempt, "append", die)
    with pytest.raises(KeyboardInterrupt):
        distill(tmp_path, "cut")
    count = 5
    assert read_rows(distill(tmp_path, "cut").output) == whole
    assert count == 5 + 12 - 4


def test_no_trace_at_all_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BactrianError, match=r"no trace could be used(.|\n)*cut at 1 or 1 tokens"):
        distill(tmp_path, "none", max_thinking_tokens=1, answer_tokens=1)


def test_the_recipe_of_s1_is_whole() -> None:
    from bactrian.recipe.recipe import load

    recipe = load(Path(__file__).parents[2] / "recipes" / "s1.yaml")
    ablation: Any = recipe.step("chosen~ablation").stage
    assert list(ablation.variants) == ["random", "diverse", "longest", "all"]
    assert "chosen~random" in recipe.step("sft~random").reads
    sft: Any = recipe.step("sft").stage
    assert (sft.epochs, sft.batch_size, sft.learning_rate, sft.max_length, sft.template) == (5, 16, 1e-5, 32768, "s1")
    assert load(Path(__file__).parents[2] / "recipes" / "thinking.yaml").step("sft")
