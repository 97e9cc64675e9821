"""What many sequences begin with, forwarded once and kept: few-shot examples, a system turn, a long document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from bactrian.model.language_model import Decoder
from bactrian.model.packed_attention import PackedAttention, _families, _group
from bactrian.model.packing import Forest, Segment


@dataclass(frozen=True)
class Trunk:
    """First tokens of sequences, and their keys and values: cache [layers, 2, Hkv, P, D], positions from 0."""

    ids: tuple[int, ...]
    cache: torch.Tensor

    @classmethod
    def grow(cls, model: Decoder, ids: Sequence[int]) -> Trunk:
        """Forward these tokens. Only where the model is on a CPU: elsewhere nothing can go on from the cache."""
        sink: list[tuple[torch.Tensor, torch.Tensor]] = []
        model.forward(Forest.of([Segment(tuple(ids))]), sink)
        return cls(tuple(ids), stacked(sink))


def stacked(sink: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
    """Each layer's (k, v), [T, Hkv, D] each → [layers, 2, Hkv, T, D]."""
    return torch.stack([torch.stack([k.transpose(0, 1), v.transpose(0, 1)]) for k, v in sink])


@dataclass
class TrunkAttention(PackedAttention):
    """Packed attention of a forest whose first segments are trunks: they are attended to, and not forwarded again.

    Queries, keys and values are those of the tokens after the trunks. For inference: it has no gradient.
    """

    trunks: Sequence[Trunk] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        kept = [[m for m in members if m >= len(self.trunks)] for members in _families(self.forest)]
        self.groups = [_group(self.forest, members) for members in kept if members]

    def attend(
        self, layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float, window: int | None
    ) -> torch.Tensor:
        if self.sink is not None:
            self.sink.append((k[0].transpose(0, 1), v[0].transpose(0, 1)))
        held = torch.cat([trunk.cache[layer] for trunk in self.trunks], dim=2)  # [2, Hkv, P, D]
        past = held.shape[2]
        q = torch.cat([q.new_zeros(1, q.shape[1], past, q.shape[3]), q], dim=2)
        k, v = (torch.cat([held[half, None], new], dim=2) for half, new in enumerate((k, v)))
        sink, self.sink = self.sink, None
        try:
            return super().attend(layer, q, k, v, scale, window)[:, past:]
        finally:
            self.sink = sink


@torch.inference_mode()
def states_after(
    model: Decoder, forest: Forest, trunks: Sequence[Trunk], sink: list[tuple[torch.Tensor, torch.Tensor]] | None = None
) -> torch.Tensor:
    """Last hidden states [T − P, d] of a forest whose first segments are these trunks, P tokens in all.

    `sink` receives the keys and values of the tokens after the trunks.
    """
    if not trunks:
        return model.forward(forest, sink)
    past = sum(len(trunk.ids) for trunk in trunks)
    layout = TrunkAttention(forest, sink, trunks=trunks)
    return model.hidden(forest.ids[None, past:], forest.positions[None, past:], layout)[0]
