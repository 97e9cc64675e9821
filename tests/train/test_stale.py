"""Rollouts of older weights: whose they are, what corrects for it, and that a kill loses none of them."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from bactrian.errors import BactrianError
from bactrian.model.reward_model import RewardModel
from bactrian.stages.rl.rlvr import RLVR
from bactrian.train.loop import LoopSettings
from bactrian.train.losses import POLICY_LOSSES, PolicyTokens
from bactrian.train.objectives import importance_weights
from bactrian.train.reward_modelling import MixedReward
from bactrian.train.rl.actor_critic import ActorCritic
from bactrian.train.rl.policy import GroupPolicy
from bactrian.train.rl.rollouts import AnsweredProblem, Rollout
from bactrian.train.rl.stale import Queue, age
from tests.model.tiny import write_tiny
from tests.train.bench import POLICY, Cut, ToySampler, changed, group_options, load, metrics, ppo_options, run, same

STALE = changed(POLICY, staleness=2, importance_cap=2.0, micro_tokens=10_000)
FAST = LoopSettings(learning_rate=1e-2, schedule="constant", checkpoint_seconds=3600)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("model"))


class Told(ToySampler):
    """Keeps which step was sampled with which weights."""

    asked: list[tuple[int, int]]

    def rollouts(self, problems: Sequence[int], step: int, version: int, before: int = 0) -> list[list[Rollout]]:
        self.asked = [*getattr(self, "asked", []), (step, version)]
        return super().rollouts(problems, step, version, before)


def task(folder: Path, settings: RLVR = STALE, steps: int = 5, samples: int = 4) -> GroupPolicy:
    model = load(folder)
    return GroupPolicy(model, Told(model, range(6), samples), 6, settings, steps=steps, seed=3)


def ppo_task(folder: Path, epochs: int = 1) -> ActorCritic:
    model = load(folder)
    settings = ppo_options(problems_per_step=3, epochs=epochs, kl=0.0, staleness=2, importance_cap=1.2)
    sampler, value = Told(model, range(6), samples=2), RewardModel.of(model, 5)
    return ActorCritic(model, value, sampler, MixedReward(10.0), 6, settings, steps=5, seed=3)


def test_each_step_is_sampled_once_and_as_many_steps_before_as_was_said(folder: Path, tmp_path: Path) -> None:
    made = task(folder)
    run(made, tmp_path, FAST)
    assert made.sampler.asked == [(0, 0), (1, 0), (2, 0), (3, 1), (4, 2)]  # type: ignore[attr-defined]
    lines = metrics(tmp_path)
    assert [line["staleness"] for line in lines] == [0, 1, 2, 2, 2]
    assert all(line["ratio"] == 1.0 for line in lines)  # against the trainer's present weights, not the sampler's
    assert lines[0]["importance_weight"] == pytest.approx(1, abs=1e-5) and lines[0]["importance_truncated"] == 0
    assert all(abs(line["importance_weight"] - 1) > 1e-4 for line in lines[1:])
    assert lines[-1]["importance_truncated"] > 0 and lines[-1]["logprob_gap_mean"] > 0.01


def test_more_staleness_than_steps_samples_all_from_the_first_weights(folder: Path, tmp_path: Path) -> None:
    made = task(folder, changed(STALE, staleness=9), steps=3)
    run(made, tmp_path, FAST)
    assert made.sampler.asked == [(0, 0), (1, 0), (2, 0)]  # type: ignore[attr-defined]


@pytest.mark.parametrize("make", [task, ppo_task])
def test_killed_with_batches_waiting_it_ends_as_if_undisturbed(
    folder: Path, tmp_path: Path, make: Callable[[Path], GroupPolicy | ActorCritic]
) -> None:
    settings = replace(FAST, checkpoint_seconds=0)
    expected = run(make(folder), tmp_path / "whole", settings)
    with pytest.raises(Cut.Killed):
        run(Cut(make(folder), 2), tmp_path / "cut", settings)  # in the third step, one micro-batch a step
    again = make(folder)
    assert same(run(again, tmp_path / "cut", settings), expected)
    assert again.sampler.asked == [(4, 2)]  # type: ignore[attr-defined]  # the batches of steps 2 and 3 had been kept
    assert metrics(tmp_path / "cut") == metrics(tmp_path / "whole")


def test_what_waits_comes_back_to_the_bit() -> None:
    rollouts = [Rollout((3, 9), (-0.1, -1 / 3), 0.7, True, 4), Rollout((5,), (-2e-8,), 0.0, False, 4, judged=False)]
    queue = Queue(lambda step, version: [AnsweredProblem(step, rollouts, [0.1, 0.3])], staleness=3, steps=9)
    queue.take(0)
    other = Queue(lambda step, version: [], staleness=3, steps=9)
    other.restore(copy.deepcopy(queue.state()))
    assert other.waiting == queue.waiting and len(other.waiting) == 3
    assert age(other.take(1), 6) == 2
    empty = Queue(lambda step, version: [], staleness=0, steps=9)
    empty.take(0)
    assert empty.state() == {}


def test_a_sampler_that_computes_otherwise_is_found_out_when_it_samples(folder: Path, tmp_path: Path) -> None:
    made = task(folder)
    honest = made.sampler.rollouts
    made.sampler.rollouts = lambda problems, step, version, before=0: [  # type: ignore[method-assign]
        [replace(r, logprobs=tuple(x - 0.2 * version for x in r.logprobs)) for r in group]
        for group in honest(problems, step, version, before)
    ]
    with pytest.raises(BactrianError, match=r"step 2: the sampler's log-probs differ .* by 0\.2 on average"):
        run(made, tmp_path, FAST)


def test_answers_of_older_weights_are_to_be_weighed() -> None:
    for options in (group_options, ppo_options):
        with pytest.raises(ValidationError, match="staleness: found 2 without importance_cap"):
            options(staleness=2)


def test_weighed_answers_of_an_old_policy_give_the_new_one_s_gradient() -> None:
    """In expectation over all answers of one token: exactly, if nothing is cut off; nearer than without, if some is."""
    logits = torch.tensor([0.2, -0.5, 1.0, 0.3], dtype=torch.float64, requires_grad=True)
    stale = torch.tensor([1.5, 0.1, -0.4, 0.3], dtype=torch.float64).log_softmax(0)
    advantages = torch.tensor([1.0, -2.0, 0.5, 0.0], dtype=torch.float64)

    def gradient(sampled: torch.Tensor, cap: float | None) -> torch.Tensor:
        logprobs = logits.log_softmax(0)
        tokens = PolicyTokens(logprobs, logprobs.detach(), advantages, torch.arange(4), 4)
        each = POLICY_LOSSES.use("clip")(tokens, 0.2, 0.2).loss
        weights = 1.0 if cap is None else importance_weights(logprobs, sampled, cap)
        return torch.autograd.grad((sampled.exp() * weights * each).sum(), logits)[0]

    wanted = gradient(logits.detach().log_softmax(0), None)
    torch.testing.assert_close(gradient(stale, 1e9), wanted)
    off = [float((gradient(stale, cap) - wanted).norm()) for cap in (None, 1.0, 2.0, 1e9)]
    assert off[0] > off[2] > off[3]


def test_ppo_s_answers_are_as_old_and_weighed_likewise(folder: Path, tmp_path: Path) -> None:
    made = ppo_task(folder, epochs=2)
    run(made, tmp_path, FAST)
    assert made.sampler.asked == [(0, 0), (1, 0), (2, 0), (3, 1), (4, 2)]  # type: ignore[attr-defined]
    lines = metrics(tmp_path)
    assert [line["staleness"] for line in lines] == [0, 0, 1, 1, 2, 2, 2, 2, 2, 2]
    assert all(line["ratio"] == 1.0 for line in lines[::2])
    assert lines[0]["importance_weight"] == pytest.approx(1, abs=1e-5) and lines[0]["importance_truncated"] == 0
    assert all(line["importance_truncated"] > 0 for line in lines[2:])


@pytest.mark.slow
def test_it_learns_from_answers_of_older_weights(folder: Path, tmp_path: Path) -> None:
    settings = changed(STALE, problems_per_step=6)
    run(task(folder, settings, steps=12, samples=8), tmp_path, FAST)
    rewards = [line["reward"] for line in metrics(tmp_path)]
    assert sum(rewards[-3:]) / 3 > sum(rewards[:3]) / 3 + 0.15
