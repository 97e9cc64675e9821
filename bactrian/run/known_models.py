"""What is known of base models before they are downloaded: family and size, so that a plan needs no network.

Shapes are those of the published configurations [OLMo 2: Walsh et al. 2025]; a test counts the same parameters with
transformers' own classes.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """A decoder's sizes. `family` is transformers' `model_type`."""

    family: str
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    intermediate: int
    vocabulary: int
    tied: bool = False

    @property
    def parameters(self) -> int:
        """All weights: embeddings, head, attention, gated MLP, norms (OLMo 2's and Qwen's extra ones, biases)."""
        width = self.hidden // self.heads
        keys = self.kv_heads * width
        attention = 2 * self.hidden * (self.hidden + keys)
        extra = {"olmo2": self.hidden + keys, "qwen2": self.hidden + 2 * keys}.get(self.family, 0)
        layer = attention + 3 * self.hidden * self.intermediate + 2 * self.hidden + extra
        return (1 if self.tied else 2) * self.vocabulary * self.hidden + self.layers * layer + self.hidden


_LLAMA = {
    "1B": Shape("llama", 2048, 16, 32, 8, 8192, 128_256, tied=True),
    "3B": Shape("llama", 3072, 28, 24, 8, 8192, 128_256, tied=True),
    "8B": Shape("llama", 4096, 32, 32, 8, 14_336, 128_256),
    "70B": Shape("llama", 8192, 80, 64, 8, 28_672, 128_256),
    "405B": Shape("llama", 16_384, 126, 128, 8, 53_248, 128_256),
}
_LLAMA2_7B = Shape("llama", 4096, 32, 32, 32, 11_008, 32_000)
_OLMO2 = {
    "0425-1B": Shape("olmo2", 2048, 16, 16, 16, 8192, 100_352),
    "1124-7B": Shape("olmo2", 4096, 32, 32, 32, 11_008, 100_352),
    "1124-13B": Shape("olmo2", 5120, 40, 40, 40, 13_824, 100_352),
    "0325-32B": Shape("olmo2", 5120, 64, 40, 8, 27_648, 100_352),
}
KNOWN: dict[str, Shape] = {
    **{f"meta-llama/Llama-3.1-{size}": _LLAMA[size] for size in ("8B", "70B", "405B")},
    **{f"meta-llama/Llama-3.2-{size}": _LLAMA[size] for size in ("1B", "3B")},
    **{
        f"allenai/Llama-3.1-Tulu-3-{size}{part}": _LLAMA[size]
        for size in ("8B", "70B", "405B")
        for part in ("", "-SFT", "-DPO")
    },
    **{
        f"allenai/OLMo-2-{size}{part}": shape
        for size, shape in _OLMO2.items()
        for part in ("", "-SFT", "-DPO", "-Instruct")
    },
    **dict.fromkeys(("meta-llama/Llama-2-7b-hf", "meta-llama/Llama-2-7b-chat-hf", "allenai/tulu-2-7b"), _LLAMA2_7B),
    "Qwen/Qwen2.5-7B-Instruct": Shape("qwen2", 3584, 28, 28, 4, 18_944, 152_064),
    "Qwen/Qwen2.5-32B-Instruct": Shape("qwen2", 5120, 64, 40, 8, 27_648, 152_064),
    "Qwen/QwQ-32B": Shape("qwen2", 5120, 64, 40, 8, 27_648, 152_064),
}
"""Hub id → shape, of the models that the open recipes begin with."""
FAMILIES = {
    "meta-llama/Llama-": "llama",
    "allenai/Llama-": "llama",
    "allenai/tulu-2-": "llama",
    "allenai/OLMo-2-": "olmo2",
    "allenai/OLMoE-": "olmoe",
    "Qwen/Qwen2.5-": "qwen2",
    "Qwen/QwQ-": "qwen2",
    "Qwen/Qwen3-": "qwen3",
    "google/gemma-3-": "gemma3_text",
    "embedded:smollm2": "llama",
    "HuggingFaceTB/SmolLM2-": "llama",
}


def parameters_of(ref: str) -> int:
    """Parameters of a model of the Hub; 0 if nothing is known of it.

    All are dense. Products are counted by all of them, the embedding too, as they were where the constants of
    gpu_hours.py were set.
    """
    shape = KNOWN.get(ref.partition("@")[0])
    return shape.parameters if shape else 0


def family_of(ref: str) -> str | None:
    """transformers' `model_type` of a model by its name, or None."""
    return next((family for start, family in FAMILIES.items() if ref.startswith(start)), None)
