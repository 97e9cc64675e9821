"""The losses, estimators and aggregates that a setting can choose, each declared where its function is.

To add one, write its function here (or in another package, see `registry`): settings, help texts and dispatch follow.
torch is imported inside the functions that need more than a tensor's methods, so that settings load without it.
Functions take the tokens (or pairs) of one micro-batch; formulas and sources are in docs/methods.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, NamedTuple

from bactrian.train.registry import OneOf, Registry

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class PairSums:
    """Of P pairs, [P] each: summed log-probabilities of the answers, their tokens, and the same under the reference."""

    chosen: torch.Tensor
    rejected: torch.Tensor
    chosen_length: torch.Tensor
    rejected_length: torch.Tensor
    reference_chosen: torch.Tensor | None = None
    reference_rejected: torch.Tensor | None = None

    def log_ratios(self, loss: str) -> tuple[torch.Tensor, torch.Tensor]:
        """log policy - log reference of chosen and rejected, [P] each; `loss` is named in the error.

        Raises:
            ValueError: there is no reference.
        """
        if self.reference_chosen is None or self.reference_rejected is None:
            raise ValueError(f"{loss} needs the reference's log-probabilities")
        return self.chosen - self.reference_chosen, self.rejected - self.reference_rejected


@dataclass(frozen=True)
class Objective:
    """Which preference loss, a name of PREFERENCE_LOSSES, and its objective.

    beta: inverse temperature of the implicit reward. gamma: target margin. label_smoothing: the share of labels taken
    to be flipped. sft_weight: of a cross-entropy per token on the chosen answer, which the task adds.
    """

    loss: str
    beta: float
    gamma: float = 0.0
    label_smoothing: float = 0.0
    sft_weight: float = 0.0


class PairLosses(NamedTuple):
    """Per pair, [P] each. Rewards are implicit: beta x log-ratio to the reference (means per token in dpo_norm)."""

    loss: torch.Tensor
    chosen_reward: torch.Tensor
    rejected_reward: torch.Tensor


PREFERENCE_LOSSES: Registry[Callable[[PairSums, Objective], PairLosses]] = Registry("preference loss")
PreferenceLoss = Annotated[str, OneOf(PREFERENCE_LOSSES)]


def _logistic(chosen: torch.Tensor, rejected: torch.Tensor, objective: Objective) -> PairLosses:
    """-log sigma of the rewards' difference over the margin; with smoothing some labels are taken to be flipped."""
    from torch.nn.functional import logsigmoid

    margin = chosen - rejected - objective.gamma
    flipped = objective.label_smoothing
    return PairLosses(-(1 - flipped) * logsigmoid(margin) - flipped * logsigmoid(-margin), chosen, rejected)


@PREFERENCE_LOSSES.declare("dpo", "on sums [Rafailov et al. 2023]", needs_reference=True, takes=["label_smoothing"])
def dpo(pairs: PairSums, objective: Objective) -> PairLosses:
    chosen, rejected = pairs.log_ratios("dpo")
    return _logistic(objective.beta * chosen, objective.beta * rejected, objective)


@PREFERENCE_LOSSES.declare("dpo_norm", "on means over tokens [Tülu 3]", needs_reference=True, takes=["label_smoothing"])
def dpo_norm(pairs: PairSums, objective: Objective) -> PairLosses:
    chosen, rejected = _mean_rewards(pairs, objective, "dpo_norm")
    return _logistic(chosen, rejected, objective)


@PREFERENCE_LOSSES.declare(
    "simpo", "without reference, with margin gamma [Meng et al. 2024]", takes=["gamma", "label_smoothing"]
)
def simpo(pairs: PairSums, objective: Objective) -> PairLosses:
    return _logistic(*_mean_logprobs(pairs, objective), objective)


@PREFERENCE_LOSSES.declare("ipo", "a square, on means over tokens [Azar et al. 2023]", needs_reference=True)
def ipo(pairs: PairSums, objective: Objective) -> PairLosses:
    chosen, rejected = _mean_rewards(pairs, objective, "ipo")
    each = ((chosen - rejected) / objective.beta - 1 / (2 * objective.beta)).square()
    return PairLosses(each, chosen, rejected)


