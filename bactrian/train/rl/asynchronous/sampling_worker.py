"""A sampler in a process of its own: the policy's weights as they were sent, an engine on them, and verifiers.

One share is sampled at a time, others are verified meanwhile, and others wait for their turn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from queue import SimpleQueue
from typing import Any

import torch

from bactrian import sandbox
from bactrian.errors import BactrianError
from bactrian.generate.engine import Completion
from bactrian.generate.engines import open_engine
from bactrian.model.language_model import LanguageModel
from bactrian.model.packing import Group, plant
from bactrian.store.hardware import Hardware
from bactrian.train.batches import answer_tokens
from bactrian.train.rl.asynchronous.books import Share
from bactrian.train.rl.asynchronous.pieces import Spans, in_pieces
from bactrian.train.rl.asynchronous.weights import Bytes, checksum, receive
from bactrian.train.rl.rollouts import Rollout
from bactrian.train.rl.verified import VerifiedSampler
from bactrian.verify import Item, Judge, Pool, use_own

Sampled = list[list[tuple[Completion, Spans]]]


@dataclass(frozen=True)
class Post:
    """What a worker needs to know before its first share; can be sent to another process.

    model: gives a model like the policy, with whatever weights. judges: the models that verifiers need.
    rows: the problems. own: verifiers in users' own files that rows may name.
    piece: tokens after which new weights are looked for, in the middle of answers; None: between shares alone.
    verifiers: shares that are verified at a time, each by a pool and judges of its own.
    """

    model: Callable[[], LanguageModel]
    judges: Callable[[], Mapping[str, Judge]]
    hardware: Hardware
    rows: Sequence[dict[str, Any]]
    seed: int
    samples: int
    max_new_tokens: int
    temperature: float
    rows_at_once: int
    verify_timeout: float
    own: tuple[str, ...] = ()
    piece: int | None = None
    verifiers: int = 1


@dataclass(frozen=True)
class Parcel:
    """A version of the weights. fetch: gets them. checksum: what they should sum to; None: nobody asks."""

    version: int
    fetch: Callable[[], Bytes] = field(repr=False)
    checksum: str | None = None


class SamplingWorker:
    """See the module. Methods may be called from any thread."""

    def __init__(self, post: Post) -> None:
        self.post, self.version = post, -1
        self.newest: Parcel | None = None
        begin = partial(_begin, post.hardware)
        self._sampling = ThreadPoolExecutor(1, "sampling", begin)
        self._verifying = ThreadPoolExecutor(post.verifiers, "verifying")
        self._pools: SimpleQueue[Pool] = SimpleQueue()  # those that have nothing to do
        self._opened = self._sampling.submit(self._open)

    def _open(self) -> None:
        post = self.post
        for name in post.own:
            use_own(name)
        sandbox.want(post.hardware.sandbox)
        self.model = post.model()
        pools = [Pool(2, post.verify_timeout, post.judges()) for _ in range(post.verifiers)]
        for pool in pools:
            self._pools.put(pool)
        self.sampler = VerifiedSampler(
            open_engine(self.model, post.hardware, rows=post.rows_at_once),
            post.rows,
            pools[0],
            post.seed,
            samples=post.samples,
            max_new_tokens=post.max_new_tokens,
            temperature=post.temperature,
        )

    def offer(self, parcel: Parcel) -> None:
        """There are newer weights."""
        if self.newest is None or parcel.version > self.newest.version:
            self.newest = parcel

    def answer(self, share: Share, parcel: Parcel) -> tuple[list[list[Rollout]], float | None, str | None]:
        """Sample and verify a share with these weights, or, in pieces, with the newest.

        Returns:
            Answers, gap and isolation, as of `remote_sampler.ShareAnswered`.

        Raises:
            BactrianError: the model, the engine or the verifiers cannot be had, or the weights changed on the way.
        """
        self._opened.result()
        sampled, gap = self._sampling.submit(self._sample, share, parcel).result()
        answers = self._verifying.submit(self._verify, share, sampled).result()
        return answers, gap, sandbox.used()

    def _sample(self, share: Share, parcel: Parcel) -> tuple[Sampled, float | None]:
        engine = self.sampler.engine
        asked = self.sampler.requests(share.problems, share.batch, share.first)
        if self.post.piece is None:
            if self.version != parcel.version:
                self._take_up(parcel)
            sampled: Sampled = [[(said, ()) for said in group] for group in engine.generate(asked)]
        else:
            self.offer(parcel)
            self._renew()
            sampled = in_pieces(engine, asked, self.post.piece, self._outdated, self._renew)
        return sampled, self._gap(share, sampled) if share.first == 0 else None

    def _outdated(self) -> bool:
        return self.newest is not None and self.newest.version > self.version

    def _renew(self) -> None:
        if self.newest is not None and self._outdated():
            self._take_up(self.newest)

    def _take_up(self, parcel: Parcel) -> None:
        receive(self.model, parcel.fetch())
        self.version = self.sampler.engine.version = parcel.version
        if parcel.checksum is not None and (found := checksum(self.model)) != parcel.checksum:
            raise BactrianError(
                f"weights of version {parcel.version}: a sampler has {found[:16]}…, the trainer sent "
                f"{parcel.checksum[:16]}…: they changed on the way"
            )

    @torch.no_grad()
    def _gap(self, share: Share, sampled: Sampled) -> float | None:
        """Mean gap between the engine's and the model's own log-probs, on those answers to the first problem that the
        present weights alone have sampled."""
        said = [said for said, spans in sampled[0] if len(spans) < 2 and said.version == self.version and said.ids]
        if not said:
            return None
        forest, spans = plant([Group(self.sampler.prompt(share.problems[0]), tuple(each.ids for each in said))])
        found = self.model.logprobs(forest, answer_tokens(spans)[0], self.post.temperature)
        told = torch.tensor([x for each in said for x in each.logprobs])
        return float((found.cpu() - told).abs().mean())

    def _verify(self, share: Share, sampled: Sampled) -> list[list[Rollout]]:
        items = [
            Item.of(self.post.rows[problem], said.text)
            for problem, group in zip(share.problems, sampled, strict=True)
            for said, _ in group
        ]
        pool = self._pools.get()
        try:
            verdicts = iter(pool.verify_all(items))
        finally:
            self._pools.put(pool)
        return [
            [replace(self.sampler.rollout(said, next(verdicts)), spans=spans) for said, spans in group]
            for group in sampled
        ]


def _begin(hardware: Hardware) -> None:
    """Threads and determinism as where a step is made (run/prepare.py)."""
    torch.set_num_threads(hardware.threads)
    torch.set_deterministic_debug_mode("warn")
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
