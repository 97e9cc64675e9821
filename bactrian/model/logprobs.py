"""Log-probabilities of the tokens that a loss reads, and of no others.

Hidden states are projected onto the vocabulary in chunks: of rows forward, of the vocabulary backward. Nothing of size
tokens x vocabulary outlives a chunk, unless it fits in a small budget and spares a second product. Logits stay in the
dtype that the product made them in; their softmax is worked out in float32, a block at a time. On a GPU kernels of
others may do the same (see `gpu_logprobs`).
"""

from __future__ import annotations

from typing import Any

import torch

from bactrian.model.fused import call, usable
from bactrian.model.gpu_logprobs import kernel_for

CHUNK_ELEMENTS = 2**25  # logits of one product: 32 Mi, 64 MiB in bfloat16
KEEP_ELEMENTS = 2**27  # logits kept for the backward at most: 256 MiB in bfloat16; beyond, they are computed again
BLOCK_ELEMENTS = 2**21  # logits in float32 at a time: 8 MiB, so that they stay in the processor's cache
ON_A_GPU = 8
"""A GPU takes so many times as much at a time, and has no such cache to stay in: small pieces cost it a start each."""


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
        temperature: of the sampler; the policy that was sampled is the one whose log-probs these are.
        softcap: c of c * tanh(logits / c), as in Gemma, applied before the temperature.

    Returns:
        float32 [N], differentiable in hidden and weight.
    """
    if (kernel := kernel_for(hidden, temperature, softcap)) is not None:
        return kernel(hidden, weight, targets, temperature, softcap)
    return _score(hidden, weight, targets, temperature, softcap, entropy=False)[0]


def token_logprobs_and_entropy(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    targets: torch.Tensor,
    *,
    temperature: float = 1.0,
    softcap: float | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """As `token_logprobs`, and from the same product the entropy in nats, float32 [N], not differentiable."""
    return _score(hidden, weight, targets, temperature, softcap, entropy=True)[:2]


def token_logprobs_and_sums(
    hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, *, softcap: float | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """As `token_logprobs`, and from the same product log Σ exp(logits), float32 [N], differentiable as well."""
    picked, _, sums = _score(hidden, weight, targets, 1.0, softcap, entropy=False)
    return picked, sums


def _score(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    targets: torch.Tensor,
    temperature: float,
    softcap: float | None,
    entropy: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    result: tuple[torch.Tensor, torch.Tensor, torch.Tensor] = _TokenLogprobs.apply(  # type: ignore[no-untyped-call]
        hidden, weight, targets, temperature, softcap, entropy
    )
    return result


def _wide(dtype: torch.dtype) -> torch.dtype:
    """float32, or the dtype itself if it is wider."""
    return torch.promote_types(dtype, torch.float32)


def _rows(weight: torch.Tensor, elements: int) -> int:
    return max(1, elements // weight.shape[0])


def _most(elements: int, like: torch.Tensor) -> int:
    return elements if like.device.type == "cpu" else ON_A_GPU * elements


def _block(like: torch.Tensor) -> int:
    return BLOCK_ELEMENTS if like.device.type == "cpu" else ON_A_GPU * CHUNK_ELEMENTS // 4


def _shaped(logits: torch.Tensor, temperature: float, softcap: float | None) -> torch.Tensor:
    """Logits as they enter the softmax, in float32 or wider; a copy unless they already are what they should be."""
    logits = logits.to(_wide(logits.dtype))
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    return logits if temperature == 1.0 else logits / temperature


class _TokenLogprobs(torch.autograd.Function):
    """(log-probabilities [N], entropies [N] or [0], log-sum-exps [N])."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        targets: torch.Tensor,
        temperature: float,
        softcap: float | None,
        entropy: bool,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        count, block = hidden.shape[0], _rows(weight, _block(hidden))
        picked = hidden.new_empty(count, dtype=_wide(hidden.dtype))
        sums, entropies = torch.empty_like(picked), picked.new_empty(count if entropy else 0)
        keep = any(ctx.needs_input_grad) and count * weight.shape[0] <= _most(KEEP_ELEMENTS, hidden)
        kept = hidden.new_empty(count, weight.shape[0]) if keep else None
        for start in range(0, count, step := _rows(weight, _most(CHUNK_ELEMENTS, hidden))):
            rows = hidden[start : start + step]
            logits = rows @ weight.T if kept is None else torch.mm(rows, weight.T, out=kept[start : start + step])
            if usable(logits):
                _softmax(logits, start, targets, temperature, softcap, sums, picked, entropies if entropy else None)
            for at in range(0, 0 if usable(logits) else logits.shape[0], block):
                part = slice(start + at, start + min(at + block, logits.shape[0]))
                wide = _shaped(logits[at : at + block], temperature, softcap)
                sums[part] = wide.logsumexp(-1)
                picked[part] = wide.gather(-1, targets[part, None])[:, 0] - sums[part]
                if entropy:
                    entropies[part] = sums[part] - (torch.softmax(wide, -1) * wide).sum(-1)
        ctx.temperature, ctx.softcap, ctx.kept = temperature, softcap, kept
        ctx.save_for_backward(hidden, weight, targets, sums)
        ctx.mark_non_differentiable(entropies)
        ctx.set_materialize_grads(False)
        return picked, entropies, sums

    @staticmethod
    def backward(
        ctx: Any, of_picked: torch.Tensor | None, _: torch.Tensor | None, of_sums: torch.Tensor | None
    ) -> tuple[torch.Tensor | None, ...]:
        """By slices of the vocabulary, so that a weight's gradient is one product over all rows, rounded once.

        With g and s the gradients in log-probabilities and log-sum-exps, that in a logit is g onehot + (s - g) softmax:
        (g - s) (onehot - softmax), as if there were no sums, and s more at the target.
        """
        hidden, weight, targets, sums = ctx.saved_tensors
        grad = torch.zeros_like(sums) if of_picked is None else of_picked
        if of_sums is not None:
            grad = grad - of_sums
        kept, ctx.kept = ctx.kept, None  # overwritten below; a second backward computes them again
        size = len(weight)
        step = size if kept is not None else max(1, _most(CHUNK_ELEMENTS, hidden) // max(1, len(hidden)))
        d_hidden = torch.zeros_like(hidden, dtype=_wide(hidden.dtype) if step < size else None)
        d_weight = torch.empty_like(weight) if ctx.needs_input_grad[1] else None
        for first in range(0, size, step):
            part = slice(first, first + step)
            logits = hidden @ weight[part].T if kept is None else kept
            more = None if of_sums is None else _at_targets(logits, targets - first, of_sums, ctx)
            _to_gradient(logits, targets - first, sums, grad, ctx.temperature, ctx.softcap)
            if more is not None:
                logits.scatter_add_(1, (targets - first).clamp(0, logits.shape[1] - 1)[:, None], more[:, None])
            if d_hidden.dtype == hidden.dtype:
                d_hidden.addmm_(logits, weight[part])
            else:
                d_hidden.add_(logits @ weight[part])
            if d_weight is not None:
                torch.mm(logits.T, hidden, out=d_weight[part])
        return d_hidden.to(hidden.dtype), d_weight, None, None, None, None


def _at_targets(logits: torch.Tensor, targets: torch.Tensor, grad: torch.Tensor, ctx: Any) -> torch.Tensor:
    """A gradient [N] in the targets' shaped logits as one in the logits, 0 for a target outside the slice."""
    here = (targets >= 0) & (targets < logits.shape[1])
    share: torch.Tensor = torch.where(here, grad, 0) / ctx.temperature
    if ctx.softcap is not None:
        raw = logits.gather(1, targets.clamp(0, logits.shape[1] - 1)[:, None])[:, 0].to(share.dtype)
        share = share * (1 - torch.tanh(raw / ctx.softcap).square())
    return share.to(logits.dtype)


def _softmax(
    logits: torch.Tensor,
    start: int,
    targets: torch.Tensor,
    temperature: float,
    softcap: float | None,
    sums: torch.Tensor,
    picked: torch.Tensor,
    entropies: torch.Tensor | None,
) -> None:
    """One chunk's log-sum-exps, log-probabilities and entropies, written from `start` on."""
    part = slice(start, start + len(logits))
    told = None if entropies is None else entropies[part]
    places = (targets[part].contiguous(), 1 / temperature, softcap or 0.0, sums[part], picked[part], told)
    call("score", *logits.shape, logits, *places)


def _to_gradient(
    logits: torch.Tensor,
    targets: torch.Tensor,
    sums: torch.Tensor,
    grad: torch.Tensor,
    temperature: float,
    softcap: float | None,
) -> None:
    """Overwrite a slice's logits with the loss's gradient in them: grad * (onehot(target) - softmax) * slopes.

    Args:
        logits: [N, a slice of the vocabulary].
        targets: long [N], counted from the slice's first entry; one that lies outside is nowhere in it.
        sums: log-sum-exp over the whole vocabulary [N].
    """
    if usable(logits):
        given = (targets.contiguous(), sums, grad.float().contiguous())
        call("score_backward", *logits.shape, logits, *given, 1 / temperature, softcap or 0.0)
        return
    size, block = logits.shape[1], _rows(logits.T, _block(logits))
    here = (targets >= 0) & (targets < size)
    places, share = targets.clamp(0, size - 1), torch.where(here, grad, 0)
    for at in range(0, logits.shape[0], block):
        part = slice(at, at + block)
        wide = _shaped(logits[part], temperature, softcap)
        slope = None if softcap is None else 1 - (wide * temperature / softcap).square()
        d = torch.sub(wide, sums[part, None]).exp_().mul_(-grad[part, None])
        d.scatter_add_(1, places[part, None], share[part, None])
        if slope is not None:
            d.mul_(slope)
        logits[part] = d if temperature == 1.0 else d.div_(temperature)


@torch.no_grad()
def picked_logprobs(
    hidden: torch.Tensor, weight: torch.Tensor, rows: torch.Tensor, targets: torch.Tensor, softcap: float | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Several targets to one state, from one product: no gradient.

    Args:
        hidden: [N, d]; weight: [V, d].
        rows, targets: long [M]: which state, and the token that is asked for there.

    Returns:
        log-probabilities, float32 [M], and whether each target is its state's likeliest token, bool [M].
    """
    picked = hidden.new_empty(len(rows), dtype=_wide(hidden.dtype))
    likeliest = torch.empty(len(rows), dtype=torch.bool, device=hidden.device)
    for start in range(
        0,
        hidden.shape[0],
        block := _rows(weight, 4 * BLOCK_ELEMENTS if hidden.device.type == "cpu" else _block(hidden)),
    ):
        wide = _shaped(hidden[start : start + block] @ weight.T, 1.0, softcap)
        mine = ((rows >= start) & (rows < start + block)).nonzero()[:, 0]
        at = rows[mine] - start
        picked[mine] = wide[at, targets[mine]] - wide.logsumexp(-1)[at]
        likeliest[mine] = wide.argmax(-1)[at] == targets[mine]
    return picked, likeliest
