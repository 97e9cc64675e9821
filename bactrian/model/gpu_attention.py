"""Attention over a forest elsewhere than on a CPU: three kernels of torch's, each where it is best.

- `varlen`: FlashAttention over sequences of different lengths, where no segment has a parent and numbers have 16 bits.
- `flex`: FlexAttention with a mask made from the tree. It skips blocks of 128 x 128 in which nothing may be seen, so
  the cost is that of the paths, as on a CPU (see `packed_attention`).
- `dense`: the whole square with a mask. It works on every device, and takes T² bytes.

Before a kernel is used it has to give what `dense` gives on a small forest, forward and backward; one that does not, or
raises, is left alone from then on, and a line says so. `BACTRIAN_ATTENTION=flex` (or varlen, dense) decides by hand.
"""

from __future__ import annotations

import os
from functools import cache, cached_property
from inspect import signature
from typing import Any, Literal

import torch
from torch.nn.functional import scaled_dot_product_attention

from bactrian.model.packing import Forest, Segment
from bactrian.progress import say

BLOCK = 128  # FlexAttention's
Kind = Literal["varlen", "flex", "dense"]
Sink = list[tuple[torch.Tensor, torch.Tensor]] | None


class DenseAttention:
    """The layout of a forest on any device; see `PackedAttention`. The other two share all but the kernel."""

    def __init__(self, forest: Forest, sink: Sink, device: torch.device) -> None:
        self.forest, self.sink, self.device, self.tokens = forest, sink, device, forest.tokens
        self.masks: dict[int | None, Any] = {}

    @cached_property
    def numbers(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Of each token, long [T] on the device: its segment's place in a walk from the roots down, the place after the
        last segment below that, and its position. A token is seen by those after it whose place lies between the two.
        """
        place, after = walk(self.forest)
        lengths = torch.tensor([span.length for span in self.forest.spans])
        both = (torch.repeat_interleave(torch.tensor(each), lengths).to(self.device) for each in (place, after))
        return (*both, self.forest.positions.to(self.device))  # type: ignore[return-value]

    def attend(
        self, layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float, window: int | None
    ) -> torch.Tensor:
        if self.sink is not None:
            self.sink.append((k[0].transpose(0, 1), v[0].transpose(0, 1)))
        return self.kernel(q, k, v, scale, window)

    def kernel(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float, window: int | None
    ) -> torch.Tensor:
        """q [1, Hq, T, D], k and v [1, Hkv, T, D] → [1, T, Hq, D]."""
        if window not in self.masks:
            rows = torch.arange(self.tokens, device=self.device)
            self.masks[window] = self.seen(window)(rows[:, None], rows[None, :])[None, None]
        groups = q.shape[1] // k.shape[1]
        if groups > 1:  # the kernels that take a mask do not all share keys between heads
            k, v = (x.repeat_interleave(groups, 1) for x in (k, v))
        out = scaled_dot_product_attention(q, k, v, attn_mask=self.masks[window], scale=scale)
        return out.transpose(1, 2)

    def seen(self, window: int | None) -> Any:
        """Whether a query sees a key, of indices of tokens that go together."""
        place, after, positions = self.numbers

        def seen(query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
            below = (place[key] <= place[query]) & (place[query] < after[key]) & (key <= query)
            return below if window is None else below & (positions[query] - positions[key] < window)

        return seen


class FlexAttention(DenseAttention):
    """By FlexAttention. On a CPU it runs too, slowly and without a gradient: there it is only tested."""

    def kernel(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float, window: int | None
    ) -> torch.Tensor:
        if window not in self.masks:
            self.masks[window] = self._mask(window)
        out: torch.Tensor = _flex(self.device.type)(
            q, k, v, block_mask=self.masks[window], scale=scale, enable_gqa=q.shape[1] != k.shape[1]
        )
        return out.transpose(1, 2)

    def _mask(self, window: int | None) -> Any:
        """Made from the segments: the square of all tokens is never formed."""
        from torch.nn.attention.flex_attention import BlockMask

        seen = self.seen(window)
        some, full = (listed(each.to(self.device)) for each in blocks(self.forest, window))
        return BlockMask.from_kv_blocks(
            *some,
            *full,
            BLOCK_SIZE=BLOCK,
            mask_mod=lambda _, __, query, key: seen(query, key),
            seq_lengths=(self.tokens, self.tokens),
        )


class VarlenAttention(DenseAttention):
    """By FlashAttention, where each segment is a sequence of its own."""

    @cached_property
    def starts(self) -> torch.Tensor:
        ends = [0, *(span.stop for span in self.forest.spans)]
        return torch.tensor(ends, dtype=torch.int32, device=self.device)

    def kernel(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float, window: int | None
    ) -> torch.Tensor:
        from torch.nn.attention.varlen import varlen_attn

        takes = signature(varlen_attn).parameters  # they changed from one version of torch to the next
        if window is not None and "window_size" not in takes:
            return super().kernel(q, k, v, scale, window)
        how: dict[str, Any] = {"scale": scale} if "scale" in takes else {}
        if "window_size" in takes:
            how["window_size"] = (-1 if window is None else window - 1, 0)
        else:
            how["is_causal"] = True
        if not how.get("scale"):
            q = q * (scale * q.shape[-1] ** 0.5)
        q, k, v = (x[0].transpose(0, 1).contiguous() for x in (q, k, v))
        if q.shape[1] != k.shape[1]:
            k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
        longest = max(span.length for span in self.forest.spans)
        out: Any = varlen_attn(q, k, v, self.starts, self.starts, longest, longest, **how)
        found: torch.Tensor = out[None]
        return found


LAYOUTS: dict[Kind, type[DenseAttention]] = {"varlen": VarlenAttention, "flex": FlexAttention, "dense": DenseAttention}


def gpu_layout(forest: Forest, sink: Sink, device: torch.device, dtype: torch.dtype, head_dim: int) -> DenseAttention:
    """The layout for this forest on this device: the first kernel that can and may."""
    asked = os.environ.get("BACTRIAN_ATTENTION")
    flat = all(span.parent < 0 for span in forest.spans)
    for kind, layout in LAYOUTS.items():
        if kind == "varlen" and not (flat and dtype.itemsize == 2):
            continue
        if kind == asked or kind == "dense" or (asked is None and trusted(kind, device, dtype, head_dim)):
            return layout(forest, sink, device)
    raise AssertionError("dense comes last")


@cache
def trusted(kind: Kind, device: torch.device, dtype: torch.dtype, head_dim: int) -> bool:
    """Whether a kernel does what `DenseAttention` does: tried once a process, on 300 tokens, forward and backward."""
    if device.type != "cuda":
        return False
    parents = (-1, -1, -1) if kind == "varlen" else (-1, 0, 0)
    forest = Forest.of([Segment(tuple(range(n)), above) for n, above in zip((150, 70, 80), parents, strict=True)])
    made = torch.Generator().manual_seed(0)
    shapes = [(1, heads, forest.tokens, head_dim) for heads in (6, 2, 2)]  # three queries share a key
    q, k, v = given = [torch.randn(shape, generator=made).to(device, dtype).requires_grad_() for shape in shapes]
    found = []
    try:
        for each in (LAYOUTS[kind], DenseAttention):
            with torch.inference_mode(False), torch.enable_grad():
                out = each(forest, None, device).kernel(q, k, v, head_dim**-0.5, None)
                slopes = torch.autograd.grad(out.float().square().sum(), given)
            found.append([out.detach(), *slopes])
    except (RuntimeError, ImportError, TypeError, ValueError, AttributeError) as error:
        say(f"attention by {kind} is not used on this {device.type}: {str(error).strip().splitlines()[0][:200]}")
        return False
    apart = max(float((a - b).float().norm() / b.float().norm()) for a, b in zip(*found, strict=True))
    allowed = 0.02 if dtype.itemsize == 2 else 1e-3
    if not apart <= allowed:
        say(f"attention by {kind} is not used on this {device.type}: found {apart:.2g} of difference on a probe")
    return apart <= allowed


def walk(forest: Forest) -> tuple[list[int], list[int]]:
    """Each segment's place in a walk from the roots down, and the place after the last of those below it."""
    count = len(forest.spans)
    below = [1] * count  # segments of each tree, itself counted
    for index in range(count - 1, -1, -1):
        if (parent := forest.spans[index].parent) >= 0:
            below[parent] += below[index]
    place, free, roots = [0] * count, [0] * count, 0
    for index, span in enumerate(forest.spans):  # parents come before their children
        if span.parent < 0:
            place[index], roots = roots, roots + below[index]
        else:
            place[index] = free[span.parent]
            free[span.parent] += below[index]
        free[index] = place[index] + 1
    return place, [first + size for first, size in zip(place, below, strict=True)]


def blocks(forest: Forest, window: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Which blocks of BLOCK queries see some, and which see all, of which blocks of BLOCK keys: bool [B, B] each.

    A block is called whole only where it lies in one segment's ancestor, or below its own diagonal, and nothing is too
    far back.
    """
    count = -(-forest.tokens // BLOCK)
    some = torch.zeros(count, count, dtype=torch.bool)
    full = torch.zeros(count, count, dtype=torch.bool)
    for index, span in enumerate(forest.spans):
        rows = _touched(span.start, span.stop)
        for above in (*forest.ancestors(index), index):
            other = forest.spans[above]
            some[rows, _touched(other.start, other.stop)] = True
            if window is None:
                full[_inside(span.start, span.stop), _inside(other.start, other.stop)] = True
    later = torch.triu(torch.ones(count, count, dtype=torch.bool), 1)
    some &= ~later
    full &= ~later & ~torch.eye(count, dtype=torch.bool)
    return some & ~full, full


def listed(held: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A table bool [B, B] as FlexAttention has it: how many of each row, and their columns first, int32."""
    counts = held.sum(-1, dtype=torch.int32)
    columns = torch.argsort(held.to(torch.int8), dim=-1, descending=True, stable=True).to(torch.int32)
    return counts[None, None], columns[None, None].contiguous()


def _touched(start: int, stop: int) -> slice:
    return slice(start // BLOCK, -(-stop // BLOCK))


def _inside(start: int, stop: int) -> slice:
    first = -(-start // BLOCK)
    return slice(first, max(first, stop // BLOCK))


@cache
def _flex(device: str) -> Any:
    """FlexAttention, compiled once for all lengths where there is a GPU: uncompiled it forms the whole square."""
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=True) if device == "cuda" else flex_attention
