"""`ablate:`: which steps it adds, that they share what they can, and what the table says."""

import json
from pathlib import Path
from typing import Any

import pytest

from bactrian.data.io.files import write_rows
from bactrian.errors import BactrianError
from bactrian.evaluate.comparison import compare_task
from bactrian.evaluate.estimates import estimate, stratified
from bactrian.evaluate.records import Record, write_records
from bactrian.evaluate.scoring import Averaging
from bactrian.recipe.ablate import Ablate, expand
from bactrian.recipe.recipe import Recipe, load
from bactrian.run.keys import tasks
from bactrian.run.runner import run
from bactrian.stages.measure.ablation import Ablation
from bactrian.store.artifact import Input, Store, Workspace
from bactrian.store.hardware import Hardware
from bactrian.store.manifest import Kind
from tests.evaluate.small import write_sets, write_small

RECIPE = """
steps:
  a: {stage: problems, tasks: [{source: sums, count: 40}], as_conversations: true}
  b: {stage: problems, tasks: [{source: word_problems, count: 30}], as_conversations: true}
  mixture:
    stage: mix
    sources: [{data: a, capability: sums}, {data: b, name: big/b, amount: 2.0}]
    ablate: {without: [sums, big/b], only: [sums]}
  sft: {stage: sft, model: "embedded:smollm2-135m", data: mixture}
  unseen: {stage: problems, tasks: [{source: sums, count: 5, split: unseen}]}
  again: {stage: mix, sources: [{data: mixture}, {data: a}]}
  scores: {stage: evaluate, models: {start: "embedded:smollm2-135m", sft: sft}, data: unseen, train: [mixture]}
"""


def recipe(folder: Path, text: str = RECIPE) -> Recipe:
    (folder / "recipe.yaml").write_text(text)
    return load(folder / "recipe.yaml")


def test_the_steps_below_are_there_once_more_for_each_part(tmp_path: Path) -> None:
    found = recipe(tmp_path)
    below = ["mixture", "sft", "again", "scores"]
    added = [step + suffix for suffix in ("~no-sums", "~no-big-b", "~only-sums") for step in below]
    assert {step.name for step in found.steps} == {"a", "b", "unseen", *below, *added, "mixture~ablation"}
    sft, scores = found.step("sft~no-sums"), found.step("scores~no-sums")
    assert sft.reads == ("mixture~no-sums",)
    assert scores.reads == ("sft~no-sums", "unseen", "mixture~no-sums")
    assert found.step("again~only-sums").reads == ("mixture~only-sums", "a")
    mixture: Any = found.step("mixture~no-sums").stage
    assert [portion.label for portion in mixture.sources] == ["big/b"] and mixture.sources[0].amount == 2.0
    table: Any = found.step("mixture~ablation").stage
    assert table.full == ["scores"] and table.variants == {
        "without sums": ["scores~no-sums"],
        "without big/b": ["scores~no-big-b"],
        "only sums": ["scores~only-sums"],
    }


INSTEAD = """
steps:
  a: {stage: problems, tasks: [{source: sums, count: 40}], as_conversations: true}
  chosen:
    {stage: select, data: a, count: 20, by: longest, ablate: {instead: {by chance: {by: random}, all: {count: 40}}}}
  sft: {stage: sft, model: "embedded:smollm2-135m", data: chosen}
  unseen: {stage: problems, tasks: [{source: sums, count: 5, split: unseen}]}
  scores: {stage: evaluate, models: {start: "embedded:smollm2-135m", sft: sft}, data: unseen}
"""


