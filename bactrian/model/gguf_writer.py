"""A model folder as one GGUF file, for llama.cpp and what is built on it.

Tensor names and the metadata's spelling come from the package gguf, llama.cpp's own. What an architecture needs besides
stands in `ARCHITECTURES`; a model that has something llama.cpp would silently leave out is refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bactrian.errors import BactrianError
from bactrian.model import kquants
from bactrian.model.folders import check_folder
from bactrian.model.gguf_tokenizer import GGUFVocabulary, vocabulary
from bactrian.model.language_model import is_reward_model, load_tokenizer
from bactrian.model.weight_files import header, tensors, weight_files
from bactrian.store.extras import lacks


@dataclass(frozen=True)
class Architecture:
    """name: llama.cpp's. permuted: rows of queries and keys in its order of rotation, pairs side by side.

    norm_shift: added to the weights of norms, which transformers multiplies by 1 + w.
    """

    name: str
    permuted: bool = False
    norm_shift: float = 0.0


ARCHITECTURES: Mapping[str, Architecture] = {
    "llama": Architecture("llama", permuted=True),
    "qwen2": Architecture("qwen2"),
    "qwen3": Architecture("qwen3"),
    "olmo2": Architecture("olmo2"),
    "gemma3_text": Architecture("gemma3", norm_shift=1.0),
}
"""By the model_type of config.json."""

TYPES = ("f32", "f16", "bf16", "q8_0", "q6_k", "q5_0", "q4_0", "q4_k_m")
GEMMA_PATTERN = 6
"""llama.cpp has every sixth layer of Gemma 3 attend to everything."""
GEMMA_27B_LAYERS = 62


def write_gguf(folder: Path, file: Path, kind: str, name: str = "", licence: str = "") -> None:
    """Write a model folder's weights, settings, tokenizer and chat template into one GGUF file.

    Matrices are of type `kind`, norms and biases float32. In q4_k_m, as llama.cpp has it, the output matrix and half of
    the most sensitive ones are q6_k; rows that are no multiple of 256 take the next type of 32 (q5_0 or q8_0).
    Memory: one weight. The file appears when it is whole.

    Args:
        kind: one of TYPES.
        name, licence: what the file says of itself.

    Raises:
        BactrianError: the package gguf is missing, or llama.cpp has no such type, architecture, setting or tokenizer.
    """
    try:
        import gguf
    except ImportError:
        raise lacks("GGUF files", "export") from None
    if kind not in TYPES:
        raise BactrianError(f"gguf: found the type {kind!r}, expected one of {', '.join(TYPES)}")
    check_folder(folder)
    if is_reward_model(folder):
        raise BactrianError(f"{folder}: a reward model; llama.cpp runs language models")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    architecture = _architecture(config)
    writer = gguf.GGUFWriter(None, architecture.name)
    _describe(writer, config, architecture, kind, name or folder.name, licence)
    plan = _plan(folder, config, architecture, kind)
    size = next(each.shape[0] for each in plan.values() if each.target == "token_embd.weight")
    _add_vocabulary(writer, vocabulary(load_tokenizer(folder), size, _ends(folder)), size)
    extra = _rope_factors(config)
    for target, factors in extra.items():
        writer.add_tensor_info(target, factors.shape, factors.dtype, factors.nbytes)
    for each in plan.values():
        writer.add_tensor_info(each.target, each.stored_shape, each.numpy, each.bytes, each.type)
    draft = file.with_name(f".{file.name}.partial")
    try:
        writer.write_header_to_file(draft)
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for factors in extra.values():
            writer.write_tensor_data(factors)
        for _, source, tensor in tensors(folder):
            if source in plan:
                writer.write_tensor_data(_encoded(plan[source], tensor, config, architecture))
    finally:
        writer.close()
    draft.replace(file)


@dataclass(frozen=True)
class GGUFTensor:
    """A tensor of the file: its name there, its shape, and the type it is written in."""

    target: str
    shape: tuple[int, ...]
    type: Any  # gguf.GGMLQuantizationType

    @property
    def stored_shape(self) -> tuple[int, ...]:
        import gguf

        if self.plain:
            return self.shape
        found: tuple[int, ...] = gguf.quants.quant_shape_to_byte_shape(self.shape, self.type)
        return found

    @property
    def plain(self) -> bool:
        return self.type.name in ("F32", "F16")

    @property
    def numpy(self) -> Any:
        return np.dtype({"F32": np.float32, "F16": np.float16}.get(self.type.name, np.uint8))

    @property
    def bytes(self) -> int:
        return int(np.prod(self.stored_shape)) * int(self.numpy.itemsize)


def _architecture(config: Mapping[str, Any]) -> Architecture:
    """
    Raises:
        BactrianError: unknown, or with a setting that llama.cpp would leave out.
    """
    found = ARCHITECTURES.get(kind := str(config.get("model_type")))
    if found is None:
        raise BactrianError(f"gguf: found the architecture {kind!r}, expected one of {', '.join(ARCHITECTURES)}")
    if config.get("use_sliding_window"):
        raise BactrianError(f"gguf: {kind} with use_sliding_window, which llama.cpp leaves out")
    ropes = _ropes(config)
    rope = str(ropes["full_attention"].get("rope_type", "default"))
    if rope not in ("default", "linear", "llama3"):
        raise BactrianError(f"gguf: rope_type: found {rope!r}, expected default, linear or llama3")
    if found.name == "gemma3":
        _check_gemma(config, ropes)
    return found


def _check_gemma(config: Mapping[str, Any], ropes: Mapping[str, Mapping[str, Any]]) -> None:
    """
    Raises:
        BactrianError: a setting of Gemma 3 is not the one that llama.cpp takes for granted.
    """
    layers, heads = config["num_hidden_layers"], config["num_attention_heads"]
    every = ["full_attention" if (i + 1) % GEMMA_PATTERN == 0 else "sliding_attention" for i in range(layers)]
    # llama.cpp knows the 27B model by its layers
    scale = config["hidden_size"] // heads if layers == GEMMA_27B_LAYERS else _head_dim(config)
    expected = {
        "layer_types": (config.get("layer_types", every), every),
        "query_pre_attn_scalar": (config.get("query_pre_attn_scalar"), scale),
        "rope_theta of sliding_attention": (ropes["sliding_attention"].get("rope_theta"), 10_000),
        "final_logit_softcapping": (config.get("final_logit_softcapping"), None),
        "attn_logit_softcapping": (config.get("attn_logit_softcapping"), None),
    }
    for name, (there, usual) in expected.items():
        if there != usual:
            raise BactrianError(
                f"gguf: Gemma 3's {name}: found {there}, expected {usual}, which llama.cpp takes for granted"
            )


def _ropes(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Rotation by kind of layer; the same for both where a config has one. Also of configs before transformers 5."""
    given = config.get("rope_parameters") or {}
    if "full_attention" in given:
        return {name: dict(given[name]) for name in ("full_attention", "sliding_attention")}
    old = config.get("rope_scaling") or {}
    if not given:
        given = {"rope_theta": config.get("rope_theta", 10_000.0), "rope_type": old.get("type", "default"), **old}
    local = dict(given) | ({"rope_theta": config["rope_local_base_freq"]} if "rope_local_base_freq" in config else {})
    return {"full_attention": dict(given), "sliding_attention": local}


