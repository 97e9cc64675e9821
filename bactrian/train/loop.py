"""The one training loop. SFT, preference tuning, RL and pretraining differ only in the `TrainingTask` they hand it.

A task says what each step trains on and what its loss is; the loop owns the schedule, checkpoints, metrics and
progress; a backend (`backend`) has the weights and moves them. A step is a pure function of (weights, optimiser state,
step number, and what the task keeps; see `Remembering`): that is what makes N steps equal k steps, a kill, and N - k
more, bit for bit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch

from bactrian import stopping
from bactrian.errors import BactrianError
from bactrian.progress import moved, progress, say
from bactrian.store import processes
from bactrian.train import checkpoints
from bactrian.train.abreast import OthersOut
from bactrian.train.backend import Backend, LocalBackend, LoopSettings, MicroBatch, Share, Trained
from bactrian.train.background import Saver
from bactrian.train.dealing import Hand, deal
from bactrian.train.fitting import ADVICE, Failure, Fitting, gpu_memory, size_of
from bactrian.train.guard import SpikeGuard
from bactrian.train.heap import Heap
from bactrian.train.pace import Pace
from bactrian.train.rewinding import Rewinder
from bactrian.train.schedules import learning_rate

__all__ = ["Enough", "Keeper", "Log", "Remembering", "Share", "TrainingTask", "Update", "train"]
LARGEST = "_max"
"""At the end of a sum's name: it is not added up; of all micro-batches the largest counts."""


@dataclass
class Update:
    """One optimiser update: micro-batches whose losses add up.

    micro_batches: each gives, when called, its share of the loss (already divided by the normaliser of the whole
        update, so that any cut gives the same gradient) and sums to add to the metrics.
    metrics: what is known before the update.
    finish: turns the summed metrics into those that are logged.
    sizes: of the micro-batches, in tokens, so that they are dealt out evenly; empty where they are about alike.
    """

    micro_batches: list[MicroBatch]
    tokens: int
    metrics: dict[str, float] = field(default_factory=dict)
    finish: Callable[[dict[str, float]], dict[str, float]] = lambda sums: sums
    sizes: Sequence[int] = ()


class Enough(Exception):
    """Raised by a task that is not to go on, with the reason; what was learnt is kept."""


class TrainingTask(Protocol):
    """What a stage hands the loop."""

    steps: int  # of the loop
    updates_per_step: int  # optimiser updates within one (several, where RL reuses its rollouts)

    def updates(self, step: int) -> Iterable[Update]:
        """The updates of a step: a function of the step's number, the present weights and what the task keeps."""
        ...


@runtime_checkable
class Remembering(Protocol):
    """A task that keeps something from one step for later ones; checkpoints hold it."""

    def state(self) -> dict[str, torch.Tensor]:
        """What it keeps after a step, by names of its own."""
        ...

    def restore(self, tensors: dict[str, torch.Tensor]) -> None:
        """Take back what `state` gave."""
        ...


@runtime_checkable
class Sampling(Protocol):
    """A task that samples from the weights before its updates, each process another share."""

    whole_weights: bool


KEPT = "task."  # before the names of what a task keeps, in a checkpoint
GUARD = "guard."  # before those of what the guard remembers
REWINDER = "rewinder."  # before those of what going back has to remember


class Log(Protocol):
    """Where metrics go (a `Workspace`)."""

    @property
    def checkpoints(self) -> Path: ...

    def log(self, step: int, **values: float) -> None: ...
    def rewind(self, step: int) -> None: ...


class Keeper(Protocol):
    """Whoever wants to see the weights after some steps."""

    def rewind(self, step: int) -> None:
        """Training goes on after this step: what was seen of later ones will be shown again, or never."""
        ...

    def after(self, step: int) -> None:
        """So many steps are made. May read the weights, not move them, nor draw random numbers."""
        ...


