"""The best of several models by development average: made-up results with a known truth, and a whole chain."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from bactrian.errors import BactrianError
from bactrian.evaluate.records import Record, write_records
from bactrian.evaluate.scoring import score
from bactrian.evaluate.statistics import mcnemar
from bactrian.recipe.recipe import load
from bactrian.run import runner
from bactrian.stages.measure.choose import Choose
from bactrian.store.artifact import Input, Store, Workspace
from bactrian.store.manifest import InputRecord, Kind, Manifest
from tests.evaluate.small import write_small

Rights = Mapping[str, Mapping[str, Sequence[int]]]
"""Model → task → whether each question is right."""


def evaluation(folder: Path, rights: Rights, mode: str = "greedy", **about: Any) -> Input:
    """Results as `evaluate` leaves them."""
    answers = {
        (model, task): [
            Record(f"q{i}", 0, "?", "!", "!", None, float(r), "right" if r else "wrong", 3, "stop")
            for i, r in enumerate(mine)
        ]
        for model, tasks in rights.items()
        for task, mine in tasks.items()
    }
    folder.mkdir()
    labelled = [({"model": m, "task": t, "mode": mode}, a) for (m, t), every in answers.items() for a in every]
    write_records(folder / "questions.parquet", labelled)
    scores = [asdict(score(m, t, mode, every)) | about for (m, t), every in answers.items()]
    tasks = {task: {"n": 1} for tasks in rights.values() for task in tasks}
    (folder / "results.json").write_text(json.dumps({"tasks": tasks, "scores": scores}))
    inputs = {model: InputRecord(key=None, content_hash=f"hash of {model}", path="/") for model in rights}
    manifest = Manifest(
        kind=Kind.RESULTS,
        stage="evaluate",
        step=folder.name,
        key="",
        content_hash="",
        inputs=inputs,
        settings={"models": list(rights)},
        seed=0,
        code={},
        packages={},
        hardware={},
        licences=(),
        started="",
        seconds=0,
        metrics={},
        files={},
    )
    manifest.write(folder)
    return Input(folder.name, folder, Kind.RESULTS, f"hash of {folder.name}")


def chosen(folder: Path, results: Sequence[Input], models: Sequence[str], **settings: Any) -> dict[str, Any]:
    inputs = {each.name: each for each in results}
    for model in models:
        (folder / model / "checkpoints" / "1").mkdir(parents=True, exist_ok=True)
        (folder / model / "model.safetensors").write_text(f"weights of {model}")
        (folder / model / "checkpoints" / "1" / "model.safetensors").write_text("earlier weights")
        (folder / model / "metrics.jsonl").write_text("{}")
        inputs[model] = Input(model, folder / model, Kind.MODEL, f"hash of {model}", key="made here")
    out = Workspace.temporary(folder / f"out{len(list(folder.iterdir()))}", inputs)
    Choose(models=list(models), scores=[each.name for each in results], **settings).run(out)
    found: dict[str, Any] = json.loads((out.output / "choice.json").read_text())
    assert sorted(path.name for path in out.output.rglob("*")) == ["choice.json", "model.safetensors"]
    assert (out.output / "model.safetensors").read_text() == f"weights of {found['chosen']}"
    assert out.metrics == {f"average/{each['model']}": each["average"] for each in found["candidates"]}
    return found


def test_each_task_counts_the_same(tmp_path: Path) -> None:
    """b is right more often (60 of 100 against 52), a is better on average (0.7 against 0.65)."""
    rights = {
        "a": {"long": [1] * 40 + [0] * 40, "short": [1] * 18 + [0] * 2},
        "b": {"long": [1] * 48 + [0] * 32, "short": [1] * 14 + [0] * 6},
    }
    found = chosen(tmp_path, [evaluation(tmp_path / "dev", rights)], ["b", "a"])
    assert found["chosen"] == "a"
    best, other = found["candidates"]
    assert best["average"] == pytest.approx(0.7) and other["average"] == pytest.approx(0.65)
    assert best["scores"] == {"long": 0.5, "short": 0.9} and best["interval"] == [0, 0]
    # the interval by hand: half-widths of the tasks' own paired tests, as of independent strata
    halves = [np.ptp(mcnemar(rights["b"][task], rights["a"][task]).interval) / 2 for task in ("long", "short")]  # type: ignore[arg-type]
    half = np.hypot(*halves) / 2
    assert other["difference"] == pytest.approx(0.05)
    np.testing.assert_allclose(other["interval"], [0.05 - half, 0.05 + half])


def test_the_interval_holds_the_truth_as_often_as_it_says(tmp_path: Path) -> None:
    """Two models of one true average: the one that is better by chance is surely better in a few cases of a hundred."""
    from bactrian.evaluate.model_choice import choose, read_measured

    draw, sure, runs = np.random.default_rng(0), 0, 60
    for number in range(runs):
        rights = {m: {t: draw.integers(2, size=60).tolist() for t in ("s", "t")} for m in ("a", "b")}
        measured = read_measured("dev", evaluation(tmp_path / str(number), rights).path, "greedy")
        sure += choose({m: f"hash of {m}" for m in rights}, [measured])[1].surely_worse
    assert sure <= 0.05 * runs + float(norm.ppf(0.995)) * (runs * 0.05 * 0.95) ** 0.5


def test_of_equals_the_earlier_and_several_results(tmp_path: Path) -> None:
    one = evaluation(tmp_path / "one", {"a": {"t": [1, 0]}, "b": {"t": [0, 1]}, "c": {"t": [0, 0]}})
    two = evaluation(tmp_path / "two", {"c": {"t": [0, 0]}, "b": {"t": [1, 0]}, "a": {"t": [1, 0]}})
    assert chosen(tmp_path, [one, two], ["a", "b", "c"])["chosen"] == "a"
    found = chosen(tmp_path, [one, two], ["b", "a", "c"])
    assert found["chosen"] == "b" and list(found["candidates"][0]["scores"]) == ["one: t", "two: t"]


def test_matched_by_content_not_by_name(tmp_path: Path) -> None:
    results = evaluation(tmp_path / "dev", {"a": {"t": [1, 1]}, "b": {"t": [0, 0]}})
    for model in ("a", "b"):
        (tmp_path / model).mkdir()
        (tmp_path / model / "config.json").write_text(model)
    inputs = {"a": Input("a", tmp_path / "b", Kind.MODEL, "hash of b"), "dev": results}
    inputs["b"] = Input("b", tmp_path / "a", Kind.MODEL, "hash of a")
    out = Workspace.temporary(tmp_path / "out", inputs)
    Choose(models=["a", "b"], scores=["dev"]).run(out)
    assert (out.output / "config.json").read_text() == "a"


def test_what_nothing_may_be_chosen_by(tmp_path: Path) -> None:
    good = {"a": {"t": [1, 0]}, "b": {"t": [0, 0]}}
    dev = evaluation(tmp_path / "dev", good)
    with pytest.raises(BactrianError, match="c: dev did not measure this very model, it measured a, b"):
        chosen(tmp_path, [dev], ["a", "c"])
    with pytest.raises(BactrianError, match="dev: no scores in mode sampled, found greedy"):
        chosen(tmp_path, [dev], ["a", "b"], mode="sampled")
    with pytest.raises(BactrianError, match="half: no score of b on task u"):
        chosen(tmp_path, [evaluation(tmp_path / "half", {"a": {"t": [1], "u": [1]}, "b": {"t": [1]}})], ["a", "b"])
    bits = evaluation(tmp_path / "bits", good, metric="bits per byte")
    with pytest.raises(BactrianError, match="bits: t is measured in bits per byte, where less is better"):
        chosen(tmp_path, [bits], ["a", "b"])
    seen = evaluation(tmp_path / "seen", good)
    file = seen.path / "results.json"
    file.write_text(file.read_text().replace('{"n": 1}', '{"n": 1, "looks": 2}'))
    with pytest.raises(BactrianError, match="seen: looks at t, unseen tasks"):
        chosen(tmp_path, [seen], ["a", "b"])
    with pytest.raises(BactrianError, match="choose: models: 'a' is named twice"):
        chosen(tmp_path, [dev], ["a", "a"])


RECIPE = """\
name: chain
hardware: {dtype: float32, threads: 1}
steps:
  practice: {stage: problems, tasks: [{source: sums, count: 12, digits: [1, 1]}]}
  dev: {stage: problems, tasks: [{source: sums, count: 6, digits: [1, 1], split: dev}]}
  sft: {stage: sft, model: ./start, data: practice, batch_size: 4, learning_rate: 1.0e-3, checkpoints: {keep_every: 1}}
  at1: {stage: checkpoint, model: sft, step: 1}
  at2: {stage: checkpoint, model: sft, step: 2}
  scores: {stage: evaluate, models: [at1, at2, sft], data: dev, max_new_tokens: 4}
  best: {stage: choose, models: [at1, at2, sft], scores: [scores]}
  again: {stage: sft, model: best, data: practice, batch_size: 4, learning_rate: 1.0e-3}
"""


def test_a_chain_goes_on_from_the_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_small(tmp_path / "start")
    Path("chain.yaml").write_text(RECIPE)
    records = {each.name: each for each in runner.run(load(Path("chain.yaml")), Store(Path("runs")))}
    folders = {name: Path("runs") / str(each.path) for name, each in records.items()}
    choice = json.loads((folders["best"] / "choice.json").read_text())
    averages = {each["model"]: each["average"] for each in choice["candidates"]}
    assert choice["chosen"] == max(["at1", "at2", "sft"], key=lambda name: averages[name])  # the first of equals
    weights = {
        name: (folder / "model.safetensors")
        for name, folder in folders.items()
        if name != "scores" and (folder / "model.safetensors").exists()
    }
    assert weights["best"].read_bytes() == weights[choice["chosen"]].read_bytes()
    assert len({weights[name].read_bytes() for name in ("at1", "at2", "sft")}) == 3
    assert weights["at1"].samefile(folders["sft"] / "checkpoints" / "1" / "model.safetensors")  # no second copy
    page = Path("runs/chain/report.html").read_text()
    assert "Models chosen" in page and "Not surely better than" in page
    assert {each.status for each in runner.run(load(Path("chain.yaml")), Store(Path("runs")))} == {"reused"}
