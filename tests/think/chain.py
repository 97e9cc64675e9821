"""A real model whose behaviour is known: a Markov chain over tokens, written into a decoder's weights."""

from collections.abc import Mapping
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from bactrian.model.language_model import LanguageModel

MERGES = ["< /", ". </", "t h", "th i", "thi n", "thin k", "W a", "Wa i", "Wai t"]


def tokenizer() -> PreTrainedTokenizerFast:
    """Bytes, and a few joined ones: "think", "Wait", "</" and, as real tokenizers have it, ".</"."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [tuple(merge.split(" ")) for merge in MERGES]
    joined = ["".join(merge) for merge in merges]
    vocabulary = {piece: i for i, piece in enumerate([*letters, *joined, "<s>", "</s>", "<|im_start|>"])}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<s>", eos_token="</s>", additional_special_tokens=["<|im_start|>"]
    )


def write_chain(folder: Path, follows: Mapping[str, Mapping[str, float]], otherwise: Mapping[str, float]) -> Path:
    """A model that says token b after a with probability `follows[a][b]`, after any other as `otherwise`.

    Embeddings are unit vectors, attention and MLP add nothing, the head holds the log-probabilities.
    """
    words = tokenizer()
    known = words.get_vocab()
    size = -(-len(known) // 8) * 8
    config = LlamaConfig(
        vocab_size=len(known),
        hidden_size=size,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=8,
        num_key_value_heads=8,
        max_position_embeddings=512,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        pad_token_id=None,
        tie_word_embeddings=False,
        rms_norm_eps=1e-9,
    )
    network = LlamaForCausalLM(config)
    with torch.no_grad():
        for weight in network.parameters():
            weight.fill_(1.0 if weight.ndim == 1 else 0.0)
        network.model.embed_tokens.weight.copy_(torch.eye(size)[: len(known)])
        logits = torch.full((len(known), len(known)), -30.0)  # [before, after]
        for token, place in known.items():
            for after, probability in follows.get(token, otherwise).items():
                logits[place, known[after]] = torch.tensor(probability).log()
        network.lm_head.weight[:, : len(known)] = logits.T / size**0.5
    network.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def thinker(folder: Path) -> LanguageModel:
    """Rambles in a, b and full stops; ends its thinking now and then, its turn too; some endings come to nothing."""
    say = {"a": 0.3, "b": 0.3, ".": 0.1, "Ċ": 0.04, "</": 0.1, ".</": 0.1, "</s>": 0.04, "<|im_start|>": 0.02}
    follows = {"</": {"think": 0.8, "a": 0.2}, ".</": {"think": 0.8, "b": 0.2}, "think": {">": 0.9, "a": 0.1}}
    return LanguageModel.load(write_chain(folder, follows, say))


def guesser(folder: Path) -> Path:
    """Thinks in letters and lines, ends by itself now and then, and answers with a digit: 7 more often than others."""
    say = {"a": 0.35, "b": 0.2, "Ċ": 0.1, "</": 0.15, "7": 0.1, "3": 0.07, "</s>": 0.03}
    digit = {"7": 0.5, "3": 0.3, "1": 0.2}
    follows = {
        "</": {"think": 1.0},
        "think": {">": 1.0},
        ":": digit,
        ">": {"Ċ": 1.0},
        "Ċ": {"a": 0.5, **{d: p / 2 for d, p in digit.items()}},
    }
    return write_chain(
        folder, {**follows, "7": {"</s>": 0.6, "a": 0.4}, "3": {"</s>": 0.6, "b": 0.4}, "1": {"</s>": 1.0}}, say
    )