@PREFERENCE_LOSSES.declare("sft", "cross-entropy per token on chosen alone: a baseline")
def chosen_only(pairs: PairSums, objective: Objective) -> PairLosses:
    chosen, rejected = _mean_logprobs(pairs, objective)
    return PairLosses(-pairs.chosen / pairs.chosen_length, chosen, rejected)


@PREFERENCE_LOSSES.declare("ga", "gradient ascent on rejected alone, per token: unlearning [Jang et al. 2023]")
def gradient_ascent(pairs: PairSums, objective: Objective) -> PairLosses:
    """Has no lower bound: it is stopped by its number of steps alone."""
    chosen, rejected = _mean_logprobs(pairs, objective)
    return PairLosses(pairs.rejected / pairs.rejected_length, chosen, rejected)


@PREFERENCE_LOSSES.declare("npo", "DPO without chosen: unlearning [Zhang et al. 2024]", needs_reference=True)
def negative_only(pairs: PairSums, objective: Objective) -> PairLosses:
    """-(2/beta) log sigma(-beta log-ratio of rejected), on sums."""
    from torch.nn.functional import logsigmoid

    chosen, rejected = (objective.beta * ratio for ratio in pairs.log_ratios("npo"))
    return PairLosses(-(2 / objective.beta) * logsigmoid(-rejected), chosen, rejected)


def _mean_logprobs(pairs: PairSums, objective: Objective) -> tuple[torch.Tensor, torch.Tensor]:
    """Rewards of losses without a reference: as simpo's."""
    chosen = objective.beta * pairs.chosen / pairs.chosen_length
    return chosen, objective.beta * pairs.rejected / pairs.rejected_length


def _mean_rewards(pairs: PairSums, objective: Objective, loss: str) -> tuple[torch.Tensor, torch.Tensor]:
    chosen, rejected = pairs.log_ratios(loss)
    return objective.beta * chosen / pairs.chosen_length, objective.beta * rejected / pairs.rejected_length


@dataclass(frozen=True)
class PolicyTokens:
    """Of N tokens, [N] each.

    logprobs, old: under the policy that is trained, and under the one at the update's start.
    owner: long, the answer that each token is of, in [0, answers).
    """

    logprobs: torch.Tensor
    old: torch.Tensor
    advantages: torch.Tensor
    owner: torch.Tensor
    answers: int


class PolicyLoss(NamedTuple):
    """Per token, [N] each: the loss, the ratio rho, and 1 where the clip binds."""

    loss: torch.Tensor
    ratio: torch.Tensor
    clipped: torch.Tensor


POLICY_LOSSES: Registry[Callable[[PolicyTokens, float, float], PolicyLoss]] = Registry("policy loss")
PolicyObjective = Annotated[str, OneOf(POLICY_LOSSES)]


def clipped_policy(
    logprobs: torch.Tensor,
    old: torch.Tensor,
    advantages: torch.Tensor,
    low: float = 0.2,
    high: float = 0.2,
) -> PolicyLoss:
    """max(-A rho, -A clip(rho, 1 - low, 1 + high)) by token [PPO, Schulman et al. 2017; asymmetric in DAPO].

    Args:
        logprobs, old, advantages: as in `PolicyTokens`; `old` is from the trainer's own forward.
    """
    ratio = (logprobs - old).exp()
    bounded = ratio.clamp(1 - low, 1 + high)
    plain, cut = -advantages * ratio, -advantages * bounded
    return PolicyLoss(plain.maximum(cut), ratio, (cut > plain).to(logprobs.dtype))


@POLICY_LOSSES.declare("clip", "clipped ratio by token (GRPO)")
def clip(tokens: PolicyTokens, low: float, high: float) -> PolicyLoss:
    return clipped_policy(tokens.logprobs, tokens.old, tokens.advantages, low, high)


@POLICY_LOSSES.declare("gspo", "by answer [Zheng et al. 2025]")
def gspo(tokens: PolicyTokens, low: float, high: float) -> PolicyLoss:
    """One ratio an answer, exp of the mean log-ratio of its tokens, so that each token holds the answer's loss."""
    from bactrian.train.objectives import segment_sums

    logprobs, owner = tokens.logprobs, tokens.owner
    lengths = segment_sums(logprobs.new_ones(logprobs.shape), owner, tokens.answers)
    means = segment_sums(logprobs - tokens.old, owner, tokens.answers) / lengths.clamp(min=1)
    return clipped_policy(means[owner], logprobs.new_zeros(logprobs.shape), tokens.advantages, low, high)


