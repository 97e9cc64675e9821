"""Log-probabilities of the tokens that a loss reads, and of no others.

Hidden states are projected onto the vocabulary in chunks, forward and backward; nothing of size tokens x vocabulary
outlives a chunk, unless it fits in a small budget and spares a second product.
"""

from __future__ import annotations

from typing import Any

import torch

CHUNK_ELEMENTS = 2**25  # logits per chunk: 32 Mi, 128 MiB in float32
KEEP_ELEMENTS = 2**27  # logits kept for the backward at most: 512 MiB in float32; beyond, they are computed again


def token_logprobs(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    targets: torch.Tensor,
    *,
    temperature: float = 1.0,
    softcap: float | None = None,
) -> torch.Tensor:
    """log softmax(cap(hidden @ weight.T) / temperature)[targets], in float32.

    Args:
        hidden: [N, d], the states that predict the targets.
        weight: [V, d], the output embedding.
        targets: long [N].
        temperature: of the sampler; the policy that was sampled is the one whose log-probs these are (SPEC 0.1).
        softcap: c of c * tanh(logits / c), as in Gemma, applied before the temperature.

    Returns:
        float32 [N], differentiable in hidden and weight.
    """
    result: torch.Tensor = _TokenLogprobs.apply(hidden, weight, targets, temperature, softcap)  # type: ignore[no-untyped-call]
    return result


@torch.no_grad()
def token_entropy(
    hidden: torch.Tensor, weight: torch.Tensor, *, temperature: float = 1.0, softcap: float | None = None
) -> torch.Tensor:
    """Entropy in nats of the next-token distribution at each hidden state [N, d] → float32 [N]. Not differentiable."""
    out = []
    for chunk in torch.split(hidden, _rows(weight)):
        logits = _logits(chunk, weight, temperature, softcap)
        lse = logits.logsumexp(-1)
        out.append(lse - (torch.softmax(logits, -1) * logits).sum(-1))
    return torch.cat(out) if out else hidden.new_zeros(0, dtype=_wide(hidden.dtype))


def _wide(dtype: torch.dtype) -> torch.dtype:
    """float32, or the dtype itself if it is wider."""
    return torch.promote_types(dtype, torch.float32)


def _rows(weight: torch.Tensor) -> int:
    return max(1, CHUNK_ELEMENTS // weight.shape[0])


def _logits(hidden: torch.Tensor, weight: torch.Tensor, temperature: float, softcap: float | None) -> torch.Tensor:
    logits = hidden @ weight.T
    logits = logits.to(_wide(logits.dtype))
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    return logits if temperature == 1.0 else logits / temperature


class _TokenLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        targets: torch.Tensor,
        temperature: float,
        softcap: float | None,
    ) -> torch.Tensor:
        kept: list[torch.Tensor] = []
        keep = any(ctx.needs_input_grad) and hidden.shape[0] * weight.shape[0] <= KEEP_ELEMENTS
        picked, sums = [], []
        step = _rows(weight)
        for rows, labels in zip(torch.split(hidden, step), torch.split(targets, step), strict=True):
            logits = _logits(rows, weight, temperature, softcap)
            lse = logits.logsumexp(-1)
            picked.append(logits.gather(-1, labels[:, None])[:, 0] - lse)
            sums.append(lse)
            if keep:
                kept.append(logits)
        ctx.temperature, ctx.softcap, ctx.kept = temperature, softcap, kept
        empty = hidden.new_zeros(0, dtype=_wide(hidden.dtype))
        ctx.save_for_backward(hidden, weight, targets, torch.cat(sums) if sums else empty)
        return torch.cat(picked) if picked else empty

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        hidden, weight, targets, sums = ctx.saved_tensors
        temperature, softcap = ctx.temperature, ctx.softcap
        step = _rows(weight)
        d_hidden = torch.empty_like(hidden)
        # the sum over chunks is kept in float32: it is one gradient of a whole micro-batch
        d_weight = torch.zeros_like(weight, dtype=_wide(weight.dtype)) if ctx.needs_input_grad[1] else None
        for i, start in enumerate(range(0, hidden.shape[0], step)):
            part = slice(start, start + step)
            rows, g = hidden[part], grad[part]
            logits = ctx.kept[i] if ctx.kept else _logits(rows, weight, temperature, softcap)
            slope = 1 / temperature
            capped = None
            if softcap is not None:
                capped = 1 - (logits * temperature / softcap).square()
            d_logits = logits.sub_(sums[part, None]).exp_().mul_(-g[:, None])
            d_logits.scatter_add_(1, targets[part, None], g[:, None])
            if capped is not None:
                d_logits.mul_(capped)
            if slope != 1:
                d_logits.mul_(slope)
            d_logits = d_logits.to(weight.dtype)
            torch.mm(d_logits, weight, out=d_hidden[part])
            if d_weight is not None:
                if d_logits.dtype == d_weight.dtype:
                    d_weight.addmm_(d_logits.T, rows)
                else:
                    d_weight.add_(d_logits.T @ rows)
        ctx.kept = []  # overwritten above; a second backward computes them again
        return d_hidden, (None if d_weight is None else d_weight.to(weight.dtype)), None, None, None