def _head_dim(config: Mapping[str, Any]) -> int:
    return int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])


def _describe(
    writer: Any, config: Mapping[str, Any], architecture: Architecture, kind: str, name: str, licence: str
) -> None:
    """The metadata but for the tokenizer."""
    import gguf

    writer.add_name(name)
    if licence:
        writer.add_license(licence)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config.get("num_key_value_heads") or config["num_attention_heads"])
    writer.add_key_length(_head_dim(config))
    writer.add_value_length(_head_dim(config))
    writer.add_rope_dimension_count(_head_dim(config))
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    rope = _ropes(config)["full_attention"]
    writer.add_rope_freq_base(rope.get("rope_theta", 10_000.0))
    if rope.get("rope_type") == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
    if architecture.name == "gemma3":
        writer.add_sliding_window(config["sliding_window"])
    names = {"f32": "ALL_F32", "q4_k_m": "MOSTLY_Q4_K_M"}
    writer.add_file_type(gguf.LlamaFileType[names.get(kind, f"MOSTLY_{kind.upper()}")])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def _rope_factors(config: Mapping[str, Any]) -> dict[str, Any]:
    """What llama.cpp divides the frequencies of a Llama 3 by, [head_dim / 2], computed by transformers."""
    rope = _ropes(config)["full_attention"]
    if rope.get("rope_type") != "llama3":
        return {}
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    dim = _head_dim(config)
    like = LlamaConfig(
        hidden_size=config["hidden_size"],
        num_attention_heads=config["num_attention_heads"],
        head_dim=dim,
        max_position_embeddings=config["max_position_embeddings"],
        rope_parameters=rope,
    )
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](like, torch.device("cpu"))
    plain = 1.0 / rope["rope_theta"] ** (torch.arange(0, dim, 2, dtype=torch.float32) / dim)
    return {"rope_freqs.weight": (plain / scaled).numpy()}


