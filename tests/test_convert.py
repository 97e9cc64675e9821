"""Configurations of axolotl and TRL become recipes that are valid and train the same; nothing is dropped in silence."""

from pathlib import Path
from typing import Any

import pytest

from bactrian.cli import main as cli
from bactrian.errors import BactrianError
from bactrian.recipe.foreign import counterparts
from bactrian.recipe.foreign.convert import Conversion, convert, recipe_text
from bactrian.recipe.foreign.read import KINDS, ForeignSettings, read_command, read_file
from bactrian.recipe.recipe import load
from bactrian.stages import all_stages
from tests.test_own_data import LAYOUTS, stored

AXOLOTL = """
base_model: meta-llama/Llama-3.2-1B
adapter: qlora
load_in_4bit: true
lora_r: 32
lora_alpha: 16
lora_dropout: 0.05
lora_target_linear: true
datasets:
  - {path: ./mine.jsonl, type: alpaca}
  - {path: teknium/GPT4-LLM-Cleaned, type: alpaca, split: train}
val_set_size: 0.1
sequence_len: 2048
sample_packing: true
gradient_accumulation_steps: 4
micro_batch_size: 2
num_epochs: 4
optimizer: adamw_bnb_8bit
lr_scheduler: cosine
learning_rate: 0.0002
warmup_steps: 10
weight_decay: 0.01
wandb_project: x
wandb_entity:
fsdp:
"""
PARTS = {"model_name_or_path": "m", "dataset_name": "d.jsonl"}


def converted(text: str, folder: Path) -> tuple[Conversion, ForeignSettings]:
    file = folder / "their-config.yml"
    file.write_text(text)
    given = read_file(file)
    return convert(given), given


def step(values: dict[str, Any], kind: str, **options: Any) -> dict[str, Any]:
    return convert(ForeignSettings("c.yml", "trl", kind, {**PARTS, **values}), **options).steps[kind]


def test_a_configuration_of_axolotl(tmp_path: Path) -> None:
    made, given = converted(AXOLOTL, tmp_path)
    sft = made.steps["sft"]
    assert (sft["model"], sft["learning_rate"], sft["epochs"], sft["max_length"]) == (
        *("meta-llama/Llama-3.2-1B", 0.0002, 4, 2048),
    )
    assert sft["batch_size"] == 8 and sft["schedule"] == "cosine"
    assert sft["adapter"] == {"weights": "nf4", "targets": [], "rank": 32, "alpha": 16}
    assert sft["optimiser"] == {"betas": [0.9, 0.999], "states": "8bit", "weight_decay": 0.01, "max_grad_norm": 1.0}
    assert made.steps["mine"] == {"stage": "source", "data": "./mine.jsonl", "layout": "alpaca"}
    assert made.steps["GPT4_LLM_Cleaned"] == {"stage": "source", "hub": "teknium/GPT4-LLM-Cleaned", "layout": "alpaca"}
    assert sft["data"] == "mixture"
    assert [each["data"] for each in made.steps["mixture"]["sources"]] == ["mine", "GPT4_LLM_Cleaned"]
    told = "\n".join(made.differs)
    assert all(name in told for name in ("lora_dropout", "val_set_size", "warmup_steps"))
    assert {"sample_packing", "wandb_project", "val_set_size"} == made.left_out.keys()
    assert "# Not the same there:" in recipe_text(made, given)


@pytest.mark.parametrize("kind", sorted(set(KINDS.values())))
def test_the_recipe_is_valid_and_holds_the_other_trainer_s_defaults(kind: str, tmp_path: Path) -> None:
    layouts = {"sft": "messages", "dpo": "pair", "reward": "pair", "kto": "feedback", "rlvr": "problem"}
    stored(tmp_path, [LAYOUTS[layouts[kind]][0](1)], "jsonl", "d")
    (tmp_path / "m").mkdir()
    given = ForeignSettings("c.yml", "trl", kind, PARTS)
    file = tmp_path / "recipe.yaml"
    file.write_text(recipe_text(convert(given), given))
    made = load(file).step(kind).stage
    theirs = {**counterparts.TRL_DEFAULTS, **counterparts.TRL_DEFAULTS_OF[kind]}
    assert made.model_dump()["learning_rate"] == theirs["learning_rate"]
    if kind == "dpo":
        assert (made.model_dump()["loss"], made.model_dump()["beta"]) == ("dpo", 0.1)  # not Bactrian's own default


def test_each_file_of_a_list_gets_a_source_of_its_own() -> None:
    files = {"path": "json", "data_files": {"train": ["a.jsonl", "sub/b.jsonl"]}}
    made = convert(ForeignSettings("c.yml", "trl", "sft", {"model": "m", "datasets": [files]}))
    assert made.steps["a"]["data"] == "a.jsonl" and made.steps["b"]["data"] == "sub/b.jsonl"
    assert [each["data"] for each in made.steps["mixture"]["sources"]] == ["a", "b"]


