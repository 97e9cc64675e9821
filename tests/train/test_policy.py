"""GRPO: ratios that start at 1, groups without signal, stale rollouts, and the gap between sampler and trainer."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bactrian.errors import BactrianError
from bactrian.model.language_model import LanguageModel
from bactrian.train.loop import Update
from bactrian.train.policy import GroupPolicy, Rollout, Settings
from tests.model.tiny import write_tiny
from tests.train.bench import POLICY, ToySampler, frozen, load, metrics, run, same


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("model"))


@pytest.fixture
def model(folder: Path) -> LanguageModel:
    return load(folder)


class Changed(ToySampler):
    """Its rollouts with some fields changed: `{problem: {field: value}}`, -1 for all problems."""

    def __init__(self, model: LanguageModel, changes: dict[int, dict[str, object]], shift: float = 0.0) -> None:
        super().__init__(model, range(6))
        self.changes, self.shift = changes, shift

    def rollouts(self, problems: Sequence[int], step: int, version: int) -> list[list[Rollout]]:
        groups = super().rollouts(problems, step, version)
        return [
            [
                replace(
                    r,
                    logprobs=tuple(x + self.shift for x in r.logprobs),
                    **(self.changes.get(-1, {}) | self.changes.get(problem, {})),  # type: ignore[arg-type]
                )
                for r in group
            ]
            for problem, group in zip(problems, groups, strict=True)
        ]


def policy(
    model: LanguageModel,
    settings: Settings = POLICY,
    changes: dict[int, dict[str, object]] | None = None,
    shift: float = 0.0,
    steps: int = 2,
) -> GroupPolicy:
    reference = frozen(model, settings.kl)
    return GroupPolicy(
        model, Changed(model, changes or {}, shift), 6, settings, steps=steps, seed=3, reference=reference
    )


def summed(update: Update) -> dict[str, float]:
    """The update's own metrics, as the loop adds them up."""
    sums: dict[str, float] = {}
    for _, parts in [share() for share in update.micro_batches]:
        for key, value in parts.items():
            sums[key] = sums.get(key, 0.0) + value
    return {**update.metrics, **update.finish(sums)}


@pytest.mark.parametrize("updates", [1, 2, 3])
@pytest.mark.parametrize("micro_tokens", [1, 64, 10_000])
def test_the_ratio_is_exactly_one_in_the_first_update(model: LanguageModel, updates: int, micro_tokens: int) -> None:
    task = policy(model, replace(POLICY, updates_per_step=updates, micro_tokens=micro_tokens))
    first = summed(next(iter(task.updates(0))))
    assert first["ratio"] == 1.0  # not almost
    assert first["clip_fraction"] == 0


def test_later_updates_are_measured_against_the_weights_before_the_first(model: LanguageModel) -> None:
    task = policy(model, replace(POLICY, updates_per_step=3))
    first, second, third = task.updates(0)
    assert summed(first)["ratio"] == 1
    assert summed(second)["ratio"] == pytest.approx(1, abs=1e-5)  # nothing has moved yet
    with torch.no_grad():
        for weight in model.network.parameters():
            weight.mul_(1.05)
    assert abs(summed(third)["ratio"] - 1) > 1e-3
    assert summed(second)["clip_fraction"] > 0


def test_the_groups_of_a_step_are_each_in_one_update(model: LanguageModel) -> None:
    settings = replace(POLICY, updates_per_step=2)
    task = policy(model, settings)
    one = policy(model).updates(0)
    whole = sum(u.metrics["completion_length"] * 12 for u in one)
    parts = list(task.updates(0))
    assert sum(u.tokens for u in parts) == pytest.approx(whole)
    assert len(parts) == 2 and all(u.micro_batches for u in parts)


