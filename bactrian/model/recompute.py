"""Activations that are dropped in the forward and computed again in the backward: memory for time."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import torch
from torch.utils.checkpoint import checkpoint

from bactrian.errors import BactrianError
from bactrian.model.attention import attention_layout, layout_in_force

Recompute = Literal["none", "mlp", "layer"]


def drop_activations(network: Any, what: Recompute, every: int = 1) -> None:
    """From now on drop the activations inside each MLP, or inside each decoder layer (its input is kept).

    every: only in each so-many-th layer, the last of so many: memory and time in between.

    The numbers stay the same, bit for bit: the same operations run again. An MLP holds about half of a layer's
    activations and two thirds of its work; attention's inner parts are never kept anyway (see `packed_attention`).

    Raises:
        BactrianError: the network has no such parts under the usual names.
    """
    if what == "none":
        return
    layers = getattr(network.base_model, "layers", None)
    if layers is None or (what == "mlp" and not all(hasattr(layer, "mlp") for layer in layers)):
        raise BactrianError(f"recompute: {type(network).__name__} has no layers with the part {what!r}")
    for layer in layers[every - 1 :: every]:
        module = layer.mlp if what == "mlp" else layer
        module.forward = partial(_again, module.forward)


def _again(forward: Any, *inputs: Any, **options: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*inputs, **options)
    layout = layout_in_force()  # the backward runs when the layout's block has long been left

    def run(*again: Any) -> Any:
        with attention_layout(layout):
            return forward(*again, **options)

    return checkpoint(run, *inputs, use_reentrant=False, preserve_rng_state=False)
