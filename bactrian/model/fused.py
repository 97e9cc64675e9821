"""Norms and gated units as single passes over memory, on CPUs (layers.c).

transformers writes a norm as six operations and a gated unit as two, each of which reads and writes all of its input,
keeps float32 copies for the backward, and rounds in between. Ours read once and write once, forward and backward,
and keep their inputs alone. They take the place of a module only after they were seen to do what it does on a probe.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import gelu, linear, rms_norm, silu

from bactrian.model.native import NUMBERS, SUFFIX, Kernel, library
from bactrian.model.signatures import CSource

Operation = Callable[[torch.Tensor], torch.Tensor]
SOURCE = CSource.read(Path(__file__).with_name("layers.c"), Path(__file__).with_name("layers_typed.h"), NUMBERS)


def layers() -> dict[str, Kernel] | None:
    """The kernels of layers.c by name, or None."""
    return library(SOURCE)


def usable(x: torch.Tensor) -> bool:
    """Whether layers.c works on this tensor: on a CPU, of a type that it knows."""
    return x.device.type == "cpu" and x.dtype in SUFFIX and layers() is not None


def call(name: str, *arguments: Any) -> None:
    """Call a kernel of layers.c, where there is one (see `usable`), with its arguments after the number of threads."""
    found = layers()
    assert found is not None
    found[name](*arguments)


class _Norm(torch.autograd.Function):
    """x / rms(x) times (offset + weight), over the last dimension."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, offset: float, epsilon: float) -> torch.Tensor:
        rows = x.reshape(-1, x.shape[-1]).contiguous()
        out, scale = torch.empty_like(rows), rows.new_empty(len(rows), dtype=torch.float32)
        call("norm_forward", *rows.shape, rows, weight, offset, epsilon, out, scale)
        ctx.save_for_backward(rows, weight, scale)
        ctx.offset = offset
        return out.view(x.shape)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        rows, weight, scale = ctx.saved_tensors
        upstream = grad.reshape(rows.shape).contiguous()
        d_x = torch.empty_like(rows)
        shares = rows.new_empty(torch.get_num_threads(), rows.shape[1], dtype=torch.float32)
        call("norm_backward", *rows.shape, rows, weight, ctx.offset, scale, upstream, d_x, shares)
        return d_x.view(grad.shape), shares.sum(0).to(weight.dtype), None, None


class _Gate(torch.autograd.Function):
    """act(gate) times up; kind: 0 for silu, 1 for gelu by its tanh formula."""

    @staticmethod
    def forward(ctx: Any, gate: torch.Tensor, up: torch.Tensor, kind: int) -> torch.Tensor:
        gate, up = gate.contiguous(), up.contiguous()
        ctx.save_for_backward(gate, up)
        ctx.kind = kind
        return gated(gate, up, kind)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        gate, up = ctx.saved_tensors
        d_gate, d_up = gate_gradients(gate, up, grad, ctx.kind)
        return d_gate, d_up, None


def gated(gate: torch.Tensor, up: torch.Tensor, kind: int) -> torch.Tensor:
    out = torch.empty_like(gate)
    call("gate_forward", *gate.view(-1, gate.shape[-1]).shape, kind, gate, up, out)
    return out


def gate_gradients(
    gate: torch.Tensor, up: torch.Tensor, grad: torch.Tensor, kind: int
) -> tuple[torch.Tensor, torch.Tensor]:
    d_gate, d_up = torch.empty_like(gate), torch.empty_like(up)
    call("gate_backward", *gate.view(-1, gate.shape[-1]).shape, kind, gate, up, grad.contiguous(), d_gate, d_up)
    return d_gate, d_up


class _GatedLinear(torch.autograd.Function):
    """(act(gate) times up) W^T, whose inner product is computed again in the backward: a third of an MLP's memory."""

    @staticmethod
    def forward(ctx: Any, gate: torch.Tensor, up: torch.Tensor, weight: torch.Tensor, kind: int) -> torch.Tensor:
        gate, up = gate.contiguous(), up.contiguous()
        ctx.save_for_backward(gate, up, weight)
        ctx.kind = kind
        return linear(gated(gate, up, kind), weight)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        gate, up, weight = ctx.saved_tensors
        d_weight = None
        if ctx.needs_input_grad[2]:
            inner = gated(gate, up, ctx.kind)
            d_weight = grad.reshape(-1, grad.shape[-1]).T @ inner.view(-1, inner.shape[-1])
        d_gate, d_up = gate_gradients(gate, up, grad @ weight, ctx.kind)
        return d_gate, d_up, d_weight, None


