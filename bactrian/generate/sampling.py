"""From logits to tokens, one independent random stream per sample."""

from __future__ import annotations

import numpy as np
import torch

from bactrian.errors import BactrianError
from bactrian.generate.decode_kernels import kernels


def uniform_stream(seed: int, sample: int, length: int) -> np.ndarray:
    """`length` uniforms in [0, 1) that belong to sample number `sample` of the request with this seed, float64.

    Philox is counter-based: streams with different keys are independent, and none depends on any global state.
    """
    key = np.array([seed % 2**64, sample], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key)).random(length)


def choose(
    logits: torch.Tensor,
    uniforms: torch.Tensor,
    temperature: torch.Tensor,
    top_p: torch.Tensor,
    top_k: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sample a token for each row by inverting its cumulative distribution at that row's uniform.

    Args:
        logits: float32 or bfloat16 [B, V]; the other arguments are where they are.
        uniforms: float64 [B], in [0, 1).
        temperature: float32 [B]; 0 takes the likeliest token.
        top_p, top_k: [B]; 1 and 0 keep everything.

    Returns:
        tokens, long [B], and their log-probabilities at that temperature (1 for greedy rows), float32 [B].

    Raises:
        BactrianError: logits that are not finite.
    """
    cut = (top_p < 1) | (top_k > 0)
    native = kernels() if logits.device.type == "cpu" else None
    if native is None or bool(cut.all()):
        tokens, logprobs = _choose(logits.float(), uniforms, temperature, top_p, top_k)
    else:
        # each row by the same means whatever its neighbours ask for
        tokens, logprobs = native.choose(logits, uniforms, temperature)
        if bool(cut.any()):
            rows = cut.nonzero()[:, 0]
            some = _choose(logits[rows].float(), uniforms[rows], temperature[rows], top_p[rows], top_k[rows])
            tokens[rows], logprobs[rows] = some
    if not bool(torch.isfinite(logprobs).all()):
        broken = int((~torch.isfinite(logprobs)).sum())
        raise BactrianError(f"{broken} of {len(tokens)} rows have logits that are not finite: the weights are broken")
    return tokens, logprobs


def _choose(
    logits: torch.Tensor,
    uniforms: torch.Tensor,
    temperature: torch.Tensor,
    top_p: torch.Tensor,
    top_k: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """`choose` in torch's operations, for float32 logits; log-probabilities that are not finite if logits are not."""
    greedy = temperature == 0
    scaled = logits if bool((temperature == 1).all()) else logits / torch.where(greedy, 1.0, temperature)[:, None]
    lse = scaled.logsumexp(-1)
    tokens = logits.argmax(-1)
    if not bool(greedy.all()):
        probabilities = (scaled - lse[:, None]).exp_()
        if bool((top_p < 1).any()) or bool((top_k > 0).any()):
            probabilities = _truncate(probabilities, top_p, top_k)
        cumulative = probabilities.cumsum(-1, dtype=torch.float64)
        # strictly below the total, so that a token of probability zero at the end is never taken
        points = (uniforms * cumulative[:, -1]).unsqueeze(1)
        points = torch.minimum(points, torch.nextafter(cumulative[:, -1:], cumulative.new_zeros(1)))
        sampled = torch.searchsorted(cumulative, points, right=True)[:, 0].clamp_(max=logits.shape[-1] - 1)
        tokens = torch.where(greedy, tokens, sampled)
    return tokens, scaled.gather(-1, tokens[:, None])[:, 0] - lse


def _truncate(probabilities: torch.Tensor, top_p: torch.Tensor, top_k: torch.Tensor) -> torch.Tensor:
    """Zero what lies outside the top k and outside the smallest set that reaches top_p; not renormalised."""
    ordered, index = probabilities.sort(dim=-1, descending=True, stable=True)
    before = ordered.cumsum(-1) - ordered
    keep = before < top_p[:, None]
    rank = torch.arange(probabilities.shape[-1], device=probabilities.device)[None, :]
    keep &= (top_k[:, None] == 0) | (rank < top_k[:, None])
    keep[:, 0] = True
    return torch.zeros_like(probabilities).scatter_(-1, index, ordered * keep)
