"""Looks at held-out problems, from a stage's settings to its artifact."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from safetensors.torch import load_file

from bactrian.data.io.files import write_rows
from bactrian.data.io.problem_rows import problem
from bactrian.errors import BactrianError
from bactrian.stages.rl.ppo import PPO
from bactrian.stages.rl.rlvr import RLVR
from bactrian.store.artifact import Input, Workspace
from bactrian.store.hardware import Hardware
from bactrian.store.manifest import Kind
from tests.model.tiny import write_tiny

NEEDED: dict[str, Any] = {
    "model": "start",
    "data": "rows",
    "steps": 3,
    "problems_per_step": 2,
    "max_new_tokens": 4,
    "learning_rate": 1e-2,
    "reward": {"no_end_reward": None},
    "template": "raw",
    "sampling": {"gap_limit": 9},
}


def run(stage: RLVR | PPO, folder: Path, held_out: list[int]) -> Workspace:
    write_tiny(folder / "start")
    # right is an answer with a digit in it: some are
    rows = [problem(f"say {i} + {i}", "1", "1", "gsm8k", "test", "CC0-1.0") for i in range(8)]
    write_rows(rows[:4], folder / "rows")
    write_rows([rows[i] for i in held_out], folder / "apart")
    inputs = {name: Input(name, folder / name, Kind.DATA, f"hash of {name}") for name in ("rows", "apart")}
    inputs["start"] = Input("start", folder / "start", Kind.MODEL, "hash of start")
    workspace = Workspace.temporary(folder / "out", inputs, 1, Hardware(dtype="float32", threads=1))
    stage.run(workspace)
    return workspace


@pytest.mark.parametrize("kind", [RLVR, PPO])
def test_the_best_look_s_weights_are_what_the_stage_leaves(tmp_path: Path, kind: type[RLVR] | type[PPO]) -> None:
    more: dict[str, Any] = {"samples": 4} if kind is RLVR else {"samples": 2, "epochs": 1}
    stage = kind(**NEEDED, **more, watch={"held_out": "apart", "look_every": 1, "keep": "best"})
    workspace = run(stage, tmp_path, [4, 5, 6, 7])
    looks = json.loads((workspace.output / "looks.json").read_text())
    assert [look["step"] for look in looks] == [0, 1, 2, 3] and all(len(look["scores"]) == 4 for look in looks)
    lines = [json.loads(line) for line in (workspace.output / "metrics.jsonl").read_text().splitlines()]
    assert [line["held_out"] for line in lines if "held_out" in line] == [sum(k["scores"]) / 4 for k in looks[:3]]
    left = load_file(workspace.output / "model.safetensors")
    best = load_file(workspace.scratch / "looks" / "best.safetensors")
    assert all((left[name] == weight).all() for name, weight in best.items() if name in left)
    assert workspace.metrics["best_held_out"] == max(sum(look["scores"]) / 4 for look in looks)


def test_a_held_out_question_that_is_trained_on_is_refused(tmp_path: Path) -> None:
    stage = RLVR(**NEEDED, samples=2, watch={"held_out": "apart"})
    with pytest.raises(BactrianError, match=r"1 of 3 questions of held_out, apart are in the training set rows"):
        run(stage, tmp_path, [3, 4, 5])


def test_what_needs_held_out_problems_says_so() -> None:
    for setting in ({"keep": "best"}, {"stop_on_alarm": True}):
        with pytest.raises(ValidationError, match="need held_out"):
            RLVR(**NEEDED, watch=setting)
