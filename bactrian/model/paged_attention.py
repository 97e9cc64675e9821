"""Attention of new tokens over keys and values that lie in pages, wherever those are.

Each token has a row of a table: the pages of all that comes before it, in order. A page may be in the tables of many
rows, as the pages of a prompt are in those of its samples; it then has the same place in each.

- `flex`: FlexAttention, compiled, whose blocks of keys are the pages. It reads each row's pages where they lie.
- `gathered`: the pages of rows are copied side by side, as many as the longest of a group has. It works everywhere.

torch has a `PagedAttention` of its own (torch.nn.attention.experimental). It is not used: a page there belongs to one
row, so a prompt's samples would each have a copy, and reserving a page asks the GPU how long each row is.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cache
from inspect import signature
from typing import Any, Literal

import torch
from torch.nn.functional import scaled_dot_product_attention

from bactrian.progress import say

PAGE = 64  # tokens; FlexAttention's kernel for few queries reads so many keys at once
SHAPES = 64  # for which a step is compiled at most
QUERIES = 128  # in a block of FlexAttention's; a row has fewer
Kind = Literal["flex", "gathered"]


class PagedAttention:
    """The layout of a decoding step: N new tokens, whose keys and values are written before anything is read.

    Several new tokens of one sequence are so many rows with the same table. Grouped queries are folded into the query
    axis, so that keys are never repeated.
    """

    def __init__(
        self,
        keys: list[torch.Tensor],
        values: list[torch.Tensor],
        slots: torch.Tensor,
        seen: torch.Tensor,
        table: torch.Tensor,
        kind: Kind,
        groups: Sequence[tuple[torch.Tensor, int]] = (),
    ):
        """
        Args:
            keys, values: of each layer, [Hkv, pages x PAGE, D].
            slots: long [N], where each new token is written: its page's number x PAGE + its place within the page.
            seen: long [N], tokens that each attends to, itself counted.
            table: long [N, W], numbers of the pages; after the last 0, which is nobody's page.
            groups: rows, long, that are gathered together, and how many pages each of them has at most; none: all.
        """
        self.keys, self.values, self.slots, self.seen, self.table = keys, values, slots, seen, table
        self.kind, self.groups = kind, groups
        self.masks: dict[Any, Any] = {}  # by window, and by what else they depend on

    def attend(
        self, layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float, window: int | None
    ) -> torch.Tensor:
        keys, values = self.keys[layer], self.values[layer]
        keys.index_copy_(1, self.slots, k[:, :, 0].transpose(0, 1))
        values.index_copy_(1, self.slots, v[:, :, 0].transpose(0, 1))
        rows, heads, _, dim = q.shape
        folded = q.view(rows, keys.shape[0], heads // keys.shape[0], dim)
        attend = self._flex if self.kind == "flex" else self._gathered
        return attend(folded, keys, values, scale, window).reshape(rows, 1, heads, values.shape[-1])

    def _gathered(
        self, q: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float, window: int | None
    ) -> torch.Tensor:
        """q [N, Hkv, G, D] → [N, Hkv, G, D]."""
        if not self.groups:
            return self._side_by_side(q, keys, values, scale, window, self.seen, self.table)
        out = q.new_empty(*q.shape[:3], values.shape[-1])
        for rows, width in self.groups:
            seen, table = self.seen[rows], self.table[rows, :width]
            out[rows] = self._side_by_side(q[rows], keys, values, scale, window, seen, table)
        return out

    def _side_by_side(
        self,
        q: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        scale: float,
        window: int | None,
        seen: torch.Tensor,
        table: torch.Tensor,
    ) -> torch.Tensor:
        rows, width = table.shape
        if (window, rows, width) not in self.masks:
            at = torch.arange(width * PAGE, device=q.device)
            mask = at < seen[:, None]
            if window is not None:
                mask = mask & (at >= seen[:, None] - window)
            self.masks[window, rows, width] = mask[:, None, None, :]

        def taken(pages: torch.Tensor) -> torch.Tensor:
            heads, _, dim = pages.shape
            side_by_side = pages.view(heads, -1, PAGE, dim).index_select(1, table.reshape(-1))
            return side_by_side.view(heads, rows, width * PAGE, dim).transpose(0, 1)

        mask = self.masks[window, rows, width]
        return scaled_dot_product_attention(q, taken(keys), taken(values), attn_mask=mask, scale=scale)

    def _flex(
        self, q: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float, window: int | None
    ) -> torch.Tensor:
        key = (window, q.shape[2])
        if key not in self.masks:
            self.masks[key] = self._block_mask(window, q.shape[2], keys.shape[1])
        # within a step that is compiled as a whole it is a part of that
        kernel = over_pages if torch.compiler.is_compiling() else compiled_over_pages(q.device.type)
        return kernel(q, keys[None], values[None], self.masks[key], scale)

    def _block_mask(self, window: int | None, queries: int, slots: int) -> Any:
        """The pages of each row as FlexAttention's blocks of keys; every block is masked within.

        None is called whole: with whole blocks the kernel deals out work by the size of the cache, without them by the
        pages that a row has.
        """
        from torch.nn.attention.flex_attention import BlockMask

        seen, table = self.seen, self.table
        rows, width = table.shape
        place = torch.arange(width, device=table.device)
        first = torch.zeros_like(seen) if window is None else (seen - window).clamp(min=0) // PAGE
        count = (seen - 1) // PAGE + 1 - first
        blocks = table.gather(1, (first[:, None] + place).clamp(max=width - 1))
        # the place of each page in each row's table: -1 where it is not there, and of nobody's page beyond what is seen
        where = torch.full((rows, slots // PAGE), -1, dtype=torch.int32, device=table.device)
        where = where.scatter(1, table, place.to(torch.int32).expand(rows, width))

        def visible(row: torch.Tensor, head: torch.Tensor, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
            at = where[row, key // PAGE] * PAGE + key % PAGE
            below = (at >= 0) & (at < seen[row])
            return below if window is None else below & (at >= seen[row] - window)

        return BlockMask.from_kv_blocks(
            count.to(torch.int32)[:, None, None],
            blocks.to(torch.int32)[:, None, None],
            BLOCK_SIZE=(QUERIES, PAGE),
            mask_mod=visible,
            seq_lengths=(queries, slots),
            compute_q_blocks=False,
        )


def over_pages(q: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: Any, scale: float) -> torch.Tensor:
    """FlexAttention of q [N, Hkv, G, D] over keys and values [1, Hkv, pages x PAGE, D]."""
    from torch.nn.attention.flex_attention import flex_attention

    out: torch.Tensor = flex_attention(q, keys, values, block_mask=mask, scale=scale)
    return out


@cache
def compiled_over_pages(device: str) -> Callable[..., torch.Tensor]:
    """Compiled for each number of rows where there is a GPU: its kernel for few queries wants to know.

    Uncompiled, for tests, it forms all scores. A GPU must not do that unasked, so what is not compiled is an error.
    """
    if device != "cuda":
        return over_pages
    limit: dict[str, Any] = (
        {"recompile_limit": SHAPES} if "recompile_limit" in signature(torch.compile).parameters else {}
    )
    compiled: Callable[..., torch.Tensor] = torch.compile(over_pages, dynamic=False, fullgraph=True, **limit)
    return compiled


def kind_for(device: torch.device, dtype: torch.dtype, heads: tuple[int, int, int]) -> Kind:
    """How to attend over pages on this device. `BACTRIAN_ATTENTION=dense` has them gathered.

    heads: of queries, of keys and values, and the dimensions of each.
    """
    asked = os.environ.get("BACTRIAN_ATTENTION")
    return "flex" if asked in (None, "flex") and trusted(device, dtype, heads) else "gathered"


@cache
def trusted(device: torch.device, dtype: torch.dtype, heads: tuple[int, int, int]) -> bool:
    """Whether FlexAttention over pages gives what gathering them gives: tried once, on rows that share pages."""
    if device.type != "cuda":
        return False
    try:
        apart = max(gap(device, dtype, heads, window) for window in (None, PAGE + 7))
    except (RuntimeError, ImportError, TypeError, ValueError, AttributeError, IndexError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        say(f"sampling gathers its pages on this {device.type}: FlexAttention cannot read them: {reason[0][:200]}")
        return False
    allowed = 0.02 if dtype.itemsize == 2 else 1e-3
    if not apart <= allowed:
        say(f"sampling gathers its pages on this {device.type}: FlexAttention differs by {apart:.2g} on a probe")
    return apart <= allowed


@torch.no_grad()
def gap(device: torch.device, dtype: torch.dtype, heads: tuple[int, int, int], window: int | None) -> float:
    """How far the two are apart on a probe, relative to the norm: three rows, two of which share their first page."""
    queries, shared, dim = heads
    made = torch.Generator().manual_seed(0)
    table = torch.tensor([[3, 1, 5], [3, 4, 0], [2, 0, 0]])
    seen = torch.tensor([2 * PAGE + 9, PAGE + 1, 20])
    slots = table.gather(1, (seen[:, None] - 1) // PAGE)[:, 0] * PAGE + (seen - 1) % PAGE
    slots, seen, table = (each.to(device) for each in (slots, seen, table))
    pool = [torch.randn(shared, 6 * PAGE, dim, generator=made).to(device, dtype) for _ in range(2)]
    q, k, v = (torch.randn(3, n, 1, dim, generator=made).to(device, dtype) for n in (queries, shared, shared))
    found = []
    kinds: tuple[Kind, ...] = ("flex", "gathered")
    for kind in kinds:
        layout = PagedAttention([pool[0].clone()], [pool[1].clone()], slots, seen, table, kind)
        found.append(layout.attend(0, q, k, v, dim**-0.5, window).float())
    return float((found[0] - found[1]).norm() / found[1].norm())
