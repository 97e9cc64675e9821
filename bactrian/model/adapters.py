"""Low-rank adapters through peft: put into a network, saved in peft's layout, merged into the weights.

The network stays what it is: adapters stand in for its linear layers in place, so that packing, log-probabilities and
the sampler see no difference.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from bactrian.chat import ChatTemplate, template_for
from bactrian.errors import BactrianError
from bactrian.model.attention import AttentionLayout
from bactrian.model.language_model import LanguageModel, load_tokenizer
from bactrian.model.quantised import dequantise, is_quantised, replace_linear, weight_of
from bactrian.store.extras import lacks

NAME = "default"
HEAD = "score"  # what transformers calls the scalar head of a …ForSequenceClassification
PREFIX = "base_model.model."  # what peft puts before the names of a network that it wraps


def add_adapters(
    network: Any,
    base: str,
    rank: int,
    alpha: float,
    targets: Sequence[str] = (),
    seed: int = 0,
    revision: str | None = None,
) -> None:
    """Freeze the network and put a trainable B·A beside each target; B starts at 0, so nothing changes yet.

    The scalar head of a reward model is new: it stays trainable, and is saved with the adapters.

    Args:
        base: what adapter_config.json will name as the model that they belong to: a folder or a Hub id.
        revision: of the Hub id.
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
    head = getattr(network, HEAD, None)
    config = peft.LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=0.0,
        bias="none",
        target_modules=list(targets) or there,
        task_type="CAUSAL_LM" if head is None else "SEQ_CLS",
        base_model_name_or_path=base,
        revision=revision,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        peft.inject_adapter_in_model(config, network, adapter_name=NAME)
    for _, layer in _adapted(network) if is_quantised(network) else []:
        for part in (layer.lora_A, layer.lora_B):
            part.to(network.dtype)  # peft follows the dtype of the weights; that of 4 bits is none to compute in
    if head is not None:
        head.requires_grad_(True)


def on_the_same_weights(network: Any) -> Any:
    """A copy of a network around the very same weights: adapters put into one leave the other as it is."""
    return copy.deepcopy(network, {id(weight): weight for weight in network.parameters()})


@contextmanager
def switched_off(network: Any) -> Iterator[None]:
    """Within the block the network computes without its adapters. For forwards without a gradient only."""
    layers = _adapted(network)
    for _, layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for _, layer in layers:
            layer.enable_adapters(True)


class WithoutAdapters(LanguageModel):
    """A model as it is without its adapters, on the same weights: the frozen reference of a policy with adapters."""

    @classmethod
    def of(cls, model: LanguageModel) -> WithoutAdapters:
        return cls(model.network, model.tokenizer, model.template)

    def hidden(self, ids: torch.Tensor, positions: torch.Tensor, layout: AttentionLayout) -> torch.Tensor:
        with torch.no_grad(), switched_off(self.network):
            return super().hidden(ids, positions, layout)


def low_rank(layer: Any) -> tuple[torch.nn.Linear, torch.Tensor, torch.Tensor] | None:
    """Of an adapted linear layer W, A [r, in] and B, already scaled, [out, r]: x becomes xWᵀ + (xAᵀ)Bᵀ; else None."""
    if not hasattr(layer, "lora_A") or type(base := layer.get_base_layer()) is not torch.nn.Linear:
        return None
    return base, layer.lora_A[NAME].weight, layer.scaling[NAME] * layer.lora_B[NAME].weight


def merge_adapters(network: Any, folder: Path) -> None:
    """Save the adapters in peft's layout, then add them to the weights, in float32, and take them out.

    Args:
        folder: receives adapter_config.json and adapter_model.safetensors, for `PeftModel.from_pretrained`.
    """
    from safetensors.torch import save_file

    peft = _peft()
    state = peft.get_peft_model_state_dict(network, adapter_name=NAME)
    config = network.peft_config[NAME]
    if head := getattr(network, HEAD, None):
        config.modules_to_save = [HEAD]
        state |= {f"{HEAD}.{name}": weight for name, weight in head.state_dict().items()}
    folder.mkdir(parents=True, exist_ok=True)
    named = {PREFIX + name: tensor.contiguous() for name, tensor in state.items()}
    save_file(named, folder / "adapter_model.safetensors", {"format": "pt"})
    config.inference_mode = True
    config.save_pretrained(str(folder))
    for name, layer in _adapted(network):
        base = layer.get_base_layer()
        with torch.no_grad():
            change = layer.lora_B[NAME].weight.float() @ layer.lora_A[NAME].weight.float()
            merged = weight_of(base) + layer.scaling[NAME] * change
        replace_linear(network, name, base, merged)
    dequantise(network)


def merge_folder(adapter: Path, base: Path, folder: Path) -> None:
    """Write the model that a peft adapter of somebody else's makes of its base; tokenizer and template are the
    adapter's where it has its own.

    Raises:
        BactrianError: peft is not installed, or the two do not fit.
    """
    peft = _peft()
    model = LanguageModel.load(base)
    try:
        wrapped = peft.PeftModel.from_pretrained(model.network, str(adapter), local_files_only=True)
        merged = wrapped.merge_and_unload()
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        raise BactrianError(f"{adapter}: the adapter does not fit {base}: {error}") from error
    tokenizer = load_tokenizer(adapter) if (adapter / "tokenizer.json").is_file() else model.tokenizer
    template = model.template if tokenizer is model.tokenizer else ChatTemplate.load(tokenizer, template_for(tokenizer))
    LanguageModel(merged, tokenizer, template, stored=model.stored, keeps_residue=False).save(folder)


def _adapted(network: Any) -> list[tuple[str, Any]]:
    from peft.tuners.lora import LoraLayer

    return [(name, layer) for name, layer in network.named_modules() if isinstance(layer, LoraLayer)]


def _linear_layers(network: Any) -> list[str]:
    heads = (network.get_output_embeddings(), getattr(network, HEAD, None))
    linear = (m for m in network.named_modules() if isinstance(m[1], torch.nn.Linear) and m[1] not in heads)
    return sorted({name.split(".")[-1] for name, _ in linear})


def _peft() -> Any:
    # peft brings bitsandbytes, which on some processors says at each start which kernels could be downloaded
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    try:
        import peft
    except ImportError as error:
        raise lacks("adapters", "adapters") from error
    return peft
