"""A tokenizer as GGUF metadata: vocabulary, merges, kinds of tokens, and the name of the way in which text is cut.

llama.cpp knows each way of cutting text by a name and has a program for it. Here the name is found from what the
tokenizer does, and a way that has no name is refused: a model that reads other tokens than it was trained on is worse
than none.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bactrian.errors import BactrianError

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6

# How text is cut before merging, as these tokenizers' own files have it.
_SINGLE_DIGITS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_THREE_DIGITS = _SINGLE_DIGITS.replace(r"\p{N}|", r"\p{N}{1,3}|", 1)


@dataclass(frozen=True)
class GGUFVocabulary:
    """What `tokenizer.ggml.*` will say. `scores` are of SentencePiece's way, `merges` of the byte-level one."""

    model: str
    pre: str
    tokens: list[str]
    kinds: list[int]
    merges: list[str]
    scores: list[float]
    special: Mapping[str, int]  # bos, eos, eot, unk, pad → id
    add_bos: bool
    chat_template: str | None


def vocabulary(tokenizer: Any, size: int, ends: Sequence[int]) -> GGUFVocabulary:
    """A tokenizer's vocabulary for a model with `size` embeddings.

    Args:
        ends: tokens that end an answer, the tokenizer's end-of-sequence token among them or not.

    Raises:
        BactrianError: llama.cpp has no such tokenizer, or it has more tokens than the model.
    """
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    found = state["model"]
    if found.get("type") != "BPE":
        raise BactrianError(
            f"gguf: found a {found.get('type')} tokenizer, expected byte-pair encoding, which llama.cpp has"
        )
    by_bytes = not found.get("byte_fallback")
    pre = _name_of_cut(state) if by_bytes else _check_sentencepiece(state)
    merges = [m if isinstance(m, str) else " ".join(m) for m in found["merges"]]
    tokens, kinds = _tokens(state, size, by_bytes)
    scores = [] if by_bytes else _scores(tokens, kinds, merges)
    special = {name: getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "unk", "pad")}
    turn_ends = [end for end in ends if end != special["eos"]]
    if turn_ends:
        special["eot"] = turn_ends[0]
    ids = tokenizer("a").input_ids
    return GGUFVocabulary(
        "gpt2" if by_bytes else "llama",
        pre,
        tokens,
        kinds,
        merges if by_bytes else [],
        scores,
        {name: number for name, number in special.items() if number is not None},
        special["bos"] is not None and ids[:1] == [special["bos"]],
        tokenizer.chat_template if isinstance(tokenizer.chat_template, str) else None,
    )


def _tokens(state: Mapping[str, Any], size: int, by_bytes: bool) -> tuple[list[str], list[int]]:
    """Each id's token and kind. Ids that the tokenizer has no token for, where embeddings are padded, are unused."""
    named = {number: token for token, number in state["model"]["vocab"].items()}
    added = {each["id"]: each for each in state["added_tokens"]}
    named |= {number: each["content"] for number, each in added.items()}
    if max(named) >= size:
        raise BactrianError(f"gguf: the tokenizer has the token {max(named)}, and the model {size} embeddings")
    tokens = [named.get(number, f"[PAD{number}]") for number in range(size)]
    kinds = [NORMAL if number in named else UNUSED for number in range(size)]
    for number, each in added.items():
        kinds[number] = CONTROL if each["special"] else USER_DEFINED
    if not by_bytes:
        for number, token in enumerate(tokens):
            if kinds[number] == NORMAL and len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
                kinds[number] = BYTE
            if token == state["model"].get("unk_token"):
                kinds[number] = UNKNOWN
    return tokens, kinds


def _scores(tokens: Sequence[str], kinds: Sequence[int], merges: Sequence[str]) -> list[float]:
    """SentencePiece merges the pair whose whole has the highest score: the earlier a merge, the higher."""
    rank: dict[str, int] = {}
    for number, merge in enumerate(merges):
        left, right = merge.split(" ")
        rank.setdefault(left + right, number)
    last = float(len(merges) + 1)
    return [
        -float(rank[t]) if t in rank else (0.0 if k != NORMAL else -last) for t, k in zip(tokens, kinds, strict=True)
    ]


def _flat(part: Mapping[str, Any] | None) -> Iterator[Mapping[str, Any]]:
    if part is None:
        return
    if part["type"] == "Sequence":
        for inner in part.get("pretokenizers") or part.get("normalizers") or []:
            yield from _flat(inner)
    else:
        yield part


def _name_of_cut(state: Mapping[str, Any]) -> str:
    """llama.cpp's name for how a byte-level tokenizer cuts text.

    Raises:
        BactrianError: there is none.
    """
    odd = [part["type"] for part in _flat(state.get("normalizer")) if part["type"] != "NFC"]
    parts = list(_flat(state.get("pre_tokenizer")))
    kinds = [part["type"] for part in parts]
    if not odd and kinds and kinds[-1] == "ByteLevel" and not parts[-1].get("add_prefix_space"):
        by_regex = parts[-1].get("use_regex", True)
        if kinds == ["ByteLevel"] and by_regex:
            return "gpt-2"
        if kinds == ["Digits", "ByteLevel"] and by_regex and parts[0].get("individual_digits"):
            return "smollm"
        if kinds == ["Split", "ByteLevel"] and not by_regex and _cuts_all(parts[0]):
            pattern = parts[0]["pattern"].get("Regex")
            if pattern == _SINGLE_DIGITS:
                return "qwen2"
            if pattern == _THREE_DIGITS:
                return "llama-bpe" if state["model"].get("ignore_merges") else "dbrx"
    raise BactrianError(
        f"gguf: text is cut by {' + '.join([*odd, *kinds]) or 'nothing'}, for which no name of llama.cpp's is known "
        f"here; known are those of GPT-2, SmolLM2, Llama 3, OLMo 2 and Qwen2 or 3"
    )


def _cuts_all(split: Mapping[str, Any]) -> bool:
    """Whether matches of the pattern are the pieces, and nothing is left out."""
    return (split.get("behavior"), bool(split.get("invert"))) in (("Isolated", False), ("Removed", True))


def _check_sentencepiece(state: Mapping[str, Any]) -> str:
    """
    Raises:
        BactrianError: it does more with spaces than write them as ▁.
    """
    steps = [*_flat(state.get("normalizer")), *_flat(state.get("pre_tokenizer"))]
    plain = all(
        (step["type"] == "Replace" and step["pattern"] == {"String": " "} and step["content"] == "▁")
        or (step["type"] == "Split" and step["pattern"] == {"String": " "})
        for step in steps
    )
    if not plain or not steps:
        kinds = " + ".join(step["type"] for step in steps) or "nothing"
        raise BactrianError(
            f"gguf: found a SentencePiece tokenizer that prepares text by {kinds}; known here is Gemma's, which writes "
            f"each space as ▁"
        )
    return "default"
