"""Tiny models with random weights, of every architecture that is claimed, and a tokenizer to go with them."""

from pathlib import Path
from typing import Any

import torch
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    Olmo2Config,
    Olmo2ForCausalLM,
    Olmo3Config,
    Olmo3ForCausalLM,
    OlmoeConfig,
    OlmoeForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from bactrian.model.blank import word_tokenizer

TEXT = "the cat sat on a mat and 12 + 34 = 46 . Compute Answer : what is no yes one two three"
SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
}
SLIDING: dict[str, Any] = {
    "sliding_window": 5,
    "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
}
ARCHITECTURES: dict[str, tuple[type[Any], type[Any], dict[str, Any]]] = {
    "llama": (LlamaConfig, LlamaForCausalLM, {}),
    "llama-tied": (LlamaConfig, LlamaForCausalLM, {"tie_word_embeddings": True}),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM, {}),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM, {}),
    "olmo2": (Olmo2Config, Olmo2ForCausalLM, {}),
    "olmo3": (Olmo3Config, Olmo3ForCausalLM, SLIDING),
    "gemma3": (Gemma3TextConfig, Gemma3ForCausalLM, SLIDING),
    "gemma3-capped": (Gemma3TextConfig, Gemma3ForCausalLM, {"sliding_window": 5, "final_logit_softcapping": 3.0}),
}

MIXTURES: dict[str, tuple[type[Any], type[Any], dict[str, Any]]] = {
    "olmoe": (OlmoeConfig, OlmoeForCausalLM, {"num_experts": 6, "num_experts_per_tok": 2}),
}


def write_tiny(folder: Path, architecture: str = "llama", seed: int = 0, context: int = 256, **sizes: Any) -> Path:
    """A model folder with random, not too small weights, so that differences between forwards show.

    sizes: of the configuration, in place of SIZES.
    """
    tokenizer = word_tokenizer([TEXT], context)
    config, network, changes = (ARCHITECTURES | MIXTURES)[architecture]
    torch.manual_seed(seed)
    settings = {
        **SIZES,
        "max_position_embeddings": context,
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": None,
        **changes,
        **sizes,
    }
    model = network(config(**settings))
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim >= 2:
                torch.nn.init.normal_(weight, std=0.15)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
