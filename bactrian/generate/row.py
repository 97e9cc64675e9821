"""A completion in the making, and what a running batch of them must be able to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
import torch

from bactrian.generate.engine import Continuation, Request
from bactrian.generate.sampling import uniform_stream
from bactrian.model.language_model import LanguageModel
from bactrian.model.packing import Forest, Segment, common_prefix


@dataclass(eq=False)
class Row:
    """A completion that is being sampled.

    pending: its tokens that are not in the cache yet: the last one drawn, and any that were appended to it.
    limit: the length at which it is cut off.
    """

    request: int
    sample: int
    asked: Request
    uniforms: np.ndarray = field(init=False)
    limit: int = field(init=False)
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    forced: list[tuple[int, int]] = field(default_factory=list)
    pending: list[int] = field(default_factory=list)
    finish: Literal["stop", "length"] | None = None
    slot: int = 0

    def __post_init__(self) -> None:
        self._allow(self.asked.max_new_tokens)

    def _allow(self, limit: int) -> None:
        self.limit = limit
        self.uniforms = uniform_stream(self.asked.seed, self.sample, limit)

    def take(self, token: int, logprob: float) -> None:
        """Append a token that was drawn."""
        self.ids.append(token)
        self.logprobs.append(logprob)
        self.pending = [token]

    def go_on(self, more: Continuation) -> None:
        """Append tokens that were not drawn, and allow for more that are."""
        start = len(self.ids)
        self.ids.extend(more.ids)
        self.logprobs.extend([0.0] * len(more.ids))
        if more.ids:
            self.forced.append((start, len(self.ids)))
        self.pending = [*self.pending, *more.ids]
        self._allow(len(self.ids) + more.max_new_tokens)
        self.finish = None


class Batch(Protocol):
    """Rows that run side by side, and their caches."""

    rows: list[Row]
    most: int  # rows at once at most
    forwarded: int  # tokens that went through the model

    def prefill(self, requests: list[tuple[int, Request]]) -> None:
        """Forward the prompts, packed, once each; every sample of a prompt gets a row that shares its cache."""
        ...

    def logits(self) -> tuple[list[Row], torch.Tensor]:
        """Forward what is pending: the rows whose next token may now be drawn, and their logits, [B, V]."""
        ...

    def retire(self) -> None:
        """Let finished rows go."""
        ...


@dataclass
class Prefill:
    """Prompts that were forwarded together.

    shared: tokens that all begin with; they lie first. spans: [start, stop) of the rest of each prompt.
    cache: each layer's (k, v), [T, Hkv, D] each.
    states: last hidden states [T, d].
    """

    shared: int
    spans: list[tuple[int, int]]
    cache: list[tuple[torch.Tensor, torch.Tensor]]
    states: torch.Tensor

    @classmethod
    def of(cls, model: LanguageModel, prompts: Sequence[tuple[int, ...]]) -> Prefill:
        """Forward prompts, each once, what all begin with once for all."""
        shared = common_prefix(prompts)
        trunk = [Segment(prompts[0][:shared])] if shared else []
        forest = Forest.of(trunk + [Segment(p[shared:], 0 if shared else -1) for p in prompts])
        sink: list[tuple[torch.Tensor, torch.Tensor]] = []
        states = model.forward(forest, sink)
        return cls(shared, [(s.start, s.stop) for s in forest.spans[len(trunk) :]], sink, states)
