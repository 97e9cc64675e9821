"""Where the weights that are trained lie, and how they move: the one door between the training loop and the machine.

Neither the loop nor a task nor a stage knows whether a tensor is whole. Here everything is in this process; where
several work together, each has all the weights (`replicated`) or a part of each (`sharded`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, TypeVar

import torch

from bactrian.model.language_model import Decoder
from bactrian.train.guard import SkipRule
from bactrian.train.optimiser import MasterAdamW
from bactrian.train.rewinding import RewindRule

T = TypeVar("T")
# a micro-batch's share of the update's loss, and sums to add to the update's metrics
Share = tuple[torch.Tensor, dict[str, float]]
MicroBatch = Callable[[], Share]


@dataclass(frozen=True)
class LoopSettings:
    """How weights are moved."""

    learning_rate: float
    schedule: str = "linear"  # a name of SCHEDULES
    warmup: float = 0.0
    floor: float = 0.0
    horizon: int | None = None  # updates over which the schedule is laid out, where training ends before
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    decay_all: bool = False  # embeddings, norms and biases decay too
    clip: float | None = 1.0
    skip: SkipRule | None = None  # updates that are outliers are not made
    rewind: RewindRule | None = None  # where too many of them are, training goes back; needs `skip`
    states: Literal["float32", "8bit"] = "float32"  # of the optimiser
    offload: bool = False  # the optimiser's part in main memory
    rates: Mapping[str, float] = field(default_factory=dict)  # beginning of weights' names → multiple of the rate
    checkpoint_seconds: float | None = None  # between checkpoints; None: as `Pace` has it
    background: bool | None = None  # checkpoints are written while training goes on; None: where a GPU trains
    time_limit: float | None = None  # seconds, over all attempts


class Trained(Protocol):
    """What is trained: whatever has weights."""

    @property
    def network(self) -> torch.nn.Module: ...

    @property
    def masters(self) -> Mapping[str, torch.Tensor]:
        """The network's weights in float32, by name, where it computes with copies of them (see `Decoder`)."""
        ...


class Backend(Protocol):
    """Moves the weights of one model at a time; `wrap` comes first."""

    in_step: bool
    """Whether a forward or backward takes all processes at once."""

    def wrap(self, model: Trained, settings: LoopSettings) -> None:
        """Take over a model's weights, in place, with an optimiser as the settings have it; those of one model once."""
        ...

    def expect(self, micro_batches: int) -> None:
        """So many calls of `backward` make the next step."""
        ...

    def reading(self, compute: Callable[[], T], whole: bool = False) -> T:
        """Compute what reads the weights, without a gradient. `whole`: it reads them by itself, not by forwards alone,
        or not the same in all processes."""
        ...

    def forward(self, micro_batch: MicroBatch) -> Share:
        """A micro-batch's share of the loss, and its sums."""
        ...

    def fill(self, micro_batch: MicroBatch) -> None:
        """Go along with the others' `forward` and `backward`, adding nothing."""
        ...

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradient of a micro-batch's share of the loss."""
        ...

    def trying(self, tokens: int, known: bool) -> AbstractContextManager[None]:
        """Within, one micro-batch is computed. Where processes wait for each other's layers and one runs out of memory,
        all raise `torch.OutOfMemoryError`.

        Args:
            tokens: of the micro-batch.
            known: such a one is known to fit; then nothing is asked, and one that runs out ends the run.
        """
        ...

    def forget(self) -> None:
        """Clear the gradient that was added so far: the update is begun anew."""
        ...

    def step(self, rate: float, clip: float | None, allows: Callable[[float], bool] | None = None) -> float:
        """Clip the gradient of the whole model to norm `clip`, move the weights, clear the gradient.

        Args:
            allows: says of the gradient's norm whether the weights move at all; by default they do.

        Returns:
            The gradient's norm before clipping.

        Raises:
            FloatingPointError: the gradient is not finite, and there is nothing to ask; nothing moved.
        """
        ...

    def state(self) -> dict[str, torch.Tensor]:
        """Weights and the optimiser's state, for a checkpoint."""
        ...

    def restore(self, tensors: dict[str, torch.Tensor]) -> None:
        """Take back what `state` gave.

        Raises:
            KeyError: a weight is missing.
        """
        ...

    def like(self, name: str, size: torch.Size, dtype: torch.dtype) -> torch.Tensor:
        """What a checkpoint's tensor of this name and (whole) size is to be read into, for `restore`."""
        ...

    def gather(self, model: Trained) -> dict[str, torch.Tensor]:
        """The trained weights of a model, whole, by name, in float32 where there are masters."""
        ...

    def exact(self, model: Decoder) -> dict[str, torch.Tensor]:
        """All weights by name as they were trained, whole; nothing where another process is to write them."""
        ...

    def scatter(self, model: Trained, weights: Mapping[str, torch.Tensor]) -> None:
        """Put back what `gather` gave."""
        ...

    def settle(self, model: Decoder) -> bool:
        """Training is over: from now on the model is whole in the one process that writes it; whether this is it.

        Of its weights the others have nothing left, or what is not to be looked at.
        """
        ...

    def save(self, model: Decoder, folder: Path) -> None:
        """Write a model, whole, as a model folder; of several processes the leader does."""
        ...


