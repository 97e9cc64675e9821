"""A decoder with a scalar head: how good an answer is (a reward model), or how much is to come (a value model).

Hugging Face layout (`…ForSequenceClassification` with one label and no bias), so other tools read it too.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from bactrian.chat import ChatTemplate, template_for
from bactrian.errors import BactrianError
from bactrian.model import attention
from bactrian.model.adapters import HEAD, on_the_same_weights
from bactrian.model.folders import check_folder
from bactrian.model.language_model import (
    ROUNDING,
    Decoder,
    LanguageModel,
    is_reward_model,
    load_network,
    load_tokenizer,
)
from bactrian.model.packing import Forest, Group, pack, plant
from bactrian.model.quantised import is_quantised
from bactrian.model.weight_files import stored_dtype
from bactrian.store.hardware import Hardware


@dataclass
class RewardModel(Decoder):
    """A decoder whose head gives one number for each token: that of an answer's last token is the answer's reward."""

    @classmethod
    def load(
        cls,
        folder: Path,
        dtype: str = "float32",
        template: str | None = None,
        device: str = "cpu",
        quantised: bool = False,
    ) -> RewardModel:
        """Load a reward model's folder (arguments as of `LanguageModel.load`).

        Raises:
            BactrianError: no reward model, or one with several labels, or whose packed scores are not its plain ones.
        """
        from transformers import AutoModelForSequenceClassification

        check_folder(folder)
        if not is_reward_model(folder):
            raise BactrianError(f"{folder}: a language model; expected a reward model (see the stage `reward`)")
        tokenizer = load_tokenizer(folder)
        network = load_network(AutoModelForSequenceClassification, folder, dtype, device, quantised)
        if network.config.num_labels != 1:
            raise BactrianError(f"{folder}: found {network.config.num_labels} labels, expected one: a scalar reward")
        chat = ChatTemplate.load(tokenizer, template or template_for(tokenizer))
        model = cls(network, tokenizer, chat, stored=stored_dtype(folder))
        model.check()
        return model

    @classmethod
    def of(cls, model: LanguageModel, seed: int, *, shared: bool = False, blank: bool = False) -> RewardModel:
        """Reward model on a copy of a language model's trunk, its head drawn from N(0, 1/(d+1)) [Stiennon et al. 2020].

        Args:
            shared: on the model's own weights instead: where that is no longer used, or both move by adapters alone.
            blank: a head of zeros instead: a value model that expects nothing yet, and not noise of its own.

        Raises:
            BactrianError: transformers has no such head for this architecture.
        """
        from transformers import AutoModelForSequenceClassification

        config = copy.deepcopy(model.network.config)
        config.num_labels = 1
        try:
            with torch.device("meta"):
                network = AutoModelForSequenceClassification.from_config(
                    config, dtype=model.dtype, attn_implementation=attention.IMPLEMENTATION
                )
        except ValueError as error:
            name = type(model.network).__name__
            raise BactrianError(f"{name}: no reward model can be made of this architecture: {error}") from error
        trunk = (on_the_same_weights if shared else copy.deepcopy)(model.network.base_model)
        setattr(network, network.base_model_prefix, trunk)
        network.is_loaded_in_4bit = is_quantised(model.network)
        size = trunk.get_input_embeddings().weight.shape[1]
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randn(1, size, generator=generator) / (size + 1) ** 0.5
        weight = torch.zeros_like(drawn) if blank else drawn
        network.score.weight = torch.nn.Parameter(weight.to(model.device, model.dtype))
        names = {name for name, _ in network.named_parameters()}
        masters = {name: w if shared else w.clone() for name, w in model.masters.items() if name in names}
        if masters:
            masters[f"{HEAD}.weight"] = weight.to(model.device)
        return cls(network.eval(), model.tokenizer, model.template, masters=masters, stored=model.stored)

    def twin(self) -> RewardModel:
        """Another reward model on the same trunk, with a head of its own: for one of them to be trained by adapters."""
        network = on_the_same_weights(self.network)
        network.score.weight = torch.nn.Parameter(self.scalar_head.detach().clone())
        return RewardModel(network, self.tokenizer, self.template, stored=self.stored)

    @property
    def scalar_head(self) -> torch.Tensor:
        """[1, d]."""
        weight: torch.Tensor = self.network.score.weight
        return weight

    def scores(self, forest: Forest, where: torch.Tensor) -> torch.Tensor:
        """The head's number at the tokens `where` (long [N]) of a forest, float32 (or wider, as the model) [N]."""
        states = self.forward(forest).index_select(0, where.to(self.device))
        wide = torch.promote_types(states.dtype, torch.float32)
        return (states.to(wide) @ self.scalar_head.to(wide).T)[:, 0]

    def rewards(self, groups: Sequence[Group]) -> torch.Tensor:
        """The reward of each answer of each group: the score of its last token, float32 [answers]."""
        forest, spans = plant(groups)
        return self.scores(forest, torch.tensor([span.stop - 1 for span in spans]))

    def check(self, tolerance: float = 1e-3) -> None:
        """Compare packed with plain scores on a small probe; in bfloat16 hidden states (see `LanguageModel.check`).

        Raises:
            BactrianError: they differ: the architecture does something that packing does not know.
        """
        name = type(self.network).__name__
        gap, allowed = (self._score_gap(), tolerance) if self.dtype.itemsize >= 4 else (self._state_gap(), ROUNDING)
        if not gap <= allowed:
            raise BactrianError(f"{name}: this architecture cannot be packed: scores differ by {gap:.2g}")

    @torch.no_grad()
    def _score_gap(self) -> float:
        """Largest difference of packed and plain scores on the probe, as a share of the largest score or of 1."""
        probe, _ = self._probe()
        packed = self.rewards([Group(probe[0], (probe[1], probe[2]))])
        plain = [(self._plain_states(probe[0] + p)[-1:] @ self.scalar_head.T)[0, 0] for p in probe[1:]]
        return float((packed - torch.stack(plain)).abs().max()) / max(1.0, float(packed.abs().max()))


class Scorer(Protocol):
    """What gives answers rewards: a reward model, or several as one (reward_fusion.py)."""

    @property
    def template(self) -> ChatTemplate: ...

    def rewards(self, groups: Sequence[Group]) -> torch.Tensor:
        """The reward of each answer of each group, float32 [answers]."""
        ...


@torch.no_grad()
def rewards_of(model: Scorer, groups: Sequence[Group], micro_tokens: int) -> list[list[float]]:
    """The reward of each answer of each group, `micro_tokens` at a time."""
    found: list[list[float]] = [[] for _ in groups]
    for chosen in pack([group.tokens for group in groups], micro_tokens):
        flat = iter(model.rewards([groups[i] for i in chosen]).tolist())
        for i in chosen:
            found[i] = [next(flat) for _ in groups[i].answers]
    return found


def open_scorer(
    folder: Path, hardware: Hardware, *, template: str | None = None, quantised: bool = False
) -> RewardModel:
    """A reward model as the hardware has it. `template`, `quantised`: as of `LanguageModel.load`.

    Raises:
        BactrianError: the folder holds no reward model.
    """
    return RewardModel.load(folder, hardware.dtype, template, hardware.device, quantised=quantised)
