"""Log-probabilities by fused kernels of others, on a GPU where one of their packages is installed.

They never write all logits to the GPU's memory: Liger makes them a chunk at a time, cut-cross-entropy a tile at a time.
That is all that they do better than `logprobs`: the numbers are the same, and entropy they do not give. No GPU was met
yet; Liger's was compared with `logprobs` in Triton's interpreter (tests/model/test_gpu_logprobs.py). `BACTRIAN_FUSED=0`
leaves them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec

import torch

Kernel = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, float, float | None], torch.Tensor]


def kernel_for(hidden: torch.Tensor, temperature: float, softcap: float | None) -> Kernel | None:
    """The kernel to use for these states, or None: on a CPU, in float32 or wider, where none is installed.

    Where logits are capped, a temperature comes after the cap, and no kernel has a place for it.
    """
    if hidden.device.type != "cuda" or hidden.dtype.itemsize > 2:
        return None
    return None if softcap is not None and temperature != 1.0 else installed()


@cache
def installed() -> Kernel | None:
    """The first kernel whose package is there and not turned off."""
    if os.environ.get("BACTRIAN_FUSED") == "0":
        return None
    return next((kernel for package, kernel in KERNELS.items() if find_spec(package)), None)


def by_liger(
    hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, temperature: float, softcap: float | None
) -> torch.Tensor:
    """Arguments and result as of `logprobs.token_logprobs`. Sums over chunks are kept in float32."""
    from liger_kernel.transformers.functional import liger_fused_linear_cross_entropy

    loss: torch.Tensor = liger_fused_linear_cross_entropy(
        hidden / temperature, weight, targets, reduction="none", softcap=softcap, accum_dtype=torch.float32
    )
    return -loss.float()


def by_cut_cross_entropy(
    hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, temperature: float, softcap: float | None
) -> torch.Tensor:
    """Arguments and result as of `logprobs.token_logprobs`. Gradients too small for bfloat16 to add are left out."""
    from cut_cross_entropy import linear_cross_entropy

    loss: torch.Tensor = linear_cross_entropy(
        (hidden / temperature).contiguous(), weight, targets, softcap=softcap, reduction="none", filter_eps="auto"
    )
    return -loss.float()


KERNELS: dict[str, Kernel] = {"liger_kernel": by_liger, "cut_cross_entropy": by_cut_cross_entropy}
