"""Workers as Ray actors: on the cluster that RAY_ADDRESS names, or on one started on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from types import TracebackType
from typing import Any, Self

from bactrian.errors import BactrianError
from bactrian.model.language_model import LanguageModel
from bactrian.progress import note
from bactrian.store.ray_session import ray_session
from bactrian.train.rl.asynchronous.books import Share
from bactrian.train.rl.asynchronous.patience import Patience
from bactrian.train.rl.asynchronous.remote_sampler import ShareAnswered, WorkerLost
from bactrian.train.rl.asynchronous.sampling_worker import Parcel, Post, SamplingWorker
from bactrian.train.rl.asynchronous.weights import checksum, sent
from bactrian.train.rl.rollouts import Rollout

NOTICE = 60.0  # seconds of waiting after which it is said what is waited for
AT_ONCE = 64  # calls of a worker that may be under way; all but two of them wait for their turn


class RaySampler:
    """The actor. What a user has done wrong comes back as a text: Ray would wrap it in an error of its own."""

    def __init__(self, post: Post) -> None:
        self.worker = SamplingWorker(post)

    def offer(self, version: int, weights: list[Any], total: str | None) -> None:
        self.worker.offer(Parcel(version, lambda: _fetch(weights), total))

    def answer(
        self, share: Share, version: int, weights: list[Any], total: str | None
    ) -> tuple[list[list[Rollout]], float | None, str | None] | str:
        try:
            return self.worker.answer(share, Parcel(version, lambda: _fetch(weights), total))
        except BactrianError as error:
            return str(error)


def _fetch(weights: list[Any]) -> Any:
    """From Ray's object store; a reference within a list is sent as such, and read only where it is needed."""
    import ray

    return ray.get(weights[0])


class RayWorkers:
    """See `remote_sampler.SamplerCrew`. An actor that dies is replaced at once, one that hangs after a while."""

    def __init__(
        self,
        post: Post,
        samplers: int,
        model: LanguageModel,
        *,
        compare: bool = False,
        patience: float | None = None,
    ) -> None:
        """
        Args:
            model: the policy, whose weights are sent.
            compare: have each worker compare the checksum of what it received.
            patience: see `Patience`.

        Raises:
            BactrianError: Ray is not installed.
        """
        self.ray = ray_session("asynchronous")
        self.model, self.compare, self.in_pieces = model, compare, post.piece is not None
        gpus = 1 if post.hardware.device == "cuda" else 0
        options = {"num_cpus": 0, "num_gpus": gpus, "max_concurrency": AT_ONCE, "scheduling_strategy": "SPREAD"}
        actor = self.ray.remote(**options)(RaySampler)
        told = self.ray.put(post)
        self._start: Callable[[], Any] = lambda: actor.remote(told)
        self._actors: dict[int, Any] = {}
        self._numbers = 0
        self._running: dict[Any, tuple[int, Share]] = {}
        self.patience = Patience(patience)
        self._parcels: dict[int, tuple[int, list[Any], str | None]] = {}
        for _ in range(samplers):
            self._hire()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for actor in self._actors.values():
            self.ray.kill(actor)
        self._actors.clear()
        self._parcels.clear()

    def _hire(self) -> None:
        self._actors[self._numbers] = self._start()
        self._numbers += 1

    def publish(self, version: int, keep: Collection[int]) -> None:
        total = checksum(self.model) if self.compare else None
        self._parcels = {old: parcel for old, parcel in self._parcels.items() if old in keep and not self.in_pieces}
        self._parcels[version] = (version, [self.ray.put(sent(self.model))], total)
        if self.in_pieces:
            for actor in self._actors.values():
                actor.offer.remote(*self._parcels[version])

    def workers(self) -> Sequence[int]:
        return list(self._actors)

    def give(self, worker: int, share: Share) -> None:
        parcel = self._parcels[max(self._parcels) if self.in_pieces else share.version]
        self._running[self._actors[worker].answer.remote(share, *parcel)] = (worker, share)
        self.patience.given(worker, time.monotonic())

    def next(self) -> ShareAnswered | WorkerLost:
        """See `remote_sampler.SamplerCrew`.

        Raises:
            BactrianError: a worker refused.
        """
        from ray.exceptions import RayError, RayTaskError

        began, notice = time.monotonic(), NOTICE
        while True:
            due, silent = self.patience.left(now := time.monotonic())
            if due <= 0:
                return self._replaced(silent, f"it has not answered for {self.patience.limit(silent):.0f} s")
            until_notice = max(0.0, began + notice - now)
            done, _ = self.ray.wait(list(self._running), num_returns=1, timeout=min(due, until_notice))
            if done:
                break
            if time.monotonic() >= began + notice:
                of = ", ".join(str(number) for number in sorted({worker for worker, _ in self._running.values()}))
                note(f"training has waited for answers of samplers {of} for {notice:.0f} s")
                notice *= 4
        worker, share = self._running.pop(done[0])
        try:
            found = self.ray.get(done[0])
        except RayTaskError:
            raise  # a fault of ours
        except RayError as error:
            return self._replaced(worker, str(error).splitlines()[0])
        if isinstance(found, str):
            raise BactrianError(found)
        self.patience.answered(worker, time.monotonic())
        return ShareAnswered(worker, share, *found)

    def _replaced(self, worker: int, why: str) -> WorkerLost:
        self._running = {ref: given for ref, given in self._running.items() if given[0] != worker}
        self.patience.lost(worker)
        self.ray.kill(self._actors.pop(worker))
        self._hire()
        note(f"sampler {worker} was lost, and another takes its place: {why}")
        return WorkerLost(worker, why)
