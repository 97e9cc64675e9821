"""Frozen weights in 4 bits each, for adapters to be trained beside them [QLoRA, Dettmers et al. 2023].

NF4: blocks of 64 weights share a scale (itself in 8 bits), each weight is one of 16 quantiles of a normal distribution.
transformers reads a model straight into this form, through bitsandbytes, on CPUs too. Embeddings, norms and the output
layer keep their dtype. What is merged at the end is what was trained on: the weights as the 4 bits say they are.
"""

from __future__ import annotations

from typing import Any

import torch

from bactrian.errors import BactrianError
from bactrian.store.extras import lacking, lacks

BLOCK = 64  # weights that share a scale


def reading(dtype: torch.dtype, device: str) -> dict[str, Any]:
    """What to tell transformers' `from_pretrained`, for a network that computes in `dtype`.

    Raises:
        BactrianError: bitsandbytes or accelerate is not installed.
    """
    if lacking("quantised"):
        raise lacks("weights in 4 bits", "quantised")
    from transformers import BitsAndBytesConfig

    nf4 = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )
    return {"quantization_config": nf4, "device_map": {"": device}}


def is_quantised(network: Any) -> bool:
    return bool(getattr(network, "is_loaded_in_4bit", False))


def steady(network: Any) -> None:
    """Make bitsandbytes' layers on a CPU safe to train beside.

    On the first forward without a gradient they would be laid out anew, for a product that has no backward. And rows
    that end within a block get wrong scales (bitsandbytes 0.50.2: an error of 40 % where 9 % is due).

    Raises:
        BactrianError: a layer has such rows.
    """
    for name, layer in _layers(network):
        layer.support_avx512bf16_for_cpu = False
        if layer.weight.device.type == "cpu" and layer.in_features % BLOCK:
            raise BactrianError(
                f"{name}: rows of {layer.in_features} weights; in 4 bits on a CPU they must be multiples of {BLOCK}"
            )


def weight_of(layer: Any) -> torch.Tensor:
    """The weight of a linear layer, float32 [out, in]; what its 4 bits say, if it has those."""
    if not hasattr(layer.weight, "quant_state"):
        wide: torch.Tensor = layer.weight.detach().float()
        return wide
    from bitsandbytes.functional import dequantize_4bit

    found: torch.Tensor = dequantize_4bit(layer.weight.data, layer.weight.quant_state)
    return found.float()


def dequantise(network: Any) -> None:
    """Turn what layers in 4 bits are left into plain ones, in main memory, and the network into one like any other."""
    if not is_quantised(network):
        return
    dtype = network.dtype
    for name, layer in _layers(network):
        replace_linear(network, name, layer, weight_of(layer).to(dtype))
    network.is_loaded_in_4bit = False
    network.hf_quantizer = None
    if hasattr(network.config, "quantization_config"):
        del network.config.quantization_config


def replace_linear(network: Any, name: str, like: Any, weight: torch.Tensor) -> None:
    """Put a plain linear layer with this weight, in main memory, in the place `name`; bias as `like`'s."""
    plain = torch.nn.Linear(like.in_features, like.out_features, bias=like.bias is not None, device="meta")
    plain.weight = torch.nn.Parameter(weight.cpu(), requires_grad=False)
    if like.bias is not None:
        plain.bias = torch.nn.Parameter(like.bias.detach().cpu(), requires_grad=False)
    parent, _, last = name.rpartition(".")
    setattr(network.get_submodule(parent), last, plain)


def _layers(network: Any) -> list[tuple[str, Any]]:
    if not is_quantised(network):
        return []
    from bitsandbytes.nn import Linear4bit

    return [(name, layer) for name, layer in network.named_modules() if isinstance(layer, Linear4bit)]
