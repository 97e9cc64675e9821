"""Attention over a forest and over a decoding cache, plugged into transformers' attention interface.

transformers calls one function per layer with queries, keys and values (after rotary embedding and any QK-norm). What
that function does is decided by the *layout* in force: a `PackedAttention` (training, scoring, prefill) or a
`CachedAttention` (decoding). No layout in force is an error: a plain forward of such a model would be silently wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

import torch
from torch.nn.functional import scaled_dot_product_attention

IMPLEMENTATION = "bactrian_forest"


class AttentionLayout(Protocol):
    """Which token may attend to which."""

    def attend(
        self, layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float, window: int | None
    ) -> torch.Tensor:
        """q: [B, Hq, T, D]; k, v: [B, Hkv, T, D] → [B, T, Hq, D]. `window`: keys that far back are not seen."""
        ...


_layout: ContextVar[AttentionLayout | None] = ContextVar("layout", default=None)


def layout_in_force() -> AttentionLayout | None:
    return _layout.get()


@contextmanager
def attention_layout(layout: AttentionLayout | None) -> Iterator[None]:
    """Put a layout in force for the forwards within the block."""
    token = _layout.set(layout)
    try:
        yield
    finally:
        _layout.reset(token)


def forest_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """The function that transformers calls.

    Raises:
        RuntimeError: no layout in force, or a feature that this attention would silently ignore.
    """
    layout = _layout.get()
    if layout is None:
        raise RuntimeError("forest attention was called outside of attention_layout(…)")
    if dropout or softcap is not None:
        raise RuntimeError(f"forest attention has no dropout ({dropout}) and no attention soft-capping ({softcap})")
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    layer: int = module.layer_idx  # type: ignore[assignment]
    return layout.attend(layer, query, key, value, scale, sliding_window), None


def register() -> None:
    """Make the implementation known to transformers (idempotent)."""
    from transformers import AttentionInterface

    AttentionInterface.register(IMPLEMENTATION, forest_attention)


class CachedAttention:
    """One new token per row, attending to that row's cached keys and values.

    The cache is one tensor per layer, [B, Hkv, capacity, D] each for keys and values; row b holds `lengths[b]` tokens,
    left-aligned. Grouped queries are folded into the query axis, so that keys are never repeated.
    """

    def __init__(self, keys: list[torch.Tensor], values: list[torch.Tensor], lengths: torch.Tensor):
        self.keys, self.values, self.lengths = keys, values, lengths
        self.rows = torch.arange(len(lengths), device=lengths.device)
        self.span = int(lengths.max()) + 1
        self.slots = torch.arange(self.span, device=lengths.device)
        self.mask = (self.slots[None, :] <= lengths[:, None])[:, None, None, :]  # [B, 1, 1, span]

    def attend(
        self, layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float, window: int | None
    ) -> torch.Tensor:
        keys, values = self.keys[layer], self.values[layer]
        keys[self.rows, :, self.lengths] = k[:, :, 0]
        values[self.rows, :, self.lengths] = v[:, :, 0]
        batch, heads, _, dim = q.shape
        shared = keys.shape[1]
        mask = self.mask
        if window is not None:
            near = self.slots[None, :] > self.lengths[:, None] - window
            mask = mask & near[:, None, None, :]
        out = scaled_dot_product_attention(
            q.view(batch, shared, heads // shared, dim),
            keys[:, :, : self.span],
            values[:, :, : self.span],
            attn_mask=mask,
            scale=scale,
        )
        return out.reshape(batch, 1, heads, dim)