def test_every_setting_is_carried_over_told_or_has_a_reason() -> None:
    """What is known is known for some stage: a misspelt name in the tables would be carried nowhere."""
    fields = {
        name
        for stage in all_stages().values()
        for field, info in stage.model_fields.items()
        for name in (field, *_group_fields(field, info.annotation))
    }
    assert set(counterparts.RENAMED.values()) <= fields
    assert not counterparts.RENAMED.keys() & counterparts.LEFT_OUT.keys()
    assert not counterparts.LEFT_OUT.keys() & counterparts.DIFFERS.keys()


def _group_fields(field: str, annotation: Any) -> list[str]:
    from bactrian.recipe.groups import group_in

    group = group_in(annotation)
    return [f"{field}.{name}" for name in group.model_fields] if group else []


def test_what_is_not_known_is_told(tmp_path: Path) -> None:
    made, _ = converted(AXOLOTL + "frobnicate: 3\nneftune_noise_alpha: 5\nstrict: true\n", tmp_path)
    assert "frobnicate: 3: not known here" in made.differs
    assert any(each.startswith("neftune_noise_alpha: 5: ") for each in made.differs)
    assert "strict" in made.left_out and not any("strict" in each for each in made.differs)


def test_batches_of_all_devices_and_of_groups() -> None:
    rows = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}
    assert step(rows, "sft", devices=8)["batch_size"] == 64
    grouped = step({**rows, "num_generations": 8, "max_steps": 5}, "rlvr", devices=2)
    assert (grouped["problems_per_step"], grouped["samples"], grouped["update"]["updates_per_step"]) == (2, 8, 1)
    several = step({**rows, "num_generations": 4, "steps_per_generation": 8, "num_iterations": 2}, "rlvr")
    assert (several["problems_per_step"], several["update"]["updates_per_step"]) == (8, 8)
    with pytest.raises(BactrianError, match="found 8 answers a step and 3 to each problem, expected a multiple"):
        step({**rows, "num_generations": 3}, "rlvr")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"loss_type": "dr_grpo", "scale_rewards": False}, {"aggregate": "constant", "advantage": "none"}),
        ({"loss_type": "grpo", "beta": 0.04}, {"aggregate": "response", "advantage": "std", "kl": 0.04}),
        ({"importance_sampling_level": "sequence"}, {"objective": "gspo"}),
    ],
)
def test_variants_of_grpo(values: dict[str, Any], expected: dict[str, Any]) -> None:
    assert step(values, "rlvr").items() >= expected.items()


def test_a_command_is_read_as_it_was_typed(tmp_path: Path) -> None:
    line = (
        "trl dpo --model_name_or_path a/b --dataset-name c/d --beta=0.05 --use_peft --lora_target_modules q_proj v_proj"
    )
    given = read_command(line.split())
    assert given.kind == "dpo"
    assert given.values == {
        **{"model_name_or_path": "a/b", "dataset_name": "c/d", "beta": 0.05},
        **{"use_peft": True, "lora_target_modules": ["q_proj", "v_proj"]},
    }
    config = tmp_path / "c.yaml"
    config.write_text("model_name_or_path: a/b\ndataset_name: c/d\nbeta: 0.3\n")
    over = read_command(f"trl dpo --config {config} --beta 0.2".split())
    assert over.values["beta"] == 0.2 and over.values["dataset_name"] == "c/d"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- a", "found no settings"),
        ("a: 1", "found neither base_model (axolotl) nor model_name_or_path (TRL)"),
        ("base_model: m\nrl: orpo", "Bactrian has no orpo"),
        ("base_model: m", "found no data set"),
        ("base_model: m\ndatasets: [{type: alpaca}]", "expected a path or name in each"),
        ("model_name_or_path: m\ndataset_name: d", "does not say what it trains; add --kind sft"),
        ("model_name_or_path: m\ndataset_name: d\nbeta: 1\nloss_type: kahneman", 'found loss "kahneman"'),
        ("base_model: m\ndatasets: [{path: d}]\nmicro_batch_size: two", 'micro_batch_size: found "two"'),
        ("base_model: [", "line 1"),
    ],
)
def test_what_cannot_be_converted_is_one_error(
    text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "c.yml"
    file.write_text(text)
    assert cli.invoke(["convert", str(file)]) == 2
    assert said in capsys.readouterr().err


def test_the_command_writes_a_recipe_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, output = tmp_path / "c.yml", tmp_path / "recipe.yaml"
    file.write_text(AXOLOTL)
    assert cli.invoke(["convert", str(file), "-o", str(output)]) == 0
    assert "not the same: lora_dropout: 0.05" in capsys.readouterr().err
    assert cli.invoke(["convert", str(file), "-o", str(output)]) == 2
    assert "found a file already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("num_train_epochs", "expected epochs, as it is here"),
        ("per_device_train_batch_size", "expected batch_size, the rows of a whole step"),
        ("weight_decay_rate", "one of: "),
        ("lora_r", "expected adapter: {rank: …}, as it is here"),
        ("sample_packing", "nothing: rows are always packed"),
    ],
)
def test_another_trainer_s_name_in_a_recipe_is_told_ours(setting: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    (tmp_path / "d.jsonl").write_text("{}")
    file.write_text(f"steps: {{a: {{stage: sft, model: m, data: d.jsonl, {setting}: 1}}}}")
    with pytest.raises(BactrianError) as error:
        load(file)
    assert said in str(error.value)
