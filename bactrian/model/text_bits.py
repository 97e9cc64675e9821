"""How likely a model holds plain texts, in bits per byte: one number for many texts."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from bactrian.model.language_model import LanguageModel
from bactrian.model.packing import Forest, Segment, pack

WINDOW = 1024
"""Tokens, where a model's config says no longest sequence."""


@torch.no_grad()
def bits_per_byte(model: LanguageModel, texts: Sequence[str], context: int, micro_tokens: int = 4096) -> float:
    """Bits of all texts over their UTF-8 bytes; each begins with the token that texts begin with, and ends anywhere.

    Args:
        context: tokens of a window. A longer text is read in several, of which each begins with the last token of the
            one before; so every token is scored once.
        micro_tokens: of one forward.
    """
    tokenizer = model.tokenizer
    first = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    windows: list[tuple[int, ...]] = []
    for ids in tokenizer(list(texts), add_special_tokens=False).input_ids:
        whole = (first, *ids)
        windows += [whole[at : at + context] for at in range(0, max(1, len(whole) - 1), context - 1)]
    windows = [window for window in windows if len(window) > 1]
    nats = 0.0
    for chosen in pack([len(window) for window in windows], micro_tokens):
        forest = Forest.of([Segment(windows[i]) for i in chosen])
        where = (forest.previous >= 0).nonzero()[:, 0]
        nats -= float(model.logprobs(forest, where).double().sum())
    return nats / math.log(2) / sum(len(text.encode()) for text in texts)
