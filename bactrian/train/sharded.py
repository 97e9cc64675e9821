"""Weights cut into shards over several processes, each whole only while it is computed with [FSDP, Zhao et al. 2023].

Every decoder layer is a unit of torch's `fully_shard`: its weights are gathered before its forward and before its
backward, and given up after each; its gradient is summed and cut into shards again. What is outside the layers
(embeddings, last norm, head) is the unit of the root. Our forwards go round the network's own `forward`, so the root is
a module whose forward is whatever it is asked to compute.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch

from bactrian.errors import BactrianError
from bactrian.model.language_model import Decoder
from bactrian.store.processes import Processes
from bactrian.train.backend import LoopSettings, MicroBatch, Share, Trained
from bactrian.train.optimiser import MasterAdamW

T = TypeVar("T")


class Root(torch.nn.Module):
    """Computes what it is given while the weights outside the layers are whole."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, compute: Callable[[], T]) -> T:
        return compute()


class ShardedBackend:
    """A model's weights, their gradients and the optimiser's state in shards, one in each process.

    Or one in each of a machine's processes, and the same in those of the others [HSDP, Zhao et al. 2023]: layers are
    gathered over the links within a machine, and only gradients, summed there already, cross the network.

    The shards are float32 where they are trained. Where the model computes in bfloat16 its layers are gathered in that;
    gradients are summed in float32. Sums, not means: losses are shares of the whole update's.
    """

    in_step = True

    def __init__(self, group: Processes, within: int | None = None) -> None:
        """
        Args:
            within: processes over which weights are cut, one after the other; by default all.
        """
        self.group, self.within = group, within or group.size
        self._root: Any = None
        self._units: list[Any] = []
        self._left = 0  # backwards before the next step
        self._optimiser: MasterAdamW | None = None

    @property
    def optimiser(self) -> MasterAdamW:
        assert self._optimiser is not None, "wrap comes first"
        return self._optimiser

    def wrap(self, model: Trained, settings: LoopSettings) -> None:
        """
        Raises:
            BactrianError: weights in 4 bits, or optimiser states in 8, which are no numbers that can be cut.
        """
        if settings.states != "float32":
            raise BactrianError(
                f"optimiser, field states: found {settings.states} with hardware weights: sharded; expected float32, "
                "or weights: replicated"
            )
        network = model.network
        computes_in = _computes_in(network)
        _as_masters(network, model.masters)
        self._root = Root(network)
        self._shard(network, computes_in, settings.offload)
        s = settings
        self._optimiser = MasterAdamW(network, s.betas, s.epsilon, s.weight_decay, rates=s.rates, decay_all=s.decay_all)

    def _shard(self, network: torch.nn.Module, computes_in: torch.dtype, offload: bool) -> None:
        from torch.distributed import fsdp
        from torch.distributed.device_mesh import init_device_mesh

        device = next(network.parameters()).device.type
        if self.within == self.group.size:
            mesh = init_device_mesh(device, (self.group.size,))
        else:
            shape = (self.group.size // self.within, self.within)
            mesh = init_device_mesh(device, shape, mesh_dim_names=("between", "within"))
        policy = fsdp.MixedPrecisionPolicy(param_dtype=computes_in, reduce_dtype=torch.float32)
        if computes_in.itemsize >= 4:  # in the model's own dtype
            policy = fsdp.MixedPrecisionPolicy()
        where = fsdp.CPUOffloadPolicy() if offload and device == "cuda" else fsdp.OffloadPolicy()
        self._units = list(units(network))
        for unit in (*self._units, self._root):
            fsdp.fully_shard(unit, mesh=mesh, mp_policy=policy, offload_policy=where)
            assert isinstance(unit, fsdp.FSDPModule)
            unit.set_gradient_divide_factor(1.0)
            unit.set_force_sum_reduction_for_comms(True)
        self._say_what_is_gathered_next(network)

    def _say_what_is_gathered_next(self, network: torch.nn.Module) -> None:
        """On the way back a layer gathers the one below it. By itself torch would go by the forwards that it saw since
        the last way back, and processes read the weights unequally often: they would wait for different gatherings."""
        from torch.distributed.fsdp import FSDPModule

        def then(unit: torch.nn.Module, below: torch.nn.Module) -> None:
            assert isinstance(unit, FSDPModule) and isinstance(below, FSDPModule)
            unit.set_modules_to_backward_prefetch([below])

        for layers in map(list, stacks(network)):
            for below, layer in zip([layers[0], *layers], layers, strict=False):  # the lowest: itself, so nothing
                then(layer, below)
        then(self._root, self._units[-1] if self._units else self._root)

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
        self._give_up()
        return found

    def _stay(self, whole: bool) -> None:
        """Whether the layers' weights stay whole after a forward; gathered now if they do."""
        for unit in self._units:
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

    def forget(self) -> None:
        self.optimiser.forget()

    def step(self, rate: float, clip: float | None, allows: Callable[[float], bool] | None = None) -> float:
        return self.optimiser.step(rate, clip, allows)

    def state(self) -> dict[str, torch.Tensor]:
        self._give_up()
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
        self._give_up()
        return {name: whole(w) for name, w in model.network.named_parameters() if w.requires_grad}

    @torch.no_grad()
    def scatter(self, model: Trained, weights: Mapping[str, torch.Tensor]) -> None:
        self._give_up()
        for name, weight in model.network.named_parameters():
            if name in weights:
                weight.copy_(_cut_like(weight, weights[name]))

    def exact(self, model: Decoder) -> dict[str, torch.Tensor]:
        self._give_up()
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

    def _give_up(self) -> None:
        """Of every unit only the shards are left: a forward without a backward leaves the root's weights whole."""
        from torch.distributed.fsdp import FSDPModule

        for module in self._root.modules():
            if isinstance(module, FSDPModule):
                module.reshard()


def units(network: torch.nn.Module) -> Iterator[torch.nn.Module]:
    """The layers of each decoder in a network; a network without any is one unit."""
    for layers in stacks(network):
        yield from layers


def stacks(network: torch.nn.Module) -> Iterator[torch.nn.ModuleList]:
    """The list of layers of each decoder in a network."""
    for module in network.modules():
        layers = getattr(module, "layers", None)
        if isinstance(layers, torch.nn.ModuleList):
            yield layers


def whole(weight: torch.Tensor) -> torch.Tensor:
    """All of a weight, in every process; one that is not cut is whole already."""
    found: torch.Tensor = weight.full_tensor() if hasattr(weight, "full_tensor") else weight
    return found.detach()


def _saved_buffers(network: torch.nn.Module) -> list[tuple[str, torch.Tensor]]:
    saved = network.state_dict()
    return [(name, buffer) for name, buffer in network.named_buffers() if name in saved]


def _computes_in(network: torch.nn.Module) -> torch.dtype:
    return next(weight.dtype for weight in network.parameters() if weight.is_floating_point())


@torch.no_grad()
def _as_masters(network: torch.nn.Module, masters: Mapping[str, torch.Tensor]) -> None:
    """Put the weights as they are trained into the network: what it computes with is made of them as it is gathered.

    Raises:
        BactrianError: weights that are no floating-point numbers.
    """
    for name, weight in network.named_parameters():
        if not weight.is_floating_point():
            raise BactrianError(
                f"hardware: weights: sharded: {name} is in {weight.dtype}, expected weights: replicated"
            )
        if (master := masters.get(name)) is not None:
            weight.data = master.to(weight.device)
        elif weight.dtype.itemsize < 4:
            weight.data = weight.data.float()


def _weight_of(name: str) -> str:
    return name.partition("#")[0]


def _cut_like(weight: torch.Tensor | None, tensor: torch.Tensor) -> torch.Tensor:
    """A whole tensor as the shards that the weight is cut into; one that is cut, or no weight's shape, as it is."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(weight, DTensor) or isinstance(tensor, DTensor) or weight.shape != tensor.shape:
        return tensor
    return distribute_tensor(tensor.to(weight.device), weight.device_mesh, weight.placements, src_data_rank=None)
