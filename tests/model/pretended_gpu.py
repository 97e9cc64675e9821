"""A GPU that is none: tensors that say they are on a device of that name, and are computed with on the CPU.

Whatever mixes the two, as an index in main memory with states on the GPU, fails here as it would there, with real
numbers and without a GPU. What it cannot show: kernels, speed, memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only

NAME = "pretended"
ACROSS = {"copy_", "to", "_to_copy"}  # may read one device and write the other
INDEXED = ("aten::index", "aten::_index_put_impl_")  # by indices in main memory, whatever they index


class Pretended(torch.Tensor):
    """Says that it is on the GPU; `held` is where its numbers are."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> Pretended:
        found: Pretended = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=torch.device(NAME, 0),
        )
        found.held = held
        return found

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})

    def __deepcopy__(self, memo: dict[int, Any]) -> torch.Tensor:
        if id(self) not in memo:
            plain = Pretended(self.held.detach().clone())
            memo[id(self)] = (
                torch.nn.Parameter(plain, self.requires_grad) if isinstance(self, torch.nn.Parameter) else plain
            )
        found: torch.Tensor = memo[id(self)]
        return found

    def new_tensor(self, data: Any, **options: Any) -> Any:
        return Pretended(self.held.new_tensor(data, **options))

    def tolist(self) -> Any:
        return self.held.tolist()

    def data_ptr(self) -> int:
        return self.held.data_ptr()

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"Pretended({self.held})"


def run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """One operation, where its tensors say that they are.

    Raises:
        RuntimeError: they are on two devices.
    """
    leaves = tree_flatten((args, kwargs))[0]
    tensors = [x for x in leaves if isinstance(x, torch.Tensor)]
    there = [x for x in tensors if isinstance(x, Pretended)]
    if func.name().split("::")[1].split(".")[0] not in ACROSS:
        plain = [x for x in tensors if not isinstance(x, Pretended) and x.ndim > 0]
        if func.name().startswith(INDEXED):
            plain = [x for x in plain if x is args[0]]
        if there and plain:
            sizes = [(tuple(x.shape), NAME if isinstance(x, Pretended) else "cpu") for x in tensors]
            raise RuntimeError(f"{func}: tensors on two devices: {sizes}")
    if func is torch.ops.aten.copy_.default:
        _held(args[0]).copy_(_held(args[1]))
        return args[0]
    asked = [x for x in leaves if isinstance(x, torch.device)]
    inner = tree_map_only(torch.device, lambda _: torch.device("cpu"), tree_map_only(Pretended, _held, (args, kwargs)))
    found = func(*inner[0], **{**inner[1], **({"pin_memory": False} if inner[1].get("pin_memory") else {})})
    if not (asked[0].type == NAME if asked else there):
        return found
    same = {id(x.held): x for x in there}  # in place: the same tensor is given back
    return tree_map_only(torch.Tensor, lambda x: same[id(x)] if id(x) in same else Pretended(x), found)


def _held(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.held if isinstance(tensor, Pretended) else tensor


class _Everywhere(TorchDispatchMode):
    """Also what is made on the GPU, or brought there."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})


@contextmanager
def pretended_gpu() -> Iterator[str]:
    """Within, a device of this name is like any other. It stays known to torch for the life of the process."""
    from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

    if not hasattr(torch, NAME):
        _setup_privateuseone_for_python_backend(NAME)
    plain = torch.tensor

    def tensor(data: Any, *, device: Any = None, **options: Any) -> torch.Tensor:  # it goes past every mode
        return plain(data, **options) if device is None else plain(data, **options).to(device)

    with _Everywhere(), mock.patch("torch.tensor", tensor):
        yield NAME


def moved(network: torch.nn.Module) -> None:
    """Bring a network's weights and buffers there, tied ones once."""
    there: dict[int, torch.Tensor] = {}
    for module in network.modules():
        for held in (module._parameters, module._buffers):
            for name, tensor in held.items():
                if tensor is None:
                    continue
                if id(tensor) not in there:
                    plain = Pretended(tensor.detach().clone())
                    needs = tensor.requires_grad
                    there[id(tensor)] = torch.nn.Parameter(plain, needs) if held is module._parameters else plain
                held[name] = there[id(tensor)]  # type: ignore[assignment]