def test_a_step_of_any_stage_may_be_made_otherwise(tmp_path: Path) -> None:
    found = recipe(tmp_path, INSTEAD)
    other: Any = found.step("chosen~by-chance").stage
    assert (other.by, other.count) == ("random", 20)
    assert found.step("sft~all").reads == ("chosen~all",) and found.step("scores~all").reads == ("sft~all", "unseen")
    table: Any = found.step("chosen~ablation").stage
    assert table.variants == {"by chance": ["scores~by-chance"], "all": ["scores~all"]}
    start, _, end = INSTEAD.partition("by: longest, ablate: {instead: {by chance: {by: random}, all: {count: 40}}}")
    by_hand = f"{start}by: random{end}"
    alone = {task.step.name: task.key for task in tasks(recipe(tmp_path, by_hand), Hardware())}
    assert alone["sft"] == {task.step.name: task.key for task in tasks(found, Hardware())}["sft~by-chance"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [("{by: best}", "by: Input should be"), ("{count: 20}", "others than the step's own"), ("{size: 3}", "size")],
)
def test_what_cannot_be_changed_is_an_error_in_its_place(tmp_path: Path, changes: str, said: str) -> None:
    with pytest.raises(BactrianError, match=rf"(?s)line 5.*instead.*other.*{said}"):
        recipe(tmp_path, INSTEAD.replace("{by chance: {by: random}, all: {count: 40}}", f"{{other: {changes}}}"))


def test_a_variant_is_the_recipe_without_the_part_and_nothing_else(tmp_path: Path) -> None:
    lines = [line for line in RECIPE.splitlines() if "ablate:" not in line]
    by_hand = "\n".join(lines).replace("{data: a, capability: sums}, ", "")
    keys = {task.step.name: task.key for task in tasks(recipe(tmp_path), Hardware())}
    alone = {task.step.name: task.key for task in tasks(recipe(tmp_path, by_hand), Hardware())}
    assert alone["sft"] == keys["sft~no-sums"] != keys["sft"]
    assert alone["unseen"] == keys["unseen"]


def test_what_is_shared_is_made_once(tmp_path: Path) -> None:
    text = RECIPE.partition("  sft:")[0]
    done = run(recipe(tmp_path, text), Store(tmp_path / "runs"), report=False)
    paths = {step.name: step.path for step in done}
    assert len(paths) == 6
    assert paths["mixture~no-big-b"] == paths["mixture~only-sums"]  # the same mixture under two names


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ("[sums, big/b]", "[sum]", ["line 8", "ablate.without.0", '"sum", which is no part', 'did you mean "sums"']),
        ("[sums, big/b]", "[sums, sums]", ["ablate.without.1", '"sums" again']),
        ("{without", "{with", ["ablate.with"]),
        (", {data: b, name: big/b, amount: 2.0}", "", ['"sums", which is all there is']),
        ("stage: sft,", "stage: sft, ablate: {without: [x]},", ['step "sft"', "which has no parts"]),
    ],
)
def test_what_cannot_be_left_out_is_an_error_in_its_place(old: str, new: str, parts: list[str], tmp_path: Path) -> None:
    with pytest.raises(BactrianError) as error:
        recipe(tmp_path, RECIPE.replace(old, new))
    assert all(part in str(error.value) for part in parts), str(error.value)


def test_rules_of_a_filter_can_be_left_out_too(tmp_path: Path) -> None:
    steps = {
        step.name: step.stage
        for step in recipe(
            tmp_path,
            """
steps:
  a: {stage: corpus, count: 9}
  some: {stage: filter, data: a, rules: [{rule: length, least: 3}, {rule: gopher}]}
""",
        ).steps
    }
    added, problems = expand("some", steps, Ablate(without=["gopher"]))
    assert not problems and [rule.rule for rule in added["some~no-gopher"].rules] == ["length"]  # type: ignore[attr-defined]


# the table


def answer(question: int, right: bool) -> Record:
    outcome = "right" if right else "wrong"
    return Record(str(question), 0, "p", "c", "1", "1", float(right), outcome, 3, "stop")


def evaluation(folder: Path, right: dict[str, str]) -> Input:
    """Results as `evaluate` leaves them, of a model called base and of another: "1" is a right answer."""
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps({"models": ["base", "sft"], "tasks": {task: {} for task in right}}))
    rows = [
        ({"model": model, "task": task, "mode": "greedy"}, answer(q, mark == "1" and model == "sft"))
        for model in ("base", "sft")
        for task, marks in right.items()
        for q, mark in enumerate(marks)
    ]
    write_records(folder / "questions.parquet", rows)
    return Input(folder.name, folder, Kind.RESULTS, "")


FULL = {"x": "1111011101", "y": "1100"}
WITHOUT = {"x": "1011000101", "y": "1100"}


