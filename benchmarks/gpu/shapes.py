"""Models with random weights in well-known shapes, made where they are used, and what training them costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

WORDS = "the cat sat on a mat and 12 + 34 = 46 . Compute Answer : what is no yes one two three"


@dataclass(frozen=True)
class Shape:
    """A decoder's sizes. kv: heads of keys and values. wide: of the MLP. head_dim: of a head, if not width / heads."""

    kind: str
    width: int
    layers: int
    heads: int
    kv: int
    wide: int
    vocabulary: int
    tied: bool = True
    head_dim: int | None = None

    @property
    def attended(self) -> int:
        """Width of all query heads."""
        return self.heads * (self.head_dim or self.width // self.heads)

    def config(self, context: int) -> Any:
        from transformers import AutoConfig

        more = {} if self.head_dim is None else {"head_dim": self.head_dim}
        return AutoConfig.for_model(
            self.kind,
            hidden_size=self.width,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.kv,
            intermediate_size=self.wide,
            vocab_size=self.vocabulary,
            max_position_embeddings=context,
            tie_word_embeddings=self.tied,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=None,
            **more,
        )


SHAPES = {
    "135m": Shape("llama", 576, 30, 9, 3, 1536, 49152),  # SmolLM2-135M
    "0.6b": Shape("qwen3", 1024, 28, 16, 8, 3072, 151936, head_dim=128),  # Qwen3-0.6B
    "1b": Shape("llama", 2048, 16, 32, 8, 8192, 128256),  # Llama 3.2 1B
    "8b": Shape("llama", 4096, 32, 32, 8, 14336, 128256, tied=False),  # Llama 3.1 8B
}
TOY = Shape("qwen3", 64, 2, 4, 2, 128, 256, head_dim=16)


def shape_of(name: str, toy: bool) -> Shape:
    return TOY if toy else SHAPES[name]


def network(shape: Shape, device: str, dtype: str, context: int, attention: str, lively: bool = False) -> Any:
    """A causal language model of transformers' with random weights, on the device from the start.

    lively: with larger ones, so that what a token attends to shows in its log-probability.
    """
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    with torch.device(device):
        made = AutoModelForCausalLM.from_config(
            shape.config(context), dtype=getattr(torch, dtype), attn_implementation=attention
        )
    if lively:
        with torch.no_grad():
            for weight in made.parameters():
                if weight.ndim >= 2:
                    torch.nn.init.normal_(weight, std=shape.width**-0.5)
    return made.eval()


def language_model(
    shape: Shape, device: str, dtype: str, context: int, masters: bool = False, lively: bool = False
) -> Any:
    """One of ours. `masters`: float32 weights, of which those it computes with are rounded copies."""
    from bactrian.chat import ChatTemplate, template_for
    from bactrian.model import attention
    from bactrian.model.blank import word_tokenizer
    from bactrian.model.fused import fuse
    from bactrian.model.language_model import LanguageModel, split_masters

    attention.register()
    made = network(shape, device, "float32" if masters else dtype, context, attention.IMPLEMENTATION, lively)
    fuse(made)
    kept = split_masters(made, dtype) if masters else {}
    tokenizer = word_tokenizer([WORDS], context)
    return LanguageModel(made, tokenizer, ChatTemplate.load(tokenizer, template_for(tokenizer)), masters=kept)


def flops_a_token(parameters: float, shape: Shape, length: float, adapters: bool = False) -> dict[str, float]:
    """FLOPs of training on a token: 6N, or 4N where the weights stay; and with causal attention over `length` tokens.

    The second is the convention of prime-rl's table: 6.39e9 for Qwen3-0.6B at 8,192 tokens.
    """
    share = 4 / 6 if adapters else 1.0
    products = 6 * parameters * share
    return {"mfu_6n": products, "mfu": products + share * 6 * shape.layers * shape.attended * length}


def random_ids(count: int, vocabulary: int, seed: int) -> list[int]:
    made = torch.Generator().manual_seed(seed)
    found: list[int] = torch.randint(3, vocabulary, (count,), generator=made).tolist()
    return found


def skewed_lengths(count: int, longest: int, seed: int = 0) -> list[int]:
    """Log-normal, as answers are: half of them below a third of the longest."""
    made = torch.Generator().manual_seed(seed)
    drawn = torch.exp(torch.randn(count, generator=made) * 0.8) * longest * 0.3
    found: list[int] = drawn.clamp(8, longest).long().tolist()
    return found
