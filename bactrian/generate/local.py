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
        self._cache = _Cache()
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
        capacity = max((len(r.prompt) + r.max_new_tokens for r in requests), default=0)
        # a prompt's samples run together, so that it is forwarded once
        most = max((r.n for r in requests), default=0)
        most = max(most, min(self.rows, self.cache_tokens // max(1, capacity), sum(r.n for r in requests)))
        batch = _Batch(self.model, self._cache, most, capacity)
        while waiting or batch.rows:
            self._admit(batch, waiting, requests)
            self._sample(batch.rows, batch.logits())
            yield list(batch.rows)
            batch.retire()

    def _admit(self, batch: _Batch, waiting: deque[int], requests: Sequence[Request]) -> None:
        """Prefill as many waiting prompts as there is room for, when there is room worth a prefill."""
        if not waiting or len(batch.rows) > batch.most * 3 // 4:
            return
        chosen: list[int] = []
        count = len(batch.rows)
        while waiting and count + requests[waiting[0]].n <= batch.most:
            chosen.append(waiting.popleft())
            count += requests[chosen[-1]].n
        if chosen:
            batch.prefill([(i, requests[i]) for i in chosen])

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


class _Cache:
    """Keys and values per layer, [rows, Hkv, capacity, D] each: allocated once, and again only to grow."""

    def __init__(self) -> None:
        self.keys: list[torch.Tensor] = []
        self.values: list[torch.Tensor] = []

    def reserve(self, rows: int, capacity: int, like: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
        """Make room for so many rows of so many tokens; forgets all if it grows.

        `like`: each layer's (k, v), [T, Hkv, D] each.
        """
        if self.keys and self.keys[0].shape[0] >= rows and self.keys[0].shape[2] >= capacity:
            return
        self.keys, self.values = [], []  # freed before the larger ones are asked for
        # zeros, not whatever memory holds: a masked slot that is not a number would still spoil its row's sums
        for k, v in like:
            self.keys.append(k.new_zeros(rows, k.shape[1], capacity, k.shape[2]))
            self.values.append(v.new_zeros(rows, v.shape[1], capacity, v.shape[2]))

    def move(self, source: int, target: int, length: int) -> None:
        """Copy one row's first `length` tokens over another row."""
        for layer in (*self.keys, *self.values):
            layer[target, :, :length] = layer[source, :, :length]


class _Batch:
    """The rows that are running: the first len(rows) rows of the cache, in any order."""

    def __init__(self, model: LanguageModel, cache: _Cache, rows: int, capacity: int):
        """
        Args:
            rows, capacity: most rows that will run at once, and tokens of the longest.
        """
        self.model, self.cache, self.most, self.capacity = model, cache, rows, capacity
        self.rows: list[_Row] = []
        self.lengths = torch.zeros(rows, dtype=torch.long, device=model.device)  # tokens in each row's cache
        self.fresh: torch.Tensor | None = None  # [b, d]: states of rows just admitted, whose first token is not sampled

    def prefill(self, requests: list[tuple[int, Request]]) -> None:
        """Forward the prompts, packed, once each; every sample of a prompt gets a row with its keys and values."""
        prompts = [asked.prompt for _, asked in requests]
        shared = common_prefix(prompts)
        trunk = [Segment(prompts[0][:shared])] if shared else []
        forest = Forest.of(trunk + [Segment(p[shared:], 0 if shared else -1) for p in prompts])
        sink: list[tuple[torch.Tensor, torch.Tensor]] = []
        states = self.model.forward(forest, sink)
        self.cache.reserve(self.most, self.capacity, sink)
        last = []
        for (index, asked), span in zip(requests, forest.spans[len(trunk) :], strict=True):
            first, length = len(self.rows), shared + span.length
            for sample in range(asked.n):
                stream = uniform_stream(asked.seed, sample, asked.max_new_tokens)
                self.rows.append(_Row(index, sample, asked, stream))
                last.append(span.stop - 1)
            mine = slice(first, len(self.rows))
            self.lengths[mine] = length
            for keys, values, (k, v) in zip(self.cache.keys, self.cache.values, sink, strict=True):
                for rows, new in ((keys[mine], k), (values[mine], v)):
                    rows[:, :, :shared] = new[:shared].transpose(0, 1)
                    rows[:, :, shared:length] = new[span.start : span.stop].transpose(0, 1)
        self.fresh = states[torch.tensor(last, device=states.device)]

    def logits(self) -> torch.Tensor:
        """Logits of the next token of every row, float32 [B, V]. Rows just admitted were forwarded by the prefill."""
        running = len(self.rows) - (0 if self.fresh is None else len(self.fresh))
        states = []
        if running:
            # rows just admitted sit at the end: their caches are complete, so only the older rows are forwarded
            lengths = self.lengths[:running]
            keys, values = ([layer[:running] for layer in layers] for layers in (self.cache.keys, self.cache.values))
            ids = torch.tensor([[row.ids[-1]] for row in self.rows[:running]])
            layout = CachedAttention(keys, values, lengths)
            states.append(self.model.hidden(ids, lengths[:, None], layout)[:, 0])
            self.lengths[:running] += 1
        if self.fresh is not None:
            states.append(self.fresh)
            self.fresh = None
        logits = (torch.cat(states) @ self.model.head.T).float().cpu()
        cap = self.model.softcap
        return logits if cap is None else cap * torch.tanh(logits / cap)

    def retire(self) -> None:
        """Let finished rows go; the last row moves into each gap."""
        for place in range(len(self.rows) - 1, -1, -1):
            if self.rows[place].finish is None:
                continue
            end = len(self.rows) - 1
            if place != end:
                self.cache.move(end, place, int(self.lengths[end]))
                self.lengths[place] = self.lengths[end]
                self.rows[place] = self.rows[end]
            self.rows.pop()
