"""Every objective, as a pure function of tensors.

A function here takes the tokens (or pairs) of *one micro-batch* and the normaliser of the *whole optimiser step*, so
that the sum over micro-batches is the step's loss however the step was cut (docs/methods.md).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch.nn.functional import logsigmoid

PreferenceLoss = Literal["dpo", "dpo_norm", "simpo", "ipo"]
KLEstimator = Literal["k1", "k2", "k3"]
PolicyObjective = Literal["clip", "gspo", "cispo"]


def cross_entropy(logprobs: torch.Tensor, weights: torch.Tensor, total_weight: float) -> torch.Tensor:
    """Weighted negative log-likelihood, a share of the step's mean.

    Args:
        logprobs: [N] of the trained tokens.
        weights: [N], each token's loss weight.
        total_weight: sum of the weights over the whole step.
    """
    return -(logprobs * weights).sum() / total_weight


def segment_sums(values: torch.Tensor, segments: torch.Tensor, count: int) -> torch.Tensor:
    """Sum values [N] by their segment number (long [N], in [0, count)) → [count]."""
    return values.new_zeros(count).index_add(0, segments, values)


class PairLosses(NamedTuple):
    """Per pair, [P] each. Rewards are implicit: beta x log-ratio to the reference (means per token in dpo_norm)."""

    loss: torch.Tensor
    chosen_reward: torch.Tensor
    rejected_reward: torch.Tensor


def preference(
    loss: PreferenceLoss,
    chosen: torch.Tensor,
    rejected: torch.Tensor,
    chosen_length: torch.Tensor,
    rejected_length: torch.Tensor,
    reference_chosen: torch.Tensor | None = None,
    reference_rejected: torch.Tensor | None = None,
    *,
    beta: float,
    gamma: float = 0.0,
    label_smoothing: float = 0.0,
) -> PairLosses:
    """Direct preference losses (docs/methods.md).

    Args:
        loss: "dpo" [Rafailov et al. 2023] on sums; "dpo_norm" [Tülu 3] on means per token; "simpo" [Meng et al. 2024],
            without a reference and with margin gamma; "ipo" [Azar et al. 2023] on means per token.
        chosen, rejected: [P], summed log-probabilities of the answers under the policy.
        chosen_length, rejected_length: [P], answer tokens.
        reference_chosen, reference_rejected: [P], likewise under the reference; needed by all but simpo.
        beta: inverse temperature of the implicit reward.
        gamma: SimPO's target margin.
        label_smoothing: epsilon of cDPO: the share of labels taken to be flipped.

    Raises:
        ValueError: a reference is missing where the loss reads one.
    """
    if loss == "simpo":
        chosen_reward, rejected_reward = beta * chosen / chosen_length, beta * rejected / rejected_length
    else:
        if reference_chosen is None or reference_rejected is None:
            raise ValueError(f"{loss} needs the reference's log-probabilities")
        chosen_reward, rejected_reward = beta * (chosen - reference_chosen), beta * (rejected - reference_rejected)
        if loss != "dpo":
            chosen_reward, rejected_reward = chosen_reward / chosen_length, rejected_reward / rejected_length
    margin = chosen_reward - rejected_reward
    if loss == "ipo":
        each = (margin / beta - 1 / (2 * beta)).square()
    else:
        margin = margin - gamma
        each = -(1 - label_smoothing) * logsigmoid(margin) - label_smoothing * logsigmoid(-margin)
    return PairLosses(each, chosen_reward, rejected_reward)


def kl_estimate(difference: torch.Tensor, estimator: KLEstimator) -> torch.Tensor:
    """KL(policy || reference) from samples of the policy, by token.

    Args:
        difference: d = log policy - log reference, clamped to ±40.
        estimator: "k1" d; "k2" d²/2; "k3" exp(-d) - 1 + d [Schulman 2020]. As a value, k1 and k3 are unbiased and k3
            is never negative; as a loss term, only k2's gradient estimates the reverse KL's (docs/methods.md).
    """
    d = difference.clamp(-40, 40)
    if estimator == "k1":
        return d
    if estimator == "k2":
        return d.square() / 2
    return torch.expm1(-d) + d


def group_advantages(rewards: torch.Tensor, scale: Literal["std", "none", "rloo"] = "std") -> torch.Tensor:
    """Advantages of G samples of each prompt from their own mean.

    Args:
        rewards: [B, G].
        scale: "std" divides by the group's population standard deviation + 1e-8 [GRPO]; "none" only centres [Dr. GRPO];
            "rloo" centres on the mean of the others.
    """
    centred = rewards - rewards.mean(1, keepdim=True)
    if scale == "std":
        spread = rewards.std(1, correction=0, keepdim=True)
        return centred / (spread + 1e-8)
    if scale == "rloo":
        g = rewards.shape[1]
        return centred * (g / (g - 1)) if g > 1 else centred
    return centred


class PolicyLoss(NamedTuple):
    """Per token, [N] each."""

    loss: torch.Tensor
    ratio: torch.Tensor
    clipped: torch.Tensor


def clipped_policy(
    logprobs: torch.Tensor,
    old_logprobs: torch.Tensor,
    advantages: torch.Tensor,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
) -> PolicyLoss:
    """max(-A rho, -A clip(rho, 1 - low, 1 + high)) by token [PPO, Schulman et al. 2017; asymmetric in DAPO].

    Args:
        logprobs: [N] under the policy being trained.
        old_logprobs: [N] under the policy at the start of this update, from the trainer's own forward.
        advantages: [N].

    Returns:
        loss, the ratio rho, and 1 where the clip binds.
    """
    ratio = torch.exp(logprobs - old_logprobs)
    bounded = ratio.clamp(1 - clip_low, 1 + clip_high)
    plain, cut = -advantages * ratio, -advantages * bounded
    return PolicyLoss(torch.maximum(plain, cut), ratio, (cut > plain).to(logprobs.dtype))


def policy_loss(
    objective: PolicyObjective,
    logprobs: torch.Tensor,
    old_logprobs: torch.Tensor,
    advantages: torch.Tensor,
    owner: torch.Tensor,
    answers: int,
    clip_low: float,
    clip_high: float,
) -> PolicyLoss:
    """What a token adds to the loss of a policy (docs/methods.md).

    Args:
        objective: "clip": `clipped_policy`; "gspo": likewise with one ratio an answer, exp of the mean log-ratio of its
            tokens, so that each token of an answer holds the answer's loss [Zheng et al. 2025]; "cispo": the clipped
            ratio is a weight without gradient, -clip(rho) A log pi, so that no token is left out [MiniMax 2025].
        logprobs, old_logprobs, advantages: [N].
        owner: long [N], the answer of each token, in [0, answers).
    """
    if objective == "clip":
        return clipped_policy(logprobs, old_logprobs, advantages, clip_low, clip_high)
    if objective == "gspo":
        lengths = segment_sums(torch.ones_like(logprobs), owner, answers)
        means = segment_sums(logprobs - old_logprobs, owner, answers) / lengths.clamp(min=1)
        return clipped_policy(means[owner], torch.zeros_like(logprobs), advantages, clip_low, clip_high)
    ratio = torch.exp(logprobs - old_logprobs).detach()
    bounded = ratio.clamp(1 - clip_low, 1 + clip_high)
    return PolicyLoss(-bounded * advantages * logprobs, ratio, (bounded != ratio).to(logprobs.dtype))


def importance_weights(trained: torch.Tensor, sampled: torch.Tensor, cap: float) -> torch.Tensor:
    """min(pi_trainer / pi_sampler, cap) of each token [N], without gradient: corrects for a sampler that computes
    otherwise than the trainer, or with older weights [truncated importance sampling]."""
    return torch.exp(trained - sampled).clamp(max=cap).detach()


def overlong_penalty(length: int, longest: int, zone: int) -> float:
    """DAPO's soft penalty: 0 up to longest - zone tokens, then linearly down to -1 at longest [Yu et al. 2025]."""
    return max(-1.0, min(0.0, (longest - zone - length) / zone))