def train(
    title: str,
    model: Trained,
    task: TrainingTask,
    settings: LoopSettings,
    log: Log,
    keeper: Keeper | None = None,
    backend: Backend | None = None,
    moments: dict[str, torch.Tensor] | None = None,
) -> dict[str, float]:
    """Run a task's remaining steps on the model, in place.

    Args:
        title: for the progress bar.
        log: gets one line per update (step, loss, learning_rate, grad_norm, tokens, tokens_per_second, and the task's
            own); checkpoints are kept in its folder for them.
        keeper: is told of every step that was made.
        backend: moves the weights; by default in this process. Where several processes train together, each calls
            this with the same task; each computes some of the micro-batches.
        moments: state of an optimiser to begin with, by the names of `Backend.state`.

    Returns:
        Totals for the manifest: updates, tokens, the last update's loss and learning rate; `skipped` updates, where
        outliers are; `rewinds` and `updates_undone`, where training went back; `steps_left` if the time limit or the
        task itself cut it short.

    Raises:
        BactrianError: the loss or the gradient is not finite, once, or, where outliers are skipped, again and again.
        Stop: a signal asked for it; the step that was being made is in a checkpoint.
    """
    backend = LocalBackend() if backend is None else backend
    backend.wrap(model, settings)
    folder, group = log.checkpoints, processes.present()
    start, counts = 0, {"tokens": 0.0, "updates": 0.0, "loss": float("nan")}
    guard = None if settings.skip is None else SpikeGuard(settings.skip)
    rewinder = None if settings.rewind is None else Rewinder(settings.rewind, folder)
    spent = cost = 0.0  # seconds: of training before this process, and of the last checkpoint
    fitting = Fitting()

    def restore(saved: checkpoints.SavedState) -> None:
        backend.restore({n: tensor for n, tensor in saved.tensors.items() if not n.startswith((KEPT, GUARD, REWINDER))})
        if isinstance(task, Remembering):
            task.restore(_under(KEPT, saved.tensors))
        if guard is not None:
            guard.restore(_under(GUARD, saved.tensors))

    def state(step: int, more: dict[str, float]) -> checkpoints.SavedState:
        kept = task.state() if isinstance(task, Remembering) else {}
        seen = guard.state() if guard is not None else {}
        back = rewinder.state() if rewinder is not None else {}
        tensors = backend.state() | _above(KEPT, kept) | _above(GUARD, seen) | _above(REWINDER, back)
        return checkpoints.SavedState(step, tensors, counts | more)

    if saved := checkpoints.load_newest(folder, backend.like):
        restore(saved)
        if rewinder is not None:
            rewinder.restore(_under(REWINDER, saved.tensors))
        start, counts = saved.step, dict(saved.counts)
        spent, cost = counts.pop("seconds"), counts.pop("cost", 0.0)
        fitting.too_large = counts.pop("too_large", fitting.too_large)
        say(f"{title}: resuming after step {start} of {task.steps}; {task.steps - start} to go")
        del saved
    elif moments is not None:
        backend.restore(backend.state() | moments)
    log.rewind(int(counts["updates"]))
    if keeper is not None:
        keeper.rewind(start)
    if rewinder is not None:
        rewinder.resume(start)
        if start == 0:
            checkpoints.save(folder, state(0, {"seconds": spent}))
            rewinder.keep(0)
    updates = settings.horizon or task.steps * task.updates_per_step
    entered, pace = time.monotonic(), Pace(task.steps, settings.checkpoint_seconds, start, cost)
    heap = Heap()
    saver = Saver(folder, _in_background(model, settings))
    with (
        saver,
        progress(title, total=task.steps, done=start) as bar,
        stopping.finishing(f"a step of {title}"),
    ):
        for step in range(start, task.steps):
            began, before, shown, undone = time.perf_counter(), counts["tokens"], {}, 0
            try:
                for update in _updates(task, step, backend):
                    done = int(counts["updates"])
                    rate = learning_rate(
                        done, updates, settings.learning_rate, settings.schedule, settings.warmup, settings.floor
                    )
                    values = _apply(update, backend, rate, settings.clip, f"{title}, step {step + 1}", guard, fitting)
                    counts = _counted(counts, update.tokens, values)
                    if rewinder is not None and rewinder.note(step + 1, bool(values["skipped"])):
                        undone = step + 1 - rewinder.target(f"{title}, step {step + 1}")
                        values["rewound"] = float(undone)
                    speed = (counts["tokens"] - before) / (time.perf_counter() - began)
                    shown = {**values, "tokens": counts["tokens"], "tokens_per_second": speed}
                    log.log(done + 1, **shown, **gpu_memory())
            except Enough as reason:
                say(f"{title}: stopped before step {step + 1} of {task.steps}: {reason}")
                return {**counts, "steps_left": float(task.steps - step)}
            except torch.OutOfMemoryError as error:
                raise BactrianError(
                    f"{title}, step {step + 1}: the GPU has no memory left: {ADVICE}. {error}"
                ) from error
            if rewinder is not None and undone:
                restore(rewinder.back(backend.like))
                counts = _rewound(counts, undone)
                say(f"{title}: from step {step + 1} back over {undone} updates; the data go on")
            heap.settle()
            saver.check()
            if keeper is not None:
                keeper.after(step + 1)
            bar.advance(1, **{k: shown[k] for k in HEADLINES if k in shown})
            seconds = spent + time.monotonic() - entered
            left = task.steps - step - 1
            over = settings.time_limit is not None and seconds >= settings.time_limit
            asked, over, due = _agreed(group, stopping.asked() or 0, over, pace.due(step + 1) and not saver.busy)
            if left and over:
                say(f"{title}: stopped at its time limit, {left} of {task.steps} steps not made")
                return {**counts, "steps_left": float(left)}
            if left and (asked or due or (rewinder is not None and rewinder.keeps(step + 1))):
                with pace.saving(step + 1):
                    saver.save(state(step + 1, {"seconds": seconds, "cost": pace.cost, **fitting.known}))
                    if rewinder is not None and rewinder.keeps(step + 1):
                        saver.wait()
                        rewinder.keep(step + 1)
            if left and asked:
                saver.wait()
                place = f"{title}: stopped after step {step + 1} of {task.steps}, which is in a checkpoint"
                raise stopping.Stop(asked, place)
    return counts


