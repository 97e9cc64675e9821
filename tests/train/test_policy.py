"""GRPO: ratios that start at 1, groups without signal, stale rollouts, and the gap between sampler and trainer."""

import copy
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bactrian.errors import BactrianError
from bactrian.model.language_model import LanguageModel
from bactrian.stages.rl.rlvr import RLVR
from bactrian.train.loop import Update, add_sums
from bactrian.train.rl.policy import GroupPolicy
from bactrian.train.rl.rollouts import Rollout
from tests.model.tiny import write_tiny
from tests.train.bench import POLICY, ToySampler, changed, frozen, load, metrics, run, same


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

    def rollouts(self, problems: Sequence[int], step: int, version: int, before: int = 0) -> list[list[Rollout]]:
        groups = super().rollouts(problems, step, version, before)
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
    settings: RLVR = POLICY,
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
        add_sums(sums, parts)
    return {**update.metrics, **update.finish(sums)}


@pytest.mark.parametrize("updates", [1, 2, 3])
@pytest.mark.parametrize("micro_tokens", [1, 64, 10_000])
def test_the_ratio_is_exactly_one_in_the_first_update(model: LanguageModel, updates: int, micro_tokens: int) -> None:
    task = policy(model, changed(POLICY, updates_per_step=updates, micro_tokens=micro_tokens))
    first = summed(next(iter(task.updates(0))))
    assert first["ratio"] == 1.0  # not almost
    assert first["clip_fraction"] == 0


def test_later_updates_are_measured_against_the_weights_before_the_first(model: LanguageModel) -> None:
    task = policy(model, changed(POLICY, updates_per_step=3))
    first, second, third = task.updates(0)
    assert summed(first)["ratio"] == 1
    assert summed(second)["ratio"] == pytest.approx(1, abs=1e-5)  # nothing has moved yet
    with torch.no_grad():
        for weight in model.network.parameters():
            weight.mul_(1.05)
    assert abs(summed(third)["ratio"] - 1) > 1e-3
    assert summed(second)["clip_fraction"] > 0


def test_the_groups_of_a_step_are_each_in_one_update(model: LanguageModel) -> None:
    settings = changed(POLICY, updates_per_step=2)
    task = policy(model, settings)
    one = policy(model).updates(0)
    whole = sum(u.metrics["completion_length"] * 12 for u in one)
    parts = list(task.updates(0))
    assert sum(u.tokens for u in parts) == pytest.approx(whole)
    assert len(parts) == 2 and all(u.micro_batches for u in parts)


def test_groups_whose_rewards_are_alike_are_counted_and_not_trained_on(model: LanguageModel, tmp_path: Path) -> None:
    task = policy(model, changed(POLICY, problems_per_step=6), {1: {"score": 0.0}, 4: {"score": 1.0}})
    (update,) = task.updates(0)
    assert update.metrics["zero_variance"] == pytest.approx(2 / 6)
    lively = policy(model, changed(POLICY, problems_per_step=6))
    (all_six,) = lively.updates(0)
    assert all_six.metrics["zero_variance"] == 0
    assert update.tokens == all_six.tokens  # sampled all the same


@pytest.mark.parametrize("updates", [1, 2])
def test_without_any_signal_nothing_moves(folder: Path, tmp_path: Path, updates: int) -> None:
    model = load(folder)
    before = {name: weight.detach().clone() for name, weight in model.network.named_parameters()}
    task = policy(model, changed(POLICY, updates_per_step=updates, kl=0.1), {-1: {"score": 1.0}})
    assert same(run(task, tmp_path), before)
    lines = metrics(tmp_path)
    assert len(lines) == 2 * updates
    for line in lines:
        assert line["zero_variance"] == 1 and line["loss"] == 0 and line["grad_norm"] == 0 and line["reward"] == 1


