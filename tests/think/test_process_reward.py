"""Steps of thoughts are labelled, a reward model learns from them, and tree search goes by it."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from chain import guesser
from hypothesis import given
from hypothesis import strategies as st

from bactrian.chat import FORMATS, literal_ids
from bactrian.data.io.files import read_rows, write_rows
from bactrian.data.io.problem_rows import problem
from bactrian.data.synth.digit_chains import right_so_far, tracking
from bactrian.errors import BactrianError
from bactrian.generate.local import LocalEngine
from bactrian.model.language_model import LanguageModel
from bactrian.model.packing import Group
from bactrian.model.reward_model import RewardModel
from bactrian.recipe.recipe import load
from bactrian.run import runner
from bactrian.stages.data import label_steps
from bactrian.stages.data.label_steps import LabelSteps
from bactrian.stages.tune.process_reward import labelled
from bactrian.store.artifact import Input, Store, Workspace
from bactrian.store.manifest import Kind
from bactrian.think import step_labels
from bactrian.think.steps import StepScorer, step_ends
from bactrian.train.objectives import step_loss
from bactrian.train.step_rewards import StepRewards, Trace, step_scores, told_apart
from tests.model.tiny import write_tiny


def test_right_so_far_is_arithmetic_done_again() -> None:
    found = set[bool]()
    for row in tracking(1, 200, again=1.0, slips=0.5):
        question = row["messages"][0]["content"]
        steps = row["reasoning"].splitlines(keepends=True)
        digit = start = int(question.split()[2].rstrip("."))
        fine = True
        for place, step in enumerate(steps):
            if step.startswith("Wait"):
                digit, fine = start, True
            else:
                _, _, sign, number, _, result = step.split()
                by = int(number)
                digit = {"+": digit + by, "-": digit - by, "*": digit * by}[sign] % 10
                fine &= digit == int(result)
            said = "".join(steps[: place + 1])
            assert right_so_far(question, said) == fine
            if not step.startswith("Wait"):
                assert right_so_far(question, said[:-2]) >= fine  # nothing cut short is worse than the whole
            found.add(fine)
    assert found == {True, False}
    with pytest.raises(BactrianError, match="no question of the task"):
        right_so_far("How many?", "5")


@given(st.lists(st.tuples(st.floats(-9, 9), st.floats(0, 1)), min_size=1, max_size=9))
def test_the_loss_is_the_cross_entropy_of_two_outcomes(steps: list[tuple[float, float]]) -> None:
    scores, values = torch.tensor(steps, dtype=torch.float64).T
    expected = torch.nn.functional.binary_cross_entropy(torch.sigmoid(scores), values, reduction="none")
    torch.testing.assert_close(step_loss(scores, values), expected, atol=1e-6, rtol=1e-6)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    return LanguageModel.load(write_tiny(tmp_path_factory.mktemp("tiny") / "m"))


def test_a_step_is_scored_as_if_the_thought_ended_there(tiny: LanguageModel) -> None:
    """One forward of a trace gives what a forward of each of its beginnings gives; so does the tree's judge."""
    model = RewardModel.of(tiny, 0)
    traces = [Trace((5, 6), (7, 8, 9, 10), (1, 3, 4), (1.0, 0.5, 0.0)), Trace((4,), (9, 7, 7), (2, 3), (0.0, 1.0))]
    alone = torch.cat([model.rewards([Group(t.prompt, (t.ids[:end],))]) for t in traces for end in t.ends]).detach()
    torch.testing.assert_close(step_scores(model, traces), alone, atol=1e-5, rtol=1e-4)
    judge = StepScorer(model, LocalEngine(tiny))
    given = judge((5, 6), [(7,), (7, 8, 9), (7, 8, 9, 10), ()])
    assert given[:3] == pytest.approx(torch.sigmoid(alone[:3]).tolist(), abs=1e-5) and 0 < given[3] < 1
    task = StepRewards(model, traces, batch_traces=2, epochs=1, seed=0, micro_tokens=99)
    loss, metrics = task.share([0, 1], 2, {})
    each = torch.nn.functional.binary_cross_entropy_with_logits(
        alone, torch.tensor([1.0, 0.5, 0.0, 0.0, 1.0]), reduction="none"
    )
    assert float(loss.detach()) == pytest.approx(float((each[:3].mean() + each[3:].mean()) / 2), rel=1e-5)
    assert metrics["value"] == pytest.approx(1.0)  # 0.5 + 0.5
    told = told_apart(model, traces, 99)
    right, wrong = alone[torch.tensor([0, 1, 4])], alone[torch.tensor([2, 3])]
    assert told["auc"] == pytest.approx(float((right[:, None] > wrong[None, :]).double().mean()))


def label(folder: Path, name: str, **settings: Any) -> Workspace:
    model = folder / "model" if (folder / "model").exists() else guesser(folder / "model")
    write_rows([problem(f"a{'b' * i}?", "Answer: 7", "7", "gsm8k", "test", "MIT") for i in range(6)], folder / "p")
    inputs = {"m": Input("m", model, Kind.MODEL, "hash"), "p": Input("p", folder / "p", Kind.DATA, "")}
    workspace = Workspace.temporary(folder / name, inputs)
    given = {"max_thinking_tokens": 6, "answer_tokens": 6, "step_tokens": 2, "format": "tags", "rollouts": 3}
    LabelSteps(model="m", data="p", **given | settings).run(workspace)
    return workspace


