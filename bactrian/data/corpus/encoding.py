"""Texts as tokens, nothing added: a text that spells a special token is text, whoever wrote it."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from bactrian.errors import BactrianError


@cache
def opened_tokenizer(folder: Path) -> Any:
    """The tokenizer of a model's folder.

    Raises:
        BactrianError: where there is none that can be loaded.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise BactrianError(f"{folder}: has no tokenizer that can be loaded: {error}") from None


def encode(tokenizer: Any, texts: Sequence[str], offsets: bool = False) -> Any:
    """`input_ids` of each text, and with `offsets` an `offset_mapping`: where each token stands in it."""
    return tokenizer(
        list(texts),
        add_special_tokens=False,
        split_special_tokens=True,
        return_offsets_mapping=offsets,
        verbose=False,  # documents are longer than a model's context, and are cut later
    )