class LocalBackend:
    """All weights in this process, each whole."""

    in_step = False

    def __init__(self) -> None:
        self._optimiser: MasterAdamW | None = None
        self._network: torch.nn.Module | None = None

    @property
    def optimiser(self) -> MasterAdamW:
        assert self._optimiser is not None, "wrap comes first"
        return self._optimiser

    def wrap(self, model: Trained, settings: LoopSettings) -> None:
        if self._network is model.network:
            return
        self._network, s = model.network, settings
        self._optimiser = MasterAdamW(
            model.network,
            s.betas,
            s.epsilon,
            s.weight_decay,
            model.masters,
            s.states,
            s.offload,
            s.rates,
            decay_all=s.decay_all,
        )
        for name, master in zip(self.optimiser.names, self.optimiser.masters, strict=True):
            if name in model.masters and s.offload:  # what is saved is what is moved, and the GPU holds no copy of it
                model.masters[name].data = master.detach()

    def expect(self, micro_batches: int) -> None:
        self.optimiser.expect(micro_batches)

    def reading(self, compute: Callable[[], T], whole: bool = False) -> T:
        return compute()

    def forward(self, micro_batch: MicroBatch) -> Share:
        return micro_batch()

    def backward(self, loss: torch.Tensor) -> None:
        loss.backward()  # type: ignore[no-untyped-call]

    def fill(self, micro_batch: MicroBatch) -> None:
        pass  # nobody waits for it

    def trying(self, tokens: int, known: bool) -> AbstractContextManager[None]:
        return nullcontext()

    def forget(self) -> None:
        self.optimiser.forget()

    def step(self, rate: float, clip: float | None, allows: Callable[[float], bool] | None = None) -> float:
        return self.optimiser.step(rate, clip, allows)

    def state(self) -> dict[str, torch.Tensor]:
        return self.optimiser.state()

    def restore(self, tensors: dict[str, torch.Tensor]) -> None:
        self.optimiser.restore(tensors)

    def like(self, name: str, size: torch.Size, dtype: torch.dtype) -> torch.Tensor:
        return torch.empty(size, dtype=dtype)

    def gather(self, model: Trained) -> dict[str, torch.Tensor]:
        return {
            name: model.masters.get(name, weight).detach().contiguous()
            for name, weight in model.network.named_parameters()
            if weight.requires_grad
        }

    @torch.no_grad()
    def scatter(self, model: Trained, weights: Mapping[str, torch.Tensor]) -> None:
        for name, weight in model.network.named_parameters():
            if name in weights:
                weight.copy_(weights[name])
            if name in model.masters:
                model.masters[name].copy_(weights[name])

    def exact(self, model: Decoder) -> dict[str, torch.Tensor]:
        return model.exact()

    def settle(self, model: Decoder) -> bool:
        return True

    def save(self, model: Decoder, folder: Path) -> None:
        model.save(folder)