def test_a_step_is_worth_the_share_of_ways_on_that_end_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = label(tmp_path, "all")
    rows = read_rows(workspace.output, "problem")
    assert len({row["id"] for row in rows}) == len(rows) > 6 and {row["ground_truth"] for row in rows} == {"7"}
    engine = LocalEngine.load(tmp_path / "model")
    for row in rows:
        steps, values = labelled(row, "here")
        assert all(round(3 * value, 6).is_integer() for value in values) and values[-1] in (0, 1)
        assert all("\n" not in step[:-1] and len(engine.template.encoder.text(step)) <= 2 for step in steps)
    values = [value for row in rows for value in row["values"]]
    assert 0 < sum(values) / len(values) < 1 and len(set(values)) > 2
    monkeypatch.setattr(label_steps, "AT_ONCE", 2)
    thinking, count = step_labels.StepLabels.traces, 0

    def die(self: step_labels.StepLabels) -> Any:
        nonlocal count
        count += 1
        if count == 2:
            raise KeyboardInterrupt
        return thinking(self)

    monkeypatch.setattr(step_labels.StepLabels, "traces", die)
    with pytest.raises(KeyboardInterrupt):
        label(tmp_path, "cut")
    assert [row["steps"] for row in read_rows(label(tmp_path, "cut").output)] == [row["steps"] for row in rows]
    assert count == 1 + 1 + 2


def test_what_cannot_be_labelled_or_learned_from_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="rollouts needs a model"):
        LabelSteps(data="p")
    with pytest.raises(BactrianError, match="no question of the task"):
        label(tmp_path, "a", by="program")
    with pytest.raises(BactrianError, match=r"row 1, field 'steps': found None, expected"):
        labelled({}, "x, row 1")
    for values in ([1], [0.5, 2], ["1", "0"], None):
        with pytest.raises(BactrianError, match=r"row 1, field 'values': found .*, expected 2 numbers from 0 to 1"):
            labelled({"steps": ["a", "b"], "values": values}, "x, row 1")


def test_a_judge_of_another_vocabulary_is_refused(tmp_path: Path, tiny: LanguageModel) -> None:
    other = LocalEngine.load(guesser(tmp_path / "m"))
    with pytest.raises(BactrianError, match="another tokenizer"):
        StepScorer(RewardModel.of(tiny, 0), other)


@given(st.text("ab\n", max_size=30), st.integers(1, 5))
def test_steps_are_the_thought_cut_at_lines(text: str, size: int) -> None:
    ids = [ord(letter) for letter in text]
    ends = step_ends(ids, lambda some: "".join(map(chr, some)), size)
    pieces = [text[a:b] for a, b in zip((0, *ends), ends, strict=False)]
    assert "".join(pieces) == text and all(pieces) and all(len(piece) <= size for piece in pieces)
    assert all("\n" not in piece[:-1] for piece in pieces)


RECIPE = """\
name: prm
seed: 3
hardware: {dtype: float32, threads: 1, device: cpu}
steps:
  made:
    stage: problems
    tasks: [{source: tracking, count: 600, steps: [1, 3], signs: "+-", largest: 2, again: 1.0}]
  dev:
    stage: problems
    tasks: [{source: tracking, count: 60, steps: [1, 3], signs: "+-", largest: 2, again: 1.0, split: dev}]
  steps: {stage: label_steps, data: made, by: program}
  unseen: {stage: label_steps, data: dev, by: program}
  corpus: {stage: corpus, count: 200, largest: 10}
  base: {stage: pretrain, data: corpus, vocabulary: made, hidden_size: 64, layers: 2, heads: 4, intermediate_size: 128,
         context: 128, batch_size: 32, learning_rate: 0.003, template: tulu-think}
  sft: {stage: sft, model: base, data: made, template: tulu-think, epochs: 1, batch_size: 16, learning_rate: 0.003}
  prm: {stage: process_reward, model: base, data: steps, held_out: unseen, epochs: 7, batch_size: 16,
        learning_rate: 0.003, schedule: cosine}
  trees:
    stage: scaling
    model: sft
    data: dev
    limit: 6
    max_thinking_tokens: 48
    answer_tokens: 4
    final: ""
    process_reward: prm
    methods:
      - {method: tree, widths: [3], budget: 32, step_tokens: 16}
      - {method: tree, widths: [3], budget: 32, step_tokens: 16, by: process_reward}
"""


@pytest.mark.slow
def test_right_beginnings_are_ranked_above_wrong_ones_and_trees_go_by_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = list[float]()
    judge = StepScorer.__call__

    def noting(self: StepScorer, prompt: Any, thoughts: Any) -> list[float]:
        found = judge(self, prompt, thoughts)
        judged.extend(found)
        return found

    monkeypatch.setattr(StepScorer, "__call__", noting)
    (tmp_path / "r.yaml").write_text(RECIPE)
    records = runner.run(load(tmp_path / "r.yaml", ()), Store(tmp_path / "store"))
    folders = {record.name: tmp_path / "store" / str(record.path) for record in records}
    metrics = json.loads((folders["prm"] / "manifest.json").read_text())["metrics"]
    assert metrics["held_out_auc"] > 0.8 and metrics["held_out_accuracy"] > 0.8
    assert judged and all(0 < each < 1 for each in judged)
    methods = json.loads((folders["trees"] / "results.json").read_text())["scaling"]["methods"]
    assert [method["name"] for method in methods] == [
        "tree by confidence of thoughts of 32",
        "tree by process reward of thoughts of 32",
    ]
    assert all(method["control"] == 1.0 for method in methods)
    model = RewardModel.load(folders["prm"])
    trace = Trace(tuple(literal_ids(model.template, "ab" + FORMATS["tags"].opening)), (9, 8), (1, 2), (1.0, 0.0))
    assert torch.isfinite(step_scores(model, [trace])).all()
