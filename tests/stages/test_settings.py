"""Settings of stages: what contradicts itself is refused before anything runs, and what stands in a group is found."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from bactrian.cli.stage_command import one_step_recipe
from bactrian.errors import BactrianError
from bactrian.recipe.groups import groups_of, home_of, regrouped
from bactrian.recipe.recipe import load
from bactrian.stages import all_stages
from bactrian.stages.rl.ppo import PPO
from bactrian.stages.rl.rlvr import RLVR
from bactrian.stages.tune.dpo import DPO
from bactrian.stages.tune.pretrain import Pretrain
from bactrian.stages.tune.training import TrainingStage, loop_settings
from bactrian.train.guard import SkipRule
from bactrian.train.options import SpikeSettings

TRAINING = [stage for stage in all_stages().values() if issubclass(stage, TrainingStage)]
RECIPE = """\
steps:
  p: {stage: problems, tasks: [{source: sums, count: 9}]}
  rl: {stage: rlvr, model: embedded:smollm2-135m, data: pSETTINGS}
"""


def recipe(tmp_path: Path, settings: str) -> Path:
    (tmp_path / "r.yaml").write_text(RECIPE.replace("SETTINGS", settings))
    return tmp_path / "r.yaml"


def test_a_target_margin_is_simpo_s_alone() -> None:
    assert DPO(model="m", data="d", loss="simpo", gamma=0.5).gamma == 0.5
    with pytest.raises(ValidationError, match="only simpo has a target margin"):
        DPO(model="m", data="d", loss="dpo_norm", gamma=0.5)


def test_a_loss_that_there_is_not_is_named_with_those_that_there_are() -> None:
    with pytest.raises(
        ValidationError, match=r'"dpo_nrom", expected a preference loss: dpo, .*did you mean "dpo_norm"'
    ):
        DPO(model="m", data="d", loss="dpo_nrom")


def test_a_time_limit_is_in_minutes() -> None:
    assert DPO(model="m", data="d", checkpoints={"time_limit_minutes": 2}).seconds_limit() == 120
    assert DPO(model="m", data="d").seconds_limit() is None


@pytest.mark.parametrize("stage", TRAINING, ids=lambda stage: stage.name)
def test_every_training_stage_can_leave_out_outliers(stage: type[TrainingStage]) -> None:
    plain = stage.model_construct(
        **{
            name: field.get_default(call_default_factory=True)
            for name, field in stage.model_fields.items()
            if not field.is_required()
        }
    )
    assert loop_settings(plain, {}).skip is None
    rule = loop_settings(plain.model_copy(update={"spikes": SpikeSettings(sigma=5.0)}), {}).skip
    assert rule == SkipRule(128, 5.0)


@pytest.mark.parametrize("stage", TRAINING, ids=lambda stage: stage.name)
def test_each_setting_stands_in_one_place(stage: type[TrainingStage]) -> None:
    """So that a flat one can only be meant for one group."""
    groups = groups_of(stage)
    inside = [setting for group in groups.values() for setting in group.model_fields]
    assert len(groups) >= 3 and len(set(inside)) == len(inside) and not set(inside) & stage.model_fields.keys()
    for name, group in groups.items():
        assert {home_of(stage, setting) for setting in group.model_fields} == {name}


@pytest.mark.parametrize(
    ("flat", "spelling"),
    [
        ("look_every: 7", "watch: {look_every: 7}"),
        ("no_end_reward: null", "reward: {no_end_reward: null}"),
        ("betas: [0.9, 0.95]", "optimiser: {betas: [0.9, 0.95]}"),
        ("keep_every: 40", "checkpoints: {keep_every: 40}"),
        ("recompute: layer", 'memory: {recompute: "layer"}'),
    ],
)
def test_a_setting_that_moved_is_one_error_with_its_new_spelling(tmp_path: Path, flat: str, spelling: str) -> None:
    with pytest.raises(BactrianError) as caught:
        load(recipe(tmp_path, f", {flat}"))
    setting = flat.partition(":")[0]
    expected = f'line 3, step "rl", field "{setting}": this setting is now {spelling}'
    assert str(caught.value) == f"{tmp_path / 'r.yaml'}, {expected}"
    assert load(recipe(tmp_path, f", {spelling}")).step("rl").stage != load(recipe(tmp_path, "")).step("rl").stage


def test_what_else_is_wrong_is_told_beside_what_moved(tmp_path: Path) -> None:
    with pytest.raises(BactrianError) as caught:
        load(recipe(tmp_path, ", look_every: 7, steps: none, watch: {held_out: p, kep: best}"))
    lines = str(caught.value).splitlines()
    assert len(lines) == 3 and "now watch: {look_every: 7}" in lines[0]
    assert any('field "steps"' in line for line in lines) and any('did you mean "keep"?' in line for line in lines)


def test_flat_settings_are_grouped_beside_those_that_are() -> None:
    given: dict[str, Any] = {"steps": 3, "look_every": 20, "watch": {"keep": "best", "held_out": "p"}}
    grouped, spellings = regrouped(RLVR, given)
    assert grouped == {"steps": 3, "watch": {"look_every": 20, "keep": "best", "held_out": "p"}}
    assert spellings == {"look_every": "watch: {look_every: 20}"}


def test_what_a_group_leaves_out_is_the_stage_s_own_default() -> None:
    optimiser = Pretrain(data="d", optimiser={"states": "8bit"}).optimiser
    assert (optimiser.weight_decay, optimiser.betas, optimiser.states) == (0.1, (0.9, 0.95), "8bit")


def test_the_command_line_has_the_settings_of_groups(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"question": "1 + 1", "answer": "#### 2"}\n' * 2)
    given = {
        "model": "embedded:smollm2-135m",
        "data": "pyproject.toml",
        "watch__look_every": "7",
        "memory__recompute": "mlp",
    }
    with pytest.raises(BactrianError, match="--data pyproject"):
        one_step_recipe(RLVR, given, "x", 0)  # no rows; what the options say is read before
    made = one_step_recipe(
        RLVR, {**given, "data": str(tmp_path / "rows.jsonl")}, "x", 0, ["watch.keep=last", "rlvr.sampling.staleness=0"]
    )
    stage = made.steps[-1].stage
    assert isinstance(stage, RLVR) and stage.watch.look_every == 7 and stage.memory.recompute == "mlp"


def test_a_stage_is_made_of_few_classes() -> None:
    ours = [each.__name__ for each in PPO.__mro__ if each.__module__.startswith("bactrian")]
    assert ours == ["PPO", "TrainingStage", "Stage", "Settings"]


def test_an_ablation_changes_a_group_s_settings_one_by_one(tmp_path: Path) -> None:
    """Of a group it leaves what it does not name, and a flat setting is answered with its place."""
    given = ", watch: {held_out: p, keep: best}, ablate: {instead: {often: {watch: {look_every: 3}}}}"
    changed = load(recipe(tmp_path, given)).step("rl~often").stage
    assert isinstance(changed, RLVR)
    assert (changed.watch.held_out, changed.watch.keep, changed.watch.look_every) == ("p", "best", 3)
    with pytest.raises(BactrianError, match=r"this setting is now watch: \{look_every: 3\}"):
        load(recipe(tmp_path, ", ablate: {instead: {often: {look_every: 3}}}"))