def test_an_answer_that_did_not_end_gets_the_reward_that_was_set(model: LanguageModel) -> None:
    cut: dict[int, dict[str, object]] = {-1: {"ended": False, "score": 1.0}}
    for unended, expected in ((0.0, 0.0), (-0.5, -0.5), (None, 1.0)):
        (update,) = policy(model, changed(POLICY, no_end_reward=unended), cut).updates(0)
        assert update.metrics["reward"] == expected
        assert update.metrics["score"] == 1 and update.metrics["truncated"] == 1


def test_rollouts_of_other_weights_are_refused(model: LanguageModel) -> None:
    task = policy(model, changes={-1: {"version": 0}})
    list(task.updates(0))
    with pytest.raises(BactrianError, match=r"step 2: rollouts of weight versions \[0\], expected 1"):
        list(task.updates(1))


def test_the_gap_between_sampler_and_trainer_is_measured_from_the_first_step(model: LanguageModel) -> None:
    for updates in (1, 2):
        (update, *_) = policy(model, changed(POLICY, updates_per_step=updates)).updates(0)
        found = summed(update)
        assert 0 < found["logprob_gap_mean"] <= found["logprob_gap_max"] <= 1e-5
    (update,) = policy(model, shift=0.01).updates(0)
    found = summed(update)
    assert found["logprob_gap_mean"] == pytest.approx(0.01, abs=1e-4)
    assert found["logprob_gap_max"] == pytest.approx(0.01, abs=1e-4)


def test_a_gap_over_the_limit_stops_the_run(folder: Path, tmp_path: Path) -> None:
    model = load(folder)
    with pytest.raises(BactrianError, match=r"step 1: the sampler's log-probs differ.* by 0\.2 on average.* 0\.1"):
        run(policy(model, shift=0.2), tmp_path)
    with pytest.raises(BactrianError, match="nan on average"):
        run(policy(model, shift=float("nan")), tmp_path / "nan")


