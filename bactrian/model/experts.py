"""Mixtures of experts: each token goes through a few of many gated units, chosen by a router.

Dropless: every token reaches all experts that its router chose. Slots (a token, one of its experts) are sorted by
expert, and each of the three products is one grouped product over all experts, forward and backward; no loop over
experts is in Python. What is kept for the backward are inputs and the two halves before the gate.

In bfloat16 on a CPU an expert's slots are filled up to whole `STEP`s by slots with a share of 0. oneDNN compiles a
product for each number of rows, and those of 32 experts are new ones in each step: at 256 x 256 that costs more than
the product.

It takes the place of a block only after it was seen to do what the block does on a probe.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import grouped_mm, linear

from bactrian.model.fused import alike, gate_gradients, gate_kind, gated, specialise, usable

STEP = 32  # rows
FILLED = (torch.bfloat16,)
"""Types of which slots are filled up."""
ALIGNED = 8  # numbers: grouped products want rows of whole 16 bytes, in bfloat16 too


@dataclass(frozen=True)
class Routing:
    """What one layer's router did with T tokens: logits [T, E], differentiable, and the experts chosen, long [T, k]."""

    logits: torch.Tensor
    chosen: torch.Tensor


_noted: ContextVar[list[Routing] | None] = ContextVar("routing", default=None)


@contextmanager
def routing_noted() -> Iterator[list[Routing]]:
    """What the routers do in the forwards within the block, layer after layer."""
    found: list[Routing] = []
    token = _noted.set(found)
    try:
        yield found
    finally:
        _noted.reset(token)


def group_experts(network: torch.nn.Module) -> None:
    """Let the network's mixtures of experts be computed by grouped products, where that does the same."""
    for module in network.modules():
        if (kind := _expert_kind(module)) is not None:
            specialise(module, _mixture, gate_kind=kind)


def _expert_kind(module: Any) -> int | None:
    """Of a block of `gate` (top_k, norm_topk_prob, weight) and `experts` (gate_up_proj, down_proj, act_fn): its
    activation as `gate_kind` has it. None for anything else, or where grouped products do something else.
    """
    parts = {name for name, _ in module.named_children()}
    if parts != {"gate", "experts"}:
        return None
    router, experts = module.gate, module.experts
    weights = {name for name, _ in experts.named_parameters()}
    known = weights == {"gate_up_proj", "down_proj"} and [name for name, _ in router.named_parameters()] == ["weight"]
    if not known or not hasattr(router, "top_k") or not usable(experts.down_proj):
        return None
    kind, (_, width, inner) = gate_kind(experts.act_fn), experts.down_proj.shape
    if kind is None or width % ALIGNED or inner % ALIGNED:
        return None
    probe = torch.linspace(-1, 1, 5 * width).sin().to(router.weight.dtype).view(1, 5, width)
    with torch.no_grad():
        expected = module(probe)
        found, _ = _mixed(module, probe.view(5, width), kind)
    return kind if alike(found.view_as(expected), expected) else None


def _mixture(self: Any, x: torch.Tensor) -> torch.Tensor:
    out, routing = _mixed(self, x.reshape(-1, x.shape[-1]), self.gate_kind)
    if (noted := _noted.get()) is not None:
        noted.append(routing)
    return out.view(x.shape)


def _mixed(block: Any, x: torch.Tensor, kind: int) -> tuple[torch.Tensor, Routing]:
    """x [T, d] → [T, d], and what the router did."""
    logits = linear(x, block.gate.weight)
    shares, chosen = logits.softmax(-1, dtype=torch.float32).topk(block.gate.top_k, dim=-1)
    if getattr(block.gate, "norm_topk_prob", False):
        shares = shares / shares.sum(-1, keepdim=True)
    experts, shares = block.experts, shares.to(logits.dtype)
    if usable(x):
        out = _Experts.apply(x, chosen, shares, experts.gate_up_proj, experts.down_proj, kind)  # type: ignore[no-untyped-call]
    else:
        out = experts(x, chosen, shares)
    return out, Routing(logits, chosen)


class _Slots:
    """T tokens with k experts each as S slots, sorted by expert: T k, and those that fill up (see above).

    tokens: long [S], whose slot it is; 0 where it fills up. place: long [T, k], where a token's slots are. ends: int32
    [E], where each expert's slots end.
    """

    def __init__(self, chosen: torch.Tensor, experts: int, step: int = 1) -> None:
        flat = chosen.reshape(-1)
        order = flat.argsort(stable=True)
        counts = torch.bincount(flat, minlength=experts)
        whole = torch.div(counts + step - 1, step, rounding_mode="floor") * step
        filled = (whole - counts).cumsum(0) - (whole - counts)  # before each expert's
        at = torch.arange(len(flat), device=flat.device) + filled[flat[order]]
        self.ends = whole.cumsum(0).to(torch.int32)
        self.place = torch.empty_like(order).scatter_(0, order, at).view(chosen.shape)
        self.count = len(flat) if step == 1 else int(self.ends[-1])
        self.tokens = order.new_zeros(self.count)
        self.tokens[at] = torch.div(order, chosen.shape[1], rounding_mode="floor")

    def spread(self, shares: torch.Tensor) -> torch.Tensor:
        """[T, k] → [S, 1], 0 where a slot fills up."""
        return shares.new_zeros(self.count).scatter_(0, self.place.reshape(-1), shares.reshape(-1))[:, None]


class _Experts(torch.autograd.Function):
    """Σ over a token's experts e of share · down_e (act(gate_e x) times up_e x)."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        chosen: torch.Tensor,
        shares: torch.Tensor,
        gate_up: torch.Tensor,
        down: torch.Tensor,
        kind: int,
    ) -> torch.Tensor:
        slots = _Slots(chosen, len(down), STEP if x.dtype in FILLED else 1)
        rows = x[slots.tokens]
        gate, up = (grouped_mm(rows, half.transpose(1, 2), offs=slots.ends) for half in gate_up.chunk(2, 1))
        out = grouped_mm(gated(gate, up, kind), down.transpose(1, 2), offs=slots.ends)
        ctx.save_for_backward(x, shares, gate_up, down, gate, up)
        ctx.slots, ctx.kind = slots, kind
        return torch.bmm(shares[:, None], out[slots.place])[:, 0]

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, shares, gate_up, down, gate, up = ctx.saved_tensors
        slots, kind = ctx.slots, ctx.kind
        share = slots.spread(shares)
        inner = gated(gate, up, kind)
        upstream = grad[slots.tokens]
        through = grouped_mm(upstream, down, offs=slots.ends)  # what an inner number would get at a share of 1
        d_shares = (inner * through).sum(-1)[slots.place]
        d_down = grouped_mm(upstream.T, inner.mul_(share), offs=slots.ends)
        d_gate, d_up = gate_gradients(gate, up, through.mul_(share), kind)
        rows = x[slots.tokens]
        d_gate_up = torch.cat([grouped_mm(half.T, rows, offs=slots.ends) for half in (d_gate, d_up)], 1)
        halves = zip((d_gate, d_up), gate_up.chunk(2, 1), strict=True)
        first, second = (grouped_mm(half, weight, offs=slots.ends) for half, weight in halves)
        return first.add_(second)[slots.place].sum(1), None, d_shares, d_gate_up, d_down, None
