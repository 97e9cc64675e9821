"""Attention over a forest: each token attends to its ancestors and, causally, to its own segment.

This is for CPUs; GPUs have `gpu_attention`. The scores of a block of queries are formed, used and forgotten, and
formed again in the backward: nothing of size tokens x tokens is kept, keys that a block cannot see are not multiplied,
and grouped queries share their keys without a copy. In bfloat16 that takes about half the time of torch's own kernel
(docs/benchmarks.md). The cost is the sum over segments of length x path length, never the square of the whole pack.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from bactrian.model.packing import Forest
from bactrian.model.thread_pool import run_in_threads

SHORT = 128  # segments up to this many tokens are attended to in batches; a call each costs more than the padding
BLOCK = 128  # queries whose scores exist at the same time


@dataclass(frozen=True)
class _Group:
    """G segments of similar length L that continue the same parent (or none): one batch of products.

    Padding exists only here: a padded slot repeats its segment's last token, comes after every true query, so the
    causal mask hides it as a key, and is dropped as a query.
    """

    count: int  # G
    length: int  # L
    rows: slice | torch.Tensor  # the token in each of the G x L slots
    true: torch.Tensor | None  # bool [G * L]: which slots hold a token of their own; None: all
    prefix: tuple[slice, ...]  # the ancestors' tokens
    past: int  # how many those are

    def take(self, x: torch.Tensor) -> torch.Tensor:
        """x [T, H, D] → [G, L, H, D]."""
        own = x[self.rows] if isinstance(self.rows, slice) else x.index_select(0, self.rows)
        return own.view(self.count, self.length, *x.shape[1:])

    def put(self, out: torch.Tensor, value: torch.Tensor) -> None:
        """Write value [G, L, H, D] to the tokens in out [T, H, D]; each token belongs to one group only."""
        flat, rows = value.reshape(-1, *out.shape[1:]), self.rows
        if isinstance(rows, slice):
            out[rows] = flat
            return
        if self.true is not None:
            flat, rows = flat[self.true], rows[self.true]
        out.index_copy_(0, rows, flat.to(out.dtype))

    def with_prefix(self, x: torch.Tensor) -> torch.Tensor:
        """Keys or values x [T, H, D] of ancestors and segments → [G * H, P + L, D]."""
        own = self.take(x).transpose(1, 2)
        if self.prefix:
            above = torch.cat([x[part] for part in self.prefix]).transpose(0, 1)
            own = torch.cat([above.expand(self.count, -1, -1, -1), own], dim=2)
        return own.reshape(-1, self.past + self.length, x.shape[2])

    def put_below_prefix(self, out: torch.Tensor, value: torch.Tensor) -> torch.Tensor | None:
        """Of the transpose of `with_prefix`, for gradients, what concerns the segments: value [G * H, P + L, D] → out.

        Returns what is to be added to the ancestors' tokens, [P, H, D], if there are any.
        """
        heads, dim = out.shape[1:]
        whole = value.view(self.count, heads, -1, dim).transpose(1, 2)
        self.put(out, whole[:, self.past :])
        return whole[:, : self.past].sum(0) if self.prefix else None

    def add_to_prefix(self, out: torch.Tensor, value: torch.Tensor | None) -> None:
        """Add what `put_below_prefix` returned to the ancestors' tokens of out [T, H, D]."""
        at = 0
        for part in self.prefix if value is not None else ():
            assert value is not None
            length = part.stop - part.start
            out[part] += value[at : at + length]
            at += length

    @property
    def cost(self) -> int:
        """Of its products, relative to other groups'."""
        return self.count * self.length * (self.past + self.length)

    def queries(self, x: torch.Tensor, shared: int, blank: bool = False) -> torch.Tensor:
        """x [T, Hq, D] → [G * Hkv, L * rep, D]: the queries that share a key head, one after the other.

        blank: padded slots hold zeros (a gradient).
        """
        heads, dim = x.shape[1:]
        own = self.take(x)
        if blank and self.true is not None:
            own = own * self.true.view(self.count, self.length, 1, 1)
        grouped = own.view(self.count, self.length, shared, heads // shared, dim)
        return grouped.transpose(1, 2).reshape(self.count * shared, -1, dim)

    def put_queries(self, out: torch.Tensor, value: torch.Tensor, shared: int) -> None:
        heads, dim = out.shape[1:]
        whole = value.view(self.count, shared, self.length, heads // shared, dim).transpose(1, 2)
        self.put(out, whole.reshape(self.count, self.length, heads, dim))


@dataclass
class PackedAttention:
    """The layout of a forest in training, scoring and prefill.

    sink: receives each layer's (k, v), [T, Hkv, D] each, in layer order: a prefill.
    """

    forest: Forest
    sink: list[tuple[torch.Tensor, torch.Tensor]] | None = None
    biases: dict[tuple[Any, ...], torch.Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.groups = [_group(self.forest, members) for members in _families(self.forest)]

    def each(self, attend: Callable[[_Group], None]) -> None:
        """Attend to each group, several at a time where there are threads: their products are too small to share."""
        run_in_threads([partial(attend, group) for group in self.groups], [group.cost for group in self.groups])

    def attend(
        self, layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float, window: int | None
    ) -> torch.Tensor:
        q, k, v = (x[0].transpose(0, 1) for x in (q, k, v))  # [T, H, D]
        if self.sink is not None:
            self.sink.append((k, v))
        out: torch.Tensor = _ForestAttention.apply(q, k, v, self, scale, window)  # type: ignore[no-untyped-call]
        return out.unsqueeze(0)

    def bias(self, part: _Block, repeat: int, like: torch.Tensor) -> torch.Tensor:
        """0 where a block's query may see a key, else -inf, [1, queries * repeat, keys]."""
        key = (part.start - part.first, part.queries, part.keys, part.window, repeat, like.dtype)
        if key not in self.biases:
            at = torch.arange(part.start, part.stop)[:, None]
            seen = torch.arange(part.first, part.first + part.keys)[None, :]
            hidden = seen > at
            if part.window is not None:
                hidden = hidden | (seen <= at - part.window)
            bias = torch.zeros(hidden.shape, dtype=like.dtype).masked_fill_(hidden, float("-inf"))
            self.biases[key] = bias.repeat_interleave(repeat, 0).unsqueeze(0)
        return self.biases[key]


@dataclass(frozen=True)
class _Block:
    """Queries [start, stop) of a path and the keys [first, stop) of it that any of them may see."""

    start: int
    stop: int
    first: int
    window: int | None

    @property
    def queries(self) -> int:
        return self.stop - self.start

    @property
    def keys(self) -> int:
        return self.stop - self.first


def _blocks(group: _Group, window: int | None) -> Iterator[_Block]:
    for start in range(group.past, group.past + group.length, BLOCK):
        stop = min(start + BLOCK, group.past + group.length)
        yield _Block(start, stop, 0 if window is None else max(0, start - window + 1), window)


def _probabilities(
    layout: PackedAttention, part: _Block, q: torch.Tensor, k: torch.Tensor, scale: float, repeat: int
) -> torch.Tensor:
    scores = torch.baddbmm(layout.bias(part, repeat, q), q, k.transpose(1, 2), alpha=scale)
    return scores.softmax(-1)


class _ForestAttention(torch.autograd.Function):
    """q [T, Hq, D], k and v [T, Hkv, D] → [T, Hq, D]."""

    @staticmethod
    def forward(
        ctx: Any,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        layout: PackedAttention,
        scale: float,
        window: int | None,
    ) -> torch.Tensor:
        ctx.save_for_backward(q, k, v)
        ctx.layout, ctx.scale, ctx.window = layout, scale, window
        out = torch.empty(q.shape, dtype=q.dtype)
        shared = k.shape[1]
        repeat = q.shape[1] // shared

        def attend(group: _Group) -> None:
            queries, keys, values = group.queries(q, shared), group.with_prefix(k), group.with_prefix(v)
            result = torch.empty_like(queries)
            for part in _blocks(group, window):
                rows = slice((part.start - group.past) * repeat, (part.stop - group.past) * repeat)
                seen = slice(part.first, part.stop)
                p = _probabilities(layout, part, queries[:, rows], keys[:, seen], scale, repeat)
                result[:, rows] = torch.bmm(p, values[:, seen])
            group.put_queries(out, result, shared)

        layout.each(attend)
        return out

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        q, k, v = ctx.saved_tensors
        layout, scale, window = ctx.layout, ctx.scale, ctx.window
        # a prefix gets a share from each of its children: they are summed in float32
        wide = torch.promote_types(k.dtype, torch.float32) if any(g.prefix for g in layout.groups) else k.dtype
        dq = torch.empty(q.shape, dtype=q.dtype)
        dk, dv = (torch.empty(x.shape, dtype=wide) for x in (k, v))
        shared = k.shape[1]
        above: dict[int, tuple[torch.Tensor | None, torch.Tensor | None]] = {}

        def attend(group: _Group) -> None:
            queries, keys, values = group.queries(q, shared), group.with_prefix(k), group.with_prefix(v)
            upstream = group.queries(grad, shared, blank=True)
            d_queries, d_keys, d_values = _group_backward(layout, group, queries, keys, values, upstream, scale, window)
            group.put_queries(dq, d_queries, shared)
            above[id(group)] = group.put_below_prefix(dk, d_keys), group.put_below_prefix(dv, d_values)

        layout.each(attend)
        for group in layout.groups:  # each segment's own gradient is in place now; in this order, whoever was first
            d_keys, d_values = above[id(group)]
            group.add_to_prefix(dk, d_keys)
            group.add_to_prefix(dv, d_values)
        return dq, dk.to(k.dtype), dv.to(v.dtype), None, None, None


def _group_backward(
    layout: PackedAttention,
    group: _Group,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    grad: torch.Tensor,
    scale: float,
    window: int | None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients in the shapes of q [B, L * rep, D], k and v [B, P + L, D]."""
    repeat = q.shape[1] // group.length
    dq = torch.empty_like(q)
    several = group.length > BLOCK
    dk = torch.zeros_like(k, dtype=torch.promote_types(k.dtype, torch.float32) if several else k.dtype)
    dv = torch.zeros_like(dk)
    for part in _blocks(group, window):
        rows = slice((part.start - group.past) * repeat, (part.stop - group.past) * repeat)
        seen = slice(part.first, part.stop)
        p = _probabilities(layout, part, q[:, rows], k[:, seen], scale, repeat)
        dv[:, seen] += torch.bmm(p.transpose(1, 2), grad[:, rows])
        dp = torch.bmm(grad[:, rows], v[:, seen].transpose(1, 2))
        ds = torch._softmax_backward_data(dp, p, -1, p.dtype).mul_(scale)
        dq[:, rows] = torch.bmm(ds, k[:, seen])
        dk[:, seen] += torch.bmm(ds.transpose(1, 2), q[:, rows])
    return dq, dk, dv


def _group(forest: Forest, members: list[int]) -> _Group:
    spans = [forest.spans[m] for m in members]
    above = [forest.spans[a] for a in forest.ancestors(members[0])]
    prefix = tuple(slice(span.start, span.stop) for span in above)
    length = max(span.length for span in spans)
    past = spans[0].position
    if len(spans) == 1:
        return _Group(1, length, slice(spans[0].start, spans[0].stop), None, prefix, past)
    offsets = torch.arange(length)
    lengths = torch.tensor([span.length for span in spans])[:, None]
    starts = torch.tensor([span.start for span in spans])[:, None]
    rows = (starts + torch.minimum(offsets, lengths - 1)).view(-1)
    true = (offsets < lengths).view(-1)
    return _Group(len(spans), length, rows, None if bool(true.all()) else true, prefix, past)


def _families(forest: Forest, slack: float = 1.25) -> list[list[int]]:
    """Segments by parent and by length; those longer than SHORT alone.

    The longest of a family is at most `slack` times the shortest (or 8 more).
    """
    children: dict[int, list[int]] = {}
    for index, span in enumerate(forest.spans):
        children.setdefault(span.parent, []).append(index)
    families: list[list[int]] = []
    for members in children.values():
        members.sort(key=lambda i: forest.spans[i].length)
        shortest = -1
        for member in members:
            length = forest.spans[member].length
            if shortest < 0 or length > SHORT or length > max(slack * shortest, shortest + 8):
                families.append([])
                shortest = length
            families[-1].append(member)
    return families
