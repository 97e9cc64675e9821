"""A network cut into units of torch's `fully_shard`: which weights are gathered together, and when.

Every decoder layer is a unit: its weights are gathered before its forward and before its backward, and given up after
each; its gradient is summed and cut into shards again. What is outside the layers (embeddings, last norm, head) is the
unit of the root. Our forwards go round the network's own `forward`, so the root is a module whose forward is whatever
it is asked to compute.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import torch

from bactrian.store.processes import Processes

T = TypeVar("T")


class Root(torch.nn.Module):
    """Computes what it is given while the weights outside the layers are whole.

    layers: the units below it.
    """

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network
        self.layers: tuple[Any, ...] = tuple(units(network))

    def forward(self, compute: Callable[[], T]) -> T:
        return compute()


def shard(
    network: torch.nn.Module,
    group: Processes,
    within: int,
    computes_in: torch.dtype,
    *,
    offload: bool = False,
    keeps_outside: bool = True,
) -> Any:
    """Cut a network's weights, in place, over processes; returns its root.

    Args:
        within: processes over which weights are cut, one after the other; the others have the same again.
        computes_in: what layers are gathered in; gradients are summed in float32.
        offload: shards lie in main memory, where a GPU computes.
        keeps_outside: what is outside the layers stays whole from a forward to its backward.
    """
    from torch.distributed import fsdp
    from torch.distributed.device_mesh import init_device_mesh

    device = next(network.parameters()).device.type
    if within == group.size:
        mesh = init_device_mesh(device, (group.size,))
    else:
        mesh = init_device_mesh(device, (group.size // within, within), mesh_dim_names=("between", "within"))
    policy = fsdp.MixedPrecisionPolicy(param_dtype=computes_in, reduce_dtype=torch.float32)
    if computes_in.itemsize >= 4:  # in the model's own dtype
        policy = fsdp.MixedPrecisionPolicy()
    where = fsdp.CPUOffloadPolicy() if offload and device == "cuda" else fsdp.OffloadPolicy()
    root = Root(network)
    _part(root.layers)
    for unit in (*root.layers, root):
        stays = None if unit is not root or keeps_outside else True
        fsdp.fully_shard(unit, mesh=mesh, mp_policy=policy, offload_policy=where, reshard_after_forward=stays)
        unit.set_gradient_divide_factor(1.0)
        unit.set_force_sum_reduction_for_comms(True)
    _say_what_is_gathered_next(root)
    return root


def _part(layers: Sequence[torch.nn.Module]) -> None:
    """Weights that layers of several decoders share become weights of each, of the same numbers until they are cut."""
    owners: dict[int, torch.nn.Module] = {}
    for layer in layers:
        for module in layer.modules():
            for name, weight in list(module.named_parameters(recurse=False)):
                if owners.setdefault(id(weight), layer) is not layer:
                    setattr(module, name, torch.nn.Parameter(weight.data, requires_grad=weight.requires_grad))


def _say_what_is_gathered_next(root: Root) -> None:
    """On the way back a layer gathers the one below it. By itself torch would go by the forwards that it saw since the
    last way back, and processes read the weights unequally often: they would wait for different gatherings."""
    from torch.distributed.fsdp import FSDPModule

    def then(unit: torch.nn.Module, below: torch.nn.Module) -> None:
        assert isinstance(unit, FSDPModule) and isinstance(below, FSDPModule)
        unit.set_modules_to_backward_prefetch([below])

    for layers in map(list, stacks(root.network)):
        for below, layer in zip([layers[0], *layers], layers, strict=False):  # the lowest: itself, so nothing
            then(layer, below)
    then(root, root.layers[-1] if root.layers else root)


def give_up(root: torch.nn.Module) -> None:
    """Of every unit only the shards are left: a forward without a backward leaves the root's weights whole."""
    from torch.distributed.fsdp import FSDPModule

    for module in root.modules():
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


def computing_dtype(network: torch.nn.Module) -> torch.dtype:
    """Of the weights that a network computes with; those in 4 bits say nothing of it."""
    return next(weight.dtype for weight in network.parameters() if weight.is_floating_point())
