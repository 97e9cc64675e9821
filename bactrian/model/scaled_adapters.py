"""Low-rank adapters merged into a model with a scale: W + s·(alpha / rank)·B·A, for s from 0 to 1 and beyond.

Between s = 0, the model as it was, and s = 1, the model as it was trained, lies what the adapters taught it in part
[CoCoNot, Brahman et al. 2024, merges adapters so]. The model need not be the one that they were trained on: it must
have layers of the same names and sizes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from bactrian.errors import BactrianError
from bactrian.model.adapters import PREFIX
from bactrian.model.language_model import LanguageModel
from bactrian.model.quantised import replace_linear, weight_of

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
DOWN, UP = ".lora_A.weight", ".lora_B.weight"
UNKNOWN = ("use_dora", "use_rslora", "fan_in_fan_out", "rank_pattern", "alpha_pattern", "lora_bias")
"""Settings of peft under which the formula above is another one."""


def adapter_changes(adapter: Path) -> dict[str, torch.Tensor]:
    """Layer → (alpha / rank)·B·A, float32 [out, in], of a folder in peft's layout.

    Raises:
        BactrianError: it is none, or holds something besides plain low-rank adapters.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        config: dict[str, Any] = json.loads((adapter / CONFIG).read_text(encoding="utf-8"))
        state = load_file(adapter / WEIGHTS)
        factor = float(config["lora_alpha"]) / int(config["r"])
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError, SafetensorError) as error:
        raise BactrianError(f"{adapter}: no low-rank adapters in peft's layout ({error})") from None
    if odd := [name for name in UNKNOWN if config.get(name)]:
        raise BactrianError(f"{adapter / CONFIG}: found {odd[0]}: {config[odd[0]]!r}, expected plain low-rank adapters")
    layers = sorted({name.removesuffix(DOWN).removesuffix(UP) for name in state})
    if other := [name for name in layers if f"{name}{DOWN}" not in state or f"{name}{UP}" not in state]:
        raise BactrianError(f"{adapter / WEIGHTS}: found {other[0]}, expected pairs of {DOWN} and {UP}")
    return {
        name.removeprefix(PREFIX): factor * (state[f"{name}{UP}"].float() @ state[f"{name}{DOWN}"].float())
        for name in layers
    }


def merge_scaled(adapter: Path, base: Path, folder: Path, scale: float) -> float:
    """Write the model that adapters, scaled, make of a base; returns ‖s·Δ‖ / ‖W‖ over the changed layers.

    With scale 0 the weights are the base's, bit for bit; with 1 those that training beside the base has saved.

    Raises:
        BactrianError: the adapters cannot be read, or do not fit the base.
    """
    changes = adapter_changes(adapter)
    model = LanguageModel.load(base)
    moved = whole = 0.0
    for name, change in changes.items():
        try:
            layer = model.network.get_submodule(name)
        except AttributeError:
            raise BactrianError(f"{adapter}: {base} has no layer {name}, which is adapted") from None
        if type(layer) is not torch.nn.Linear or layer.weight.shape != change.shape:
            size = list(getattr(getattr(layer, "weight", None), "shape", ()))
            raise BactrianError(
                f"{adapter}: the adapter of {name} is {list(change.shape)}, the layer of {base} is {size}"
            )
        weight = weight_of(layer)
        replace_linear(model.network, name, layer, weight + scale * change)
        moved += float((scale * change).square().sum())
        whole += float(weight.square().sum())
    model.save(folder)
    return (moved / whole) ** 0.5 if whole else 0.0
