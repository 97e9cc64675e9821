"""Every loss and estimator that TRL has too: on the same tensors, TRL's own value and gradient.

fixtures/trl.json was made by TRL's code (fixtures/make_trl.py). What is compared is not a formula but our tasks, as
stages run them: packing, the mean over a step, the gradient by each token. They read from a `TrlTable` in place of a
model. Losses are compared in float64; where a task keeps numbers of its own in float32, that is what 1e-6 is for.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from bactrian.model.packing import Forest, Group
from bactrian.train.loop import Update
from bactrian.train.losses import ADVANTAGES, Objective
from bactrian.train.objectives import importance_weights, overlong_penalty
from bactrian.train.preference import Preference, PreferencePair, pair_logprobs, reference_logprobs
from bactrian.train.reward_modelling import BradleyTerry
from bactrian.train.rl.policy import GroupPolicy
from bactrian.train.rl.rollouts import Rollout
from bactrian.train.supervised import step_rows
from bactrian.train.unpaired import LabelledAnswer, Unpaired, reference_sums
from tests.train.bench import group_options

TRL = json.loads((Path(__file__).parent / "fixtures" / "trl.json").read_text())
CLOSE = 1e-6
Rows = list[list[float]]
ANSWER = 100
"""Ids below are prompts, one token each; an answer's ids follow from its number, so that no two are alike."""


def answer(number: int, length: int) -> tuple[int, ...]:
    return tuple(ANSWER * (number + 1) + place for place in range(length))


