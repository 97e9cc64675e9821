"""The stage `scaling`: every method on the same questions, kept question by question, counted."""

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from chain import guesser
from pydantic import ValidationError

from bactrian.chat import FORMATS
from bactrian.data.io.files import write_rows
from bactrian.data.io.problem_rows import problem
from bactrian.errors import BactrianError
from bactrian.generate.local import LocalEngine
from bactrian.stages.measure.scaling import Scaling
from bactrian.stages.stage import Facts
from bactrian.store.artifact import Input, Workspace
from bactrian.store.manifest import Kind
from bactrian.think.attempt import Attempt, best_by, first_within, majority, vote
from bactrian.think.forcing import ThinkingQuestion, opened_prompt
from bactrian.think.thought import Budget
from bactrian.think.tree import Search, confidence, grow, shares

METHODS: list[dict[str, Any]] = [
    {"method": "forcing", "budgets": [0, 4, 16]},
    {"method": "forcing", "budgets": [16], "waits": [0, 1, 2], "extension": "Wait"},
    {"method": "tokens", "budgets": [4, 16]},
    {"method": "tokens", "budgets": [4, 16], "force": True},
    {"method": "steps", "steps": [1, 2], "tokens_per_step": 6},
    {"method": "steps", "steps": [1, 2], "tokens_per_step": 6, "force": True},
    {"method": "classes", "brief": 6, "long": 12},
    {"method": "rejection", "budgets": [4, 12], "tries": 4},
    {"method": "majority", "samples": [1, 2, 5], "budget": 8},
    {"method": "best_of", "samples": [1, 5], "budget": 8},
    {"method": "best_of", "samples": [1, 5], "budget": 8, "by": "verifier"},
    {"method": "tree", "widths": [2, 4], "budget": 12, "step_tokens": 4},
]


