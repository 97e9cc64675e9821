"""Looks at held-out questions during training: what is kept, what raises an alarm, and what a kill does to it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bactrian.model.language_model import LanguageModel
from bactrian.train.rl.held_out import HeldOutLook, WatchedTask, fallen, over_optimised
from bactrian.train.rl.policy import GroupPolicy
from tests.model.tiny import write_tiny
from tests.train.bench import POLICY, Cut, ToySampler, changed, load, metrics, run, same


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("model"))


class Norms:
    """Scores that the weights decide, of four made-up questions."""

    def __init__(self, model: LanguageModel) -> None:
        self.model, self.made = model, 0

    def __call__(self) -> HeldOutLook:
        self.made += 1
        weights = [float(w.detach().sum()) for w in self.model.network.parameters()]
        return HeldOutLook(0, [abs(sum(weights[i::4])) % 1 for i in range(4)], 3.0, 0.0)


class Script:
    """Scores as written."""

    def __init__(self, *scores: list[float]) -> None:
        self.scores = list(scores)

    def __call__(self) -> HeldOutLook:
        return HeldOutLook(0, self.scores.pop(0), 3.0, 0.0)


def weights(model: LanguageModel) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in model.network.named_parameters()}


def watched(
    model: LanguageModel, look: object, folder: Path, steps: int = 4, every: int = 1, stop: bool = False
) -> WatchedTask:
    settings = changed(POLICY, no_end_reward=None)
    task = GroupPolicy(model, ToySampler(model, range(6)), 6, settings, steps=steps, seed=3)
    return WatchedTask(task, model, look, folder, every=every, stop=stop)  # type: ignore[arg-type]


def test_only_a_sure_fall_is_a_fall() -> None:
    best = HeldOutLook(0, [1.0] * 50 + [0.0] * 50, 1, 0)
    flipped = HeldOutLook(1, [0.0] * 3 + [1.0] * 47 + [0.0] * 50, 1, 0)
    assert not fallen(best, flipped)  # 3 of 100 lost: 1.7 standard errors
    assert fallen(best, replace(flipped, scores=[0.0] * 12 + [1.0] * 38 + [0.0] * 50))
    assert not fallen(best, replace(flipped, scores=[0.0] * 12 + [1.0] * 38 + [1.0] * 10 + [0.0] * 40))  # traded
    assert not fallen(best, best) and not fallen(HeldOutLook(0, [1.0], 1, 0), HeldOutLook(1, [0.0], 1, 0))


def test_a_fall_with_a_falling_reward_is_no_over_optimisation() -> None:
    best, now = HeldOutLook(0, [1.0] * 20, 1, 0, reward=0.5), HeldOutLook(5, [0.0] * 10 + [1.0] * 10, 1, 0, reward=0.6)
    assert over_optimised(best, now)
    assert not over_optimised(best, replace(now, reward=0.4))
    assert over_optimised(best, replace(now, reward=None))  # after the last step no reward is known


def test_looks_are_logged_and_the_best_weights_come_back(folder: Path, tmp_path: Path) -> None:
    model = load(folder)
    high, low = [1.0] * 3 + [0.0], [1.0] + [0.0] * 3
    task = watched(model, Script(low, high, high, low, low), tmp_path / "looks")
    seen: list[dict[str, torch.Tensor]] = []
    inner = task.task.updates

    def spy(step: int):  # type: ignore[no-untyped-def]
        seen.append(weights(model))
        return inner(step)

    task.task.updates = spy  # type: ignore[method-assign]
    run(task, tmp_path)
    told = task.finish(4)
    lines = metrics(tmp_path)
    assert [line["held_out"] for line in lines] == [0.25, 0.75, 0.75, 0.25]
    assert told["best_step"] == 1 and told["best_held_out"] == 0.75 and told["held_out"] == 0.25
    assert [look["step"] for look in json.loads((tmp_path / "looks/looks.json").read_text())] == [0, 1, 2, 3, 4]
    assert not same(weights(model), seen[1])
    assert task.restore_best() == 1
    assert same(weights(model), seen[1])


def test_an_alarm_ends_training_where_it_is_asked_to(folder: Path, tmp_path: Path) -> None:
    good, bad = [1.0] * 20, [0.0] * 15 + [1.0] * 5
    for stop in (False, True):
        model = load(folder)
        task = watched(model, Script(good, bad, bad, bad, bad), tmp_path / f"looks-{stop}", stop=stop)
        task.task.core.sampler = Even(model, range(6))  # type: ignore[attr-defined]
        run(task, tmp_path / str(stop))  # type: ignore[arg-type]
        alarms = [line["alarm"] for line in metrics(tmp_path / str(stop))]
        assert alarms == ([0.0] if stop else [0.0, 1.0, 1.0, 1.0])


class Even(ToySampler):
    """Rewards do not fall: every second answer is right."""

    def rollouts(self, problems, step, version, before=0):  # type: ignore[no-untyped-def]
        groups = super().rollouts(problems, step, version, before)
        return [[replace(r, score=float(i % 2)) for i, r in enumerate(group)] for group in groups]


@pytest.mark.parametrize("after", [2, 5])
def test_a_run_that_was_killed_looks_again_and_ends_alike(folder: Path, tmp_path: Path, after: int) -> None:
    whole = load(folder)
    task = watched(whole, Norms(whole), tmp_path / "whole/looks", every=2)
    run(task, tmp_path / "whole")
    told = task.finish(4)
    model = load(folder)
    with pytest.raises(Cut.Killed):
        run(Cut(watched(model, Norms(model), tmp_path / "cut/looks", every=2), after), tmp_path / "cut")  # type: ignore[arg-type]
    model = load(folder)
    task = watched(model, Norms(model), tmp_path / "cut/looks", every=2)
    run(task, tmp_path / "cut")  # type: ignore[arg-type]
    assert task.finish(4) == told
    for name in ("looks.json", "best.safetensors"):
        assert (tmp_path / "cut/looks" / name).read_bytes() == (tmp_path / "whole/looks" / name).read_bytes()