class TrlTable:
    """In place of a model: the log-probability of each token under each prompt is given, and has a gradient."""

    def __init__(self) -> None:
        self.places: dict[tuple[int, int], int] = {}
        self.given: list[float] = []

    def put(self, prompt: int, ids: Sequence[int], logprobs: Sequence[float]) -> None:
        for token, logprob in zip(ids, logprobs, strict=True):
            self.places[prompt, token] = len(self.given)
            self.given.append(logprob)
        self.values = torch.tensor(self.given, dtype=torch.float64, requires_grad=True)

    def logprobs(self, forest: Forest, where: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
        ids, roots = forest.ids.tolist(), list[int]()
        for token, before in zip(ids, forest.previous.tolist(), strict=True):
            roots.append(roots[before] if before >= 0 else token)
        return self.values[[self.places[roots[i], ids[i]] for i in where.tolist()]]

    def logprobs_and_entropy(
        self, forest: Forest, where: torch.Tensor, temperature: float = 1.0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        logprobs = self.logprobs(forest, where, temperature)
        return logprobs, torch.zeros_like(logprobs)

    def gradient(self, prompts: Sequence[int], rows: Rows) -> Rows:
        """By token of the answers 0, 1, … under these prompts, as TRL's is kept."""
        assert self.values.grad is not None
        found = self.values.grad.tolist()
        return [
            [found[self.places[prompt, token]] for token in answer(number, len(row))]
            for number, (prompt, row) in enumerate(zip(prompts, rows, strict=True))
        ]


def table(rows: Rows, prompts: Sequence[int]) -> TrlTable:
    made = TrlTable()
    for number, (prompt, row) in enumerate(zip(prompts, rows, strict=True)):
        made.put(prompt, answer(number, len(row)), row)
    return made


def taken(update: Update) -> tuple[float, dict[str, float]]:
    """An update's loss and metrics as the loop adds them up; gradients are left on what it reads."""
    total, sums = 0.0, dict[str, float]()
    for share in update.micro_batches:
        loss, parts = share()
        torch.autograd.backward(loss)
        total += float(loss.detach())
        for key, value in parts.items():
            sums[key] = sums.get(key, 0.0) + value
    return total, {**update.metrics, **update.finish(sums)}


def assert_equal(found: Any, expected: Any) -> None:
    torch.testing.assert_close(
        torch.tensor(found, dtype=torch.float64), torch.tensor(expected, dtype=torch.float64), atol=CLOSE, rtol=CLOSE
    )


def assert_all_equal(found: Rows, expected: Rows) -> None:
    for mine, theirs in zip(found, expected, strict=True):
        assert_equal(mine, theirs)


@pytest.mark.parametrize("case", TRL["preference"], ids=lambda case: case["name"])
def test_preference_losses(case: dict[str, Any]) -> None:
    policy, half = case["policy"], len(case["policy"]) // 2
    prompts = [i % half for i in range(2 * half)]  # TRL's rows: all that was chosen, then what was rejected
    pairs = [
        PreferencePair((i,), answer(i, len(policy[i])), answer(half + i, len(policy[half + i]))) for i in range(half)
    ]
    model, reference = table(policy, prompts), table(case["reference"], prompts)
    kept = None if case["objective"]["loss"] == "simpo" else sums(reference, pairs)
    task = Preference(
        model, pairs, kept, Objective(**case["objective"]), batch_pairs=half, epochs=1, seed=3, micro_tokens=15
    )
    (update,) = task.updates(0)
    loss, metrics = taken(update)
    assert_equal(loss, case["loss"])
    assert_all_equal(model.gradient(prompts, policy), case["gradient"])
    if case["objective"]["loss"] in ("dpo", "simpo"):  # TRL logs sums for the losses of means
        for ours, theirs in (
            ("reward_chosen", "rewards/chosen"),
            ("reward_rejected", "rewards/rejected"),
            ("accuracy", "rewards/accuracies"),
            ("margin", "rewards/margins"),
        ):
            assert_equal(metrics[ours], case["metrics"].get(theirs, metrics[ours]))


def sums(model: TrlTable, pairs: Sequence[PreferencePair]) -> torch.Tensor:
    """The cached reference, as `reference_logprobs` gives it, kept in float64."""
    cached = reference_logprobs(model, pairs, 15)  # type: ignore[arg-type]
    exact = pair_logprobs(model, pairs).detach()  # type: ignore[arg-type]
    torch.testing.assert_close(cached, exact.float(), atol=1e-5, rtol=1e-6)
    return exact


@pytest.mark.parametrize("case", TRL["kto"])
def test_kto(case: dict[str, Any]) -> None:
    policy, count = case["policy"], len(case["policy"])
    prompts = list(range(count))
    model, reference = table(policy, prompts), table(case["reference"], prompts)
    for prompt in prompts:  # each prompt with the answer of the next row
        other = (prompt + 1) % count
        ids = answer(other, len(policy[other]))
        model.put(prompt, ids, case["stranger"][prompt])
        reference.put(prompt, ids, case["stranger_reference"][prompt])
    opinions = [LabelledAnswer((i,), answer(i, len(policy[i])), case["labels"][i]) for i in prompts]
    good, bad = case["weights"]
    task = Unpaired(
        model,
        opinions,
        reference_sums(reference, opinions, 15),
        beta=case["beta"],
        desirable_weight=good,
        undesirable_weight=bad,
        batch=count,
        epochs=1,
        seed=3,
        micro_tokens=15,
    )
    (update,) = task.updates(0)
    loss, metrics = taken(update)
    assert_equal(loss, case["loss"])
    assert_all_equal(model.gradient(prompts, policy), case["gradient"])
    theirs = case["metrics"]
    assert_equal(
        [metrics[k] for k in ("baseline", "reward_desirable", "reward_undesirable")],
        [theirs[k] for k in ("kl", "rewards/chosen", "rewards/rejected")],
    )


class Rewarder:
    """In place of a reward model: the reward of each answer by its number."""

    def __init__(self, rewards: Sequence[float]) -> None:
        self.values = torch.tensor(rewards, dtype=torch.float64, requires_grad=True)

    def rewards(self, groups: Sequence[Group]) -> torch.Tensor:
        return self.values[[ids[0] // ANSWER - 1 for group in groups for ids in group.answers]]


@pytest.mark.parametrize("case", TRL["bradley_terry"])
def test_bradley_terry(case: dict[str, Any]) -> None:
    model, half = Rewarder(case["rewards"]), len(case["rewards"]) // 2
    pairs = [PreferencePair((i,), answer(i, 2), answer(half + i, 3)) for i in range(half)]
    task = BradleyTerry(
        model, pairs, case["margins"], centring=case["centring"], batch_pairs=half, epochs=1, seed=3, micro_tokens=12
    )
    (update,) = task.updates(0)
    loss, metrics = taken(update)
    assert_equal(loss, case["loss"])
    assert model.values.grad is not None
    assert_equal(model.values.grad.tolist(), case["gradient"])
    assert_equal([metrics["accuracy"], metrics["margin"]], [case["metrics"]["accuracy"], case["metrics"]["margin"]])


class Given:
    """Two groups of four rollouts as TRL had them; before them, where asked for four, the same for another update."""

    def __init__(self, sampled: Rows) -> None:
        self.sampled = sampled

    def prompt(self, problem: int) -> tuple[int, ...]:
        return (problem,)

    def rollouts(self, problems: Sequence[int], step: int, version: int, before: int = 0) -> list[list[Rollout]]:
        self.problems = list(problems)
        rewards, groups = TRL["policy"]["rewards"], []
        for place in range(len(problems)):
            numbers = range(4 * (place % 2), 4 * (place % 2) + 4)
            groups.append(
                [
                    Rollout(answer(n, len(self.sampled[n])), tuple(self.sampled[n]), rewards[n], True, version)
                    for n in numbers
                ]
            )
        return groups


def policy_task(options: dict[str, Any], groups: int, reference: Rows, sampled: Rows) -> tuple[GroupPolicy, TrlTable]:
    settings = group_options(
        problems_per_step=groups,
        max_new_tokens=8,
        micro_tokens=24,
        gap_limit=99.0,
        updates_per_step=groups // 2,
        **options,
    )
    model, frozen = TrlTable(), TrlTable()
    sampler = Given(sampled)
    for place, problem in enumerate(order(groups)):
        for n in range(4 * (place % 2), 4 * (place % 2) + 4):
            model.put(problem, answer(n, len(sampled[n])), TRL["policy"]["old"][n])
            frozen.put(problem, answer(n, len(sampled[n])), reference[n])
    return GroupPolicy(model, sampler, groups, settings, steps=1, seed=3, reference=frozen), model  # type: ignore[arg-type]


def order(groups: int) -> list[int]:
    return step_rows(groups, groups, 0, 3)


@pytest.mark.parametrize("case", TRL["policy"]["cases"], ids=lambda case: case["name"])
def test_policy_losses_away_from_the_old_policy(case: dict[str, Any]) -> None:
    """The second update of a step: its old log-probs are from before the first, and the policy has moved since."""
    given = TRL["policy"]
    task, model = policy_task(case["options"], 4, given["reference"], given["sampled"])
    updates = task.updates(0)
    next(updates)
    moved = torch.tensor(model.given, dtype=torch.float64)
    prompts = [problem for problem in order(4)[2:] for _ in range(4)]
    for number, (prompt, row) in enumerate(zip(prompts, given["policy"], strict=True)):
        for token, logprob in zip(answer(number, len(row)), row, strict=True):
            moved[model.places[prompt, token]] = logprob
    model.values = moved.requires_grad_()
    loss, metrics = taken(next(updates))
    assert_equal(loss, case["loss"])
    assert_all_equal(model.gradient(prompts, given["policy"]), case["gradient"])
    for ours, theirs in (("kl", "kl"), ("clip_fraction", "clip_ratio/region_mean")):
        if theirs in case["metrics"] and not (ours == "clip_fraction" and case["name"] == "gspo"):  # theirs by answer
            assert_equal(metrics[ours], case["metrics"][theirs])


def test_advantages_and_importance_weights() -> None:
    given = TRL["policy"]
    rewards = torch.tensor(given["rewards"], dtype=torch.float64).view(2, 4)
    assert_equal(ADVANTAGES.use("none")(rewards).flatten().tolist(), given["cases"][0]["advantages"])
    for old, sampled, expected in zip(given["old"], given["sampled"], given["cases"][0]["importance"], strict=True):
        weights = importance_weights(*(torch.tensor(x, dtype=torch.float64) for x in (old, sampled)), cap=2.0)
        assert_equal(weights.tolist(), expected)


def test_advantages_by_the_deviation_differ_by_what_is_known() -> None:
    """Ours is the population's deviation, + 1e-8, as in Tülu 3.1's trainer. TRL's is the sample's, + 1e-4."""
    rewards = torch.tensor(TRL["policy"]["rewards"], dtype=torch.float64).view(2, 4)
    ours = ADVANTAGES.use("std")(rewards) * (rewards.std(1, correction=0, keepdim=True) + 1e-8)
    theirs = torch.tensor(TRL["policy"]["scaled"]).view(2, 4) * (rewards.std(1, correction=1, keepdim=True) + 1e-4)
    assert_equal(ours.tolist(), theirs.tolist())


def test_rloo_with_the_kl_in_the_reward() -> None:
    """TRL's has one ratio an answer; at the first update its gradient is ours but for the constant divisor."""
    given, case = TRL["policy"], TRL["policy"]["rloo"]
    options = {"advantage": "rloo", "aggregate": "constant", "kl": case["kl"], "kl_estimator": "k1", "kl_in": "reward"}
    task, model = policy_task(options, 2, given["reference"], given["old"])
    (update,) = task.updates(0)
    taken(update)
    prompts = [problem for problem in order(2) for _ in range(4)]
    found = [[8 * x for x in row] for row in model.gradient(prompts, given["old"])]
    assert_all_equal(found, case["gradient"])
    shaped = [-row[0] * len(given["old"]) for row in found]
    assert_equal(shaped, case["advantages"])


def test_the_soft_penalty_on_long_answers() -> None:
    case = TRL["overlong"]
    assert_equal([overlong_penalty(n, case["longest"], case["zone"]) for n in case["lengths"]], case["penalties"])
