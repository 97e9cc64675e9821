"""The kernels of decode.c: what a decoding step on a CPU does between its matrix products."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

import torch

from bactrian.model.native import NUMBERS, Kernel, library
from bactrian.model.signatures import CSource

SOURCE = CSource.read(Path(__file__).with_name("decode.c"), Path(__file__).with_name("decode_typed.h"), NUMBERS)
RUN, TOKEN = SOURCE.records["Run"], SOURCE.records["Token"]
"""The fields of a `Run` and a `Token` of decode.c, in order."""


class Kernels:
    """The compiled functions, taking tensors."""

    def __init__(self, library: Mapping[str, Kernel]):
        self.library = library

    def attend(
        self,
        qkv: torch.Tensor,
        rotation: tuple[torch.Tensor, torch.Tensor],
        tokens: torch.Tensor,
        runs: torch.Tensor,
        out: torch.Tensor,
        *,
        heads: tuple[int, int, int],
        layer: int,
        scale: float,
        window: int,
    ) -> None:
        """One layer's attention: writes each token's key and value into the last of its runs, then attends.

        Args:
            qkv: [N, (Hq + 2 Hkv) D], not rotated, of the cache's dtype.
            rotation: cos and sin, float32 [N, D].
            tokens: int64 [N, len(TOKEN)]. runs: int64 [R, len(RUN)]; what they have addresses of must live.
            out: [N, Hq D].
            heads: Hq, Hkv, D.
            window: keys that far back are not seen; 0: all are.

        Raises:
            ValueError: tokens and runs that do not fit together, or would be written outside their memory.
            MemoryError: no room for the scores.
        """
        counts = qkv.shape[0], runs.shape[0]
        self.library["attend"](*counts, *heads, qkv, *rotation, tokens, runs, layer, scale, window, out)

    def norm(self, x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
        """x / rms(x) times a weight (float32 [D]) by row: x [N, D], whose rows may lie apart."""
        rows, dim = x.shape
        out = x.new_empty(rows, dim)
        if rows:
            self.library["norm"](rows, dim, x.stride(0), x, weight, epsilon, out)
        return out

    def gate(self, x: torch.Tensor, kind: int) -> torch.Tensor:
        """act(gate) times up: x [N, 2 F], gate before up → [N, F]. kind: 0 for silu, 1 for gelu by its tanh formula."""
        rows, width = x.shape
        dim = width // 2
        out = x.new_empty(rows, dim)
        self.library["gate"](rows, dim, kind, x, out)
        return out

    def choose(
        self, logits: torch.Tensor, uniforms: torch.Tensor, temperature: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """`sampling.choose` without top-p and top-k; not finite log-probabilities where logits are not finite."""
        rows, size = logits.shape
        tokens, logprobs = torch.empty(rows, dtype=torch.int64), torch.empty(rows)
        inverse = torch.where(temperature == 0, 0.0, 1 / temperature)
        self.library["choose"](rows, size, logits.contiguous(), inverse, uniforms.contiguous(), tokens, logprobs)
        return tokens, logprobs


@functools.cache
def kernels() -> Kernels | None:
    """The kernels, compiled now if need be; None where there is no compiler, or BACTRIAN_NATIVE is 0."""
    found = library(SOURCE)
    return Kernels(found) if found else None


def run_of(cache: torch.Tensor, start: int, length: int) -> list[int]:
    """A `Run` of decode.c: `length` tokens from `start` in a cache [layers, 2, Hkv, T, D], of which [T, D] is whole."""
    size = cache.element_size()
    layer, half, head, token, _ = cache.stride()
    keys = cache.data_ptr() + start * token * size
    run = {"keys": keys, "values": keys + half * size, "layer": layer * size, "head": head, "length": length}
    return [(run | {"room": cache.shape[3] - start})[field] for field in RUN]


def tokens_of(first: torch.Tensor, runs: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """The `Token`s of decode.c: of each its first run, how many it has, and the tokens that it sees; int64 [N] each."""
    fields = {"first": first, "runs": runs, "seen": seen}
    return torch.stack([fields[name] for name in TOKEN], dim=1)