class Counted(Changed):
    """Keeps what it was asked for."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.asked: list[tuple[list[int], int]] = []

    def rollouts(self, problems: Sequence[int], step: int, version: int, before: int = 0) -> list[list[Rollout]]:
        self.asked.append((list(problems), before))
        return super().rollouts(problems, step, version, before)


def test_groups_without_signal_are_replaced_by_other_problems(model: LanguageModel) -> None:
    dull: dict[int, dict[str, object]] = {0: {"score": 0.0}, 1: {"score": 1.0}, 2: {"score": 0.0}}
    settings = changed(POLICY, refills=3)
    sampler = Counted(model, dull)
    task = GroupPolicy(model, sampler, 6, settings, steps=2, seed=3)
    (update,) = task.updates(0)
    (first, _), *later = sampler.asked
    assert update.metrics["groups"] == sum(len(problems) for problems, _ in sampler.asked) > 3
    seen = list(first)
    for problems, before in later:
        missing = 3 - sum(problem > 2 for problem in seen)
        assert before == len(seen) and len(problems) == min(missing, 6 - len(seen))  # as many as are missing
        assert not set(problems) & set(seen)  # others
        seen += problems
    trained = sum(problem > 2 for problem in seen)
    assert trained == 3 and update.metrics["zero_variance"] == pytest.approx(1 - 3 / len(seen))
    again = Counted(model, dull)
    list(GroupPolicy(model, again, 6, settings, steps=2, seed=3).updates(0))
    assert again.asked == sampler.asked  # a step is a function of the weights and its number


def test_where_no_problem_says_anything_refilling_ends(model: LanguageModel) -> None:
    sampler = Counted(model, {-1: {"score": 1.0}})
    (update,) = GroupPolicy(model, sampler, 6, changed(POLICY, refills=9), steps=1, seed=3).updates(0)
    assert sorted(problem for problems, _ in sampler.asked for problem in problems) == list(range(6))
    assert update.micro_batches == [] and update.metrics["zero_variance"] == 1


def test_cut_answers_count_in_the_mean_and_are_not_trained_on(model: LanguageModel) -> None:
    class FirstCut(ToySampler):
        def rollouts(self, problems: Sequence[int], step: int, version: int, before: int = 0) -> list[list[Rollout]]:
            groups = super().rollouts(problems, step, version, before)
            return [[replace(group[0], ended=False), *group[1:]] for group in groups]

    def losses(train_unended: bool) -> tuple[Update, list[float]]:
        settings = changed(POLICY, train_unended=train_unended, no_end_reward=None)
        task = GroupPolicy(model, FirstCut(model, range(6)), 6, settings, steps=1, seed=3)
        (update,) = task.updates(0)
        return update, [float(share()[0].detach()) for share in update.micro_batches]

    whole, left = losses(True), losses(False)
    assert whole[0].metrics == left[0].metrics  # rewards, and so advantages, are the same
    assert whole[1] != left[1]


def test_the_overlong_penalty_and_the_kl_are_taken_off_the_reward(model: LanguageModel) -> None:
    plain = policy(model)
    rollouts = plain.sampler.rollouts([1], 0, 0)[0]
    rewards = plain._rewards(1, rollouts)
    late = policy(model, changed(POLICY, overlong_zone=4))._rewards(1, rollouts)
    for reward, punished, rollout in zip(rewards, late, rollouts, strict=True):
        assert punished == pytest.approx(reward - max(0.0, (len(rollout.ids) - 2) / 4))
    shaped = policy(model, changed(POLICY, kl=0.1, kl_estimator="k1", kl_in="reward"))
    assert shaped.reference is not None
    plain_reference = copy.deepcopy(shaped.reference.network)
    plain_reference.set_attn_implementation("eager")
    for reward, less, rollout in zip(rewards, shaped._rewards(1, rollouts), rollouts, strict=True):
        ids = torch.tensor([[*shaped.sampler.prompt(1), *rollout.ids]])
        with torch.no_grad():
            logprobs = plain_reference(ids).logits[0].log_softmax(-1)
        start = len(shaped.sampler.prompt(1))
        reference = sum(float(logprobs[start - 1 + i, token]) for i, token in enumerate(rollout.ids))
        assert less == pytest.approx(reward - 0.1 * (sum(rollout.logprobs) - reference), abs=1e-5)


def test_weights_for_a_sampler_that_computes_otherwise(model: LanguageModel) -> None:
    settings = changed(POLICY, importance_cap=2.0, gap_limit=9.0)
    for shift, expected in ((0.0, 1.0), (-0.1, math.exp(0.1)), (-5.0, 2.0)):
        (update,) = policy(model, settings, shift=shift).updates(0)
        assert summed(update)["importance_weight"] == pytest.approx(expected, rel=1e-4)


def test_training_raises_the_reward(folder: Path, tmp_path: Path) -> None:
    model = load(folder)
    settings = changed(POLICY, problems_per_step=6)
    task = GroupPolicy(model, ToySampler(model, range(6), samples=8), 6, settings, steps=12, seed=0)
    run(task, tmp_path)
    rewards = [line["reward"] for line in metrics(tmp_path)]
    assert sum(rewards[-3:]) / 3 > sum(rewards[:3]) / 3 + 0.15


def test_the_headline_says_whether_it_learns(folder: Path, tmp_path: Path) -> None:
    model = load(folder)
    run(policy(model, changed(POLICY, kl=0.1)), tmp_path)
    wanted = {
        "reward",
        "score",
        "reward_std",
        "zero_variance",
        "completion_length",
        "truncated",
        "surrogate",
        "kl",
        "entropy",
        "ratio",
        "clip_fraction",
        "logprob_gap_mean",
        "logprob_gap_max",
    }
    for line in metrics(tmp_path):
        assert wanted <= line.keys()
        assert 0 < line["entropy"] < 6 and line["kl"] > 0
