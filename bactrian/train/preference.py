"""Preference tuning on pairs: the task of DPO and its relatives, and the reference's log-probabilities."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
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
from bactrian.train.losses import PREFERENCE_LOSSES, Objective, PairSums
from bactrian.train.objectives import segment_sums


@dataclass(frozen=True)
class PreferencePair:
    """A prompt with a chosen and a rejected answer, as token ids; each answer ends in its end token.

    `trained`: for each token of the two answers whether its log-probability counts; None where all do. What a user or a
    tool says in the middle of an answer does not.
    """

    prompt: tuple[int, ...]
    chosen: tuple[int, ...]
    rejected: tuple[int, ...]
    trained: tuple[tuple[bool, ...], tuple[bool, ...]] | None = None

    @property
    def group(self) -> Group:
        return Group(self.prompt, (self.chosen, self.rejected))

    @property
    def counted(self) -> tuple[tuple[bool, ...], tuple[bool, ...]]:
        """`trained`, written out."""
        return self.trained or ((True,) * len(self.chosen), (True,) * len(self.rejected))

    @property
    def lengths(self) -> tuple[int, int]:
        """Tokens that count, of the chosen and the rejected answer."""
        chosen, rejected = self.counted
        return sum(chosen), sum(rejected)


def pair_logprobs(model: LanguageModel, pairs: Sequence[PreferencePair]) -> torch.Tensor:
    """Summed log-probabilities of chosen and rejected, [P, 2]; each prompt is forwarded once for both.

    Tokens that are not trained are read, and count nothing.
    """
    forest, spans = plant([pair.group for pair in pairs])
    where, owner = answer_tokens(spans)
    if any(pair.trained for pair in pairs):
        counted = torch.tensor([each for pair in pairs for side in pair.counted for each in side])
        where, owner = where[counted], owner[counted]
    logprobs = model.logprobs(forest, where)
    return segment_sums(logprobs, owner.to(logprobs.device), len(spans)).view(-1, 2)


@torch.no_grad()
def reference_logprobs(
    model: LanguageModel,
    pairs: Sequence[PreferencePair],
    micro_tokens: int,
    kept: Journal | None = None,
    *,
    in_step: bool = False,
) -> torch.Tensor:
    """`pair_logprobs` of all pairs, by row number, float32 [P, 2]; of several processes each computes a share.

    `kept`: a journal of what is known of them. `in_step`: as of `remembered_share`.
    """
    bins = pack([pair.group.tokens for pair in pairs], micro_tokens)
    jobs = {
        str(number): partial(pair_logprobs, model, [pairs[i] for i in chosen]) for number, chosen in enumerate(bins)
    }
    result, group = torch.zeros(len(pairs), 2), processes.present()
    with progress("reference log-probs", total=len(jobs) / group.size, unit="pack") as bar:
        for key, found in remembered_share(jobs, kept, in_step=in_step):
            result[bins[int(key)]] = found
            bar.advance()
    group.add(result)  # each row is one process's, and 0 in the others
    return result


def remembered_share(
    jobs: Mapping[str, Callable[[], torch.Tensor]], kept: Journal | None, *, in_step: bool
) -> Iterator[tuple[str, torch.Tensor]]:
    """The keys of this process's share of some jobs, and what comes of each, or came of it before.

    Args:
        kept: a journal of what came of jobs.
        in_step: each job reads weights that all processes have parts of, so all compute equally many: whoever has
            none left computes one for nothing.
    """
    group = processes.present()
    mine = [key for number, key in enumerate(jobs) if number % group.size == group.rank]
    new = [key for key in mine if kept is None or key not in kept.found]
    for key in mine:
        if key not in new:
            yield key, remember(kept, key, jobs[key])
    rounds = int(group.most([len(new)])[0]) if in_step else len(new)
    for number in range(rounds):
        if number < len(new):
            yield new[number], remember(kept, new[number], jobs[new[number]])
        else:
            next(iter(jobs.values()))()


def remember(kept: Journal | None, key: str, compute: Callable[[], torch.Tensor]) -> torch.Tensor:
    """What a journal has under a key, or what is computed now and put there; float32 numbers in JSON are exact."""
    if kept is None:
        return compute().float().cpu()
    if key not in kept.found:
        kept.put(key, compute().float().cpu().tolist())
    return torch.tensor(kept.found[key], dtype=torch.float32)


class Preference(Batches):
    """A preference loss over pairs, mean over the pairs of a step."""

    def __init__(
        self,
        model: LanguageModel,
        pairs: Sequence[PreferencePair],
        reference: torch.Tensor | None,
        objective: Objective,
        *,
        batch_pairs: int,
        epochs: float,
        seed: int,
        micro_tokens: int,
    ):
        """
        Args:
            reference: [P, 2] by row number (see `reference_logprobs`), None for a loss without one.
            batch_pairs: pairs per optimiser step.
            micro_tokens: tokens of one forward and backward.
        """
        super().__init__(pairs, batch=batch_pairs, epochs=epochs, seed=seed, micro_tokens=micro_tokens)
        self.model, self.pairs, self.reference = model, pairs, reference
        self.objective, self.loss = objective, PREFERENCE_LOSSES.use(objective.loss)

    def share(self, rows: list[int], count: int, known: dict[str, float]) -> Share:
        pairs = [self.pairs[i] for i in rows]
        sums = pair_logprobs(self.model, pairs)
        reference = None if self.reference is None else self.reference[rows].to(sums.device)
        lengths = torch.tensor([pair.lengths for pair in pairs], device=sums.device)
        known_of = (None, None) if reference is None else (reference[:, 0], reference[:, 1])
        losses = self.loss(PairSums(sums[:, 0], sums[:, 1], lengths[:, 0], lengths[:, 1], *known_of), self.objective)
        each = losses.loss
        if self.objective.sft_weight:
            each = each - self.objective.sft_weight * sums[:, 0] / lengths[:, 0]
        chosen, rejected = losses.chosen_reward.detach(), losses.rejected_reward.detach()
        metrics = {
            "accuracy": float((chosen > rejected).sum()),
            "margin": float((chosen - rejected).sum()),
            "reward_chosen": float(chosen.sum()),
            "reward_rejected": float(rejected.sum()),
            "logprob_chosen": float(sums[:, 0].detach().sum()),
            "logprob_rejected": float(sums[:, 1].detach().sum()),
        }
        return each.sum() / count, metrics
