"""Attention over a forest and over a decoding cache, plugged into transformers' attention interface.

transformers calls one function per layer with queries, keys and values (after rotary embedding and any QK-norm). What
that function does is decided by the *layout* in force: a `PackedAttention` (training, scoring, prefill) or a
`PagedAttention` (decoding). No layout in force is an error: a plain forward of such a model would be silently wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

import torch

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
    layout: AttentionLayout | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """The function that transformers calls.

    layout: what the forward was given by that name, in place of the one in force.

    Raises:
        RuntimeError: no layout in force, or a feature that this attention would silently ignore.
    """
    layout = layout or _layout.get()
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
