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

from bactrian.model.packing import Forest

IMPLEMENTATION = "bactrian_forest"
SHORT = 128  # roots up to this many tokens are attended to in batches; a call each costs more than the padding


class Layout(Protocol):
    """Which token may attend to which."""

    def attend(
        self, layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float, window: int | None
    ) -> torch.Tensor:
        """q: [B, Hq, T, D]; k, v: [B, Hkv, T, D] → [B, T, Hq, D]. `window`: keys that far back are not seen."""
        ...


_layout: ContextVar[Layout | None] = ContextVar("layout", default=None)


@contextmanager
def attention_layout(layout: Layout) -> Iterator[None]:
    """Put a layout in force for the forwards (and their recomputation) within the block."""
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


class _Family:
    """Segments of similar length that continue the same parent (or none): one attention call, padded to the longest.

    Padding exists only here, inside attention; padded keys come after every true query, so the causal mask hides them.
    """

    def __init__(self, forest: Forest, members: list[int]):
        spans = [forest.spans[m] for m in members]
        self.longest = max(s.length for s in spans)
        # rows [G, L] of token indices; a padded slot repeats the segment's last token
        self.rows = torch.tensor([[min(s.start + i, s.stop - 1) for i in range(self.longest)] for s in spans])
        prefix = [i for a in forest.ancestors(members[0]) for i in range(forest.spans[a].start, forest.spans[a].stop)]
        self.prefix = torch.tensor(prefix, dtype=torch.long)
        # [L, P + L]: the whole prefix, then causal
        own = torch.ones(self.longest, self.longest).tril().bool()
        self.mask = torch.cat([torch.ones(self.longest, len(prefix), dtype=torch.bool), own], dim=1)

    def to(self, device: torch.device) -> None:
        self.rows, self.prefix, self.mask = self.rows.to(device), self.prefix.to(device), self.mask.to(device)


class PackedAttention:
    """Each token of a forest attends to its ancestors and, causally, to its own segment.

    Cost is the sum over segments of length × path length, never the square of the whole pack.
    """

    def __init__(
        self,
        forest: Forest,
        sink: list[tuple[torch.Tensor, torch.Tensor]] | None = None,
        device: torch.device | None = None,
    ):
        """`sink`, if given, receives each layer's (k, v), [T, Hkv, D] each, in layer order: a prefill."""
        self.sink = sink
        self.roots = [i for i, span in enumerate(forest.spans) if span.parent < 0 and span.length > SHORT]
        self.spans = forest.spans
        self.families = [_Family(forest, members) for members in _families(forest)]
        # where each token's output stands in the concatenation of the calls' outputs
        where = torch.empty(forest.tokens, dtype=torch.long)
        offset = 0
        for index in self.roots:
            span = forest.spans[index]
            where[span.start : span.stop] = torch.arange(offset, offset + span.length)
            offset += span.length
        for family in self.families:
            flat = torch.arange(offset, offset + family.rows.numel()).view_as(family.rows)
            for row, slots in zip(family.rows, flat, strict=True):
                length = int(row[-1] - row[0]) + 1
                where[row[:length]] = slots[:length]
            offset += family.rows.numel()
        self.where = None if torch.equal(where, torch.arange(forest.tokens)) else where
        if device is not None and device.type != "cpu":
            for family in self.families:
                family.to(device)
            self.where = None if self.where is None else self.where.to(device)

    def attend(
        self, layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float, window: int | None
    ) -> torch.Tensor:
        heads, dim = q.shape[1], q.shape[3]
        if self.sink is not None:
            self.sink.append((k[0].transpose(0, 1), v[0].transpose(0, 1)))
        repeat = heads // k.shape[1]
        if repeat > 1:
            k, v = k.repeat_interleave(repeat, dim=1), v.repeat_interleave(repeat, dim=1)
        pieces = []
        for index in self.roots:
            span = self.spans[index]
            part = slice(span.start, span.stop)
            banded = window is not None and span.length > window
            mask = _window(_causal(span.length, q.device), window) if banded else None
            out = scaled_dot_product_attention(
                q[:, :, part], k[:, :, part], v[:, :, part], attn_mask=mask, is_causal=mask is None, scale=scale
            )
            pieces.append(out[0].transpose(0, 1))
        if self.families:
            q_rows, k_rows, v_rows = (x[0].transpose(0, 1) for x in (q, k, v))  # [T, H, D]
            for family in self.families:
                mask = family.mask
                if window is not None and mask.shape[1] > window:
                    mask = _window(mask, window)
                out = scaled_dot_product_attention(
                    _gather(q_rows, family.rows),
                    _with_prefix(k_rows, family),
                    _with_prefix(v_rows, family),
                    attn_mask=mask,
                    scale=scale,
                )
                pieces.append(out.transpose(1, 2).reshape(-1, heads, dim))
        flat = pieces[0] if len(pieces) == 1 else torch.cat(pieces)
        if self.where is not None:
            flat = flat.index_select(0, self.where)
        return flat.unsqueeze(0)


def _families(forest: Forest, slack: float = 1.25) -> list[list[int]]:
    """Children, and short roots, grouped by parent and by length.

    The longest of a family is at most `slack` times the shortest (or 8 more).
    """
    children: dict[int, list[int]] = {}
    for index, span in enumerate(forest.spans):
        if span.parent >= 0 or span.length <= SHORT:
            children.setdefault(span.parent, []).append(index)
    families: list[list[int]] = []
    for members in children.values():
        members.sort(key=lambda i: forest.spans[i].length)
        family: list[int] = []
        for member in members:
            length = forest.spans[member].length
            if family and length > max(slack * forest.spans[family[0]].length, forest.spans[family[0]].length + 8):
                families.append(family)
                family = []
            family.append(member)
        families.append(family)
    return families


def _gather(rows: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """rows [T, H, D], index [G, L] → [G, H, L, D]. index_select, whose backward is fast, not fancy indexing."""
    g, length = index.shape
    return rows.index_select(0, index.reshape(-1)).view(g, length, *rows.shape[1:]).transpose(1, 2)


def _with_prefix(rows: torch.Tensor, family: _Family) -> torch.Tensor:
    """Keys or values [T, H, D] of prefix and segments → [G, H, P + L, D]."""
    own = _gather(rows, family.rows)
    prefix = rows.index_select(0, family.prefix).transpose(0, 1)  # [H, P, D]
    return torch.cat([prefix.unsqueeze(0).expand(own.shape[0], -1, -1, -1), own], dim=2)


def _causal(length: int, device: torch.device) -> torch.Tensor:
    return torch.ones(length, length, device=device).tril().bool()


def _window(mask: torch.Tensor, window: int | None) -> torch.Tensor:
    """Also hide keys `window` or more positions back. mask: [Lq, Lk], queries being the last Lq of the keys."""
    if window is None:
        return mask
    queries, keys = mask.shape
    key = torch.arange(keys, device=mask.device)
    distance = key[keys - queries :, None] - key[None, :]
    return mask & (distance < window)


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
