"""The default engine: a transformers model in this process, rows entering and leaving a running batch.

A prompt is forwarded once, packed with others and without padding, for all of its n samples. Every row has its own
length and its own random stream; a row that ends leaves at once and the next request takes its place.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from bactrian.chat import ChatTemplate
from bactrian.errors import BactrianError
from bactrian.generate.engine import Completion, Request
from bactrian.generate.sampling import choose, uniform_stream
from bactrian.model.attention import CachedAttention
from bactrian.model.language_model import LanguageModel
from bactrian.model.packing import Forest, Segment, common_prefix


@dataclass
class _Row:
    """A completion that is being sampled."""

    request: int
    sample: int
    asked: Request
    uniforms: np.ndarray
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish: Literal["stop", "length"] | None = None


class LocalEngine:
    """Samples from a `LanguageModel` that lives in this process; the weights are used where they are, not copied."""

    def __init__(self, model: LanguageModel, *, rows: int = 64, cache_tokens: int = 64 * 1024):
        """
        Args:
            model: the weights; a trainer may change them between calls (and then sets `version`).
            rows: sequences in the running batch at most.
            cache_tokens: budget of the key-value cache: rows x their longest possible length stays within it.
        """
        self.model = model
        self.rows = rows
        self.cache_tokens = cache_tokens
        self.version = 0
        self.ends = frozenset(model.template.end_ids)
        config = model.network.config
        self.longest = int(getattr(config, "max_position_embeddings", 0) or 2**30)

    @classmethod
    def load(
        cls, folder: Path, dtype: str = "float32", template: str | None = None, *, device: str = "cpu", rows: int = 64
    ) -> LocalEngine:
        """Load a model folder (see `LanguageModel.load`) and sample from it."""
        return cls(LanguageModel.load(folder, dtype, template, device), rows=rows)

    @property
    def template(self) -> ChatTemplate:
        return self.model.template

    @torch.inference_mode()
    def generate(
        self, requests: Sequence[Request], on_tokens: Callable[[int], None] | None = None
    ) -> list[list[Completion]]:
        """The completions of each request, in order.

        Raises:
            BactrianError: a prompt and its completion do not fit the model's context.
        """
        answers: list[list[Completion | None]] = [[None] * r.n for r in requests]
        for batch in self._step(requests):
            for row in batch:
                if row.finish is not None:
                    answers[row.request][row.sample] = self._completion(row)
            if on_tokens:
                on_tokens(len(batch))
        assert all(c is not None for group in answers for c in group)
        return [[c for c in group if c is not None] for group in answers]

    def stream(self, request: Request) -> Iterator[str]:
        """The text of one completion as it is sampled; whole characters only."""
        shown = ""
        steps = self._step([Request(**{**request.__dict__, "n": 1})])
        while True:
            with torch.inference_mode():  # not held across a yield: the caller's mode is its own
                batch = next(steps, None)
            if batch is None:
                return
            text = self._text(batch[0].ids)
            stable = text if batch[0].finish else text.rstrip("\ufffd")
            if len(stable) > len(shown) and stable.startswith(shown):
                yield stable[len(shown) :]
                shown = stable

    def _completion(self, row: _Row) -> Completion:
        assert row.finish is not None
        return Completion(tuple(row.ids), self._text(row.ids), tuple(row.logprobs), row.finish, self.version)

    def _text(self, ids: Sequence[int]) -> str:
        if ids and ids[-1] in self.ends:
            ids = ids[:-1]
        text: str = self.model.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    def _step(self, requests: Sequence[Request]) -> Iterator[list[_Row]]:
        """Sample one token for every running row; yields the rows that were just given one."""
        for i, asked in enumerate(requests):
            need = len(asked.prompt) + asked.max_new_tokens
            if need > self.longest:
                raise BactrianError(
                    f"request {i}: a prompt of {len(asked.prompt)} tokens and {asked.max_new_tokens} new ones make "
                    f"{need}; the model's context is {self.longest}"
                )
        # longest first: rows that run together are of like length, and memory is at its peak at once
        order = sorted(range(len(requests)), key=lambda i: -len(requests[i].prompt) - requests[i].max_new_tokens)
        waiting = deque(order)
        batch = _Batch(self.model)
        while waiting or batch.rows:
            self._admit(batch, waiting, requests)
            logits = batch.logits()
            self._sample(batch.rows, logits)
            yield batch.rows
            batch.retire()

    def _admit(self, batch: _Batch, waiting: deque[int], requests: Sequence[Request]) -> None:
        """Prefill as many waiting prompts as there is room for, when there is room worth a prefill."""
        if not waiting or len(batch.rows) > self.rows * 3 // 4:
            return
        chosen: list[int] = []
        count = len(batch.rows)
        capacity = batch.capacity
        while waiting:
            asked = requests[waiting[0]]
            wider = max(capacity, len(asked.prompt) + asked.max_new_tokens)
            crowded = count + asked.n > self.rows or (count + asked.n) * wider > self.cache_tokens
            if crowded and count:
                break
            chosen.append(waiting.popleft())
            count, capacity = count + asked.n, wider
        if chosen:
            batch.prefill([(i, requests[i]) for i in chosen], capacity)

    def _sample(self, rows: list[_Row], logits: torch.Tensor) -> None:
        uniforms = torch.tensor([r.uniforms[len(r.ids)] for r in rows], dtype=torch.float64)
        temperature = torch.tensor([r.asked.temperature for r in rows], dtype=torch.float32)
        top_p = torch.tensor([r.asked.top_p for r in rows], dtype=torch.float32)
        top_k = torch.tensor([r.asked.top_k for r in rows])
        tokens, logprobs = choose(logits, uniforms, temperature, top_p, top_k)
        for row, token, logprob in zip(rows, tokens.tolist(), logprobs.tolist(), strict=True):
            row.ids.append(token)
            row.logprobs.append(logprob)
            if token in self.ends or (row.asked.stop and self._stopped(row)):
                row.finish = "stop"
            elif len(row.ids) >= row.asked.max_new_tokens:
                row.finish = "length"

    def _stopped(self, row: _Row) -> bool:
        # a stop text of c characters lies in the last c + 1 tokens, or in earlier ones that were looked at: each token
        # adds text
        reach = max(len(s) for s in row.asked.stop) + 8
        tail = self._text(row.ids[-reach:])
        return any(s in tail for s in row.asked.stop)


class _Batch:
    """The rows that are running, with their caches: per layer, keys and values [B, Hkv, capacity, D]."""

    def __init__(self, model: LanguageModel):
        self.model = model
        self.rows: list[_Row] = []
        self.keys: list[torch.Tensor] = []
        self.values: list[torch.Tensor] = []
        self.lengths = torch.zeros(0, dtype=torch.long, device=model.device)  # tokens in each row's cache
        self.capacity = 0
        self.fresh: torch.Tensor | None = None  # [b, d]: states of rows just admitted, whose first token is not sampled

    def prefill(self, requests: list[tuple[int, Request]], capacity: int) -> None:
        """Forward the prompts, packed, once each; every sample of a prompt gets a row with a copy of its cache."""
        prompts = [asked.prompt for _, asked in requests]
        shared = common_prefix(prompts)
        trunk = [Segment(prompts[0][:shared])] if shared else []
        forest = Forest.of(trunk + [Segment(p[shared:], 0 if shared else -1) for p in prompts])
        sink: list[tuple[torch.Tensor, torch.Tensor]] = []
        states = self.model.forward(forest, sink)
        old = len(self.rows)
        spans, last = [], []
        for (index, asked), span in zip(requests, forest.spans[len(trunk) :], strict=True):
            for sample in range(asked.n):
                stream = uniform_stream(asked.seed, sample, asked.max_new_tokens)
                self.rows.append(_Row(index, sample, asked, stream))
                spans.append(span)
                last.append(span.stop - 1)
        for layer, (k, v) in enumerate(sink):
            for caches, new in ((self.keys, k), (self.values, v)):
                grown = new.new_zeros(len(self.rows), new.shape[1], capacity, new.shape[2])
                if old:
                    grown[:old, :, : self.capacity] = caches[layer]
                if shared:
                    grown[old:, :, :shared] = new[:shared].transpose(0, 1)
                for row, span in enumerate(spans, start=old):
                    grown[row, :, shared : shared + span.length] = new[span.start : span.stop].transpose(0, 1)
                if layer < len(caches):
                    caches[layer] = grown
                else:
                    caches.append(grown)
        self.lengths = torch.cat([self.lengths, torch.tensor([shared + s.length for s in spans], device=states.device)])
        self.capacity = capacity
        self.fresh = states[torch.tensor(last, device=states.device)]

    def logits(self) -> torch.Tensor:
        """Logits of the next token of every row, float32 [B, V]. Rows just admitted were forwarded by the prefill."""
        running = len(self.rows) - (0 if self.fresh is None else len(self.fresh))
        states = []
        if running:
            # rows just admitted sit at the end: their caches are complete, so only the older rows are forwarded
            lengths = self.lengths[:running]
            layout = CachedAttention([k[:running] for k in self.keys], [v[:running] for v in self.values], lengths)
            ids = torch.tensor([[row.ids[-1]] for row in self.rows[:running]])
            states.append(self.model.hidden(ids, lengths[:, None], layout)[:, 0])
            self.lengths[:running] += 1
        if self.fresh is not None:
            states.append(self.fresh)
            self.fresh = None
        logits = (torch.cat(states) @ self.model.head.T).float().cpu()
        cap = self.model.softcap
        return logits if cap is None else cap * torch.tanh(logits / cap)

    def retire(self) -> None:
        """Let finished rows go."""
        stay = [i for i, row in enumerate(self.rows) if row.finish is None]
        if len(stay) == len(self.rows):
            return
        self.rows = [self.rows[i] for i in stay]
        keep = torch.tensor(stay, dtype=torch.long, device=self.lengths.device)
        self.lengths = self.lengths[keep]
        if not stay:
            self.keys, self.values, self.capacity = [], [], 0
            return
        self.keys = [k.index_select(0, keep) for k in self.keys]
        self.values = [v.index_select(0, keep) for v in self.values]
