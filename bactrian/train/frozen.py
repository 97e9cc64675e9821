"""Models that are read and never trained, in shards: references and reward models beside a policy that is sharded.

A layer is whole only while it is computed with. So all processes must read such a model equally often, whatever each
has it read.
"""

from __future__ import annotations

from typing import Any

import torch

from bactrian.model.language_model import Decoder, LanguageModel
from bactrian.model.packing import Forest
from bactrian.model.reward_model import RewardModel
from bactrian.store.processes import Processes
from bactrian.train.units import computing_dtype, shard


class ShardedReference(LanguageModel):
    """A language model whose weights all processes have parts of; made of one that is whole in each, in place."""

    root: Any

    @classmethod
    def of_whole(cls, model: LanguageModel, group: Processes, within: int) -> ShardedReference:
        found = cls(model.network, model.tokenizer, model.template, stored=model.stored)
        found.root = _in_shards(model, group, within)
        return found

    @torch.no_grad()
    def logprobs(self, forest: Forest, where: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
        found: torch.Tensor = self.root(lambda: LanguageModel.logprobs(self, forest, where, temperature))
        return found


class ShardedRewardModel(RewardModel):
    """A reward model whose weights all processes have parts of; made of one that is whole in each, in place."""

    root: Any

    @classmethod
    def of_whole(cls, model: RewardModel, group: Processes, within: int) -> ShardedRewardModel:
        found = cls(model.network, model.tokenizer, model.template, stored=model.stored)
        found.root = _in_shards(model, group, within)
        return found

    @torch.no_grad()
    def scores(self, forest: Forest, where: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.root(lambda: RewardModel.scores(self, forest, where))
        return found


def read_in_step(model: Decoder | None) -> bool:
    """Whether all processes must read a model equally often."""
    return isinstance(model, ShardedReference | ShardedRewardModel)


def _in_shards(model: Decoder, group: Processes, within: int) -> Any:
    network = model.network.requires_grad_(False)
    computes_in = computing_dtype(network)
    return shard(network, group, within, computes_in, keeps_outside=False)