def _plan(folder: Path, config: Mapping[str, Any], architecture: Architecture, kind: str) -> dict[str, GGUFTensor]:
    """What becomes of each weight, by its name in the folder.

    Raises:
        BactrianError: llama.cpp has no place for it.
    """
    import gguf

    numbers = {name: number for number, name in gguf.MODEL_ARCH_NAMES.items()}
    layers = int(config["num_hidden_layers"])
    names = gguf.get_tensor_name_map(numbers[architecture.name], layers)
    tied = bool(config.get("tie_word_embeddings"))
    found: dict[str, GGUFTensor] = {}
    for name, shape in _shapes(folder):
        if (tied and name == "lm_head.weight") or name.endswith("rotary_emb.inv_freq"):
            continue
        target = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if target is None:
            raise BactrianError(f"{folder}: {name}: llama.cpp's {architecture.name} has no such weight")
        found[name] = GGUFTensor(target, shape, _type_of(target, shape, kind, layers, tied))
    return found


def _shapes(folder: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Each weight's shape, in the order in which `tensors` reads them."""
    from safetensors import safe_open

    for file in weight_files(folder):
        shapes = header(file)
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118  (no mapping)
                yield name, tuple(shapes[name]["shape"])


def _type_of(target: str, shape: tuple[int, ...], kind: str, layers: int, tied: bool) -> Any:
    """The type of a tensor in a file of `kind`; norms and biases are float32."""
    from gguf import GGMLQuantizationType as Types

    if len(shape) < 2:
        return Types.F32
    wanted = _q4_k_m(target, layers, tied) if kind == "q4_k_m" else Types[kind.upper()]
    if wanted.name.endswith("_K") and shape[-1] % kquants.BLOCK:
        wanted = {"Q4_K": Types.Q5_0, "Q6_K": Types.Q8_0}[wanted.name]
    if wanted.name.startswith("Q") and shape[-1] % 32:
        wanted = Types.F16
    return wanted


def _q4_k_m(target: str, layers: int, tied: bool) -> Any:
    """llama.cpp's mixture: more bits for the output, and for values and down-projections of some of the layers."""
    from gguf import GGMLQuantizationType as Types

    if target == "output.weight" or (tied and target == "token_embd.weight"):
        return Types.Q6_K
    if target.startswith("blk.") and (".attn_v." in target or ".ffn_down." in target):
        layer, eighth = int(target.split(".")[1]), layers // 8
        if layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2:
            return Types.Q6_K
    return Types.Q4_K


def _encoded(planned: GGUFTensor, tensor: torch.Tensor, config: Mapping[str, Any], architecture: Architecture) -> Any:
    """A weight as the file holds it."""
    import gguf

    wide = tensor.float()
    heads, groups = config["num_attention_heads"], config.get("num_key_value_heads") or config["num_attention_heads"]
    if architecture.permuted and (".attn_q." in planned.target or ".attn_k." in planned.target):
        wide = _permuted(wide, heads if ".attn_q." in planned.target else groups)
    if architecture.norm_shift and planned.target.endswith("norm.weight"):
        wide = wide + architecture.norm_shift
    values = np.ascontiguousarray(wide.numpy())
    own: dict[str, Callable[[Any], Any]] = {"Q4_K": kquants.q4_k, "Q6_K": kquants.q6_k}
    encode = own.get(planned.type.name)
    return encode(values) if encode else gguf.quants.quantize(values, planned.type)


def _permuted(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows of each head from halves (all first parts of the pairs that are rotated, then all second) to pairs."""
    halves = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
    return halves.transpose(1, 2).reshape(weight.shape)


def _ends(folder: Path) -> list[int]:
    """The tokens that generation_config.json says end an answer."""
    path = folder / "generation_config.json"
    found = json.loads(path.read_text(encoding="utf-8")).get("eos_token_id") if path.is_file() else None
    return [found] if isinstance(found, int) else list(found or [])


def _add_vocabulary(writer: Any, words: GGUFVocabulary, size: int) -> None:
    writer.add_vocab_size(size)
    writer.add_tokenizer_model(words.model)
    writer.add_tokenizer_pre(words.pre)
    writer.add_token_list(words.tokens)
    writer.add_token_types(words.kinds)
    if words.merges:
        writer.add_token_merges(words.merges)
    if words.scores:
        writer.add_token_scores(words.scores)
        writer.add_add_space_prefix(False)
    for name, number in words.special.items():
        getattr(writer, f"add_{name}_token_id")(number)
    writer.add_add_bos_token(words.add_bos)
    if words.chat_template:
        writer.add_chat_template(words.chat_template)
