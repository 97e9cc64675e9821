"""Evaluation during training: what is seen is the evaluator's own, and training is the same with it and without."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from bactrian import stopping
from bactrian.data.synth.procedural import corpus
from bactrian.recipe.recipe import load
from bactrian.run.runner import run
from bactrian.stages.tune.pretrain import Pretrain
from bactrian.store.artifact import Store
from bactrian.store.manifest import Manifest
from bactrian.train import looking

SHAPE = "hidden_size: 16, layers: 1, heads: 2, intermediate_size: 24, context: 48, batch_size: 4, learning_rate: 0.01"
WATCH = "watch: {texts: {small: small.jsonl, large: large.jsonl}, tasks: [copa], limit: 6, look_every: 4}"
RECIPE = f"""\
name: looked
seed: 3
hardware: {{dtype: float32, threads: 1, device: cpu}}
steps:
  plain: {{stage: pretrain, data: texts.jsonl, {SHAPE}}}
  looked: {{stage: pretrain, data: texts.jsonl, {SHAPE}, {WATCH}}}
  scores:
    stage: evaluate
    models: [looked]
    texts: {{small: small.jsonl, large: large.jsonl}}
    tasks: [copa]
    limit: 6
    format: plain
"""
COPA = {"premise": "", "choice1": "It was odd.", "choice2": "It was even.", "question": "effect"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("looked")
    for name, seed, count, largest in [("texts", 0, 40, 10), ("small", 1, 8, 10), ("large", 2, 8, 60)]:
        rows = [json.dumps(row) for row in corpus(seed, count, largest=largest)]
        (folder / f"{name}.jsonl").write_text("\n".join(rows) + "\n")
    (folder / "data").mkdir()
    rows = [json.dumps({**COPA, "premise": f"The sum was {n}.", "label": n % 2}) for n in range(100)]
    (folder / "data" / "olmo_val_copa.jsonl").write_text("\n".join(rows) + "\n")
    (folder / "looked.yaml").write_text(RECIPE)
    return folder


def made(folder: Path, store: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    monkeypatch.setenv("BACTRIAN_EVAL_DATA", str(folder / "data"))
    run(load(folder / "looked.yaml"), Store(folder / store))
    found = (folder / store / "artifacts").iterdir()
    return {Manifest.read(path).step: path for path in found if (path / "manifest.json").is_file()}


def lines(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def test_looks_change_nothing_and_a_killed_run_sees_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = made(folder, "whole", monkeypatch)
    assert (whole["plain"] / "model.safetensors").read_bytes() == (whole["looked"] / "model.safetensors").read_bytes()
    seen = [line["step"] for line in lines(whole["looked"]) if "bits/small" in line]
    assert seen == [1, 5, 9]
    scored = {
        (each["task"]): each["score"] for each in json.loads((whole["scores"] / "results.json").read_text())["scores"]
    }
    totals = Manifest.read(whole["looked"]).metrics
    assert totals["bits/small"] == pytest.approx(scored["small"], rel=1e-6)
    assert totals["bits/large"] == pytest.approx(scored["large"], rel=1e-6)
    assert next(value for name, value in totals.items() if name.endswith("/copa")) == pytest.approx(scored["copa"])
    assert totals["bits/small"] < lines(whole["looked"])[0]["bits/small"]

    real, asked = looking.LookingTask.updates, list[int]()

    def cut(task: looking.LookingTask, step: int) -> Any:
        if step == 6 and not asked:
            asked.append(step)
            raise InterruptedError
        return real(task, step)

    monkeypatch.setattr(looking.LookingTask, "updates", cut)
    with pytest.raises(InterruptedError):
        made(folder, "cut", monkeypatch)
    again = made(folder, "cut", monkeypatch)
    assert (again["looked"] / "model.safetensors").read_bytes() == (whole["looked"] / "model.safetensors").read_bytes()
    hushed = [{k: v for k, v in line.items() if k != "tokens_per_second"} for line in lines(again["looked"])]
    assert hushed == [{k: v for k, v in line.items() if k != "tokens_per_second"} for line in lines(whole["looked"])]
    assert stopping.asked() is None


def test_only_ranked_tasks_that_may_be_looked_at_are_watched() -> None:
    for task, why in [
        ("gsm8k", "whose answers are written"),
        ("mmlu_pro", "whose answers are written"),
        ("copaa", 'mean "copa"'),
    ]:
        with pytest.raises(ValidationError, match=why):
            Pretrain(data="d", watch={"tasks": [task]})
