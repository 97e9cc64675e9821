"""Low-rank adapters through peft: put into a network, saved in peft's layout, merged into the weights.

The network stays what it is: adapters stand in for its linear layers in place, so that packing, log-probabilities and
the sampler's prefill see no difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from bactrian.errors import BactrianError

NAME = "default"
PREFIX = "base_model.model."  # what peft puts before the names of a network that it wraps


def add_adapters(network: Any, base: str, rank: int, alpha: float, targets: Sequence[str] = (), seed: int = 0) -> None:
    """Freeze the network and put a trainable B·A beside each target; B starts at 0, so nothing changes yet.

    Args:
        base: what adapter_config.json will name as the model that they belong to.
        rank, alpha: W becomes W + (alpha / rank)·B·A.
        targets: names of linear layers; by default all but the output's.
        seed: of A's start.

    Raises:
        BactrianError: peft is not installed, or a target is not there.
    """
    peft = _peft()
    there = _linear_layers(network)
    if missing := sorted({*targets} - {*there}):
        raise BactrianError(f"adapter: no linear layer is named {', '.join(missing)}; there are {', '.join(there)}")
    config = peft.LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=0.0,
        bias="none",
        target_modules=list(targets) or there,
        task_type="CAUSAL_LM",
        base_model_name_or_path=base,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        peft.inject_adapter_in_model(config, network, adapter_name=NAME)


def merge_adapters(network: Any, folder: Path) -> None:
    """Save the adapters in peft's layout, then add them to the weights, in float32, and take them out.

    Args:
        folder: receives adapter_config.json and adapter_model.safetensors, for `PeftModel.from_pretrained`.
    """
    from safetensors.torch import save_file

    peft = _peft()
    state = peft.get_peft_model_state_dict(network, adapter_name=NAME)
    folder.mkdir(parents=True, exist_ok=True)
    named = {PREFIX + name: tensor.contiguous() for name, tensor in state.items()}
    save_file(named, folder / "adapter_model.safetensors", {"format": "pt"})
    config = network.peft_config[NAME]
    config.inference_mode = True
    config.save_pretrained(str(folder))
    from peft.tuners.lora import LoraLayer

    layers: list[tuple[str, Any]] = [each for each in network.named_modules() if isinstance(each[1], LoraLayer)]
    for name, module in layers:
        base_layer = module.get_base_layer()
        with torch.no_grad():
            change = module.lora_B[NAME].weight.float() @ module.lora_A[NAME].weight.float()
            merged = base_layer.weight.float() + module.scaling[NAME] * change
        base_layer.weight = torch.nn.Parameter(merged, requires_grad=False)
        parent, _, last = name.rpartition(".")
        setattr(network.get_submodule(parent), last, base_layer)


def _linear_layers(network: Any) -> list[str]:
    head = network.get_output_embeddings()
    linear = (m for m in network.named_modules() if isinstance(m[1], torch.nn.Linear) and m[1] is not head)
    return sorted({name.split(".")[-1] for name, _ in linear})


def _peft() -> Any:
    try:
        import peft
    except ImportError as error:
        raise BactrianError("adapters need the package peft: pip install 'bactrian[adapters]'") from error
    return peft
