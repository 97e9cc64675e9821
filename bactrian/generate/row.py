"""A completion in the making, and what a running batch of them must be able to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

import numpy as np
import torch

from bactrian.generate.engine import Continuation, Request
from bactrian.generate.sampling import uniform_stream
from bactrian.model.language_model import LanguageModel
from bactrian.model.packing import Forest, Segment, common_prefix
from bactrian.model.trunks import Trunk, states_after

PREFILL_TOKENS = 8192  # of one forward over prompts; what it needs beyond the cache is memory for this many tokens


@dataclass(eq=False)
class Row:
    """A completion that is being sampled.

    pending: its tokens that are not in the cache yet: the last one drawn, and any that were appended to it.
    limit: the length at which it is cut off. banned: what the next token may not be.
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
    banned: tuple[int, ...] = field(init=False)
    finish: Literal["stop", "length"] | None = None
    slot: int = 0

    def __post_init__(self) -> None:
        self.banned = self.asked.banned
        self._allow(self.asked.max_new_tokens)

    def _allow(self, limit: int) -> None:
        self.limit = limit
        self.uniforms = uniform_stream(self.asked.seed, self.sample, limit)

    def take(self, token: int, logprob: float) -> None:
        """Append a token that was drawn."""
        self.ids.append(token)
        self.logprobs.append(logprob)
        self.pending = [token]
        self.banned = ()

    def go_on(self, more: Continuation) -> int:
        """Take back and append tokens, and allow for more that are drawn: how many tokens the cache is to forget.

        Raises:
            ValueError: nothing would be left that the next token could follow.
        """
        cached, kept = len(self.ids) - len(self.pending), len(self.ids) - more.drop
        if kept < 0 or not (kept or more.ids):
            raise ValueError(f"dropping {more.drop} of {len(self.ids)} tokens leaves nothing to go on from")
        self.ids[kept:] = more.ids
        self.logprobs[kept:] = [0.0] * len(more.ids)
        self.forced = [(start, min(stop, kept)) for start, stop in self.forced if start < kept]
        if more.ids:
            self.forced.append((kept, len(self.ids)))
        known = min(cached, kept if more.ids else kept - 1)
        self.pending = self.ids[known:]
        self.banned = more.banned
        self.asked = replace(
            self.asked,
            stop=self.asked.stop if more.stop is None else more.stop,
            stop_ids=self.asked.stop_ids if more.stop_ids is None else more.stop_ids,
            temperature=self.asked.temperature if more.temperature is None else more.temperature,
        )
        self._allow(len(self.ids) + more.max_new_tokens)
        self.finish = None
        return cached - known


class Batch(Protocol):
    """Rows that run side by side, and their caches."""

    rows: list[Row]
    most: int  # rows at once at most
    forwarded: int  # tokens that went through the model

    def room(self, asked: Sequence[Request]) -> bool:
        """Whether the caches of these prompts would fit; the first prompt always does where no row runs."""
        ...

    def prefill(self, requests: list[tuple[int, Request]]) -> None:
        """Forward the prompts, packed, once each; every sample of a prompt gets a row that shares its cache."""
        ...

    def logits(self) -> tuple[list[Row], torch.Tensor]:
        """Forward what is pending: the rows whose next token may now be drawn, and their logits, [B, V]."""
        ...

    def forget(self, row: Row, tokens: int) -> None:
        """Take the last `tokens` of what a row said out of its cache."""
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
    def of(
        cls, model: LanguageModel, prompts: Sequence[tuple[int, ...]], trunks: Sequence[Trunk | None] = ()
    ) -> Prefill:
        """Forward prompts, each once, what all begin with once for all; what a trunk holds of a prompt, not at all."""
        if any(trunks):
            return cls._after(model, prompts, trunks)
        shared = common_prefix(prompts)
        trunk = [Segment(prompts[0][:shared])] if shared else []
        forest = Forest.of(trunk + [Segment(p[shared:], 0 if shared else -1) for p in prompts])
        sink: list[tuple[torch.Tensor, torch.Tensor]] = []
        states = model.forward(forest, sink)
        return cls(shared, [(s.start, s.stop) for s in forest.spans[len(trunk) :]], sink, states)

    @classmethod
    def _after(
        cls, model: LanguageModel, prompts: Sequence[tuple[int, ...]], trunks: Sequence[Trunk | None]
    ) -> Prefill:
        known = list({trunk.ids: trunk for trunk in trunks if trunk is not None}.values())
        number = {trunk.ids: place for place, trunk in enumerate(known)}
        segments = [Segment(trunk.ids) for trunk in known]
        for prompt, trunk in zip(prompts, trunks, strict=True):
            past = () if trunk is None else trunk.ids
            segments.append(Segment(prompt[len(past) :], number.get(past, -1)))
        forest = Forest.of(segments)
        sink: list[tuple[torch.Tensor, torch.Tensor]] = []
        states = states_after(model, forest, known, sink)
        first = forest.spans[len(known)].start
        return cls(0, [(s.start - first, s.stop - first) for s in forest.spans[len(known) :]], sink, states)
