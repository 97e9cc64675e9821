"""A model's weights as another program's loader wants them: by their names in its files, adapters merged."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from bactrian.errors import BactrianError
from bactrian.model.adapters import low_rank
from bactrian.model.language_model import LanguageModel
from bactrian.model.quantised import is_quantised

Fingerprint = tuple[int, ...]
_BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@torch.no_grad()
def served_weights(model: LanguageModel) -> dict[str, torch.Tensor]:
    """What the network computes with, under the names of Hugging Face files; of tied weights one.

    Adapters are merged into copies of their layers; the network stays as it is.

    Raises:
        BactrianError: weights are in 4 bits, which no checkpoint's names stand for.
    """
    if is_quantised(model.network):
        raise BactrianError("weights in 4 bits cannot be sent to another engine; use the engine local")
    from transformers.core_model_loading import revert_weight_conversion

    merged = dict(_merged(model.network))
    weights: dict[str, torch.Tensor] = revert_weight_conversion(model.network, merged)
    return weights


def _merged(network: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    adapted = {name: found for name, layer in network.named_modules() if (found := low_rank(layer)) is not None}
    own = {f"{name}.base_layer.weight": (name, *parts) for name, parts in adapted.items()}
    for name, weight in network.named_parameters():
        if name in own:
            layer, base, a, b = own[name]
            yield f"{layer}.weight", (base.weight.float() + b.float() @ a.float()).to(base.weight.dtype)
        elif ".lora_" not in name:
            yield name.replace(".base_layer.", "."), weight.detach()


@torch.no_grad()
def fingerprint(model: LanguageModel) -> Fingerprint:
    """A sum over the bits of each weight: another after every training step, and cheap beside a transfer.

    For seeing that weights moved, not for trusting that they did not: sums of other bits may be equal.
    """
    return tuple(
        int(weight.detach().reshape(-1).view(_BITS[weight.element_size()]).sum(dtype=torch.int64))
        for weight in model.network.parameters()
    )
