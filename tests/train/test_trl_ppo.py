"""A step of PPO against TRL's PPOTrainer on the same networks and the same answers, from rewards to gradients.

fixtures/trl_ppo.json was made by running TRL's trainer (fixtures/make_trl_ppo.py); the weights follow from seeds.

One thing differs by decision. Tülu 3 puts an answer's reward at its end token. TRL puts it one state later, where
there is room: at the padding after the end token, whose value counts too. So for answers shorter than the longest TRL's
episodes are one step longer. With lambda = 1 that does not matter to the policy, and all but the value's loss is the
same; below, what TRL makes of the longer episodes is what our functions make of them.
TRL subtracts `missing_eos_penalty` from the reward of an answer without an end token; ours replaces the reward, as
Tülu 3 does: not used here.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from bactrian.model import attention
from bactrian.model.language_model import LanguageModel
from bactrian.model.reward_model import RewardModel
from bactrian.train.losses import clipped_policy, kl_estimate
from bactrian.train.objectives import clipped_value, generalised_advantages, whiten
from bactrian.train.reward_modelling import MixedReward
from bactrian.train.rl.actor_critic import ActorCritic
from bactrian.train.rl.core import TrainedAnswers
from bactrian.train.rl.rollouts import Rollout
from tests.train.bench import ppo_options
from tests.train.fixtures.tiny_llama import CONFIG, POLICY, REFERENCE, REWARD, VALUE, fill, nudge, summary
from tests.train.test_trl import Rows, assert_all_equal, assert_equal, taken

TRL = json.loads((Path(__file__).parent / "fixtures" / "trl_ppo.json").read_text())
CASES = [
    pytest.param(case, id=f"{kind}, lambda {case['settings']['lam']:g}")
    for kind in ("full", "ragged")
    for case in TRL[kind]
]
FULL, LAST = CASES[:2], CASES[3]
SAME_POLICY = CASES[:3]


def network(kind: Any, seed: int) -> Any:
    attention.register()
    made = kind.from_config(CONFIG, attn_implementation=attention.IMPLEMENTATION).double().eval()
    fill(made, seed)
    return made


def policy(seed: int) -> LanguageModel:
    return LanguageModel(network(AutoModelForCausalLM, seed), None, None)  # type: ignore[arg-type]


def scorer(seed: int) -> RewardModel:
    return RewardModel(network(AutoModelForSequenceClassification, seed), None, None)  # type: ignore[arg-type]


class GivenPpo:
    def __init__(self, answers: list[list[int]]) -> None:
        self.answers = answers

    def prompt(self, problem: int) -> tuple[int, ...]:
        return tuple(TRL["prompts"][problem])

    def rollouts(self, problems: Sequence[int], step: int, version: int, before: int = 0) -> list[list[Rollout]]:
        return [[Rollout(tuple(self.answers[p]), (0.0,) * len(self.answers[p]), 0.0, True, version)] for p in problems]


def task(case: dict[str, Any]) -> ActorCritic:
    theirs = case["settings"]
    settings = ppo_options(
        problems_per_step=len(TRL["prompts"]),
        epochs=3,
        kl=theirs["kl_coef"],
        kl_estimator=theirs["kl_estimator"],
        discount=theirs["gamma"],
        decay=theirs["lam"],
        clip=theirs["cliprange"],
        value_clip=theirs["cliprange_value"],
        value_weight=theirs["vf_coef"],
        max_new_tokens=6,
        micro_tokens=20,
        gap_limit=99.0,
    )
    assess = MixedReward(0.0, scorer(REWARD), 1.0)
    sampler, prompts = GivenPpo(case["answers"]), len(TRL["prompts"])
    return ActorCritic(
        policy(POLICY), scorer(VALUE), sampler, assess, prompts, settings, steps=1, seed=3, reference=policy(REFERENCE)
    )


def looked_back(made: ActorCritic, problems: list[int]) -> list[TrainedAnswers]:
    episodes = made._assessed(problems, made.sampler.rollouts(problems, 0, 0))
    made._look_back(episodes)
    made._advantages(episodes)
    return episodes


def column(episodes: list[TrainedAnswers], name: str) -> Rows:
    return [getattr(e, name)[0].tolist() for e in episodes]


def cut(rows: Rows, like: Rows) -> Rows:
    """Without TRL's state after the end."""
    return [row[: len(other)] for row, other in zip(rows, like, strict=True)]


