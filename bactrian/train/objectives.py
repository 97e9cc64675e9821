"""Objectives of which a task has just one, as pure functions of tensors; those that a setting chooses are in `losses`.

A function here takes the tokens (or pairs) of *one micro-batch* and the normaliser of the *whole optimiser step*, so
that the sum over micro-batches is the step's loss however the step was cut (docs/methods.md).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch.nn.functional import logsigmoid


def cross_entropy(logprobs: torch.Tensor, weights: torch.Tensor, total_weight: float) -> torch.Tensor:
    """Weighted negative log-likelihood, a share of the step's mean.

    Args:
        logprobs: [N] of the trained tokens.
        weights: [N], each token's loss weight.
        total_weight: sum of the weights over the whole step.
    """
    return -(logprobs * weights).sum() / total_weight


def z_loss(sums: torch.Tensor, weights: torch.Tensor, total_weight: float) -> torch.Tensor:
    """(log Z)², a share of the step's weighted mean, Z what a softmax divides by [PaLM, Chowdhery et al. 2022].

    Args:
        sums: [N], log Z of the trained tokens' predictions. weights, total_weight: as of `cross_entropy`.
    """
    return (sums.square() * weights).sum() / total_weight


def load_balance(logits: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """E/k Σ_e f_e P_e of a router, 1 where all experts are alike [Switch, Fedus et al. 2021; OLMoE, 2024].

    f_e is the number of tokens that chose expert e over T, of which no gradient is; P_e the mean of its probability.

    Args:
        logits: [T, E]. chosen: long [T, k].
    """
    tokens, experts = logits.shape
    counts = torch.bincount(chosen.reshape(-1), minlength=experts).to(torch.float32)
    means = logits.softmax(-1, dtype=torch.float32).mean(0)
    return experts / chosen.shape[1] * (counts / tokens * means).sum()


def router_z_loss(logits: torch.Tensor) -> torch.Tensor:
    """Mean of (log Σ exp)² of a router's logits [T, E] [ST-MoE, Zoph et al. 2022]."""
    return logits.float().logsumexp(-1).square().mean()


def segment_sums(values: torch.Tensor, segments: torch.Tensor, count: int) -> torch.Tensor:
    """Sum values [N] by their segment number (long [N], in [0, count)) → [count]."""
    return values.new_zeros(count).index_add(0, segments, values)


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
