"""A new model: a tokenizer for a small closed language, and a decoder with fresh weights."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bactrian.chat.named_templates import TOOL_TEXT
from bactrian.chat.tool_calls import calls_within
from bactrian.errors import BactrianError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

PIECE = r"\n| ?[^\W\d_]+| ?\d| ?[^\w\s]| ?_|[^\S\n]"
"""A line break, a word, one digit or one mark; each word, digit and mark with the space before it, if there is one."""
SPECIAL = ("<unk>", "<s>", "</s>")


def pieces(text: str) -> list[str]:
    """The tokens of a text as texts; joined they are the text again.

    >>> pieces("In May, 12.")
    ['In', ' May', ',', ' 1', '2', '.']
    """
    return re.findall(PIECE, text)


def spoken_text(row: Mapping[str, Any]) -> str:
    """What a row of any kind says, on lines of their own: its text, its turns, its solution; not its id or source.

    What is thought in it stands between <think> tags, so that a tokenizer knows these too; and where it has tools, the
    text that named templates write around them follows.
    """
    turns = [turn for field in ("messages", "prompt", "chosen", "rejected") for turn in row.get(field, [])]
    thought = [*(turn.get("reasoning_content") for turn in turns), row.get("reasoning")]
    said = [*(turn["content"] for turn in turns), *(f"<think>{each}</think>" for each in thought if each)]
    tools = [row.get("tools", ""), *(f"{call['name']}\n{call['arguments']}" for call in calls_within(turns))]
    tools = [*tools, TOOL_TEXT] if any(tools) else []
    return "\n".join([row.get("text", ""), *said, row.get("solution", ""), *tools])


def word_tokenizer(texts: Iterable[str], context: int | None) -> PreTrainedTokenizerFast:
    """A tokenizer whose vocabulary is every piece of the texts (see `PIECE`), with and without a space before it.

    Text in this language round-trips exactly; a piece that is not in the vocabulary becomes <unk>. Every printable
    ASCII character is in, so chat templates of plain ASCII marks can be written.

    Args:
        context: the model's longest sequence, tokens; None where no model is known yet.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pattern = re.compile(PIECE)
    found = {piece for text in texts for piece in pattern.findall(text)}
    bare = {piece.removeprefix(" ") for piece in found} | set("\n \t") | set(map(chr, range(33, 127)))
    bare |= {"system", "user", "assistant"}
    pieces = sorted(bare | {f" {piece}" for piece in bare if piece.strip()})
    vocabulary = {piece: i for i, piece in enumerate([*SPECIAL, *(p for p in pieces if p and p not in SPECIAL)])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token=SPECIAL[0]))
    core.pre_tokenizer = pre_tokenizers.Split(Regex(PIECE), behavior="isolated")
    core.decoder = decoders.Fuse()
    unk, bos, eos = SPECIAL
    return PreTrainedTokenizerFast(
        tokenizer_object=core, unk_token=unk, bos_token=bos, eos_token=eos, model_max_length=context
    )


def new_model(
    tokenizer: PreTrainedTokenizerBase,
    *,
    architecture: Literal["llama", "olmo2", "olmo3", "olmoe"],
    hidden_size: int,
    layers: int,
    heads: int,
    intermediate_size: int,
    context: int,
    folder: Path,
    kv_heads: int | None = None,
    tied: bool = True,
    rope_theta: float = 10_000.0,
    norm_epsilon: float | None = None,
    vocabulary_multiple: int = 1,
    window: int | None = None,
    experts: int = 8,
    active: int = 2,
) -> None:
    """Write a decoder with fresh weights and its tokenizer into `folder`, Hugging Face layout, float32.

    Weights are N(0, 0.02) truncated at three standard deviations, whatever the depth [OLMo 2]. Uses torch's global
    random state.

    Args:
        window: of olmo3, whose every fourth layer and last layer see all; by default half the context.
        experts, active: of olmoe; `intermediate_size` is the width of one expert, and nothing else is an MLP.

    Raises:
        BactrianError: heads do not divide hidden_size.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    if hidden_size % heads:
        raise BactrianError(f"hidden_size {hidden_size} is not a multiple of heads {heads}")
    settings: dict[str, Any] = {
        "vocab_size": -(-len(tokenizer) // vocabulary_multiple) * vocabulary_multiple,
        "hidden_size": hidden_size,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads or heads,
        "intermediate_size": intermediate_size,
        "max_position_embeddings": context,
        "tie_word_embeddings": tied,
        "rope_parameters": {"rope_type": "default", "rope_theta": rope_theta},
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": None,
    }
    if norm_epsilon is not None:
        settings["rms_norm_eps"] = norm_epsilon
    if architecture == "olmo3":
        kinds = ("sliding_attention", "full_attention")
        whole = [(i + 1) % 4 == 0 or i == layers - 1 for i in range(layers)]
        settings |= {"sliding_window": window or context // 2, "layer_types": [kinds[each] for each in whole]}
        settings["rope_parameters"] = {kind: dict(settings["rope_parameters"]) for kind in kinds}
    if architecture == "olmoe":
        settings |= {"num_experts": experts, "num_experts_per_tok": active, "norm_topk_prob": False}
    network = AutoModelForCausalLM.from_config(AutoConfig.for_model(architecture, **settings))
    with torch.no_grad():
        for weight in network.parameters():
            if weight.ndim >= 2:
                torch.nn.init.trunc_normal_(weight, std=0.02, a=-0.06, b=0.06)
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
