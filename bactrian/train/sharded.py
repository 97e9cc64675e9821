"""Weights cut into shards over several processes, each whole only while it is computed with [FSDP, Zhao et al. 2023].

What is gathered together, and when, is in `units`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch

from bactrian.errors import BactrianError
from bactrian.model.language_model import Decoder
from bactrian.store.processes import Processes
from bactrian.train.abreast import Abreast, can_begin_anew
from bactrian.train.backend import LoopSettings, MicroBatch, Share, Trained
from bactrian.train.fitting import no_longer_fits
from bactrian.train.optimiser import MasterAdamW
from bactrian.train.units import computing_dtype, give_up, shard, whole

T = TypeVar("T")


class ShardedBackend:
    """A model's weights, their gradients and the optimiser's state in shards, one in each process.

    Or one in each of a machine's processes, and the same in those of the others [HSDP, Zhao et al. 2023]: layers are
    gathered over the links within a machine, and only gradients, summed there already, cross the network.

    The shards are float32 where they are trained. Where the model computes in bfloat16 its layers are gathered in that;
    gradients are summed in float32. Sums, not means: losses are shares of the whole update's. Weights that stay as they
    are, beside adapters, are cut as they are.
    """

    in_step = True

    def __init__(self, group: Processes, within: int | None = None) -> None:
        """
        Args:
            within: processes over which weights are cut, one after the other; by default all.
        """
        self.group, self.within = group, within or group.size
        self.abreast = Abreast(group)
        self._root: Any = None
        self._left = 0  # backwards before the next step
        self._optimiser: MasterAdamW | None = None

    @property
    def optimiser(self) -> MasterAdamW:
        assert self._optimiser is not None, "wrap comes first"
        return self._optimiser

    def wrap(self, model: Trained, settings: LoopSettings) -> None:
        """
        Raises:
            BactrianError: optimiser states in 8 bits, which are no numbers that can be cut.
        """
        network = model.network
        if self._root is not None and self._root.network is network:
            return
        if settings.states != "float32":
            raise BactrianError(
                f"optimiser, field states: found {settings.states} with hardware weights: sharded; expected float32, "
                "or weights: replicated"
            )
        computes_in = computing_dtype(network)
        _as_masters(network, model.masters)
        self._root = shard(network, self.group, self.within, computes_in, offload=settings.offload)
        if can_begin_anew():
            for unit in (*self._root.layers, self._root):
                self.abreast.stand_between(unit)
        s = settings
        self._optimiser = MasterAdamW(network, s.betas, s.epsilon, s.weight_decay, rates=s.rates, decay_all=s.decay_all)

    def expect(self, micro_batches: int) -> None:
        self.optimiser.expect(max(2, micro_batches))
        self._left = micro_batches

    def reading(self, compute: Callable[[], T], whole: bool = False) -> T:
        """Compute what reads the weights, without a gradient.

        Args:
            whole: all weights are gathered first, and none is given up before the end: then processes may compute
                different things, and whoever samples finds the weights. Otherwise all compute the same forwards.
        """
        with torch.no_grad():
            if not whole:
                found: T = self._root(compute)
            else:
                self._root(lambda: None)  # the root is to be the first that runs
                self._stay(True)
                try:
                    found = compute()
                finally:
                    self._stay(False)
        give_up(self._root)
        return found

    def _stay(self, whole: bool) -> None:
        """Whether the layers' weights stay whole after a forward; gathered now if they do."""
        for unit in self._root.layers:
            unit.set_reshard_after_forward(not whole)
            if whole:
                unit.unshard()

    def forward(self, micro_batch: MicroBatch) -> Share:
        found: Share = self._root(micro_batch)
        return found

    def backward(self, loss: torch.Tensor) -> None:
        self._left -= 1
        if self.within < self.group.size:  # between machines gradients are summed once an update, in the last backward
            self._root.set_requires_all_reduce(self._left <= 0)
        loss.backward()  # type: ignore[no-untyped-call]

    def fill(self, micro_batch: MicroBatch) -> None:
        """Gathering weights takes all processes: one without work goes along, and its gradient is 0."""
        self.backward(0.0 * self.forward(micro_batch)[0])

    @contextmanager
    def trying(self, tokens: int, known: bool) -> Iterator[None]:
        if not known and can_begin_anew():
            with self.abreast.trying():
                yield
            return
        try:
            yield
        except torch.OutOfMemoryError as error:  # the others wait for this process, and cannot be told
            raise no_longer_fits(tokens, error) from error

    def forget(self) -> None:
        for weight in self._root.parameters():  # of a layer that is whole just now, too
            weight.grad = None
        self._root.reset_iter_state()
        self.optimiser.forget()

    def step(self, rate: float, clip: float | None, allows: Callable[[float], bool] | None = None) -> float:
        return self.optimiser.step(rate, clip, allows)

    def state(self) -> dict[str, torch.Tensor]:
        give_up(self._root)
        return self.optimiser.state()

    def restore(self, tensors: dict[str, torch.Tensor]) -> None:
        masters = dict(zip(self.optimiser.names, self.optimiser.masters, strict=True))
        self.optimiser.restore({name: _cut_like(masters.get(_weight_of(name)), t) for name, t in tensors.items()})

    def like(self, name: str, size: torch.Size, dtype: torch.dtype) -> torch.Tensor:
        masters = dict(zip(self.optimiser.names, self.optimiser.masters, strict=True))
        master = masters.get(_weight_of(name))
        if master is None or master.shape != size:
            return torch.empty(size, dtype=dtype)
        return torch.empty_like(master.detach(), dtype=dtype)

    def gather(self, model: Trained) -> dict[str, torch.Tensor]:
        give_up(self._root)
        return {name: whole(w) for name, w in model.network.named_parameters() if w.requires_grad}

    @torch.no_grad()
    def scatter(self, model: Trained, weights: Mapping[str, torch.Tensor]) -> None:
        give_up(self._root)
        for name, weight in model.network.named_parameters():
            if name in weights:
                weight.copy_(_cut_like(weight, weights[name]))

    def exact(self, model: Decoder) -> dict[str, torch.Tensor]:
        give_up(self._root)
        found: dict[str, torch.Tensor] = {}
        kept: dict[int, torch.Tensor] = {}
        parameters = model.network.named_parameters(remove_duplicate=False)
        for name, weight in (*parameters, *_saved_buffers(model.network)):
            if id(weight) not in kept:
                here = whole(weight)  # made by all, one at a time; kept by one
                kept[id(weight)] = here.cpu() if self.group.leader else here.new_empty(0)
            found[name] = kept[id(weight)]
        return found if self.group.leader else {}

    def save(self, model: Decoder, folder: Path) -> None:
        weights = self.exact(model)
        if self.group.leader:
            model.save(folder, weights)
        self.group.barrier()

    @torch.no_grad()
    def settle(self, model: Decoder) -> bool:
        give_up(self._root)
        kept: dict[int, tuple[torch.Tensor, torch.nn.Parameter]] = {}
        for module in model.network.modules():
            for name, weight in list(module.named_parameters(recurse=False)):
                if id(weight) not in kept:
                    here = whole(weight)  # made by all, one at a time; kept by one
                    here = here.cpu() if self.group.leader else here.new_empty(0)
                    kept[id(weight)] = weight, torch.nn.Parameter(here, requires_grad=False)
                setattr(module, name, kept[id(weight)][1])
        return self.group.leader


def _saved_buffers(network: torch.nn.Module) -> list[tuple[str, torch.Tensor]]:
    saved = network.state_dict()
    return [(name, buffer) for name, buffer in network.named_buffers() if name in saved]


@torch.no_grad()
def _as_masters(network: torch.nn.Module, masters: Mapping[str, torch.Tensor]) -> None:
    """Put the weights as they are trained into the network: what it computes with is made of them as it is gathered."""
    for name, weight in network.named_parameters():
        if (master := masters.get(name)) is not None:
            weight.data = master.to(weight.device)
        elif weight.requires_grad and weight.dtype.itemsize < 4:
            weight.data = weight.data.float()


def _weight_of(name: str) -> str:
    return name.partition("#")[0]


def _cut_like(weight: torch.Tensor | None, tensor: torch.Tensor) -> torch.Tensor:
    """A whole tensor as the shards that the weight is cut into; one that is cut, or no weight's shape, as it is."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(weight, DTensor) or isinstance(tensor, DTensor) or weight.shape != tensor.shape:
        return tensor
    return distribute_tensor(tensor.to(weight.device), weight.device_mesh, weight.placements, src_data_rank=None)