class ScalingBench:
    """A folder with a model and problems, and runs of the stage in it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.model = folder, guesser(folder / "model")
        rows = [problem(f"a{'b' * i}?", "Answer: 7", "7", "gsm8k", "test", "MIT") for i in range(5)]
        write_rows(rows, folder / "problems")
        self.inputs = {
            "m": Input("m", self.model, Kind.MODEL, "hash"),
            "p": Input("p", folder / "problems", Kind.DATA, ""),
        }

    def run(self, methods: list[dict[str, Any]], name: str, memos: str = "memos", **settings: Any) -> dict[str, Any]:
        workspace = Workspace.temporary(self.folder / name, self.inputs)
        workspace.memos = self.folder / memos
        given = {"model": "m", "data": "p", "max_thinking_tokens": 24, "answer_tokens": 6, "format": "tags"}
        self.output = workspace.output
        Scaling(methods=methods, **given | settings).run(workspace)
        return dict(json.loads((workspace.output / "results.json").read_text()))


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> ScalingBench:
    return ScalingBench(tmp_path_factory.mktemp("scaling"))


@pytest.fixture(scope="module")
def results(bench: ScalingBench) -> dict[str, Any]:
    return bench.run(METHODS, "all")


def by_name(results: dict[str, Any]) -> dict[str, Any]:
    return {method["name"]: method for method in results["scaling"]["methods"]}


def test_every_method_says_what_it_cost_and_kept(bench: ScalingBench, results: dict[str, Any]) -> None:
    methods = by_name(results)
    assert len(methods) == len(METHODS) and results["scaling"]["unit"].startswith("percentage points")
    for name in ("forcing", "forcing, 'Wait'", "tokens + forcing", "steps + forcing", "majority of thoughts of 8"):
        assert methods[name]["control"] == methods[name]["control_of_means"] == 1.0
    assert methods["tokens"]["control"] < 1
    for method in methods.values():
        for point in method["points"]:
            assert 0 <= point["accuracy"] <= 1 and point["sampled_tokens"] >= point["thinking_tokens"] * 0.5
    tokens = [point["thinking_tokens"] for point in methods["forcing"]["points"]]
    assert tokens == sorted(tokens) and tokens[0] == 0 and tokens[-1] <= 16
    labels = ["model", "task", "mode"]
    answers = pq.read_table(bench.output / "questions.parquet").to_pylist()
    assert len(answers) == 5 * sum(len(method["points"]) for method in methods.values())
    assert all(answers[0][label] for label in labels) and "</think>" in answers[0]["completion"]
    assert [score["model"] for score in results["scores"]] == results["models"]
    bound = methods["best by verifier (bound) of thoughts of 8"]["points"][-1]["accuracy"]
    assert bound >= max(
        methods["majority of thoughts of 8"]["points"][-1]["accuracy"],
        methods["best by confidence of thoughts of 8"]["performance"],
    )
    assert (
        methods["majority of thoughts of 8"]["points"][0]["accuracy"]
        == methods["best by confidence of thoughts of 8"]["points"][0]["accuracy"]
    )
    at_equal = results["scaling"]["equal_tokens"]
    assert {each["parallel"] for each in at_equal} == {m["name"] for m in methods.values() if m["kind"] == "parallel"}


def test_the_page_and_the_plot_show_every_method(bench: ScalingBench, results: dict[str, Any]) -> None:
    from bactrian.report.run_record import ReportedRun, ReportedStep, ResultsRecord, RunRecord, StepRecord
    from bactrian.report.scaling_plot import drawings, scaling_view

    record = ResultsRecord.model_validate(results)
    view = scaling_view(ReportedStep(StepRecord(name="<b>sweep</b>", stage="scaling"), results=record))
    assert view is not None
    assert [each.name for each in view.methods] == [method["name"] for method in results["scaling"]["methods"]]
    assert len(view.points) == len(results["scores"]) and view.methods[0].control.startswith("100.0")
    assert not list(bench.output.glob("*.svg"))  # drawings belong to the report
    named = [ReportedStep(StepRecord(name=name), results=record) for name in ("sweep", "../up")]
    ((name, text),) = drawings(ReportedRun(RunRecord(name="r"), Path(), tuple(named)))
    drawing = ElementTree.fromstring(text)
    assert name == "scaling-sweep.svg"
    marks = [each for each in drawing.iter() if each.tag.endswith(("circle", "}rect"))]
    assert len(marks) >= len(view.points) + len(view.methods)
    run = ReportedRun(RunRecord(name="r"), Path(), (ReportedStep(StepRecord(name="<b>sweep</b>"), results=record),))
    from bactrian.report.page import render_page

    page = render_page(run)
    assert "Thinking: accuracy against tokens" in page and "&lt;b&gt;sweep" in page and "<b>sweep" not in page


def test_what_is_there_is_not_made_again(
    bench: ScalingBench, results: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LocalEngine, "generate", lambda *_, **__: pytest.fail("a thought was made again"))
    assert bench.run(METHODS, "again") == results
    assert len(bench.run(METHODS[:2], "fewer")["scaling"]["methods"]) == 2


def test_a_kill_loses_no_finished_question(bench: ScalingBench, monkeypatch: pytest.MonkeyPatch) -> None:
    from bactrian.think import attempt

    method, whole = METHODS[:1], bench.run(METHODS[:1], "whole", memos="other")
    append, count = attempt.append, 0

    def die(*given: Any, **more: Any) -> None:
        nonlocal count
        count += 1
        if count == 8:  # the third question of the second run
            with given[0].open("a") as file:
                file.write('{"attempts": [{"quest')
            raise KeyboardInterrupt
        append(*given, **more)

    monkeypatch.setattr(attempt, "append", die)
    with pytest.raises(KeyboardInterrupt):
        bench.run(method, "cut", memos="third")
    asked = 0
    generate = LocalEngine.generate

    def counting(self: LocalEngine, requests: Any, *more: Any) -> Any:
        nonlocal asked
        asked += len(requests)
        return generate(self, requests, *more)

    monkeypatch.setattr(attempt, "append", append)
    monkeypatch.setattr(LocalEngine, "generate", counting)
    assert bench.run(method, "cut", memos="third") == whole
    assert 5 < asked <= 5 + 5  # what was left of the second run, and the third


@pytest.mark.parametrize(
    ("methods", "settings", "said"),
    [
        ([METHODS[0], METHODS[0]], {}, "two are called the same"),
        ([{"method": "best_of", "samples": [2], "budget": 4, "by": "reward_model"}], {}, "setting reward_model"),
        ([{"method": "majority", "samples": [0], "budget": 4}], {}, "numbers from 1"),
    ],
)
def test_settings_that_cannot_be_meant(methods: list[dict[str, Any]], settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Scaling(model="m", data="p", methods=methods, **settings)  # type: ignore[arg-type]


def test_questions_that_were_trained_on_stop_it(bench: ScalingBench) -> None:
    with pytest.raises(BactrianError, match="5 of 5 questions are in the training set p"):
        bench.run(METHODS[:1], "leak", train=["p"])


def test_a_plan_counts_shared_draws_once() -> None:
    def tokens(*methods: dict[str, Any]) -> float:
        stage = Scaling(model="m", data="p", methods=list(methods), max_thinking_tokens=100, answer_tokens=10)  # type: ignore[arg-type]
        return stage.forecast({"m": Facts(parameters=10), "p": Facts(rows=5, tokens_per_row=20)}).tokens

    majority_of_4 = {"method": "majority", "samples": [2, 4], "budget": 30}
    assert tokens(majority_of_4) == 5 * (4 * 40 + 20)
    assert tokens(majority_of_4, {"method": "best_of", "samples": [4], "budget": 30}) == tokens(majority_of_4)


def attempt_of(
    sample: int, extracted: str | None, *, tokens: int = 5, ended: str = "itself", logprob: float = -1.0
) -> Attempt:
    return Attempt(
        "q",
        sample,
        "",
        "",
        tokens,
        2,
        tokens + 2,
        3,
        0,
        ended,
        "stop",
        False,
        logprob,
        "right" if extracted == "7" else "wrong",
        extracted,
        float(extracted == "7"),
    )


def test_choosing_one_answer_of_several() -> None:
    said = [attempt_of(i, each) for i, each in enumerate([None, "3", "7", "7", "3", None, None])]
    assert majority(7, 9)(said).attempt == said[1]  # two each: the first of them
    assert majority(4, 9)(said).attempt == said[2]
    assert majority(1, 9)(said).attempt == said[0] and majority(3, 4)(said).within == 0.0
    assert vote(said, [1, 1, 1, 1, 2, 1, 1]) == said[1] and vote(said[:1], [1]) == said[0]
    assert (majority(3, 9)(said).tokens, majority(3, 9)(said).sampled) == (15, 21)
    sure = [attempt_of(0, "3", logprob=-2.0), attempt_of(1, "7", logprob=-0.5), attempt_of(2, "1", logprob=-0.5)]
    assert best_by(3, 9, lambda a: a.logprob)(sure).attempt == sure[1]
    late = [attempt_of(0, "7", ended="budget"), attempt_of(1, "3", tokens=4), attempt_of(2, "7", tokens=1)]
    assert first_within(4)(late).attempt == late[1]
    assert (first_within(4)(late).tokens, first_within(4)(late).sampled) == (4, 13)
    none = first_within(0)(late[:2])
    assert none.attempt is None and none.within == 0.0


@pytest.mark.parametrize("width", [1, 3, 8])
def test_a_tree_keeps_its_width_and_its_budget(bench: ScalingBench, width: int) -> None:
    engine, form, budget = LocalEngine.load(bench.model), FORMATS["tags"], Budget(15, answer=4)
    prompt = opened_prompt([{"role": "user", "content": "ab?"}], engine.template, form)
    seen: list[int] = []

    def rewards(number: int, branches: Any) -> list[float]:
        seen.append(len(branches))
        return confidence(branches)

    questions = [ThinkingQuestion(prompt, 1, seed, 1.0) for seed in range(20)]
    trees = grow(engine, questions, form, budget, Search(width, 4), rewards)
    assert max(seen) <= width
    for tree in trees:
        assert 1 <= len(tree.leaves) <= width and all(0 < reward <= 1 for reward in tree.rewards)
        assert all(leaf.thinking_tokens <= 15 and leaf.answer_tokens >= 1 for leaf in tree.leaves)
        assert tree.thinking_tokens <= width * 15
        assert tree.sampled == tree.thinking_tokens + sum(leaf.answer_tokens for leaf in tree.leaves)
        assert all("</think" not in leaf.thinking for leaf in tree.leaves)
    assert grow(engine, questions, form, budget, Search(width, 4))[2] == trees[2]
    alone = grow(LocalEngine.load(bench.model), questions[2:3], form, budget, Search(width, 4))
    assert [leaf.ids for leaf in alone[0].leaves] == [leaf.ids for leaf in trees[2].leaves]


def test_shares_are_whole_and_by_reward() -> None:
    assert shares([0.9, 0.9, 0.1], 4, 0.1) == [2, 2, 0]
    assert shares([0.5], 7, 0.1) == [7]
    for width in range(1, 9):
        assert sum(shares([0.3, 0.8, 0.5, 0.79], width, 0.2)) == width
    assert shares([0.1, 0.9], 3, 1e-3) == [0, 3]
