"""Tiny models whose tokenizers llama.cpp has too."""

from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from tests.model.tiny import TEXT, write_tiny

THREE_DIGITS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CUTS: dict[str, Any] = {
    "gpt-2": pre_tokenizers.ByteLevel(add_prefix_space=False),
    "smollm": pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    ),
    "dbrx": pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(THREE_DIGITS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    ),
    "qwen2": pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(THREE_DIGITS.replace("{1,3}", "")), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    ),
}
CHAT = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SPECIAL = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"]


def byte_tokenizer(cut: str = "gpt-2") -> PreTrainedTokenizerFast:
    """Byte-level, with some merges."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = CUTS[cut]
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([TEXT * 3, "a 12345 1999 don't\n\n  x"] * 3, trainer)
    found = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
    found.chat_template = CHAT
    return found


def sentencepiece_tokenizer() -> PreTrainedTokenizerFast:
    """As Gemma's: spaces as ▁, unknown characters as bytes."""
    pieces = [f"<0x{byte:02X}>" for byte in range(256)]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<pad>", "</s>", "<s>", "<unk>", *pieces], show_progress=False
    )
    tokenizer.train_from_iterator([TEXT * 3, "a 12345 1999 do x"] * 3, trainer)
    state = tokenizer.to_str()
    from json import dumps, loads

    read = loads(state)
    read["added_tokens"] = [each for each in read["added_tokens"] if not each["content"].startswith("<0x")]
    found = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(dumps(read)),
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
    )
    found.chat_template = CHAT.replace("|im_start|", "s").replace("<|im_end|>", "</s>")
    return found


def write_model(folder: Path, architecture: str = "llama", cut: str = "gpt-2", **sizes: Any) -> Path:
    """A tiny model with a tokenizer of llama.cpp's."""
    tokenizer = sentencepiece_tokenizer() if cut == "sentencepiece" else byte_tokenizer(cut)
    write_tiny(
        folder,
        architecture,
        **{
            "vocab_size": len(tokenizer) + 8,  # padded, as published ones often are
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            **sizes,
        },
    )
    (folder / "tokenizer.json").unlink()
    tokenizer.save_pretrained(folder)
    return folder


SIX_LAYERS: dict[str, Any] = {
    "num_hidden_layers": 6,
    "layer_types": ["sliding_attention"] * 5 + ["full_attention"],
    "sliding_window": 8,
}
"""Of Gemma 3, as llama.cpp takes for granted."""
