"""AdamW's moments of each weight: in float32, or in 8 bits [Dettmers et al. 2022].

Either moves given float32 weights in place, and gives its state as named tensors and takes it back, for checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from bactrian.model.fused import call
from bactrian.store.extras import lacks

SLICE = 2**22  # weights that bitsandbytes sees at a time: on a CPU it unpacks all that it sees, 64 MiB at a time then


@dataclass(frozen=True)
class WeightGroup:
    """Weights that decay alike and move at the same multiple of the learning rate."""

    weights: list[torch.nn.Parameter]
    decay: float
    rate: float = 1.0


class States(Protocol):
    def step(self, learning_rate: float) -> None:
        """Move the weights along their gradients, which stay."""
        ...

    def save(self, weight: torch.nn.Parameter) -> dict[str, torch.Tensor]:
        """The state of a weight; empty before the first step."""
        ...

    def restore(self, weight: torch.nn.Parameter, tensors: Mapping[str, torch.Tensor]) -> None:
        """Take back what `save` gave; nothing, if that was empty."""
        ...


class Float32States:
    """torch's AdamW: both moments in float32, 8 bytes a weight."""

    def __init__(self, groups: Sequence[WeightGroup], betas: tuple[float, float], epsilon: float) -> None:
        settings = [{"params": group.weights, "weight_decay": group.decay} for group in groups]
        self.adam = torch.optim.AdamW(settings, lr=0.0, betas=betas, eps=epsilon, fused=True)
        self.groups = {weight: group for group in groups for weight in group.weights}
        self.rates = [group.rate for group in groups]
        self.betas, self.epsilon = betas, epsilon

    def step(self, learning_rate: float) -> None:
        set_rates(self.adam, learning_rate, self.rates)
        self.adam.step()

    @torch.no_grad()
    def step_rounded(
        self, master: torch.nn.Parameter, gradient: torch.Tensor, copy: torch.Tensor, learning_rate: float, scale: float
    ) -> None:
        """The same step for one weight on a CPU, in one pass over memory, from a gradient of few bits.

        Args:
            gradient, copy: of the type that the model computes in; copy becomes the master, rounded.
            scale: what the gradient is multiplied by first.
        """
        state = self.adam.state[master]
        if not state:
            state.update(step=torch.tensor(0.0), exp_avg=torch.zeros_like(master), exp_avg_sq=torch.zeros_like(master))
        state["step"] += 1
        steps, (beta_mean, beta_square), group = int(state["step"]), self.betas, self.groups[master]
        rate = learning_rate * group.rate
        call(
            "adamw",
            gradient.numel(),
            gradient,
            master,
            state["exp_avg"],
            state["exp_avg_sq"],
            copy,
            scale,
            1 - rate * group.decay,
            rate / (1 - beta_mean**steps),
            1 - beta_mean,
            1 - beta_square,
            (1 - beta_square**steps) ** 0.5,
            self.epsilon,
        )

    def save(self, weight: torch.nn.Parameter) -> dict[str, torch.Tensor]:
        state = self.adam.state.get(weight)
        if not state:
            return {}
        return {"mean": state["exp_avg"], "square": state["exp_avg_sq"], "step": state["step"]}

    def restore(self, weight: torch.nn.Parameter, tensors: Mapping[str, torch.Tensor]) -> None:
        if tensors:
            self.adam.state[weight] = {
                "step": tensors["step"].to(weight.device),
                # copies, laid out in memory as if they had never left it
                "exp_avg": tensors["mean"].to(weight.device, copy=True),
                "exp_avg_sq": tensors["square"].to(weight.device, copy=True),
            }


class EightBitStates:
    """bitsandbytes' AdamW: each moment is one of 256 values times the scale of its block of 256, 2 bytes a weight.

    Weights of fewer than 4,096 numbers keep moments in float32.
    """

    def __init__(self, groups: Sequence[WeightGroup], betas: tuple[float, float], epsilon: float) -> None:
        """
        Raises:
            BactrianError: bitsandbytes is not installed.
        """
        try:
            from bitsandbytes.optim import AdamW8bit
        except ImportError as error:
            raise lacks("optimiser states in 8 bits", "quantised") from error
        # slices are views: what moves them moves the weight; a slice is whole blocks, so that cutting changes nothing
        self.slices = {weight: _cut(weight) for group in groups for weight in group.weights}
        settings = [
            {"params": [part for weight in group.weights for part in self.slices[weight]], "weight_decay": group.decay}
            for group in groups
        ]
        self.adam: Any = AdamW8bit(settings, lr=0.0, betas=betas, eps=epsilon)
        self.rates = [group.rate for group in groups]

    def step(self, learning_rate: float) -> None:
        set_rates(self.adam, learning_rate, self.rates)
        for weight, parts in self.slices.items():
            gradients = [None] * len(parts) if weight.grad is None else torch.split(weight.grad.view(-1), SLICE)
            for part, gradient in zip(parts, gradients, strict=True):
                part.grad = gradient
        self.adam.step()
        for parts in self.slices.values():
            for part in parts:
                part.grad = None

    def save(self, weight: torch.nn.Parameter) -> dict[str, torch.Tensor]:
        return {
            f"{number}.{name}": value if isinstance(value, torch.Tensor) else torch.tensor(value)
            for number, part in enumerate(self.slices[weight])
            for name, value in self.adam.state.get(part, {}).items()
            if not name.startswith("qmap")  # the 256 values, the same for all
        }

    def restore(self, weight: torch.nn.Parameter, tensors: Mapping[str, torch.Tensor]) -> None:
        if not tensors:
            return
        for number, part in enumerate(self.slices[weight]):
            # what it is called with only looks for settings of single weights, of which there are none
            self.adam.init_state(self.adam.param_groups[0], part, 0, 0)
            state = self.adam.state[part]
            for name in [name for name in state if not name.startswith("qmap")]:
                saved = tensors[f"{number}.{name}"]
                state[name] = int(saved) if name == "step" else state[name].copy_(saved)


def set_rates(adam: Any, learning_rate: float, rates: Sequence[float]) -> None:
    """Of each of an optimiser's groups its multiple of the learning rate."""
    for group, rate in zip(adam.param_groups, rates, strict=True):
        group["lr"] = learning_rate * rate


def _cut(weight: torch.nn.Parameter) -> list[torch.nn.Parameter]:
    return [torch.nn.Parameter(part) for part in torch.split(weight.detach().view(-1), SLICE)]


KINDS: dict[str, Callable[[Sequence[WeightGroup], tuple[float, float], float], States]] = {
    "float32": Float32States,
    "8bit": EightBitStates,
}
