"""Recipes at toy scale: made-up rows fit their layouts, toy models answer, and mistakes are found before a GPU is."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from bactrian.cli.main import invoke
from bactrian.data.io.adoption import Account, Adoption, adopt
from bactrian.data.io.formats import Fault
from bactrian.data.io.layouts import LAYOUTS
from bactrian.data.synth.self_instruct import seed_task
from bactrian.errors import BactrianError
from bactrian.model.language_model import LanguageModel
from bactrian.model.reward_model import RewardModel
from bactrian.recipe.recipe import load
from bactrian.run.known_models import FAMILIES
from bactrian.run.rehearsal.rehearse import CAPS, ROWS, prepare, rehearse
from bactrian.run.rehearsal.toy_models import write_toy
from bactrian.run.rehearsal.toy_rows import WORDS, made_up_rows
from bactrian.stages.tune.checkpoint import Checkpoint
from bactrian.store.artifact import Store
from bactrian.verify import check_verifiers
from bactrian.verify import verifier as verifier_of

RECIPES = Path(__file__).parents[1] / "recipes"
LARGE = ("tulu3-8b", "tulu3-70b", "tulu3-405b", "tulu3.1-8b", "olmo2-13b-instruct")


def adopted(rows: list[dict[str, Any]], **how: Any) -> list[dict[str, Any]]:
    found = list(adopt([(row, f"r.jsonl, line {n}") for n, row in enumerate(rows, 1)], Adoption("s", **how), Account()))
    assert not [row for row in found if isinstance(row, Fault)]
    return [row for row in found if not isinstance(row, Fault)]


def test_columns_of_a_layout_that_are_kept_stay_what_they_are() -> None:
    rows = made_up_rows("a", "self_instruct", 3, columns={}, keep=["instruction", "instances", "is_classification"])
    made = adopted(rows, layout="self_instruct", keep=("instruction", "instances", "is_classification"))
    assert all(seed_task(row, "here").instances for row in made) and len(made) == 3


@pytest.mark.parametrize("layout", ["auto", *LAYOUTS])
def test_made_up_rows_are_rows_of_their_layout(layout: str) -> None:
    rows = made_up_rows("a", layout, 9, columns={}, keep=["level"])
    made = adopted(rows, layout=layout, keep=("level",))
    assert len(made) == 9 and all(row["level"].startswith("kind") for row in made)
    texts = {json.dumps({k: v for k, v in row.items() if k in ("messages", "prompt", "text")}) for row in made}
    others = made_up_rows("b", layout, 9, columns={}, keep=["level"])
    assert len(texts) == 9 and not [row for row in others if row in rows]


@pytest.mark.parametrize("verifier", ["gsm8k", "math", "ifeval", "instructions", "choice", "squad_f1"])
def test_made_up_problems_can_be_judged(verifier: str) -> None:
    columns = {"question": "body", "answer": "{steps} #### {result}"} if verifier == "gsm8k" else {"question": "body"}
    rows = made_up_rows("a", "question_answer", 6, columns=columns, verifier=verifier)
    assert all("body" in row and "question" not in row for row in rows)
    made = adopted(rows, layout="question_answer", columns=columns, verifier=verifier)
    check_verifiers(made, "here")
    truths = {example.ground_truth for example in verifier_of(verifier).examples}
    assert {row["ground_truth"] for row in made} <= truths


def test_problems_keep_their_verifier_unless_the_recipe_names_one() -> None:
    rows = made_up_rows("a", "problem", 6, columns={})
    assert [row["dataset"] for row in adopted(rows)] == ["gsm8k", "math", "instructions"] * 2
    assert {row["dataset"] for row in adopted(rows, verifier="ifeval")} == {"ifeval"}


@pytest.mark.parametrize("family", sorted(set(FAMILIES.values())))
def test_toys_end_their_answers_at_some_time(family: str, tmp_path: Path) -> None:
    write_toy(tmp_path, family, [" ".join(WORDS)])
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    assert model.config.model_type == family and model.num_parameters() < 200_000
    ids = torch.randint(3, len(tokenizer), (16, 24), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        ends = model(ids).logits.softmax(-1)[..., tokenizer.eos_token_id].mean()
    assert 0.02 < float(ends) < 0.5
    with pytest.raises(BactrianError, match="no family"):
        write_toy(tmp_path / "x", "no-such-family", ["a"])


@pytest.mark.parametrize("name", LARGE)
def test_large_recipes_lose_nothing_but_their_size(name: str, tmp_path: Path) -> None:
    made = prepare(RECIPES / f"{name}.yaml", tmp_path)
    text = (RECIPES / f"{name}.yaml").read_text()
    assert set(re.findall(r"hub: (\S+)", text)) == {
        line.partition(":")[0] for line in made.stand_ins if ".jsonl" in line
    }
    assert len(made.recipe.steps) == text.count("stage: ")
    for step in made.recipe.steps:
        settings = step.stage.model_dump()
        assert settings.get("hub") is None
        taken = sum(isinstance(each.stage, Checkpoint) and each.stage.model == step.name for each in made.recipe.steps)
        caps = CAPS | {"steps": max(CAPS["steps"], taken + 1)}
        assert all(
            settings[field] <= cap for field, cap in caps.items() if isinstance(settings.get(field), int | float)
        )
    rates = [float(rate) for rate in re.findall(r"^ +learning_rate: (\S+)", text, re.MULTILINE)]
    kept = [
        step.stage.model_dump()["learning_rate"] for step in made.recipe.steps if hasattr(step.stage, "learning_rate")
    ]
    assert sorted(kept) == sorted(rates)


def test_a_reward_model_stands_in_for_a_reward_model(tmp_path: Path) -> None:
    steps = "  p: {stage: source, hub: a/b, license: MIT, layout: problem}\n"
    steps += (
        "  rl: {stage: ppo, model: allenai/Llama-3.1-Tulu-3-8B-DPO, data: p, value: allenai/Llama-3.1-Tulu-3-8B-RM}\n"
    )
    made = prepare(write(tmp_path, steps), tmp_path)
    stage: Any = made.recipe.step("rl").stage
    assert RewardModel.load(Path(stage.value)).network.config.num_labels == 1
    assert (
        LanguageModel.load(Path(stage.model)).tokenizer.get_vocab()
        == RewardModel.load(Path(stage.value)).tokenizer.get_vocab()
    )


def test_methods_that_are_the_same_at_toy_scale_are_one(tmp_path: Path) -> None:
    steps = (
        "  p: {stage: problems, tasks: [{source: word_problems, count: 9}]}\n"
        "  s: {stage: scaling, model: allenai/Llama-3.1-Tulu-3-8B-DPO, data: p, methods: [\n"
        "    {method: majority, samples: [1, 2], budget: 64}, {method: majority, samples: [1, 2], budget: 128},\n"
        "    {method: forcing, budgets: [64]}]}\n"
    )
    stage: Any = prepare(write(tmp_path, steps), tmp_path).recipe.step("s").stage
    assert [method.method for method in stage.methods] == ["majority", "forcing"]


def test_checkpoints_of_one_model_stay_apart(tmp_path: Path) -> None:
    steps = (
        "  p: {stage: problems, tasks: [{source: word_problems, count: 9}]}\n"
        "  rl: {stage: rlvr, model: allenai/Llama-3.1-Tulu-3-8B-DPO, data: p, steps: 2000,\n"
        "       checkpoints: {keep_every: 500}}\n"
        "  late: {stage: checkpoint, model: rl, step: 1500}\n"
        "  early: {stage: checkpoint, model: rl, step: 500}\n"
        "  middle: {stage: checkpoint, model: rl, step: 1000}\n"
    )
    recipe = prepare(write(tmp_path, steps), tmp_path).recipe
    stages: dict[str, Any] = {step.name: step.stage for step in recipe.steps}
    assert [stages[name].step for name in ("early", "middle", "late")] == [1, 2, 3]
    assert (stages["rl"].checkpoints.keep_every, stages["rl"].steps) == (1, 4)


def write(folder: Path, steps: str) -> Path:
    (folder / "r.yaml").write_text(f"steps:\n{steps}")
    return folder / "r.yaml"


TALKS = "  talks: {stage: source, hub: a/b, license: MIT, layout: messages}\n"


def test_what_cannot_be_replaced_is_named(tmp_path: Path) -> None:
    recipe = write(tmp_path, TALKS + "  sft: {stage: sft, model: who/knows, data: talks}\n")
    with pytest.raises(BactrianError, match=r"who/knows: of which family.*--family"):
        prepare(recipe, tmp_path)
    assert prepare(recipe, tmp_path, family="qwen3").stand_ins[-1].startswith("who/knows: a qwen3")
    recipe = write(tmp_path, "  f: {stage: filter, data: a/b, rules: [{rule: length, least: 1}]}\n")
    with pytest.raises(BactrianError, match=r'step "f", field "data": a/b would come from the Hub'):
        prepare(recipe, tmp_path)


@pytest.mark.parametrize("stage", ["sft", "dpo", "kto", "rlvr"])
def test_rows_of_the_hub_that_a_step_reads_itself_are_of_its_kind(stage: str, tmp_path: Path) -> None:
    recipe = write(tmp_path, f"  s: {{stage: {stage}, model: meta-llama/Llama-3.1-8B, data: a/b}}\n")
    made = prepare(recipe, tmp_path)  # which looks at the first of the made-up rows
    assert [step.name for step in made.recipe.steps] == ["b", "s"]
    assert made.stand_ins[0].startswith(f"a/b: {ROWS} made-up rows")


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ("  talks: {stage: source, hub: a/b, layout: messages}\nlicences: strict\n", "a/b states no licence"),
        (
            TALKS + "  dpo: {stage: dpo, model: meta-llama/Llama-3.1-8B, data: talks}\n",
            r'step "dpo".*makes conversation',
        ),
        (
            TALKS + "  some: {stage: filter, data: talks, rules: [{rule: length, least: 9000}]}\n",
            "no row passes the rules",
        ),
        ("  p: {stage: source, hub: a/b, license: MIT, layout: problem, verifier: no_such}\n", "no verifier is called"),
    ],
)
def test_mistakes_that_a_plan_does_not_find(steps: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(BactrianError, match=said):
        rehearse(write(tmp_path, steps), Store(tmp_path / "runs"))


@pytest.mark.parametrize("name", ["dolmino", "s1-funnel", "tulu3-preference", "tulu3-sft"])
def test_recipes_of_data_rehearse(name: str, tmp_path: Path) -> None:
    recipe = RECIPES / "catalogue" / f"{name}.yaml"
    assert len(rehearse(recipe, Store(tmp_path))) == recipe.read_text().count("stage: ")


def test_students_of_one_teacher_are_asked_the_same(tmp_path: Path) -> None:
    """What recipes/synthesis-nano.yaml compares differs in its rows alone."""
    steps: dict[str, Any] = {step.name: step.stage for step in load(RECIPES / "synthesis-nano.yaml").steps}
    students = [stage for name, stage in steps.items() if stage.name == "sft" and name != "teacher"]
    alike = [student.model_dump(exclude={"data"}) for student in students]
    assert len(students) == 6 and alike == alike[:1] * 6 and students[0].model == "teacher"
    assert steps["right"] == steps["written"].model_copy(update={"verified": True}), "so the answers are the same"
    fewer = {"per_seed": 1, "limit": steps["answers"].limit}
    assert steps["one_each"] == steps["written"].model_copy(update=fewer), "these are among them"
    same = {steps[name].sources[0].amount for name in ("rows_unfiltered", "rows_right")}
    assert same == {2400} and steps["filtering"].data == steps["amounts"].data == steps["voting"].data == "unseen"
    assert steps["unseen"].tasks[0].split == "unseen" and steps["unseen"].tasks[0].count >= 1000
    assert len(prepare(RECIPES / "synthesis-nano.yaml", tmp_path).recipe.steps) == len(steps)


@pytest.mark.slow
def test_the_recipe_of_students_rehearses(tmp_path: Path) -> None:
    recipe = RECIPES / "synthesis-nano.yaml"
    assert {record.name for record in rehearse(recipe, Store(tmp_path))} == {step.name for step in load(recipe).steps}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["quickstart", "olmo2-13b-instruct"])
def test_large_recipes_rehearse(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = RECIPES / f"{name}.yaml"
    assert invoke(["rehearse", str(recipe), "--store", str(tmp_path)]) == 0
    assert f"all {recipe.read_text().count('stage: ')} steps work together" in capsys.readouterr().err
    (report,) = tmp_path.glob("rehearsal/*/report.html")
    assert report.parent.name.endswith("-rehearsal")
    (results,) = tmp_path.glob("rehearsal/artifacts/evaluate-*/results.json")
    assert {score["questions"] for score in json.loads(results.read_text())["scores"]} == {ROWS}
