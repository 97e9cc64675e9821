"""The one evaluator gives the numbers that two gave: scores, intervals, p-values and questions as they were.

two_evaluators.json was written by the code before (commit 2d58c0e: the stages `evaluate` and `suite`) on the very input
of two_models.py.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from small import byte_tokenizer, loaded, task
from two_models import CLUSTERS, GROUPS, SKILL, SPANS, SUMS, Fake, logprobs, texts, truths

from bactrian.chat import ChatTemplate
from bactrian.data.io.files import write_rows
from bactrian.evaluate.answering import Answered, WrittenAnswer
from bactrian.evaluate.comparison import adjusted, compare_task
from bactrian.evaluate.evaluation import Evaluation, Graded
from bactrian.evaluate.grading import grade
from bactrian.evaluate.scoring import Averaging, measure
from bactrian.evaluate.task import Loaded, Question
from bactrian.model.ranking import Likelihood
from bactrian.stages.measure.evaluate import Evaluate
from bactrian.store.artifact import Input, Workspace
from bactrian.store.manifest import Kind
from bactrian.verify import Pool

BEFORE = json.loads(Path(__file__).with_name("two_evaluators.json").read_text())
OLD_COLUMNS = list(BEFORE["problems"]["first"][0])
N = 30


def assert_same(found: Any, before: Any, place: str = "") -> None:
    """Every number that was there is there still, to rounding; what is new is not looked at."""
    if isinstance(before, dict):
        for name, value in before.items():
            assert_same(found[name], value, f"{place}/{name}")
    elif isinstance(before, list):
        assert len(found) == len(before), place
        for number, (one, other) in enumerate(zip(found, before, strict=True)):
            assert_same(one, other, f"{place}/{number}")
    elif isinstance(before, float):
        assert found == pytest.approx(before, rel=1e-9, abs=1e-12), place
    else:
        assert found == before, place


def test_problems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = byte_tokenizer()
    template = ChatTemplate.load(tokenizer, "tulu")
    inputs = {}
    for model in SKILL:
        tokenizer.save_pretrained(tmp_path / model)
        (tmp_path / model / "config.json").write_text("{}")
        (tmp_path / model / "model.safetensors").write_text("")
        inputs[model] = Input(model, tmp_path / model, Kind.MODEL, f"hash of {model}")
    for name, rows in (("sums", SUMS), ("spans", SPANS)):
        write_rows(rows, tmp_path / name)
        inputs[name] = Input(name, tmp_path / name, Kind.DATA, "")
    monkeypatch.setattr("bactrian.generate.engines.open_engine", lambda path, *_, **__: Fake(path.name, template))
    workspace = Workspace.temporary(tmp_path / "workspace", inputs, seed=3)
    stage = Evaluate(
        models=list(SKILL),
        problems={"sums": "sums", "spans": "spans"},
        samples=4,
        k=[1, 2, 4],
        max_new_tokens=64,
        baseline="middle",
    )
    stage.run(workspace)
    results = json.loads((workspace.output / "results.json").read_text())
    before = BEFORE["problems"]["results"]
    assert_same(results["models"], before["models"])
    assert_same(results["tasks"], before["tasks"])
    for name, labels in (("scores", ("model", "task", "mode")), ("comparisons", ("task", "mode", "before", "after"))):
        found = {tuple(each[label] for label in labels): each for each in results[name]}
        expected = {tuple(each[label] for label in labels): each for each in before[name]}
        assert found.keys() == expected.keys()
        for place, each in expected.items():
            assert_same(found[place], each, str(place))
    table = pq.read_table(workspace.output / "questions.parquet", columns=OLD_COLUMNS)
    rows = table.to_pylist()
    assert len(rows) == BEFORE["problems"]["rows"] and rows[0] == BEFORE["problems"]["first"][0]
    assert hashlib.sha256(json.dumps(rows).encode()).hexdigest() == BEFORE["problems"]["questions"]


QUESTIONS = [
    Question(f"{i}?", truth, group=GROUPS[i % 6], cluster=CLUSTERS[i % 6]) for i, truth in enumerate(truths(N))
]
ALONE = [replace(each, group="", cluster="") for each in QUESTIONS]
OPTIONS = [
    Question(f"{i}?", "ABCD"[i % 4], tuple(f"option {'x' * j}{j}" for j in range(4)), (i % 4,), group=GROUPS[i % 6])
    for i in range(N)
]
TASKS: dict[str, Loaded] = {
    "exact": loaded(task("exact"), ALONE),
    "macro": loaded(task("macro", macro=True), [replace(each, cluster="") for each in QUESTIONS]),
    "clustered": loaded(task("clustered"), [replace(each, group="") for each in QUESTIONS]),
    "part": loaded(task("part", metric="score", verifier="drop"), ALONE),
    "drawn": loaded(task("drawn", metric="pass_at_k", samples=5, k=3, temperature=0.8), ALONE),
    "ranked": loaded(task("ranked", form="rank", metric="acc_norm", others=("acc", "acc_token"), verifier=""), OPTIONS),
    "mass": loaded(task("mass", form="rank", metric="mc2", others=("mc1",), verifier=""), OPTIONS),
    "bits": loaded(
        task("bits", form="bits", metric="bits", verifier=""), [Question("abc " * (i + 1)) for i in range(8)]
    ),
}


def answered(of: Loaded, model: str) -> Answered:
    count, name = len(of.questions), of.task.name
    found = Answered(of, "plain", model, prompts=["?"] * count, dropped=[0] * count)
    if of.task.form == "generate":
        drawn = texts(model, name, count, of.task.samples)
        found.written = [[WrittenAnswer(text, len(text), "stop", 0, len(text), 0) for text in mine] for mine in drawn]
    elif of.task.form == "rank":
        ranked = logprobs(model, name, count, 4)
        found.ranked = [[Likelihood(ll, j + 1, False) for j, ll in enumerate(lls)] for lls in ranked]
    else:
        found.ranked = [[Likelihood(10 * ll, 7, False) for ll in lls] for lls in logprobs(model, name, count, 2)]
    return found


@pytest.fixture(scope="module")
def done() -> Iterator[dict[tuple[str, str], Graded]]:
    with Pool(1) as pool:
        found = {}
        for (name, of), model in ((pair, model) for pair in TASKS.items() for model in SKILL):
            said = answered(of, model)
            records = grade(said, pool)
            found[name, model] = Graded(said, records, measure(of, model, records, {of.questions[0].id: "x"}))
        yield found


@pytest.mark.parametrize("name", TASKS)
def test_public_tasks(name: str, done: dict[tuple[str, str], Graded]) -> None:
    for model in SKILL:
        score = json.loads(json.dumps(asdict(done[name, model].score)))
        score["flags"] = [flag["name"] for flag in score["flags"]]
        assert_same(score, BEFORE["tasks"]["scores"][f"{name}/{model}"])


@pytest.mark.parametrize("pair", BEFORE["tasks"]["comparisons"])
def test_differences_of_public_tasks(pair: str, done: dict[tuple[str, str], Graded]) -> None:
    before, after = pair.split("/")
    ways = {name: Averaging.of(of.task) for name, of in TASKS.items() if name != "bits"}
    found = adjusted([compare_task(n, how, done[n, before].records, done[n, after].records) for n, how in ways.items()])
    for each, expected in zip(found, BEFORE["tasks"]["comparisons"][pair], strict=True):
        told = asdict(each) | asdict(each.comparison) | {"flips": len(each.flips), "p_holm": each.adjusted}
        assert_same(json.loads(json.dumps(told)), expected, each.task)
    by_task = {each["task"]: each for each in Evaluation(list(done.values())).results(None, 0)["comparisons"]}
    assert "bits" not in by_task
    for name, how in ways.items():  # what a reader makes of results.json is what the task says
        about = Evaluation([done[name, before]]).results(None, 0)["tasks"][name]
        assert Averaging.of_results(about) == how