def test_the_table_compares_the_last_models_question_by_question(tmp_path: Path) -> None:
    inputs = {"f": evaluation(tmp_path / "f", FULL), "v": evaluation(tmp_path / "v", WITHOUT)}
    workspace = Workspace.temporary(tmp_path / "out", inputs)
    Ablation(full=["f"], variants={"without x": ["v"]}).run(workspace)
    results = json.loads((workspace.output / "results.json").read_text())
    sides = ([answer(q, m == "1") for q, m in enumerate(marks["x"])] for marks in (FULL, WITHOUT))
    expected = compare_task("x", Averaging(), *sides).comparison
    [x, y] = results["comparisons"]
    assert (x["difference"], tuple(x["interval"]), x["p"]) == (-0.3, expected.interval, expected.p)
    assert (y["difference"], y["gained"], y["lost"]) == (0.0, 0, 0)
    full, without = results["averages"]
    assert full["score"] == pytest.approx(0.65) and without["difference"] == pytest.approx(-0.15)
    table = (workspace.output / "table.md").read_text()
    assert "| full | 65.0 | 80.0 [" in table and "| without x | 50.0 (Δ -15.0 [" in table


def test_the_last_run_of_every_method_is_a_column(tmp_path: Path) -> None:
    def sweep(name: str, marks: str) -> Input:
        folder = tmp_path / name
        folder.mkdir()
        points = {"forcing": ["0", "64"], "majority": ["1 samples", "8 samples"]}
        methods = [{"name": name, "points": [{"label": label} for label in labels]} for name, labels in points.items()]
        rows = [
            (
                {"model": f"{method} · {label}", "task": "x", "mode": "sampled" if method == "majority" else "greedy"},
                answer(q, mark == "1" and label == labels[-1]),
            )
            for method, labels in points.items()
            for label in labels
            for q, mark in enumerate(marks)
        ]
        results = {"models": [], "tasks": {"x": {}}, "scaling": {"methods": methods}}
        (folder / "results.json").write_text(json.dumps(results))
        write_records(folder / "questions.parquet", rows)
        return Input(name, folder, Kind.RESULTS, "")

    inputs = {"f": evaluation(tmp_path / "f", FULL), "v": evaluation(tmp_path / "v", WITHOUT)}
    inputs |= {"fs": sweep("fs", FULL["x"]), "vs": sweep("vs", WITHOUT["x"])}
    workspace = Workspace.temporary(tmp_path / "out", inputs)
    Ablation(full=["f", "fs"], variants={"random": ["v", "vs"]}).run(workspace)
    results = json.loads((workspace.output / "results.json").read_text())
    assert list(results["tasks"]) == ["x", "y", "x, forcing · 64", "x, majority · 8 samples"]
    by_task = {each["task"]: each["difference"] for each in results["comparisons"]}
    assert by_task["x, forcing · 64"] == by_task["x, majority · 8 samples"] == by_task["x"] == -0.3
    assert [(each["mode"], each["tasks"]) for each in results["averages"]] == [("greedy", 2)] * 2  # as without sweeps
    table = (workspace.output / "table.md").read_text()
    assert "| | average | x | y | x, forcing · 64 |" in table and "| | average | x, majority · 8 samples |" in table
    assert "| random | – | 50.0 (Δ -30.0" in table
    alone = Workspace.temporary(tmp_path / "alone", inputs)
    Ablation(full=["fs"], variants={"random": ["vs"]}).run(alone)
    assert "| full | 80.0 | 80.0 [" in (alone.output / "table.md").read_text()


def test_other_questions_or_tasks_are_an_error(tmp_path: Path) -> None:
    for number, other in enumerate(({"x": "11", "y": "1100"}, {"x": FULL["x"]})):
        inputs = {"f": evaluation(tmp_path / f"f{number}", FULL), "v": evaluation(tmp_path / f"v{number}", other)}
        with pytest.raises(BactrianError, match="ablation: w"):
            Ablation(full=["f"], variants={"w": ["v"]}).run(Workspace.temporary(tmp_path / "out", inputs))