@POLICY_LOSSES.declare("cispo", "the clipped ratio as a weight without gradient [MiniMax 2025]")
def cispo(tokens: PolicyTokens, low: float, high: float) -> PolicyLoss:
    """-clip(rho) A log pi: no token is left out."""
    ratio = (tokens.logprobs - tokens.old).exp().detach()
    bounded = ratio.clamp(1 - low, 1 + high)
    loss = -bounded * tokens.advantages * tokens.logprobs
    return PolicyLoss(loss, ratio, (bounded != ratio).to(tokens.logprobs.dtype))


ADVANTAGES: Registry[Callable[[torch.Tensor], torch.Tensor]] = Registry("advantage estimator")
Advantage = Annotated[str, OneOf(ADVANTAGES)]


def _centred(rewards: torch.Tensor) -> torch.Tensor:
    return rewards - rewards.mean(1, keepdim=True)


@ADVANTAGES.declare("std", "divide by the group's deviation (GRPO)")
def by_deviation(rewards: torch.Tensor) -> torch.Tensor:
    """Centred, over the population standard deviation + 1e-8."""
    return _centred(rewards) / (rewards.std(1, correction=0, keepdim=True) + 1e-8)


@ADVANTAGES.declare("none", "only centre (Dr. GRPO)")
def centred(rewards: torch.Tensor) -> torch.Tensor:
    return _centred(rewards)


@ADVANTAGES.declare("rloo", "leave one out (RLOO)")
def leave_one_out(rewards: torch.Tensor) -> torch.Tensor:
    """Centred on the mean of the others."""
    g = rewards.shape[1]
    return _centred(rewards) * (g / (g - 1)) if g > 1 else _centred(rewards)


@dataclass(frozen=True)
class StepSize:
    """What the loss of a whole update is divided by: its answers, its trained tokens, the longest answer allowed."""

    answers: int
    tokens: int
    longest: int


AGGREGATES: Registry[Callable[[torch.Tensor, torch.Tensor, StepSize], torch.Tensor]] = Registry("aggregate")
Aggregate = Annotated[str, OneOf(AGGREGATES)]


@AGGREGATES.declare("token", "mean over tokens (DAPO)")
def over_tokens(each: torch.Tensor, lengths: torch.Tensor, step: StepSize) -> torch.Tensor:
    return each.sum() / step.tokens


@AGGREGATES.declare("response", "mean over answers (GRPO)")
def over_answers(each: torch.Tensor, lengths: torch.Tensor, step: StepSize) -> torch.Tensor:
    return (each / lengths).sum() / step.answers


@AGGREGATES.declare("constant", "a constant divisor (Dr. GRPO)")
def over_a_constant(each: torch.Tensor, lengths: torch.Tensor, step: StepSize) -> torch.Tensor:
    return each.sum() / (step.answers * step.longest)


KL_ESTIMATORS: Registry[Callable[[torch.Tensor], torch.Tensor]] = Registry("KL estimator")
KLEstimator = Annotated[str, OneOf(KL_ESTIMATORS)]


@KL_ESTIMATORS.declare("k1", "d = log π − log π_ref")
def k1(d: torch.Tensor) -> torch.Tensor:
    return d


@KL_ESTIMATORS.declare("k2", "d²/2")
def k2(d: torch.Tensor) -> torch.Tensor:
    return d.square() / 2


@KL_ESTIMATORS.declare("k3", "exp(−d) − 1 + d, never negative")
def k3(d: torch.Tensor) -> torch.Tensor:
    return (-d).expm1() + d


def kl_estimate(difference: torch.Tensor, estimator: str) -> torch.Tensor:
    """KL(policy || reference) from samples of the policy, by token.

    As a value, k1 and k3 are unbiased and k3 is never negative; as a loss term, only k2's gradient estimates the
    reverse KL's [Schulman 2020; docs/methods.md].

    Args:
        difference: d = log policy - log reference, [N]; clamped to ±40 here.
        estimator: a name of KL_ESTIMATORS.
    """
    return KL_ESTIMATORS.use(estimator)(difference.clamp(-40, 40))