def test_groups_whose_rewards_are_alike_are_counted_and_not_trained_on(model: LanguageModel, tmp_path: Path) -> None:
    task = policy(model, replace(POLICY, problems_per_step=6), {1: {"score": 0.0}, 4: {"score": 1.0}})
    (update,) = task.updates(0)
    assert update.metrics["zero_variance"] == pytest.approx(2 / 6)
    lively = policy(model, replace(POLICY, problems_per_step=6))
    (all_six,) = lively.updates(0)
    assert all_six.metrics["zero_variance"] == 0
    assert update.tokens == all_six.tokens  # sampled all the same


@pytest.mark.parametrize("updates", [1, 2])
def test_without_any_signal_nothing_moves(folder: Path, tmp_path: Path, updates: int) -> None:
    model = load(folder)
    before = {name: weight.detach().clone() for name, weight in model.network.named_parameters()}
    task = policy(model, replace(POLICY, updates_per_step=updates, kl=0.1), {-1: {"score": 1.0}})
    assert same(run(task, tmp_path), before)
    lines = metrics(tmp_path)
    assert len(lines) == 2 * updates
    for line in lines:
        assert line["zero_variance"] == 1 and line["loss"] == 0 and line["grad_norm"] == 0 and line["reward"] == 1


def test_an_answer_that_did_not_end_gets_the_reward_that_was_set(model: LanguageModel) -> None:
    cut: dict[int, dict[str, object]] = {-1: {"ended": False, "score": 1.0}}
    for unended, expected in ((0.0, 0.0), (-0.5, -0.5), (None, 1.0)):
        (update,) = policy(model, replace(POLICY, unended_reward=unended), cut).updates(0)
        assert update.metrics["reward"] == expected
        assert update.metrics["score"] == 1 and update.metrics["truncated"] == 1


def test_rollouts_of_other_weights_are_refused(model: LanguageModel) -> None:
    task = policy(model, changes={-1: {"version": 0}})
    list(task.updates(0))
    with pytest.raises(BactrianError, match=r"step 2: rollouts of weight versions \[0\], expected 1"):
        list(task.updates(1))


def test_the_gap_between_sampler_and_trainer_is_measured_from_the_first_step(model: LanguageModel) -> None:
    for updates in (1, 2):
        (update, *_) = policy(model, replace(POLICY, updates_per_step=updates)).updates(0)
        found = summed(update)
        assert 0 < found["logprob_gap_mean"] <= found["logprob_gap_max"] <= 1e-5
    (update,) = policy(model, shift=0.01).updates(0)
    found = summed(update)
    assert found["logprob_gap_mean"] == pytest.approx(0.01, abs=1e-4)
    assert found["logprob_gap_max"] == pytest.approx(0.01, abs=1e-4)


def test_a_gap_over_the_limit_stops_the_run(folder: Path, tmp_path: Path) -> None:
    model = load(folder)
    with pytest.raises(BactrianError, match=r"step 1: the sampler's log-probs differ.* by 0\.1 on average.* 0\.05"):
        run(policy(model, shift=0.1), tmp_path)
    with pytest.raises(BactrianError, match="nan on average"):
        run(policy(model, shift=float("nan")), tmp_path / "nan")


def test_training_raises_the_reward(folder: Path, tmp_path: Path) -> None:
    model = load(folder)
    settings = replace(POLICY, problems_per_step=6)
    task = GroupPolicy(model, ToySampler(model, range(6), samples=8), 6, settings, steps=12, seed=0)
    run(task, tmp_path)
    rewards = [line["reward"] for line in metrics(tmp_path)]
    assert sum(rewards[-3:]) / 3 > sum(rewards[:3]) / 3 + 0.15


def test_the_headline_says_whether_it_learns(folder: Path, tmp_path: Path) -> None:
    model = load(folder)
    run(policy(model, replace(POLICY, kl=0.1)), tmp_path)
    wanted = {
        "reward", "score", "reward_std", "zero_variance", "completion_length", "truncated", "surrogate", "kl",
        "entropy", "ratio", "clip_fraction", "logprob_gap_mean", "logprob_gap_max",
    }  # fmt: skip
    for line in metrics(tmp_path):
        assert wanted <= line.keys()
        assert 0 < line["entropy"] < 6 and line["kl"] > 0