def test_the_average_difference_covers_the_truth_as_often_as_it_says() -> None:
    import numpy as np

    random, covered, rejected = np.random.default_rng(0), 0, 0
    for _ in range(1000):
        sizes = (30, 80)
        before = [random.random(n) < 0.5 for n in sizes]
        same = [random.random(n) < 0.7 for n in sizes]
        after = [np.where(s, first, random.random(len(s)) < 0.5) for s, first in zip(same, before, strict=True)]
        changes = [b.astype(float) - a for a, b in zip(before, after, strict=True)]
        found, p = stratified([estimate(change.tolist()) for change in changes])
        covered += found.interval[0] <= 0 <= found.interval[1]
        rejected += p < 0.05
    assert 930 <= covered <= 970 and covered + rejected == 1000
    assert stratified([estimate([0.0]), estimate([0.0])])[1] == 1.0


def test_results_of_something_else_are_an_error(tmp_path: Path) -> None:
    write_rows([{"id": "1", "text": "t"}], tmp_path / "data")
    inputs = {"f": Input("f", tmp_path / "data", Kind.RESULTS, "")}
    with pytest.raises(BactrianError, match="cannot be read as results"):
        Ablation(full=["f"], variants={"w": ["f"]}).run(Workspace.temporary(tmp_path / "out", inputs))


EVERYTHING = """\
name: ablated
hardware: {dtype: float32, threads: 1}
steps:
  a: {stage: problems, tasks: [{source: sums, count: 8, digits: [1, 1]}], as_conversations: true}
  b: {stage: problems, tasks: [{source: word_problems, count: 8}], as_conversations: true}
  mixture:
    {stage: mix, sources: [{data: a, capability: sums}, {data: b, capability: stories}], ablate: {without: [sums]}}
  sft: {stage: sft, model: ./start, data: mixture, batch_size: 4, learning_rate: 1.0e-2}
  dev: {stage: problems, tasks: [{source: sums, count: 6, digits: [1, 1], split: dev}]}
  scores:
    stage: evaluate
    models: {start: ./start, sft: sft}
    data: dev
    tasks: [gsm8k, arc_easy, mmlu]
    folders: [sets]
    format: plain
    samples: 2
    max_new_tokens: 4
  best: {stage: choose, models: {start: ./start, sft: sft}, scores: [scores]}
"""


def test_an_ablation_and_a_choice_go_by_problems_and_public_tasks_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    write_small(tmp_path / "start")
    write_sets(tmp_path / "sets")
    records = {each.name: each for each in run(recipe(tmp_path, EVERYTHING), Store(Path("runs")), report=True)}
    folders = {name: Path("runs") / str(each.path) for name, each in records.items()}
    found, full, without = (
        json.loads((folders[name] / "results.json").read_text())
        for name in ("mixture~ablation", "scores", "scores~no-sums")
    )
    places = [("dev", "greedy"), ("dev", "sampled"), ("mmlu", "greedy"), ("gsm8k", "greedy"), ("arc_easy", "greedy")]
    scores = {(each["model"], each["task"], each["mode"]): each for each in found["scores"]}
    assert scores.keys() == {(model, *place) for model in ("full", "without sums") for place in places}
    for label, results in (("full", full), ("without sums", without)):
        for each in results["scores"]:
            if each["model"] == "sft":  # the last model's, as the evaluation itself scored it: macro means and all
                mine = scores[label, each["task"], each["mode"]]
                for name in ("score", "interval", "groups", "numbers", "counts", "metric"):
                    assert mine[name] == each[name]
    assert {(each["task"], each["mode"]) for each in found["comparisons"]} == set(places)
    line = next(each for each in found["averages"] if (each["model"], each["mode"]) == ("without sums", "greedy"))
    mine = [each["score"] for (model, _, mode), each in scores.items() if (model, mode) == ("without sums", "greedy")]
    assert line["tasks"] == 4 and line["score"] == pytest.approx(sum(mine) / 4)
    assert "| | average | dev | mmlu | gsm8k | arc_easy |" in (folders["mixture~ablation"] / "table.md").read_text()
    choice = json.loads((folders["best"] / "choice.json").read_text())
    assert set(choice["candidates"][0]["scores"]) == {"dev", "mmlu", "gsm8k", "arc_easy"}
    page = Path("runs/ablated/report.html").read_text()
    assert "arc_easy" in page and "Models chosen" in page