def generalised_advantages(
    rewards: torch.Tensor, values: torch.Tensor, gamma: float = 1.0, decay: float = 0.95
) -> tuple[torch.Tensor, torch.Tensor]:
    """Generalised advantage estimation [Schulman et al. 2016] over one response of T tokens.

    Args:
        rewards, values: [T].
        gamma: discount. decay: lambda.

    Returns:
        advantages A [T], and returns A + V [T].
    """
    advantages = torch.zeros_like(values)
    ahead = values.new_zeros(())
    following = values.new_zeros(())
    for t in range(len(values) - 1, -1, -1):
        delta = rewards[t] + gamma * following - values[t]
        ahead = delta + gamma * decay * ahead
        advantages[t], following = ahead, values[t]
    return advantages, advantages + values


def bradley_terry(chosen: torch.Tensor, rejected: torch.Tensor, margin: torch.Tensor | float = 0.0) -> torch.Tensor:
    """-log sigma(r_chosen - r_rejected - margin) of each pair, [P] each [Bradley and Terry 1952].

    Args:
        margin: how much better chosen is known to be [Llama 2]; 0 asks only for the order.
    """
    return -logsigmoid(chosen - rejected - margin)


def step_loss(scores: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """-v log sigma(s) - (1 - v) log sigma(-s) of each step, [S] each [Lightman et al. 2023; Wang et al. 2024].

    Args:
        values: how likely what has been thought so far ends right, in [0, 1].
    """
    return -(values * logsigmoid(scores) + (1 - values) * logsigmoid(-scores))


class Valuations(NamedTuple):
    """Per answer, [N] each."""

    loss: torch.Tensor
    reward: torch.Tensor


def kahneman_tversky(
    answers: torch.Tensor,
    reference: torch.Tensor,
    desirable: torch.Tensor,
    baseline: float,
    *,
    beta: float,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> Valuations:
    """KTO, for answers that are each good or bad, without pairs [Ethayarajh et al. 2024].

    With h = S - S_ref: a good answer loses w_d (1 - sigma(beta (h - z))), a bad one w_u (1 - sigma(beta (z - h))).

    Args:
        answers, reference: [N], summed log-probabilities under the policy and the reference.
        desirable: bool [N].
        baseline: z, an estimate of KL(policy || reference) that no gradient flows through: the mean log-ratio of
            answers put under other prompts than their own, at least 0.
    """
    ratio = answers - reference
    sign = torch.where(desirable, 1.0, -1.0).to(ratio)
    weight = torch.where(desirable, desirable_weight, undesirable_weight).to(ratio)
    return Valuations(weight * torch.sigmoid(-beta * sign * (ratio - baseline)), beta * ratio)


def whiten(values: torch.Tensor) -> torch.Tensor:
    """(v - mean) / sqrt(variance + 1e-8), variance with Bessel's correction; one value alone becomes 0."""
    variance = values.var(correction=1) if len(values) > 1 else values.new_zeros(())
    return (values - values.mean()) / (variance + 1e-8).sqrt()


def clipped_value(values: torch.Tensor, old: torch.Tensor, targets: torch.Tensor, clip: float = 0.2) -> torch.Tensor:
    """1/2 max((V - G)², (clip(V, V_old ± clip) - G)²) of each token, [N] each [PPO's value loss, clipped]."""
    held = old + (values - old).clamp(-clip, clip)
    return 0.5 * torch.maximum((values - targets).square(), (held - targets).square())
