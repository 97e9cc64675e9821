"""The default engine: a transformers model in this process, rows entering and leaving a running batch.

A prompt is forwarded once, packed with others and without padding, for all of its n samples. Every row has its own
length and its own random stream; a row that ends leaves at once and the next request takes its place, or it goes on
from its own cache with what the caller appends.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from bactrian.chat import ChatTemplate
from bactrian.generate.decode_step import DecodeStep
from bactrian.generate.decoder import FastDecoder
from bactrian.generate.engine import Completion, Engine, OnFinish, Request
from bactrian.generate.fast import FastBatch
from bactrian.generate.memfree import MemFree
from bactrian.generate.paged import PagedBatch
from bactrian.generate.row import PREFILL_TOKENS, Batch, Row
from bactrian.generate.sampling import choose
from bactrian.model.language_model import LanguageModel
from bactrian.model.ranking import Ask, Likelihood, likelihoods
from bactrian.progress import moved


@dataclass(frozen=True)
class Said:
    """The tokens of a completion so far; `finish`: it has just come to an end, though it may be told to go on."""

    ids: tuple[int, ...]
    finish: bool


class LocalEngine(Engine):
    """Samples from a `LanguageModel` that lives in this process.

    The weights are read anew in every call. While a call runs on the decoder of our own, a copy of them lies in the
    layout of the processor's matrix product (0.3 s and one more time the weights' bytes on 135M parameters); it is gone
    when the call ends, before a trainer needs the memory.
    """

    def __init__(
        self,
        model: LanguageModel,
        *,
        rows: int = 64,
        cache_tokens: int = 64 * 1024,
        native: bool = True,
        compiled: bool = False,
    ):
        """
        Args:
            model: the weights; a trainer may change them between calls (and then sets `version`).
            rows: sequences in the running batch at most.
            cache_tokens: budget of the key-value cache; one request's samples run together even if they need more.
            native: use the decoder of our own where this model and machine have one; else transformers' forward.
            compiled: compile that forward (see `DecodeStep`).
        """
        self.model = model
        self.rows = rows
        self.native = native
        self.cache_tokens = cache_tokens
        self.compiled = compiled
        self.version = 0
        self.forwarded = 0  # tokens that went through the model so far, prompts' and sampled ones alike
        self.ends = frozenset(model.template.end_ids)
        self.avoid: MemFree | None = None  # n-grams that no completion may come to hold
        self._held: tuple[Batch, tuple[int, ...]] | None = None  # the last stream's batch, and the tokens in its cache

    @classmethod
    def load(
        cls,
        folder: Path,
        dtype: str = "float32",
        template: str | None = None,
        *,
        device: str = "cpu",
        rows: int = 64,
        compiled: bool = False,
    ) -> LocalEngine:
        """Load a model folder (see `LanguageModel.load`) and sample from it."""
        return cls(LanguageModel.load(folder, dtype, template, device), rows=rows, compiled=compiled)

    @property
    def template(self) -> ChatTemplate:
        return self.model.template

    @functools.cached_property
    def decoder(self) -> FastDecoder | None:
        """The fast path, where this model and machine have one."""
        return FastDecoder.of(self.model) if self.native else None

    @functools.cached_property
    def step(self) -> DecodeStep:
        """The path of every other model and machine."""
        return DecodeStep(self.model, self.compiled)

    @property
    def longest(self) -> int:
        return int(getattr(self.model.network.config, "max_position_embeddings", 0) or 2**30)

    def likelihoods(self, asks: Sequence[Ask]) -> Iterator[list[tuple[int, list[Likelihood]]]]:
        """Continuations of one context are forwarded together, over a context that is forwarded once."""
        return likelihoods(self.model, asks)

    @torch.inference_mode()
    def generate(
        self,
        requests: Sequence[Request],
        on_tokens: Callable[[int], None] | None = None,
        on_finish: OnFinish | None = None,
    ) -> list[list[Completion]]:
        """The completions of each request, in order.

        Raises:
            BactrianError: a prompt and its completion do not fit the model's context.
        """
        answers: list[list[Completion | None]] = [[None] * r.n for r in requests]
        with ExitStack() as stack:
            for batch, drawn in self._steps(requests, stack):
                for row in drawn:
                    if row.finish is not None:
                        answers[row.request][row.sample] = self._finished(row, batch, on_finish)
                if on_tokens:
                    on_tokens(len(drawn))
                batch.retire()
        assert all(c is not None for group in answers for c in group)
        return [[c for c in group if c is not None] for group in answers]

    def _finished(self, row: Row, batch: Batch, on_finish: OnFinish | None) -> Completion:
        completion = self._completion(row)
        more = on_finish(row.request, row.sample, completion) if on_finish else None
        if more is not None:
            known = (*row.asked.prompt, *row.ids[: len(row.ids) - more.drop], *more.ids)
            self.check_fits([known], more.max_new_tokens, [f"request {row.request}, sample {row.sample} going on"])
            batch.forget(row, row.go_on(more))
        return completion

    def stream(self, request: Request) -> Iterator[str]:
        """The text of one completion as it is sampled; whole characters only.

        A prompt that begins with all that the stream before it saw and said is not forwarded again, only its new end.
        """
        shown = ""
        for said in self.follow(request):
            text = self.text(said.ids)
            stable = text if said.finish else text.rstrip("\ufffd")
            if len(stable) > len(shown) and stable.startswith(shown):
                yield stable[len(shown) :]
                shown = stable

    def follow(self, request: Request, on_finish: OnFinish | None = None) -> Iterator[Said]:
        """What one completion has said so far, after each of its tokens; `on_finish` as in `generate`.

        A prompt that begins with all that the completion before it saw and said is not forwarded again.
        """
        request = replace(request, n=1)
        with ExitStack() as stack:
            steps = self._steps([request], stack, self._resume(request))
            while True:
                with torch.inference_mode():  # not held across a yield: the caller's mode is its own
                    batch, drawn = next(steps)
                    if not drawn:
                        continue
                    row = drawn[0]
                    said = Said(tuple(row.ids), row.finish is not None)
                    if row.finish:
                        self._finished(row, batch, on_finish)
                self._held = (batch, (*request.prompt, *row.ids[: len(row.ids) - len(row.pending)]))
                yield said
                if row.finish:
                    return

    def _resume(self, request: Request) -> Batch | None:
        """The last stream's batch, its row about to forward what this prompt adds; None if it is another conversation.

        The version of the weights is not looked at: a caller that changes them makes a new engine for a conversation.
        """
        if self._held is None:
            return None
        batch, known = self._held
        self._held = None
        if request.prompt[: len(known)] != known or len(known) == len(request.prompt):
            return None
        row = Row(0, 0, request, slot=batch.rows[0].slot)
        row.pending = list(request.prompt[len(known) :])
        batch.rows = [row]
        return batch

    def _completion(self, row: Row) -> Completion:
        assert row.finish is not None
        text = self.text(row.ids)
        return Completion(tuple(row.ids), text, tuple(row.logprobs), row.finish, self.version, tuple(row.forced))

    def text(self, ids: Sequence[int]) -> str:
        """What a completion's tokens say; control tokens say nothing."""
        if ids and ids[-1] in self.ends:
            ids = ids[:-1]
        text: str = self.model.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    def _steps(
        self, requests: Sequence[Request], stack: ExitStack, batch: Batch | None = None
    ) -> Iterator[tuple[Batch, list[Row]]]:
        """Sample one token for every row that is ready; yields the batch and those rows, once a step.

        `stack` holds the decoder's weights for as long as the steps are taken. The caller retires finished rows.
        """
        self.check_lengths(requests)
        waiting: deque[int] = deque()
        if self.decoder is not None:
            stack.enter_context(self.decoder)
        if batch is None:
            waiting.extend(in_order(requests))
            batch = self._batch(requests)
        before = batch.forwarded
        while waiting or batch.rows:
            self._admit(batch, waiting, requests)
            ready, logits = batch.logits()
            self._sample(ready, logits)
            moved()
            self.forwarded += batch.forwarded - before
            before = batch.forwarded
            yield batch, ready

    def check_lengths(self, requests: Sequence[Request]) -> None:
        """`check_fits` for requests that ask for different lengths."""
        for number, asked in enumerate(requests):
            self.check_fits([asked.prompt], asked.max_new_tokens, [f"request {number}"])

    def _batch(self, requests: Sequence[Request]) -> Batch:
        """An empty batch for these requests. A prompt's samples run together, so that it is forwarded once."""
        each, all_of_them = max((r.n for r in requests), default=0), sum(r.n for r in requests)
        if self.decoder is None:
            return PagedBatch(self.step, max(each, min(self.rows, all_of_them)), requests, self.cache_tokens)
        # a trunk lies in memory once, however many rows share it
        capacity = max((len(r.prompt) - r.shared + r.max_new_tokens for r in requests), default=0)
        most = max(each, min(self.rows, self.cache_tokens // max(1, capacity), all_of_them))
        return FastBatch(self.decoder, most, max((r.max_new_tokens for r in requests), default=0))

    def _admit(self, batch: Batch, waiting: deque[int], requests: Sequence[Request]) -> None:
        """Prefill as many waiting prompts as there is room for, when there is room worth a prefill."""
        if not waiting or len(batch.rows) > batch.most * 3 // 4:
            return
        chosen: list[int] = []
        count, tokens = len(batch.rows), 0
        while waiting and count + requests[waiting[0]].n <= batch.most:
            length = len(requests[waiting[0]].prompt) - requests[waiting[0]].shared
            if chosen and tokens + length > PREFILL_TOKENS:
                break  # the rest next step
            if not batch.room([requests[i] for i in (*chosen, waiting[0])]):
                break
            chosen.append(waiting.popleft())
            count, tokens = count + requests[chosen[-1]].n, tokens + length
        if chosen:
            batch.prefill([(i, requests[i]) for i in chosen])

    def _sample(self, rows: list[Row], logits: torch.Tensor) -> None:
        if not rows:
            return
        uniforms = torch.tensor([r.uniforms[len(r.ids)] for r in rows], dtype=torch.float64)
        temperature = torch.tensor([r.asked.temperature for r in rows], dtype=torch.float32)
        top_p = torch.tensor([r.asked.top_p for r in rows], dtype=torch.float32)
        top_k = torch.tensor([r.asked.top_k for r in rows])
        # a GPU draws by itself: of its logits, megabytes a token, nothing is brought here but what was drawn
        asked = [each.to(logits.device) for each in (uniforms, temperature, top_p, top_k)]
        for place, row in enumerate(rows):
            banned = (*row.banned, *(self.ends if len(row.ids) < row.asked.min_new_tokens else ()))
            if banned:  # a tokenizer may have tokens that the model's head has not
                logits[place, [token for token in banned if token < logits.shape[1]]] = -torch.inf
            if row.asked.presence_penalty and row.ids:
                # an index that is given twice counts once
                logits[place, row.ids] -= row.asked.presence_penalty

        def draw(some: slice | list[int]) -> tuple[torch.Tensor, torch.Tensor]:
            return choose(logits[some], *(each[some] for each in asked))

        tokens, logprobs = draw(slice(None))
        if self.avoid is not None:
            self.avoid.redraw([(*row.asked.prompt, *row.ids) for row in rows], logits, tokens, logprobs, draw)
        for row, token, logprob in zip(rows, tokens.tolist(), logprobs.tolist(), strict=True):
            row.take(token, logprob)
            if token in self.ends or token in row.asked.stop_ids or (row.asked.stop and self._stopped(row)):
                row.finish = "stop"
            elif len(row.ids) >= row.limit:
                row.finish = "length"

    def _stopped(self, row: Row) -> bool:
        # a stop text of c characters lies in the last c + 1 tokens, or in earlier ones that were looked at: each token
        # adds text
        reach = max(len(s) for s in row.asked.stop) + 8
        tail = self.text(row.ids[-reach:])
        return any(s in tail for s in row.asked.stop)


def in_order(requests: Sequence[Request]) -> list[int]:
    """Those that share a trunk together; within, longest first: rows that run together are of like length.

    So memory is at its peak at once, and a trunk is needed for as short a time as can be.
    """
    longest: dict[tuple[int, ...], int] = {}
    for asked in requests:
        longest[asked.trunk] = max(longest.get(asked.trunk, 0), len(asked.prompt) + asked.max_new_tokens)

    def place(number: int) -> tuple[int, tuple[int, ...], int]:
        asked = requests[number]
        return -longest[asked.trunk], asked.trunk, -len(asked.prompt) - asked.max_new_tokens

    return sorted(range(len(requests)), key=place)
