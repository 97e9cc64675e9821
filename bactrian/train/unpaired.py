"""KTO: preference tuning on answers that are each good or bad, without pairs [Ethayarajh et al. 2024]."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch

from bactrian.data.io.journal import Journal
from bactrian.model.language_model import LanguageModel
from bactrian.model.packing import Group, pack, plant
from bactrian.progress import progress
from bactrian.store import processes
from bactrian.train.batches import Batches, answer_tokens
from bactrian.train.loop import Share
from bactrian.train.objectives import kahneman_tversky, segment_sums
from bactrian.train.preference import remembered_share


@dataclass(frozen=True)
class LabelledAnswer:
    """A prompt, an answer that ends in its end token, and whether the answer is a good one."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]
    desirable: bool

    @property
    def group(self) -> Group:
        return Group(self.prompt, (self.answer,))


def strangers(opinions: Sequence[LabelledAnswer]) -> list[Group]:
    """Each prompt with the answer of the next opinion, the last with the first's: what KTO's baseline is taken from."""
    shifted = [*opinions[1:], opinions[0]]
    return [Group(mine.prompt, (other.answer,)) for mine, other in zip(opinions, shifted, strict=True)]


def answer_logprobs(model: LanguageModel, groups: Sequence[Group]) -> torch.Tensor:
    """Summed log-probability of each answer of the groups, float32 [answers]."""
    forest, spans = plant(groups)
    where, owner = answer_tokens(spans)
    logprobs = model.logprobs(forest, where)
    return segment_sums(logprobs, owner.to(logprobs.device), len(spans))


@torch.no_grad()
def reference_sums(
    model: LanguageModel,
    opinions: Sequence[LabelledAnswer],
    micro_tokens: int,
    kept: Journal | None = None,
    *,
    in_step: bool = False,
) -> torch.Tensor:
    """Under the reference: each opinion's own answer, and the stranger's under its prompt, float32 [N, 2].

    Of several processes each computes a share. `kept`: a journal of what is known of them. `in_step`: as of
    `remembered_share`.
    """
    result, together = torch.zeros(len(opinions), 2), processes.present()
    columns = [[opinion.group for opinion in opinions], strangers(opinions)]
    bins = [pack([group.tokens for group in groups], micro_tokens) for groups in columns]
    jobs = {
        f"{column}/{number}": partial(answer_logprobs, model, [columns[column][i] for i in chosen])
        for column, cut in enumerate(bins)
        for number, chosen in enumerate(cut)
    }
    with progress("reference log-probs", total=len(jobs) / together.size, unit="pack") as bar:
        for key, found in remembered_share(jobs, kept, in_step=in_step):
            column, number = map(int, key.split("/"))
            result[bins[column][number], column] = found
            bar.advance()
    together.add(result)  # each number is one process's, and 0 in the others
    return result


class Unpaired(Batches):
    """KTO's loss, mean over the answers of a step; its baseline is one number for the whole step."""

    def __init__(
        self,
        model: LanguageModel,
        opinions: Sequence[LabelledAnswer],
        reference: torch.Tensor,
        *,
        beta: float,
        desirable_weight: float,
        undesirable_weight: float,
        batch: int,
        epochs: float,
        seed: int,
        micro_tokens: int,
    ):
        """
        Args:
            reference: [N, 2] (see `reference_sums`).
        """
        super().__init__(opinions, batch=batch, epochs=epochs, seed=seed, micro_tokens=micro_tokens)
        self.model, self.opinions, self.reference = model, opinions, reference
        self.beta, self.weights = beta, (desirable_weight, undesirable_weight)
        self.strangers = strangers(opinions)

    @torch.no_grad()
    def before(self, rows: Sequence[int], bins: Sequence[list[int]]) -> dict[str, float]:
        total = 0.0
        for chosen in pack([self.strangers[i].tokens for i in rows], self.micro_tokens):
            mine = [rows[i] for i in chosen]
            found = answer_logprobs(self.model, [self.strangers[i] for i in mine]).cpu()
            total += float((found - self.reference[mine, 1]).double().sum())
        return {"baseline": max(0.0, total / len(rows))}

    def means(self, sums: dict[str, float], count: int) -> dict[str, float]:
        good, bad = max(1.0, sums["desirable"]), max(1.0, count - sums["desirable"])
        by_kind = {
            "reward_desirable": sums.pop("reward_desirable") / good,
            "reward_undesirable": sums.pop("reward_undesirable") / bad,
        }
        return {**super().means(sums, count), **by_kind}

    def share(self, rows: list[int], count: int, known: dict[str, float]) -> Share:
        opinions = [self.opinions[i] for i in rows]
        sums = answer_logprobs(self.model, [o.group for o in opinions])
        desirable = torch.tensor([o.desirable for o in opinions], device=sums.device)
        good, bad = self.weights
        losses = kahneman_tversky(
            sums,
            self.reference[rows, 0].to(sums),
            desirable,
            known["baseline"],
            beta=self.beta,
            desirable_weight=good,
            undesirable_weight=bad,
        )
        reward = losses.reward.detach()
        metrics = {
            "reward_desirable": float(reward[desirable].sum()),
            "reward_undesirable": float(reward[~desirable].sum()),
            "desirable": float(desirable.sum()),
            "accuracy": float(((reward > self.beta * known["baseline"]) == desirable).sum()),
        }
        return losses.loss.sum() / count, metrics
