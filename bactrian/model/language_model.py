"""A causal language model with its tokenizer and chat template: loaded, checked, scored, saved.

Hugging Face layout, safetensors only; no pickle is ever read and no code that comes with a model is ever run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from bactrian.chat import ChatTemplate, template_for
from bactrian.errors import BactrianError
from bactrian.model import attention
from bactrian.model.attention import AttentionLayout, attention_layout
from bactrian.model.experts import group_experts
from bactrian.model.folders import check_folder
from bactrian.model.fused import fuse
from bactrian.model.gpu_attention import gpu_layout
from bactrian.model.logprobs import token_logprobs, token_logprobs_and_entropy, token_logprobs_and_sums
from bactrian.model.packed_attention import PackedAttention
from bactrian.model.packing import Forest, Segment
from bactrian.model.quantised import reading, steady
from bactrian.model.weight_files import TORCH, add_residue, name_dtype, rounded, stored_dtype, write_residue

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
ALIGNMENT = 64  # bytes
ROUNDING = 0.1  # see `LanguageModel.check`


@dataclass
class Decoder:
    """A decoder network, and what turns text into its tokens and back.

    masters: weights in float32 by name, where the network computes with bfloat16 copies of them and is to be trained;
        they are what is moved, and what is rounded when it is saved.
    stored: the dtype that it is saved in: that of the files it was read from.
    keeps_residue: what rounding takes is saved beside it (`model.weight_files`).
    """

    network: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    template: ChatTemplate
    masters: dict[str, torch.Tensor] = field(default_factory=dict, kw_only=True)
    stored: str = field(default="float32", kw_only=True)
    keeps_residue: bool = field(default=True, kw_only=True)

    @property
    def dtype(self) -> torch.dtype:
        dtype: torch.dtype = self.network.dtype
        return dtype

    @property
    def device(self) -> torch.device:
        device: torch.device = self.network.device
        return device

    @property
    def parameters(self) -> int:
        """Number of weights, tied ones counted once."""
        return sum(p.numel() for p in self.network.parameters())

    def forward(self, forest: Forest, sink: list[tuple[torch.Tensor, torch.Tensor]] | None = None) -> torch.Tensor:
        """Last hidden states of a forest's tokens, [T, d]. `sink`: see `PackedAttention`."""
        return self.hidden(forest.ids[None], forest.positions[None], self._layout(forest, sink))[0]

    def _layout(self, forest: Forest, sink: list[tuple[torch.Tensor, torch.Tensor]] | None) -> AttentionLayout:
        if self.device.type == "cpu":
            return PackedAttention(forest, sink)
        config = self.network.config
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        return gpu_layout(forest, sink, self.device, self.dtype, head_dim)

    def hidden(self, ids: torch.Tensor, positions: torch.Tensor, layout: AttentionLayout) -> torch.Tensor:
        """Last hidden states, after the final norm. ids, positions: long [B, T] → [B, T, d]."""
        with attention_layout(layout):
            output = self.network.base_model(
                input_ids=ids.to(self.device), position_ids=positions.to(self.device), use_cache=False
            )
        states: torch.Tensor = output.last_hidden_state
        return states

    def exact(self) -> dict[str, torch.Tensor]:
        """All weights by name as they were trained: masters where there are any."""
        owners = {id(weight): name for name, weight in self.network.named_parameters()}
        every = self.network.named_parameters(remove_duplicate=False)  # tied weights under each of their names
        masters = {name: self.masters[owners[id(w)]] for name, w in every if owners[id(w)] in self.masters}
        return {**self.network.state_dict(), **masters}

    def save(self, folder: Path, weights: Mapping[str, torch.Tensor] | None = None) -> None:
        """Write weights (safetensors, in `stored`), configuration, tokenizer and chat template.

        weights: all of them by name as they were trained, where the network holds only parts of them.
        """
        folder.mkdir(parents=True, exist_ok=True)
        exact = self.exact() if weights is None else weights
        dtype, tied = TORCH[self.stored], dict[int, torch.Tensor]()
        state = {}
        for name, weight in exact.items():
            floats = weight.is_floating_point() and weight.dtype != dtype
            if floats and weight.data_ptr() not in tied:  # tied weights stay one tensor, or they are written twice
                tied[weight.data_ptr()] = rounded(name, weight, self.stored).to("cpu", dtype)
            state[name] = tied[weight.data_ptr()] if floats else weight
        self.network.save_pretrained(folder, state_dict=state)
        name_dtype(folder, self.stored)
        if self.keeps_residue and self.stored != "float32":
            write_residue(folder, {name: exact[name] for name, _ in self.network.named_parameters()}, self.stored)
        self.tokenizer.chat_template = self.template.text  # what was trained on is what is served
        self.tokenizer.save_pretrained(folder)

    def _probe(self) -> tuple[list[tuple[int, ...]], Forest]:
        """A prefix and two continuations of six tokens each, and their forest."""
        size = self.network.get_input_embeddings().weight.shape[0]
        probe = [tuple((7 * i + 3 * j) % (size - 1) + 1 for i in range(6)) for j in range(3)]
        return probe, Forest.of([Segment(probe[0]), Segment(probe[1], 0), Segment(probe[2], 0)])

    @torch.no_grad()
    def _state_gap(self) -> float:
        """Mean relative difference of packed and plain last hidden states on the probe."""
        probe, forest = self._probe()
        packed = self.forward(forest)[6:18].float()
        plain = torch.cat([self._plain_states(probe[0] + p)[-6:] for p in probe[1:]]).float()
        return float(((packed - plain).norm(dim=-1) / plain.norm(dim=-1)).mean())

    def _plain_states(self, ids: Sequence[int]) -> torch.Tensor:
        """Last hidden states of transformers' own forward with its own attention on one sequence, [len, d]."""
        self.network.set_attn_implementation("eager")
        try:
            output = self.network.base_model(input_ids=torch.tensor([ids], device=self.device), use_cache=False)
        finally:
            self.network.set_attn_implementation(attention.IMPLEMENTATION)
        states: torch.Tensor = output.last_hidden_state[0]
        return states