HEADLINES = ("loss", "reward", "accuracy", "zero_variance", "completion_length", "tokens_per_second")


def _in_background(model: Trained, settings: LoopSettings) -> bool:
    """Where a model is in main memory a copy of it costs what a GPU's does not, and the thread its processor."""
    if settings.background is not None:
        return settings.background
    return any(weight.device.type != "cpu" for weight in model.network.parameters())


def _counted(counts: dict[str, float], tokens: int, values: dict[str, float]) -> dict[str, float]:
    """The totals after one more update."""
    latest = {"loss": values["loss"], "learning_rate": values["learning_rate"]}
    skipped = {"skipped": counts.get("skipped", 0.0) + values["skipped"]} if "skipped" in values else {}
    before = {name: counts[name] for name in REWOUND if name in counts}
    return {"tokens": counts["tokens"] + tokens, "updates": counts["updates"] + 1.0, **latest, **skipped, **before}


REWOUND = ("rewinds", "updates_undone")


def _rewound(counts: dict[str, float], undone: int) -> dict[str, float]:
    """The totals after going back over so many updates that had been made."""
    return counts | {
        "rewinds": counts.get("rewinds", 0.0) + 1.0,
        "updates_undone": counts.get("updates_undone", 0.0) + undone,
    }


def _above(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


def _under(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _agreed(group: processes.Processes, asked: int, over: bool, due: bool) -> tuple[int, bool, bool]:
    """What all do after a step: stop, where a signal asked any of them; end or save where the leader's clock says so.

    asked: the signal's number, or 0.
    """
    if group.size == 1:
        return asked, over, due
    number, *clock = group.most([asked, over and group.leader, due and group.leader])
    return int(number), bool(clock[0]), bool(clock[1])


def _updates(task: TrainingTask, step: int, backend: Backend) -> Iterator[Update]:
    """A step's updates; what a task computes before one may read the weights."""
    updates, whole = iter(task.updates(step)), isinstance(task, Sampling) and task.whole_weights
    while (update := backend.reading(lambda: next(updates, None), whole)) is not None:
        yield update


def _apply(
    update: Update,
    backend: Backend,
    rate: float,
    clip: float | None,
    where: str,
    guard: SpikeGuard | None,
    fitting: Fitting | None = None,
) -> dict[str, float]:
    group = processes.present()
    hand = deal(update.sizes or [1] * len(update.micro_batches), group.size)[group.rank]
    mine, bad = _added_up(update, hand, backend, fitting or Fitting())
    sums = _merged(group.gathered(mine))
    total = sums.pop(LOSS)
    if guard is None and not math.isfinite(total):
        where_bad = [number + 1 for each in group.gathered(bad) for number in each]
        shown = ", ".join(map(str, sorted(where_bad)[:5])) or "none alone"
        raise BactrianError(
            f"{where}: the loss is {total} (micro-batches {shown} of {len(update.micro_batches)}){KEPT_BEFORE}"
        )
    norm, told = 0.0, dict[str, float]()
    if guard is not None:
        told["skipped"] = 0.0

    def allows(norm: float) -> bool:
        assert guard is not None
        allowed = guard.allows(total, norm)
        told["skipped"] = float(not allowed)
        return allowed

    if update.micro_batches:
        try:
            norm = backend.step(rate, clip, None if guard is None else allows)
        except FloatingPointError as error:
            raise BactrianError(f"{where}: {error}{KEPT_BEFORE}") from error
        except BactrianError as error:
            raise BactrianError(f"{where}: {error}") from error
    return {"loss": total, **update.metrics, **update.finish(sums), "learning_rate": rate, "grad_norm": norm, **told}


LOSS = ""  # among the sums
KEPT_BEFORE = (
    "; nothing has moved: the weights before it are kept in the last checkpoint. Lower learning_rate or "
    "max_grad_norm, or have such updates left out by `spikes: {}`"
)


def _added_up(update: Update, hand: Hand, backend: Backend, fitting: Fitting) -> tuple[dict[str, float], list[int]]:
    """Forwards and backwards of what is this process's: the sums, and the micro-batches whose loss is not finite.

    In smaller parts, where the memory does not suffice. Processes that wait for each other all compute equally many,
    and begin anew together where one of them has no memory.

    Raises:
        BactrianError: it does not suffice even then.
    """
    while True:
        own = [(number, piece) for number in hand.own for piece in fitting.pieces(update.micro_batches[number])]
        spare = next(fitting.pieces(update.micro_batches[hand.filler])) if update.micro_batches else None
        sizes = [size_of(piece) for _, piece in own]
        rounds = fitting.rounds(sizes, size_of(spare), in_step=backend.in_step)
        backend.expect(len(rounds))
        sums: dict[str, float] = {LOSS: 0.0}
        bad: list[int] = []
        piece = spare
        try:
            for place, tokens in enumerate(rounds):
                piece = own[place][1] if place < len(own) else spare
                assert piece is not None
                with backend.trying(tokens, fitting.fits(tokens)):
                    if place >= len(own):
                        backend.fill(piece)
                        continue
                    loss, parts = backend.forward(piece)
                    backend.backward(loss)
                share = float(loss.detach())
                moved()
                if not math.isfinite(share) and own[place][0] not in bad:
                    bad.append(own[place][0])
                add_sums(sums, {LOSS: share, **parts})
            fitting.went_through(rounds)
            return sums, bad
        except torch.OutOfMemoryError as error:
            mine = [] if isinstance(error, OthersOut) else [Failure.of(piece, error)]
            loss = parts = None  # type: ignore[assignment]
        failures = processes.present().gathered(mine) if backend.in_step else [mine]
        fitting.shrink([failure for each in failures for failure in each])
        backend.forget()
        fitting.give_back()


def _merged(several: Sequence[dict[str, float]]) -> dict[str, float]:
    """The sums of all processes, in the order of their ranks: the same in each."""
    for part in several[1:]:
        add_sums(several[0], part)
    return several[0]


def add_sums(sums: dict[str, float], parts: Mapping[str, float]) -> None:
    """Add a micro-batch's sums to those of others, in place; of what ends in `LARGEST` the larger stays."""
    for key, value in parts.items():
        if key not in sums:
            sums[key] = value
        elif key.endswith(LARGEST):
            sums[key] = max(sums[key], value)
        else:
            sums[key] += value
