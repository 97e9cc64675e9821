"""Verification of many completions: quick verifiers here, slow ones in worker processes that can be killed."""

import hashlib
import json
import select
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, NamedTuple, Self

from bactrian.progress import moved
from bactrian.store.own_files import is_own
from bactrian.store.watchdog import waits_for
from bactrian.verify.model_verifiers import Judge, ask
from bactrian.verify.registry import verifier, verify
from bactrian.verify.verdict import NOTHING, Verdict
from bactrian.verify.worker_process import Worker

KEPT = 100_000
"""Verdicts that a pool remembers."""
FEW = 8
"""Another worker, which takes seconds to start, is not worth it for so few items more."""


class Item(NamedTuple):
    """One completion to verify."""

    dataset: str
    completion: str
    ground_truth: str
    settings: Mapping[str, Any] = NOTHING
    prompt: str = ""
    earlier: tuple[Mapping[str, str], ...] = ()
    row: Mapping[str, Any] = NOTHING

    @classmethod
    def of(cls, row: Mapping[str, Any], completion: str) -> "Item":
        """A completion of a problem row (docs/design.md), to be verified as the row says."""
        *before, last = row.get("messages") or [{"content": ""}]
        earlier = tuple({"role": turn["role"], "content": turn["content"]} for turn in before)
        given = row.get("settings", NOTHING)
        whole = row if is_own(row["dataset"]) else NOTHING
        return cls(row["dataset"], completion, row["ground_truth"], given, last["content"], earlier, whole)

    def digest(self) -> bytes:
        """SHA-256 of all that a verdict depends on."""
        plain = self._replace(settings=dict(self.settings), row=dict(self.row))
        text = json.dumps(plain, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).digest()


def verify_all(items: Sequence[Item], workers: int = 2, timeout: float = 10.0) -> list[Verdict]:
    """Verdicts in the order of `items`; one that takes more than `timeout` seconds of a processor
    is "timed_out".

    Starts its own workers and ends them; keep a `Pool` to verify again and again.

    Raises:
        BactrianError: for an unknown verifier, or when workers cannot be started.
    """
    with Pool(workers, timeout) as pool:
        return pool.verify_all(items)


class Pool:
    """Worker processes, started when the first slow item comes; each may be killed and replaced at any time.

    `timeout` counts a worker's own processor time, so that a loaded machine gives the same verdicts as an idle one; a
    worker that only waits is given up after as many seconds of the clock. A verdict that a slow verifier has reached
    (not one on which it failed) is remembered by content, and the same item is verified once. `judges`: the models
    behind the verifiers of these names. What they say is not remembered from one call to the next: in floating point
    it depends a little on what is asked along with it, and a run that was killed has to go on as it would have.
    """

    def __init__(self, workers: int = 2, timeout: float = 10.0, judges: Mapping[str, Judge] | None = None) -> None:
        self.size, self.timeout, self.judges = workers, timeout, dict(judges or {})
        self._crews = {own: Crew(size=workers, timeout=timeout) for own in (False, True)}
        self._known: OrderedDict[bytes, Verdict] = OrderedDict()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Kill all workers. The pool may be used again and then starts new ones."""
        for crew in self._crews.values():
            crew.close()

    def verify_all(self, items: Sequence[Item]) -> list[Verdict]:
        """See the function of this name."""
        places = [verifier(item.dataset).place for item in items]
        digests = [b"" if place == "here" else item.digest() for item, place in zip(items, places, strict=True)]
        new = {d: i for i, d in enumerate(digests) if d and d not in self._known}
        fresh: dict[bytes, Verdict] = {}
        with ThreadPoolExecutor(self.size) as threads:
            elsewhere = [d for d, i in new.items() if places[i] == "thread"]
            running = threads.map(lambda digest: verify(*items[new[digest]]), elsewhere)
            for own, crew in self._crews.items():  # the fence around a user's own code is another
                slow = {d: items[i] for d, i in new.items() if places[i] == "worker"}
                crew.verify({d: item for d, item in slow.items() if verifier(item.dataset).own is own}, fresh)
            with waits_for(f"verdicts on {len(elsewhere)} answers that run programs or ask elsewhere"):
                fresh.update(zip(elsewhere, running, strict=True))
        for name in {items[i].dataset for i in new.values() if places[i] == "judge"}:
            judged = {d: items[i] for d, i in new.items() if items[i].dataset == name}
            fresh.update(zip(judged, ask(self.judges.get(name), list(judged.values())), strict=True))
        said = [
            verify(*item) if place == "here" else fresh[digest] if digest in fresh else self._known[digest]
            for item, place, digest in zip(items, places, digests, strict=True)
        ]
        self._remember({d: verdict for d, verdict in fresh.items() if places[new[d]] != "judge"})
        return said

    def _remember(self, fresh: Mapping[bytes, Verdict]) -> None:
        self._known.update((d, v) for d, v in fresh.items() if v.outcome not in ("timed_out", "crashed"))
        while len(self._known) > KEPT:
            self._known.popitem(last=False)


@dataclass
class Crew:
    """Worker processes that are ready for the same verifiers."""

    size: int
    timeout: float
    _workers: list[Worker] = field(default_factory=list)
    _ready_for: set[str] = field(default_factory=set)

    def close(self) -> None:
        """Kill all workers."""
        for worker in self._workers:
            worker.kill()
        self._workers = []

    def verify(self, items: Mapping[bytes, Item], done: dict[bytes, Verdict]) -> None:
        """Put a verdict into `done` for each of `items`.

        Raises:
            BactrianError: for what a worker says is the user's to mend.
        """
        finished = len(done) + len(items)
        needed = {item.dataset for item in items.values()}
        if not needed <= self._ready_for:  # what a worker needs is imported before it is fenced in
            self.close()
            self._ready_for |= needed
        waiting = deque(items)
        while len(done) < finished:
            self._remove_dead()
            idle = [worker for worker in self._workers if worker.job is None]
            while waiting and (idle or self._worth_another(len(waiting))):
                worker = idle.pop() if idle else self._start()
                worker.give(digest := waiting.popleft(), items[digest]._asdict())
            self._collect(done)

    def _worth_another(self, waiting: int) -> bool:
        return len(self._workers) < self.size and waiting > FEW * len(self._workers)

    def _remove_dead(self) -> None:
        """Let go of workers that died while they had nothing to do."""
        for worker in [worker for worker in self._workers if worker.job is None and worker.process.poll() is not None]:
            worker.kill()
            self._workers.remove(worker)

    def _start(self) -> Worker:
        worker = Worker.start(self.timeout, {name: verifier(name).module for name in sorted(self._ready_for)})
        self._workers.append(worker)
        return worker

    def _collect(self, done: dict[bytes, Verdict]) -> None:
        """Wait for the next reply or the next deadline; read the replies, give up workers that are stuck."""
        busy = {worker.output: worker for worker in self._workers if worker.job is not None}

        def told() -> str:
            return f"verdicts of the worker processes {', '.join(str(each.process.pid) for each in busy.values())}"

        with waits_for(told):
            ready = select.select(list(busy), [], [], min(worker.patience() for worker in busy.values()))[0]
        for output, worker in busy.items():
            job = worker.job
            assert job is not None
            try:
                verdict = worker.read() if output in ready else worker.at_deadline() if worker.patience() <= 0 else None
            finally:
                if not worker.alive:
                    self._workers.remove(worker)
            if verdict is not None:
                done[job] = verdict
                moved()