@pytest.mark.parametrize("case", CASES)
def test_what_is_known_before_the_advantages(case: dict[str, Any]) -> None:
    """Log-probs, the reference's, values, the reward model's reward, and the reward of each token."""
    made = task(case)
    episodes = looked_back(made, case["problems"])
    assert_all_equal(column(episodes, "old"), case["old"])
    assert_all_equal(column(episodes, "reference"), case["reference"])
    assert_all_equal(column(episodes, "values"), cut(case["values"], case["old"]))
    assert_equal([e.rewards[0] for e in episodes], case["scores"])
    estimator = made.settings.update.kl_estimator
    assert_all_equal([kl_estimate(e.old[0] - e.reference[0], estimator).tolist() for e in episodes], case["kl"])
    for e, theirs in zip(episodes, case["rewards"], strict=True):
        n = len(e.rollouts[0].ids)
        assert_equal(made._by_token(e, 0).tolist(), [*theirs[: n - 1], sum(theirs[n - 1 :])])


@pytest.mark.parametrize("case", SAME_POLICY)
def test_advantages_and_returns(case: dict[str, Any]) -> None:
    episodes = looked_back(task(case), case["problems"])
    assert_all_equal(column(episodes, "advantages"), case["advantages"])
    assert_all_equal(column(episodes, "targets"), cut(case["returns"], case["old"]))


def updates(made: ActorCritic, case: dict[str, Any]) -> Iterator[tuple[float, dict[str, float], dict[str, Any]]]:
    """Each update's loss and metrics, with TRL's; the weights move between them as they did there."""
    for update, theirs in zip(made.updates(0), case["updates"], strict=True):
        loss, metrics = taken(update)
        yield loss, metrics, theirs
        made.network.zero_grad()
        nudge(made.policy.network)
        nudge(made.value.network)


@pytest.mark.parametrize("case", SAME_POLICY)
def test_the_policy_s_loss_and_gradient_in_every_update(case: dict[str, Any]) -> None:
    made, clipped = task(case), 0
    for _, metrics, theirs in updates(made, case):
        tokens = sum(map(len, case["old"]))
        assert_equal(metrics["surrogate"], theirs["policy_loss"])
        assert_equal(metrics["clip_fraction"] * tokens, theirs["clipped"])
        clipped += theirs["clipped"]
        for name, parts in summary(made.policy.network).items():
            assert_equal(parts, theirs["gradients"]["policy"][name])
    assert clipped > 0


@pytest.mark.parametrize("case", FULL)
def test_the_value_s_loss_and_gradient_in_every_update(case: dict[str, Any]) -> None:
    made = task(case)
    for loss, metrics, theirs in updates(made, case):
        assert_equal(metrics["value_loss"], theirs["value_loss"])
        assert_equal(loss, theirs["loss"])
        for name, parts in summary(made.value.network).items():
            assert_equal(parts, theirs["gradients"]["value"][name])


@pytest.mark.parametrize("case", [LAST])
def test_longer_episodes_are_trl_s(case: dict[str, Any]) -> None:
    """The same functions on TRL's episodes: rewards to advantages to both losses and their gradients by token."""
    theirs = case["settings"]
    pairs = [(t(r), t(v)) for r, v in zip(case["rewards"], case["values"], strict=True)]
    made = [generalised_advantages(r, v, theirs["gamma"], theirs["lam"]) for r, v in pairs]
    assert_all_equal([found[1].tolist() for found in made], case["returns"])
    raw = [found[0][: len(old)] for found, old in zip(made, case["old"], strict=True)]
    assert_all_equal([row.tolist() for row in raw], case["raw_advantages"])
    advantages = whiten(torch.cat(raw))
    assert_equal(advantages.tolist(), flat(case["advantages"]))
    for update in case["updates"]:
        logprobs, values = t(flat(update["logprobs"])).requires_grad_(), t(flat(update["values"])).requires_grad_()
        first = clipped_policy(logprobs, t(flat(case["old"])), advantages).loss.mean()
        second = clipped_value(values, t(flat(case["values"])), t(flat(case["returns"]))).mean()
        assert_equal([first.item(), second.item()], [update["policy_loss"], update["value_loss"]])
        by_logprob, by_value = torch.autograd.grad(first + theirs["vf_coef"] * second, [logprobs, values])
        assert_equal(by_logprob.tolist(), flat(update["by_logprob"]))
        assert_equal(by_value.tolist(), flat(update["by_value"]))


def t(values: Sequence[float]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def flat(rows: Rows) -> list[float]:
    return [x for row in rows for x in row]
