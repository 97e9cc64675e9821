"""How large a decoder is by its shape, and what attention adds to the work of its products. Loads no torch."""

from typing import NamedTuple

from bactrian.train.base_options import ShapeSettings

MADE_VOCABULARY, TAKEN_VOCABULARY = 1000, 100_000
"""Tokens of a tokenizer that is made from a small corpus, and of another model's, where nobody has counted them."""


class DecoderSize(NamedTuple):
    """parameters: all. active: those that a token is multiplied by, the output included, the embedding not.

    attended: width times layers, those with a window counted by the part of the context that they see.
    """

    parameters: int
    active: int
    attended: float


def decoder_size(
    architecture: str,
    hidden_size: int,
    layers: int,
    heads: int,
    intermediate_size: int,
    context: int,
    vocabulary: int,
    shape: ShapeSettings,
) -> DecoderSize:
    """Norms are counted too; the vocabulary is padded as `shape` says."""
    keys = hidden_size // heads * (shape.kv_heads or heads)
    attention = 2 * hidden_size * (hidden_size + keys)
    norms = 2 * hidden_size + (0 if architecture == "llama" else hidden_size + keys)
    unit = 3 * hidden_size * intermediate_size
    mixed = architecture == "olmoe"
    router = hidden_size * shape.experts if mixed else 0
    words = -(-vocabulary // shape.vocabulary_multiple) * shape.vocabulary_multiple * hidden_size
    layer = attention + norms + router
    whole = layers * (layer + unit * (shape.experts if mixed else 1)) + (1 if shape.tied else 2) * words + hidden_size
    active = layers * (layer + unit * (shape.active if mixed else 1)) + words + hidden_size
    seen = float(layers)
    if architecture == "olmo3":
        window = min(1.0, (shape.window or context // 2) / context)
        windowed = sum((i + 1) % 4 != 0 and i != layers - 1 for i in range(layers))
        # of the pairs of a query and a key before it, those within the window
        seen = layers - windowed + windowed * window * (2 - window)
    return DecoderSize(whole, active, hidden_size * seen)


def usual_attended(parameters: float) -> float:
    """Width times layers of a decoder of the usual proportions: 12 width² parameters a layer, a layer for each 128."""
    width: float = max(1.0, parameters * 128 / 12) ** (1 / 3)
    return width * width / 128


def attention_flops(attended: float, tokens: float, length: float) -> float:
    """FLOPs of causal attention in training, forward and backward: 12 width layers length a token, halved [PaLM 2022].

    Args:
        attended: width times layers (see `DecoderSize`).
        length: tokens of a sequence.
    """
    return 6 * attended * length * tokens
