"""rollouts.jsonl: what was said and what it was worth, step by step, whatever kills came between."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bactrian.store.artifact import Workspace
from bactrian.store.hashes import FileRecord, content_hash
from bactrian.train.rl.kept_rollouts import KeptRollouts
from bactrian.train.rl.rollouts import AnsweredProblem, Rollout

ROWS = [{"id": f"r{n}", "ground_truth": str(n), "messages": [{"role": "user", "content": f"{n}?"}]} for n in range(3)]


def sampler() -> Any:
    template = SimpleNamespace(write=lambda messages, header: messages[-1]["content"] + " A:")
    return SimpleNamespace(rows=ROWS, engine=SimpleNamespace(template=template))


def answered(problem: int, *scores: float) -> AnsweredProblem:
    said = [Rollout((1, 2), (0.0, 0.0), s, True, 0, text=f"{s}", outcome="right" if s else "wrong") for s in scores]
    return AnsweredProblem(problem, said, [s - 0.5 for s in scores])


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_all_answers_to_the_first_problems_of_a_step_with_score_and_reward(tmp_path: Path) -> None:
    path = tmp_path / "output" / "rollouts.jsonl"
    KeptRollouts(Workspace.temporary(tmp_path).show_rollouts, sampler(), 2)(
        0, [answered(2, 1.0, 0.0), answered(0, 0.0), answered(1, 1.0)]
    )
    found = lines(path)
    assert [(each["step"], each["question"], each["sample"]) for each in found] == [
        (1, "r2", 0),
        (1, "r2", 1),
        (1, "r0", 0),
    ]
    assert found[0]["prompt"] == "2? A:" and found[0]["ground_truth"] == "2"
    assert (found[0]["score"], found[0]["reward"], found[0]["outcome"], found[0]["tokens"]) == (1.0, 0.5, "right", 2)


def test_after_a_kill_steps_that_are_made_again_and_half_lines_are_replaced(tmp_path: Path) -> None:
    path = tmp_path / "output" / "rollouts.jsonl"
    first = KeptRollouts(Workspace.temporary(tmp_path).show_rollouts, sampler(), 1)
    for step in range(4):
        first(step, [answered(step % 3, 1.0, 0.0)])
    undisturbed = path.read_text()
    path.write_text(undisturbed + '{"step": 5, "que')
    again = KeptRollouts(Workspace.temporary(tmp_path).show_rollouts, sampler(), 1)
    for step in range(2, 4):
        again(step, [answered(step % 3, 1.0, 0.0)])
    assert path.read_text() == undisturbed


def test_none_are_kept_where_none_are_asked_for(tmp_path: Path) -> None:
    KeptRollouts(Workspace.temporary(tmp_path).show_rollouts, sampler(), 0)(0, [answered(0, 1.0)])
    assert not list((tmp_path / "output").iterdir())


@pytest.mark.parametrize("name", ["rollouts.jsonl", "metrics.jsonl"])
def test_a_model_is_the_same_whatever_was_said_on_the_way(name: str) -> None:
    weights = {"model.safetensors": FileRecord(sha256="a", bytes=1)}
    assert content_hash(weights) == content_hash({**weights, name: FileRecord(sha256="b", bytes=2)})
