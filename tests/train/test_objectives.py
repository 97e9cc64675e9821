"""Objectives against numbers worked out by hand, an independent implementation, and their defining properties."""

import math
from itertools import pairwise

import pytest
import torch

from bactrian.train.losses import (
    ADVANTAGES,
    POLICY_LOSSES,
    PREFERENCE_LOSSES,
    Objective,
    PairLosses,
    PairSums,
    PolicyTokens,
    clipped_policy,
    kl_estimate,
)
from bactrian.train.objectives import cross_entropy, generalised_advantages, importance_weights, overlong_penalty
from bactrian.train.schedules import learning_rate


def t(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def preference(loss: str, *sums: torch.Tensor, **constants: float) -> PairLosses:
    return PREFERENCE_LOSSES.use(loss)(PairSums(*sums), Objective(loss, **constants))


def group_advantages(rewards: torch.Tensor, scale: str = "std") -> torch.Tensor:
    return ADVANTAGES.use(scale)(rewards)


def test_preference_vectors() -> None:
    args = (t(-10), t(-30), t(10), t(20))
    reference = (t(-12), t(-28))
    assert preference("dpo", *args, *reference, beta=0.1).loss.item() == pytest.approx(0.513015, abs=1e-6)
    assert preference("dpo_norm", *args, *reference, beta=5).loss.item() == pytest.approx(0.201413, abs=1e-6)
    assert preference("simpo", *args, beta=2, gamma=0.6).loss.item() == pytest.approx(0.513015, abs=1e-6)


def test_losses_of_one_side() -> None:
    args, reference = (t(-10), t(-30), t(10), t(20)), (t(-12), t(-28))
    assert preference("sft", *args, beta=1).loss.item() == pytest.approx(1.0)
    assert preference("ga", *args, beta=1).loss.item() == pytest.approx(-1.5)
    h = -2.0  # log-ratio of the rejected side
    by_hand = 2 / 0.1 * math.log(1 + math.exp(0.1 * h))
    assert preference("npo", *args, *reference, beta=0.1).loss.item() == pytest.approx(by_hand)
    for other in (t(-1), t(-99)):  # what is chosen changes nothing
        assert preference("npo", other, *args[1:], *reference, beta=0.1).loss.item() == pytest.approx(by_hand)
        assert preference("ga", other, *args[1:], beta=1).loss.item() == pytest.approx(-1.5)


def test_npo_becomes_gradient_ascent_as_beta_falls() -> None:
    """Up to a constant, as its authors show [Zhang et al. 2024, section 3]."""
    rejected = t(-30).requires_grad_()
    loss = preference("npo", t(-10), rejected, t(10), t(20), t(-12), t(-28), beta=1e-6).loss
    (slope,) = torch.autograd.grad(loss.sum(), rejected)
    assert slope.item() == pytest.approx(1.0, abs=1e-5)


def test_preference_properties() -> None:
    args, reference = (t(-10), t(-30), t(10), t(20)), (t(-12), t(-28))
    h = t(4.0)
    assert preference("ipo", t(-10), t(-30), t(1), t(1), *reference, beta=0.5).loss.item() == pytest.approx(
        ((h - 1 / (2 * 0.5)) ** 2).item()
    )
    plain = preference("dpo", *args, *reference, beta=0.1).loss
    flipped = preference("dpo", args[1], args[0], *args[2:], reference[1], reference[0], beta=0.1).loss
    smoothed = preference("dpo", *args, *reference, beta=0.1, label_smoothing=0.1).loss
    assert smoothed.item() == pytest.approx((0.9 * plain + 0.1 * flipped).item())
    start = preference("dpo_norm", t(-3), t(-9), t(4), t(5), t(-3), t(-9), beta=5)
    assert start.loss.item() == pytest.approx(math.log(2))
    with pytest.raises(ValueError, match="reference"):
        preference("dpo", *args, beta=0.1)


def test_dpo_gradient_is_the_paper_s() -> None:
    chosen, rejected = t(-10).requires_grad_(), t(-30).requires_grad_()
    beta, h = 0.1, 4.0
    loss = preference("dpo", chosen, rejected, t(10), t(20), t(-12), t(-28), beta=beta).loss.sum()
    down, up = torch.autograd.grad(loss, (chosen, rejected))
    expected = beta / (1 + math.exp(beta * h))
    assert down.item() == pytest.approx(-expected)
    assert up.item() == pytest.approx(expected)


def test_preference_is_stable_far_out() -> None:
    loss = preference("dpo", t(-1e4), t(0), t(1), t(1), t(0), t(0), beta=1.0).loss
    assert loss.item() == pytest.approx(1e4)


def test_kl_vectors() -> None:
    d = t(math.log(2))
    for name, value in (("k1", 0.693147), ("k2", 0.240227), ("k3", 0.193147)):
        assert kl_estimate(d, name).item() == pytest.approx(value, abs=1e-6)
    assert torch.isfinite(kl_estimate(t(-1e6, 1e6), "k3")).all()


def test_kl_estimates_are_unbiased_where_they_should_be() -> None:
    p, q = t(0.5, 0.3, 0.2), t(0.2, 0.2, 0.6)
    d = (p / q).log()
    exact = (p * d).sum().item()
    assert (p * kl_estimate(d, "k1")).sum().item() == pytest.approx(exact)
    assert (p * kl_estimate(d, "k3")).sum().item() == pytest.approx(exact)
    assert (kl_estimate(d, "k3") >= 0).all()


def test_the_gradient_of_k2_is_that_of_the_reverse_kl() -> None:
    logits = t(0.3, -0.2, 0.5).requires_grad_()
    q = t(0.2, 0.2, 0.6)
    p = logits.softmax(0)
    exact = torch.autograd.grad((p * (p / q).log()).sum(), logits)[0]
    log_p = logits.log_softmax(0)
    estimate = (p.detach() * kl_estimate(log_p - q.log(), "k2")).sum()
    torch.testing.assert_close(torch.autograd.grad(estimate, logits)[0], exact)


def test_group_advantages_vectors() -> None:
    rewards = torch.tensor([[10.0, 0, 0, 0]], dtype=torch.float64)
    torch.testing.assert_close(group_advantages(rewards, "std"), t(3**0.5, *[-(3**-0.5)] * 3)[None])
    torch.testing.assert_close(group_advantages(rewards, "none"), t(7.5, -2.5, -2.5, -2.5)[None])
    torch.testing.assert_close(group_advantages(rewards, "rloo"), t(10, *[-10 / 3] * 3)[None])
    assert group_advantages(torch.ones(2, 4)).abs().max() == 0


def test_gae_vector() -> None:
    advantages, returns = generalised_advantages(t(0, 0, 10), t(0.5, 0.4, 0.3), 1.0, 0.95)
    torch.testing.assert_close(advantages, t(8.55925, 9.115, 9.7))
    torch.testing.assert_close(returns, t(9.05925, 9.515, 10))


def test_the_clip_binds_only_where_it_lowers_the_incentive() -> None:
    old = t(0, 0, 0, 0)
    new = t(0.5, 0.5, -0.5, -0.5).requires_grad_()
    advantages = t(1, -1, 1, -1)
    result = clipped_policy(new, old, advantages, 0.2, 0.272)
    assert result.clipped.tolist() == [1, 0, 0, 1]
    gradient = torch.autograd.grad(result.loss.sum(), new)[0]
    assert (gradient == 0).tolist() == [True, False, False, True]
    assert result.loss[0].item() == pytest.approx(-1.272)


def test_at_the_first_update_the_gradient_is_the_policy_gradient() -> None:
    new = t(-1.0, -2.0).requires_grad_()
    result = clipped_policy(new, new.detach(), t(2.0, -3.0))
    assert result.ratio.tolist() == [1, 1]
    torch.testing.assert_close(torch.autograd.grad(result.loss.sum(), new)[0], t(-2.0, 3.0))


def test_gspo_clips_whole_answers_by_the_mean_of_their_log_ratios() -> None:
    old, owner = t(0, 0, 0, 0, 0), torch.tensor([0, 0, 1, 1, 1])
    new = t(0.4, 0.2, 0.1, -0.1, 0.03).requires_grad_()  # means 0.3 and 0.01
    advantages = t(1, 1, 1, 1, 1)
    result = POLICY_LOSSES.use("gspo")(PolicyTokens(new, old, advantages, owner, 2), 0.2, 0.2)
    torch.testing.assert_close(result.loss.detach(), -t(1.2, 1.2, *[math.exp(0.01)] * 3))
    assert result.clipped.tolist() == [1, 1, 0, 0, 0]
    # an answer's loss is the mean over its tokens of what they hold: its gradient is -A s / |y| on each token
    gradient = torch.autograd.grad(result.loss[:2].mean() + result.loss[2:].mean(), new)[0]
    torch.testing.assert_close(gradient, -t(0, 0, *[math.exp(0.01) / 3] * 3))


def test_cispo_leaves_no_token_out() -> None:
    old = t(0, 0, 0, 0)
    new = t(0.5, 0.5, -0.5, -0.1).requires_grad_()
    advantages = t(1, -1, 1, -1)
    owner = torch.zeros(4, dtype=torch.long)
    result = POLICY_LOSSES.use("cispo")(PolicyTokens(new, old, advantages, owner, 1), 0.2, 0.272)
    gradient = torch.autograd.grad(result.loss.sum(), new)[0]
    torch.testing.assert_close(gradient, t(-1.272, 1.272, -0.8, math.exp(-0.1)))
    assert result.clipped.tolist() == [1, 1, 1, 0]


def test_importance_weights_are_capped_and_carry_no_gradient() -> None:
    trained = t(0.0, 1.0, -1.0).requires_grad_()
    weights = importance_weights(trained, t(0, 0, 0), 2.0)
    torch.testing.assert_close(weights, t(1, 2, math.exp(-1)))
    assert not weights.requires_grad


def test_the_overlong_penalty_of_the_paper() -> None:
    lengths = (100, 16_384, 18_432, 20_480, 30_000)
    assert [overlong_penalty(n, 20_480, 4_096) for n in lengths] == [0, 0, -0.5, -1, -1]


def test_cross_entropy_is_a_share_of_the_step_s_mean() -> None:
    logprobs, weights = t(-1, -2, -3, -4), t(1, 1, 0.5, 1)
    whole = cross_entropy(logprobs, weights, float(weights.sum()))
    parts = sum(cross_entropy(logprobs[i : i + 1], weights[i : i + 1], float(weights.sum())) for i in range(4))
    assert whole.item() == pytest.approx((1 + 2 + 1.5 + 4) / 3.5)
    assert float(parts) == pytest.approx(whole.item())


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant", "anneal", "wsd"])
def test_schedules(schedule: str) -> None:
    rates = [learning_rate(i, 100, 2.0, schedule, warmup=0.1, floor=0.1) for i in range(100)]
    peak = rates.index(max(rates))
    if schedule == "wsd":  # at the peak for nine tenths of what follows the warm-up, then linear
        assert rates[10:91] == [2.0] * 81 and rates[96] == pytest.approx(2.0 - 1.8 * (86 / 90 - 0.9) / 0.1)
    assert max(rates) == pytest.approx(2.0)
    assert peak == (0 if schedule == "anneal" else 10)
    assert all(a < b for a, b in pairwise(rates[:peak]))
    assert min(rates) > 0
    assert all(a >= b for a, b in pairwise(rates[peak:]))
    end = learning_rate(100, 100, 2.0, schedule, warmup=0.1, floor=0.1)
    assert end == pytest.approx({"linear": 0, "cosine": 0.2, "constant": 2.0, "anneal": 0, "wsd": 0.2}[schedule])
