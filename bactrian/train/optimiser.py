"""AdamW over float32 masters, whatever the dtype that the model computes in."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch

from bactrian.model.fused import call, usable
from bactrian.train.states import KINDS, Float32States, States, WeightGroup


class MasterAdamW:
    """AdamW whose weights, gradients and moments are float32 (or wider, if the model's are).

    A bfloat16 model computes with a rounded copy of the masters: updates far smaller than a bfloat16 step still add up.
    A float32 model's own weights are the masters. Gradients of several micro-batches are summed in float32; that of a
    single one stays as the model made it, and on a CPU moves the masters in one pass over memory.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
        masters: Mapping[str, torch.Tensor] | None = None,
        states: Literal["float32", "8bit"] = "float32",
        offload: bool = False,
        rates: Mapping[str, float] | None = None,
        *,
        decay_all: bool = False,
    ):
        """Weight decay touches matrices only: not embeddings [OLMo 2, Walsh et al. 2025], norms or biases.

        Args:
            masters: float32 weights by name to move in place, of a network with bfloat16 copies of them; a weight that
                has none starts from its rounded value.
            states: how the moments are kept (see `states`).
            offload: keep masters, gradients and moments in main memory and move the weights there; a GPU holds what it
                computes with. On a CPU it changes nothing.
            rates: beginning of names → multiple of the learning rate at which these weights move; 1 for all others.
            decay_all: weight decay touches all weights [as OLMoE has it, Muennighoff et al. 2024].
        """
        masters = masters or {}
        embeddings = {id(m.weight) for m in network.modules() if isinstance(m, torch.nn.Embedding)}
        self.names: list[str] = []
        self._gradients = _Gradients()
        self.model_weights: list[torch.nn.Parameter] = []
        self.masters: list[torch.nn.Parameter] = []
        groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
        for name, weight in network.named_parameters():
            if not weight.requires_grad:
                continue
            low = weight.dtype.itemsize < 4
            master = torch.nn.Parameter(masters.get(name, weight.detach()).float()) if low else weight
            if offload:
                master = torch.nn.Parameter(in_main_memory(master.detach()))
            if low or offload:
                weight.register_post_accumulate_grad_hook(_keeper(master, self._gradients))  # type: ignore[no-untyped-call]
            self.names.append(name)
            self.model_weights.append(weight)
            self.masters.append(master)
            decays = decay_all or (weight.ndim >= 2 and id(weight) not in embeddings)
            decay = weight_decay if decays else 0.0
            rate = next((rate for start, rate in (rates or {}).items() if name.startswith(start)), 1.0)
            groups.setdefault((decay, rate), []).append(master)
        self.states: States = KINDS[states]([WeightGroup(w, *alike) for alike, w in groups.items()], betas, epsilon)

    def expect(self, micro_batches: int) -> None:
        """Say how many gradients the next step adds up, before the first of them is made."""
        rounded = all(w.dtype.itemsize < 4 and w.is_contiguous() and usable(w) for w in self.model_weights)
        self._gradients.alone = micro_batches == 1 and rounded and isinstance(self.states, Float32States)

    def step(self, learning_rate: float, clip: float | None, allows: Callable[[float], bool] | None = None) -> float:
        """Clip the gradient to norm `clip`, update, clear the gradient.

        Args:
            allows: says of the norm whether to update at all; where not, moments and step count stay as they are too.

        Returns:
            The gradient's norm before clipping.

        Raises:
            FloatingPointError: the gradient is not finite, and there is nothing to ask; nothing was updated.
        """
        norm = self._norm()
        if allows is None and not math.isfinite(norm):
            raise FloatingPointError(f"the gradient's norm is {norm}")
        if allows is None or allows(norm):
            self._update(learning_rate, 1.0 if clip is None else min(1.0, clip / (norm + 1e-6)))
        self.forget()
        return norm

    def forget(self) -> None:
        """Clear the gradient, whole or half made."""
        for weight, master in self._pairs():
            weight.grad = master.grad = None
        self._gradients.rounded.clear()

    def _update(self, learning_rate: float, scale: float) -> None:
        """Move the masters along their gradients times `scale`, and the model with them."""
        if self._gradients.alone:
            self._step_rounded(learning_rate, scale)
        else:
            for master in self.masters:
                if master.grad is not None and scale < 1:
                    master.grad.mul_(scale)
            self.states.step(learning_rate)
            self._copy_to_model()

    def _norm(self) -> float:
        if not self._gradients.alone:
            norm = torch.nn.utils.get_total_norm([m.grad for m in self.masters if m.grad is not None])
            return float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)  # of shards, or of whole weights
        total = 0.0
        for gradient in self._gradients.rounded.values():
            shares = torch.empty(torch.get_num_threads(), dtype=torch.float64)
            call("square_sum", gradient.numel(), gradient, shares)
            total += float(shares.sum())
        return math.sqrt(total)

    def _step_rounded(self, learning_rate: float, scale: float) -> None:
        assert isinstance(self.states, Float32States)
        for weight, master in self._pairs():
            if (gradient := self._gradients.rounded.get(master)) is not None:
                self.states.step_rounded(master, gradient, weight.data, learning_rate, scale)

    def _pairs(self) -> Iterator[tuple[torch.nn.Parameter, torch.nn.Parameter]]:
        return zip(self.model_weights, self.masters, strict=True)

    def state(self) -> dict[str, torch.Tensor]:
        """Masters and moments by weight name, for a checkpoint: `NAME` and, of its state, `NAME#…`."""
        tensors: dict[str, torch.Tensor] = {}
        for name, master in self._named_masters():
            tensors[name] = master.detach()
            tensors |= {f"{name}#{key}": value for key, value in self.states.save(master).items()}
        return tensors

    def restore(self, tensors: dict[str, torch.Tensor]) -> None:
        """Take back what `state` gave.

        Raises:
            KeyError: a weight is missing.
        """
        found: dict[str, dict[str, torch.Tensor]] = {name: {} for name in self.names}
        for full, tensor in tensors.items():
            name, _, key = full.partition("#")
            if key:
                found[name][key] = tensor
        for name, master in self._named_masters():
            with torch.no_grad():
                master.copy_(tensors[name])
            self.states.restore(master, found[name])
        self._copy_to_model()

    def _named_masters(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        return zip(self.names, self.masters, strict=True)

    @torch.no_grad()
    def _copy_to_model(self) -> None:
        for weight, master in self._pairs():
            if weight is not master:
                weight.copy_(master)


@dataclass
class _Gradients:
    """What the weights' hooks and the optimiser share; it knows no weight, so that no weight keeps itself alive.

    alone: whether the step has one micro-batch, whose gradient stays as it is. rounded: such gradients, by master.
    """

    alone: bool = False
    rounded: dict[torch.nn.Parameter, torch.Tensor] = field(default_factory=dict)


def _keeper(master: torch.nn.Parameter, gradients: _Gradients) -> Callable[[torch.Tensor], None]:
    """Takes each gradient of a weight as it is made: into the master's, or aside where it is the only one."""
    # allocated once: blocks of this size, asked for anew in each step, make the heap grow without end
    kept: dict[bool, torch.Tensor] = {}

    def keep(weight: torch.Tensor) -> None:
        assert weight.grad is not None
        if gradients.alone not in kept:
            kept[gradients.alone] = torch.empty_like(weight.detach() if gradients.alone else master.detach())
        if gradients.alone:
            gradients.rounded[master] = kept[True].copy_(weight.grad)
        elif master.grad is None:
            master.grad = kept[False].copy_(weight.grad)
        else:
            master.grad.add_(weight.grad.to(master.device))  # main memory's, where it is offloaded
        weight.grad = None

    return keep


def in_main_memory(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor, or a copy of it where a GPU has it, in pages that a GPU reaches without a detour."""
    if tensor.device.type == "cpu":
        return tensor
    return tensor.cpu().pin_memory()
