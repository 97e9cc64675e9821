"""From settings to a fused reward: reward models opened, standardised on held-out pairs, as PPO and GRPO use them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bactrian.stages.rl.reward_settings import FusionSettings
from bactrian.stages.tune.training import TrainingStage, quantised

if TYPE_CHECKING:
    from bactrian.model.packing import Group
    from bactrian.model.reward_fusion import FusedReward
    from bactrian.store.artifact import Workspace
    from bactrian.verify import Judge

FUSED = "reward_model"
"""The verifier of whose rows' answers a fused reward is the judge."""


def fused_refs(fusion: FusionSettings | None) -> list[str]:
    """The reward models that are fused, each once."""
    return list(dict.fromkeys(fusion.models.values())) if fusion is not None else []


def fused_reward(workspace: "Workspace", stage: TrainingStage, fusion: FusionSettings) -> "FusedReward":
    """The fused reward, ready to be asked; means and spreads go into the manifest's metrics.

    Raises:
        BactrianError: a model cannot be loaded or does not fit the others, or no pair is there to standardise on.
    """
    from bactrian.model.reward_fusion import FusedPart, FusedReward
    from bactrian.model.reward_model import open_scorer

    parts = []
    for name, ref in fusion.models.items():
        folder = workspace.input(ref).path
        scorer = open_scorer(folder, workspace.hardware, template=stage.template, quantised=quantised(stage))
        parts.append(FusedPart(name, scorer, fusion.weights.get(name, 1.0)))
    fused = FusedReward(tuple(parts))
    if fusion.standardise is not None:
        groups = _answers(workspace, fusion.standardise, fusion.rows, fused)
        fused = fused.standardised(groups, stage.memory.micro_tokens)
    for part in fused.parts:
        workspace.metrics.update({f"fusion/{part.name}/mean": part.mean, f"fusion/{part.name}/spread": part.spread})
    return fused


def fused_judge(workspace: "Workspace", stage: TrainingStage, fusion: FusionSettings) -> "dict[str, Judge]":
    """A judge for rows of the verifier FUSED: σ of the fused reward, which orders answers as the reward does."""
    from bactrian.judge.models import RewardJudge

    return {FUSED: RewardJudge(fused_reward(workspace, stage, fusion), stage.memory.micro_tokens)}


def _answers(workspace: "Workspace", ref: str, most: int, fused: "FusedReward") -> "Sequence[Group]":
    """Both sides of the first pairs, as the models read them."""
    from bactrian.chat import prompt_ids, render_answer
    from bactrian.data.io.files import read_rows
    from bactrian.model.packing import Group

    path = workspace.input(ref).path
    found = []
    for number, row in enumerate(read_rows(path, "pair")[:most], 1):
        where = f"{path}, row {number}"
        prompt = tuple(prompt_ids(row["prompt"], fused.template, where))
        sides = [render_answer(row["prompt"], row[side], fused.template, where).ids for side in ("chosen", "rejected")]
        found.append(Group(prompt, tuple(tuple(ids[len(prompt) :]) for ids in sides)))
    return found
