"""Models that stand in for real ones in a rehearsal: the same family, a hundred thousand random weights."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bactrian.errors import BactrianError
from bactrian.model.blank import word_tokenizer

CONTEXT = 8192
"""The longest sequence; rotary positions need no weights for it."""
ENDS = 0.12
"""Chance of the end token after each token: answers should end, and not all at once."""
_SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": CONTEXT,
}
_MIXTURES: dict[str, Any] = {"olmoe": {"num_experts": 8, "num_experts_per_tok": 2}}
"""Family → its own sizes."""


def write_toy(folder: Path, family: str, texts: Iterable[str], reward: bool = False) -> None:
    """A decoder of this family (transformers' `model_type`) whose tokenizer knows the words of the
    texts.

    `reward`: a reward model, with a scalar head in place of the vocabulary's.

    Raises:
        BactrianError: for a family that transformers does not have.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

    tokenizer = word_tokenizer(texts, CONTEXT)
    if family.startswith("qwen"):  # whose tokenizers have ChatML's marks
        tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokens = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": None}
    try:
        config = AutoConfig.for_model(
            family, vocab_size=len(tokenizer), **tokens, **_SIZES, **_MIXTURES.get(family, {})
        )
        config.num_labels = 1 if reward else config.num_labels
        torch.manual_seed(0)
        kind = AutoModelForSequenceClassification if reward else AutoModelForCausalLM
        network = kind.from_config(config, dtype=torch.float32)
    except (ValueError, KeyError) as error:
        raise BactrianError(f"{family}: no family of decoders that transformers has ({error})") from None
    with torch.no_grad():
        for weight in network.parameters():
            if weight.ndim >= 2:
                torch.nn.init.normal_(weight, std=0.05)
        if not reward:
            torch.nn.init.normal_(network.get_output_embeddings().weight, std=0.4)  # sure enough for greedy answers
            network.get_input_embeddings().weight += 0.2  # what all tokens share, and the end token can answer to
            _lean_to_the_end(network, tokenizer.eos_token_id)
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _lean_to_the_end(network: Any, end: int) -> None:
    """Raise the end token's logit, on average over contexts, to where its chance is about ENDS."""
    import torch

    head = network.get_output_embeddings().weight
    ids = torch.randint(0, len(head), (8, 32), generator=torch.Generator().manual_seed(0))
    states = network.model(ids).last_hidden_state.reshape(-1, head.shape[1])
    others = torch.logsumexp(states @ head.T, dim=1).mean()
    wanted = float(others) + math.log(ENDS / (1 - ENDS))
    mean = states.mean(0)
    head[end] = mean * wanted / float(mean @ mean)