def fuse(network: torch.nn.Module) -> None:
    """Let the network's norms and gated units be computed by layers.c, where it can and does the same.

    On a GPU norms become one kernel, torch's own; the rest stays as it is.
    """
    if layers() is None and all(weight.device.type == "cpu" for weight in network.parameters()):
        return
    for module in network.modules():
        if (offset := offset_of(module)) is not None:
            specialise(module, _norm, offset=offset, epsilon=epsilon_of(module))
        elif (kind := act_kind(module)) is not None:
            specialise(module, _mlp, gate_kind=kind)


def offset_of(module: Any) -> float | None:
    """Of a norm by root mean square: 0 where its weight is the factor, 1 where the factor is 1 + weight, else None."""
    weight, epsilon = getattr(module, "weight", None), epsilon_of(module)
    on_gpu = isinstance(weight, torch.Tensor) and weight.device.type == "cuda"
    if epsilon is None or not isinstance(weight, torch.Tensor) or weight.ndim != 1 or not (on_gpu or usable(weight)):
        return None
    probe = torch.linspace(-2, 3, 3 * len(weight)).to(weight).view(3, -1)
    with torch.no_grad():
        expected = module(probe)
        if on_gpu:
            return 0.0 if alike(rms_norm(probe, weight.shape, weight, epsilon), expected) else None
        for offset in (0.0, 1.0):
            if alike(_Norm.apply(probe, weight, offset, epsilon), expected):  # type: ignore[no-untyped-call]
                return offset
    return None


def epsilon_of(module: Any) -> float | None:
    """What a norm adds to the mean square."""
    if "RMSNorm" not in type(module).__name__:
        return None
    found = getattr(module, "variance_epsilon", getattr(module, "eps", None))
    return float(found) if isinstance(found, float) else None


def act_kind(module: Any) -> int | None:
    """Of a gated unit (gate_proj, up_proj, down_proj, act_fn): 0 for silu, 1 for gelu (tanh), else None."""
    parts = {name for name, _ in module.named_children()}
    if not {"gate_proj", "up_proj", "down_proj"} <= parts <= {"gate_proj", "up_proj", "down_proj", "act_fn"}:
        return None
    return gate_kind(module.act_fn) if callable(getattr(module, "act_fn", None)) else None


def gate_kind(act: Operation) -> int | None:
    """0 for silu, 1 for gelu by its tanh formula, found by a probe; None for anything else."""
    probe = torch.linspace(-9, 9, 181)
    known: tuple[Operation, ...] = (silu, partial(gelu, approximate="tanh"))
    return next((kind for kind, operation in enumerate(known) if torch.equal(act(probe), operation(probe))), None)


def alike(found: torch.Tensor, expected: torch.Tensor) -> bool:
    return torch.allclose(found, expected, rtol=1e-5 if found.dtype == torch.float32 else 2e-2, atol=1e-6)


def specialise(module: torch.nn.Module, forward: Callable[..., torch.Tensor], **settings: Any) -> None:
    """Give one module another forward by a class of its own: it is still copied, saved and named like before."""
    kind = type(module)
    module.__class__ = type(kind.__name__, (kind,), {"forward": forward, "plain": kind.forward, **settings})


def _norm(self: Any, x: torch.Tensor) -> torch.Tensor:
    if x.device.type == "cuda" and self.offset == 0 and x.dtype == self.weight.dtype:  # torch's one kernel for it
        return rms_norm(x, self.weight.shape, self.weight, self.epsilon)
    if not usable(x) or x.dtype != self.weight.dtype:
        plain: torch.Tensor = self.plain(x)
        return plain
    normed: torch.Tensor = _Norm.apply(x, self.weight, self.offset, self.epsilon)  # type: ignore[no-untyped-call]
    return normed


def _mlp(self: Any, x: torch.Tensor) -> torch.Tensor:
    gate, up, down = self.gate_proj(x), self.up_proj(x), self.down_proj
    if not usable(gate):
        plain: torch.Tensor = down(self.act_fn(gate) * up)
        return plain
    if _is_plain(down) and down.weight.dtype == gate.dtype:
        out: torch.Tensor = _GatedLinear.apply(gate, up, down.weight, self.gate_kind)  # type: ignore[no-untyped-call]
        return out
    through: torch.Tensor = down(_Gate.apply(gate, up, self.gate_kind))  # type: ignore[no-untyped-call]
    return through


def _is_plain(layer: Any) -> bool:
    """A linear layer without bias, adapters or a quantised weight."""
    return type(layer) is torch.nn.Linear and layer.bias is None
