"""The kernels of decode.c: what a decoding step on a CPU does between its matrix products."""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path

import torch

from bactrian.model.native import SUFFIX, address, library


class Kernels:
    """The compiled functions, taking tensors."""

    def __init__(self, library: ctypes.CDLL):
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
        longest: int,
    ) -> None:
        """One layer's attention: writes each token's key and value into the last of its runs, then attends.

        Args:
            qkv: [N, (Hq + 2 Hkv) D], not rotated, of the cache's dtype.
            rotation: cos and sin, float32 [N, D].
            tokens: int64 [N, 3], `Token` of decode.c. runs: int64 [R, 5], `Run` of decode.c.
            out: [N, Hq D].
            heads: Hq, Hkv, D.
            window: keys that far back are not seen; 0: all are.
            longest: the largest number of tokens that a token sees.
        """
        cos, sin = rotation
        assert all(x.is_contiguous() for x in (qkv, cos, sin, tokens, runs, out))
        getattr(self.library, f"attend_{SUFFIX[qkv.dtype]}")(
            torch.get_num_threads(), qkv.shape[0], *heads, address(qkv), address(cos), address(sin),
            address(tokens), address(runs), ctypes.c_int64(layer), ctypes.c_float(scale), ctypes.c_int64(window),
            ctypes.c_int64(longest), address(out),
        )  # fmt: skip

    def norm(self, x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
        """x / rms(x) times a weight (float32 [D]) by row: x [N, D], whose rows may lie apart."""
        rows, dim = x.shape
        assert x.stride(1) == 1 and weight.shape == (dim,)
        out = x.new_empty(rows, dim)
        getattr(self.library, f"norm_{SUFFIX[x.dtype]}")(
            torch.get_num_threads(), ctypes.c_int64(rows), ctypes.c_int64(dim), ctypes.c_int64(x.stride(0)),
            address(x), address(weight), ctypes.c_float(epsilon), address(out),
        )  # fmt: skip
        return out

    def gate(self, x: torch.Tensor, kind: int) -> torch.Tensor:
        """act(gate) times up: x [N, 2 F], gate before up → [N, F]. kind: 0 for silu, 1 for gelu by its tanh formula."""
        rows, dim = len(x), x.shape[1] // 2
        assert x.is_contiguous()
        out = x.new_empty(rows, dim)
        getattr(self.library, f"gate_{SUFFIX[x.dtype]}")(
            torch.get_num_threads(), ctypes.c_int64(rows), ctypes.c_int64(dim), kind, address(x), address(out)
        )
        return out

    def choose(
        self, logits: torch.Tensor, uniforms: torch.Tensor, temperature: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """`sampling.choose` without top-p and top-k; not finite log-probabilities where logits are not finite."""
        rows, size = logits.shape
        tokens, logprobs = torch.empty(rows, dtype=torch.int64), torch.empty(rows)
        inverse = torch.where(temperature == 0, 0.0, 1 / temperature)
        logits, uniforms = logits.contiguous(), uniforms.contiguous()
        getattr(self.library, f"choose_{SUFFIX[logits.dtype]}")(
            torch.get_num_threads(), ctypes.c_int64(rows), ctypes.c_int64(size), address(logits), address(inverse),
            address(uniforms), address(tokens), address(logprobs),
        )  # fmt: skip
        return tokens, logprobs


@functools.cache
def kernels() -> Kernels | None:
    """The kernels, compiled now if need be; None where there is no compiler, or BACTRIAN_NATIVE is 0."""
    here = Path(__file__).parent
    found = library(here / "decode.c", here / "decode_typed.h")
    return Kernels(found) if found else None