@dataclass
class LanguageModel(Decoder):
    """A decoder that says how likely the next token is."""

    @classmethod
    def load(
        cls,
        folder: Path,
        dtype: str = "float32",
        template: str | None = None,
        device: str = "cpu",
        masters: bool = False,
        quantised: bool = False,
        exact: bool = False,
    ) -> LanguageModel:
        """Load a model folder.

        Args:
            folder: Hugging Face layout.
            dtype: of the weights that it computes with, "float32" or "bfloat16".
            device: "cpu" or "cuda".
            template: a chat template's name (see `bactrian.chat`); by default the tokenizer's own if it has one, else
                tulu.
            masters: keep the weights in float32 too, as they are in the files, for training: a stage's small updates
                are then not lost in the rounding between one stage and the next.
            quantised: weights of linear layers in 4 bits, to be left as they are (see `quantised`).
            exact: where the files are rounded and what was taken is kept beside them, the weights as they were trained.

        Raises:
            BactrianError: no config, no tokenizer, weights only as a pickle, a model that needs remote code, an
                architecture whose packed log-probabilities do not equal its plain ones.
        """
        from transformers import AutoModelForCausalLM

        check_folder(folder)
        if is_reward_model(folder):
            raise BactrianError(f"{folder}: a reward model, which scores answers; expected a language model")
        tokenizer = load_tokenizer(folder)
        read = "float32" if masters else dtype
        network = load_network(AutoModelForCausalLM, folder, read, device, quantised)
        if exact and read == "float32":
            add_residue(network, folder)
        kept = split_masters(network, dtype) if masters else {}
        chat = ChatTemplate.load(tokenizer, template or template_for(tokenizer))
        model = cls(network, tokenizer, chat, masters=kept, stored=stored_dtype(folder))
        model.check()
        return model

    @property
    def head(self) -> torch.Tensor:
        """The output embedding, [V, d]."""
        weight: torch.Tensor = self.network.get_output_embeddings().weight
        return weight

    @property
    def softcap(self) -> float | None:
        return getattr(self.network.config, "final_logit_softcapping", None)

    def logprobs(self, forest: Forest, where: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
        """Log-probabilities of the tokens at the indices `where` (long [N]) of a forest, float32 [N].

        Raises:
            ValueError: a token that starts a sequence has nothing that predicts it.
        """
        states, targets = self._predictions(forest, where)
        return token_logprobs(states, self.head, targets, temperature=temperature, softcap=self.softcap)

    def logprobs_and_entropy(
        self, forest: Forest, where: torch.Tensor, temperature: float = 1.0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As `logprobs`, and the entropy (nats, not differentiable) of the distributions that they come from, [N]."""
        states, targets = self._predictions(forest, where)
        return token_logprobs_and_entropy(states, self.head, targets, temperature=temperature, softcap=self.softcap)

    def logprobs_and_sums(self, forest: Forest, where: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """As `logprobs`, and log Σ exp of the logits that they come from, float32 [N], differentiable as well."""
        states, targets = self._predictions(forest, where)
        return token_logprobs_and_sums(states, self.head, targets, softcap=self.softcap)

    def _predictions(self, forest: Forest, where: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The hidden states [N, d] that predict the tokens at `where`, and those tokens, long [N]."""
        source = forest.previous[where]
        if len(source) and int(source.min()) < 0:
            raise ValueError("the first token of a sequence has no log-probability")
        states = self.forward(forest).index_select(0, source.to(self.device))
        return states, forest.ids[where].to(self.device)

    def check(self, tolerance: float = 1e-3) -> None:
        """Compare the packed forward with the plain one on a small probe: a prefix with two continuations.

        In float32, log-probabilities may differ by `tolerance`. In bfloat16 those of unlikely tokens are far off by
        rounding alone (0.6 nats at -20, on a fine-tuned SmolLM2), so hidden states are compared: their mean relative
        difference is 0.01 to 0.02 by rounding and 0.24 to 0.36 where one continuation sees the other; `ROUNDING` lies
        between.

        Raises:
            BactrianError: they differ, or cannot be had: the architecture does something that packing does not know.
        """
        name = type(self.network).__name__
        exact = self.dtype.itemsize >= 4
        try:
            gap = self._logprob_gap() if exact else self._state_gap()
        except (AttributeError, IndexError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
            raise BactrianError(f"{name}: this architecture cannot be packed: {error}") from error
        what, allowed = ("log-probabilities", tolerance) if exact else ("hidden states, relatively,", ROUNDING)
        if not gap <= allowed:
            raise BactrianError(
                f"{name}: this architecture cannot be packed: {what} over a shared prefix differ from the plain "
                f"forward's by {gap:.2g} (allowed {allowed:g})"
            )

    @torch.no_grad()
    def _logprob_gap(self) -> float:
        """Largest difference of packed and plain log-probabilities on the probe."""
        probe, forest = self._probe()
        packed = self.logprobs(forest, torch.arange(6, 18))
        plain = torch.cat([self._plain_logprobs(probe[0] + p)[-6:] for p in probe[1:]])
        return float((packed - plain).abs().max())

    @torch.no_grad()
    def _plain_logprobs(self, ids: Sequence[int]) -> torch.Tensor:
        """transformers' own forward with its own attention on one sequence, [len - 1]."""
        network: Any = self.network
        network.set_attn_implementation("eager")
        try:
            logits = network(input_ids=torch.tensor([ids], device=self.device), use_cache=False).logits[0, :-1].float()
        finally:
            network.set_attn_implementation(attention.IMPLEMENTATION)
        targets = torch.tensor(ids[1:], device=logits.device)
        logprobs: torch.Tensor = logits.log_softmax(-1).gather(-1, targets[:, None])[:, 0]
        return logprobs


def load_network(kind: Any, folder: Path, dtype: str, device: str, quantised: bool = False) -> PreTrainedModel:
    """The network of a checked folder, with our attention, in evaluation mode: dropout is never used.

    Args:
        kind: transformers' automatic class, such as AutoModelForCausalLM.
        quantised: linear layers in 4 bits.

    Raises:
        BactrianError: it cannot be loaded, or weights are missing.
    """
    from safetensors import SafetensorError

    attention.register()
    try:
        network, report = kind.from_pretrained(
            folder,
            dtype=DTYPES[dtype],
            attn_implementation=attention.IMPLEMENTATION,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
            **(reading(DTYPES[dtype], device) if quantised else {}),
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise BactrianError(f"{folder}: the model cannot be loaded: {error}") from error
    if missing := sorted(report["missing_keys"]):  # transformers would make them up
        raise BactrianError(f"{folder}: {len(missing)} weights are missing: {', '.join(missing[:5])}")
    for weight in network.parameters():
        # weights mapped from a file begin wherever it has them; a matrix product may round otherwise, and is slower,
        # where memory is not aligned as torch itself would align it
        if weight.device.type == "cpu" and weight.data_ptr() % ALIGNMENT:
            weight.data = weight.data.clone()
    steady(network)
    fuse(network)
    group_experts(network)
    loaded: PreTrainedModel = network.eval() if quantised else network.eval().to(device)
    return loaded


def split_masters(network: PreTrainedModel, dtype: str) -> dict[str, torch.Tensor]:
    """Make a float32 network compute in `dtype`; its weights as they were, by name, or none if nothing changes."""
    if dtype == "float32":
        return {}
    masters = {name: weight.detach() for name, weight in network.named_parameters()}
    network.to(DTYPES[dtype])
    return masters


def is_reward_model(folder: Path) -> bool:
    """Whether a checked folder holds a decoder with a scalar head, by what its config.json says."""
    try:
        config = json.loads((folder / "config.json").read_text())
        return any(name.endswith("ForSequenceClassification") for name in config.get("architectures") or [])
    except (ValueError, AttributeError) as error:
        raise BactrianError(f"{folder}: the model cannot be loaded: config.json: {error}") from None


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a model folder.

    Raises:
        BactrianError: there is none, or it cannot be read.
    """
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "vocab.json")):
        raise BactrianError(
            f"{folder}: no tokenizer: expected tokenizer.json (or tokenizer.model, or vocab.json), "
            f"found {', '.join(sorted(p.name for p in folder.iterdir()))}"
        )
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise BactrianError(f"{folder}: the tokenizer cannot be loaded: {error}") from error


def context_of(folder: Path) -> int | None:
    """Tokens that a model folder's model can attend to, by its config; None where that does not say, or is missing."""
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    found = config.get("max_position_embeddings")
    return found if isinstance(found, int) else None
