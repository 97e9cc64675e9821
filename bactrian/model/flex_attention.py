"""Attention over a forest on a GPU: torch's FlexAttention with a mask made from the tree.

The kernel skips blocks of 128 x 128 in which nothing may be seen, so the cost is that of the paths, as on a CPU (see
`packed_attention`), and grouped queries share their keys. On a CPU it runs too, slowly and without a gradient: there
it is only tested.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

from bactrian.model.packing import Forest


class FlexAttention:
    """The layout of a forest where there is a GPU; see `PackedAttention`."""

    def __init__(
        self, forest: Forest, sink: list[tuple[torch.Tensor, torch.Tensor]] | None, device: torch.device
    ) -> None:
        self.sink, self.device, self.tokens = sink, device, forest.tokens
        count = len(forest.spans)
        lengths = torch.tensor([span.length for span in forest.spans])
        self.owner = torch.repeat_interleave(torch.arange(count), lengths).to(device)  # [T], each token's segment
        self.positions = forest.positions.to(device)
        self.above = torch.zeros(count, count, dtype=torch.bool)  # [S, S]: is the second an ancestor of the first?
        for index in range(count):
            self.above[index, forest.ancestors(index)] = True
        self.above = self.above.to(device)
        self.masks: dict[int | None, Any] = {}

    def attend(
        self, layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float, window: int | None
    ) -> torch.Tensor:
        if self.sink is not None:
            self.sink.append((k[0].transpose(0, 1), v[0].transpose(0, 1)))
        out: torch.Tensor = _kernel(self.device.type)(
            q, k, v, block_mask=self._mask(window), scale=scale, enable_gqa=q.shape[1] != k.shape[1]
        )
        return out.transpose(1, 2)

    def _mask(self, window: int | None) -> Any:
        from torch.nn.attention.flex_attention import create_block_mask

        if window not in self.masks:
            seen = self._seen(window)
            size = self.tokens
            self.masks[window] = create_block_mask(seen, None, None, size, size, device=self.device.type)
        return self.masks[window]

    def _seen(self, window: int | None) -> Any:
        owner, positions, above = self.owner, self.positions, self.above

        def seen(_: Any, __: Any, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
            own = (owner[query] == owner[key]) & (query >= key)
            visible = own | above[owner[query], owner[key]]
            return visible if window is None else visible & (positions[query] - positions[key] < window)

        return seen


@cache
def _kernel(device: str) -> Any:
    """FlexAttention, compiled once for all lengths where there is a GPU: uncompiled it forms the whole square."""
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=True) if device == "cuda" else flex_attention
