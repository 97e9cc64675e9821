"""Next-token training on rendered rows: the task of SFT and of pretraining."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Protocol, runtime_checkable

import numpy as np
import torch

from bactrian.chat import Rendered, split, truncate
from bactrian.data.io.tally import Tally
from bactrian.model.experts import Routing, routing_noted
from bactrian.model.language_model import LanguageModel
from bactrian.model.packing import Forest, Segment, common_prefix
from bactrian.train.dealing import cut
from bactrian.train.fitting import Halvable
from bactrian.train.loop import Share, Update
from bactrian.train.objectives import cross_entropy, load_balance, router_z_loss, z_loss


def fitted(full: Rendered, most: int, too_long: str, where: str, tally: Tally) -> list[Rendered]:
    """A row within `most` tokens; nothing if no trained token is left.

    Args:
        too_long: "cut" on the right, or "split" into rows of their own.
        where: it stands, for the tally of what became of rows.
    """
    if len(full.ids) <= most:
        tally.keep()
        return [full]
    if too_long == "split":
        tally.repair(f"longer than {most} tokens: split", where)
        return split(full, most)
    cut = truncate(full, most)
    if cut is None:
        tally.drop(f"no trained token within {most} tokens", where)
        return []
    tally.truncate(f"longer than {most} tokens", where)
    return [cut]


@lru_cache(maxsize=2)  # a step asks for that of its epoch, and at an epoch's end for the next
def epoch_order(rows: int, epoch: int, seed: int) -> np.ndarray:
    """A permutation of `rows` that depends on (seed, epoch) alone."""
    return np.random.Generator(np.random.Philox(key=np.array([seed % 2**64, epoch], dtype=np.uint64))).permutation(rows)


def step_rows(rows: int, batch: int, step: int, seed: int) -> list[int]:
    """The rows of a step: epochs of `rows`, each in its own order, one after the other, cut into batches.

    A batch may span two epochs; so every step but the last is full.
    """
    return rows_at(rows, step * batch, (step + 1) * batch, seed)


def rows_at(rows: int, start: int, stop: int, seed: int) -> list[int]:
    """The rows at places [start, stop) of epochs of `rows`, each in its own order, one after the other."""
    chosen: list[int] = []
    for place in range(start, stop):
        epoch, offset = divmod(place, rows)
        if not chosen or offset == 0:
            order = epoch_order(rows, epoch, seed)
        chosen.append(int(order[offset]))
    return chosen


@runtime_checkable
class RowSource(Protocol):
    """Rows in an order that a seed decides, epoch after epoch, which need not be in memory."""

    def __len__(self) -> int:
        """Places of an epoch."""
        ...

    def at(self, start: int, stop: int) -> list[Rendered]:
        """What stands at places [start, stop): of each none, one or several rows."""
        ...


@dataclass(frozen=True)
class ShuffledRows:
    """Rows in memory, each epoch in an order of its own."""

    rows: Sequence[Rendered]
    seed: int

    def __len__(self) -> int:
        return len(self.rows)

    def at(self, start: int, stop: int) -> list[Rendered]:
        """The rows at places [start, stop)."""
        return [self.rows[i] for i in rows_at(len(self.rows), start, stop, self.seed)]


@dataclass(frozen=True)
class Growth:
    """Batches that begin small and double at equal distances until they are whole.

    first: rows of the first steps. until: rows in all by which the batch is whole.
    """

    first: int
    until: int


@dataclass(frozen=True)
class BatchPlan:
    """How `total` rows are cut into steps of `batch` rows."""

    total: int
    batch: int
    growth: Growth | None = None

    @cached_property
    def starts(self) -> list[int]:
        """The place at which each step begins, and the end of the last."""
        places, growth = [0], self.growth
        rungs = 0 if growth is None else max(0, (-(-self.batch // growth.first) - 1).bit_length())
        while places[-1] < self.total:
            rows = self.batch
            if growth is not None and rungs and places[-1] < growth.until:
                rows = min(self.batch, growth.first << (places[-1] * rungs // growth.until))
            places.append(min(self.total, places[-1] + rows))
        return places

    @property
    def steps(self) -> int:
        return len(self.starts) - 1


@dataclass(frozen=True)
class ExtraLosses:
    """Weights of what is added to the cross-entropy; 0 where it is not.

    z_loss: of (log Z)² of the output. balance, router_z: of a mixture's routers, a mean over layers (see `objectives`).
    """

    z_loss: float = 0.0
    balance: float = 0.0
    router_z: float = 0.0


class Supervised:
    """Weighted cross-entropy on the trained tokens of packed rows."""

    updates_per_step = 1

    def __init__(
        self,
        model: LanguageModel,
        rows: Sequence[Rendered] | RowSource,
        *,
        batch_rows: int,
        epochs: float,
        seed: int,
        micro_tokens: int,
        extra: ExtraLosses = ExtraLosses(),
        growth: Growth | None = None,
        most_rows: int | None = None,
    ):
        """
        Args:
            rows: each with at least one trained token, but for those that are left out (see `updates`). Those that
                are in memory are shuffled by `seed`.
            batch_rows: rows per optimiser step.
            epochs: passes over the rows; may be a fraction.
            micro_tokens: tokens of one forward and backward.
            extra: losses beside the cross-entropy.
            growth: of the batch, at first.
            most_rows: end after so many rows, epochs or not.
        """
        self.model, self.extra = model, extra
        self.rows: RowSource = rows if isinstance(rows, RowSource) else ShuffledRows(rows, seed)
        self.micro_tokens = micro_tokens
        total = max(1, round(len(rows) * epochs))
        self.plan = BatchPlan(total if most_rows is None else max(1, min(total, most_rows)), batch_rows, growth)
        self.steps = self.plan.steps

    def updates(self, step: int) -> Iterator[Update]:
        """One update; rows without a trained token count as rows of the step and are left out of it."""
        start, stop = self.plan.starts[step : step + 2]
        rows = [row for row in self.rows.at(start, stop) if any(row.weights[1:])]
        total = sum(sum(row.weights[1:]) for row in rows)
        tokens = sum(len(row.ids) for row in rows)
        shared = _shared(rows)
        bins = cut([len(row.ids) - shared for row in rows], max(1, self.micro_tokens - shared))
        yield Update(
            micro_batches=[self._micro_batch([rows[i] for i in chosen], total, tokens) for chosen in bins],
            tokens=tokens,
            sizes=[sum(len(rows[i].ids) - shared for i in chosen) for chosen in bins],
            metrics={"trained_tokens": float(sum(sum(w > 0 for w in row.weights[1:]) for row in rows))},
        )

    def _micro_batch(self, rows: list[Rendered], total: float, tokens: int) -> Halvable[Rendered]:
        def share(rows: list[Rendered]) -> Share:
            shared = _shared(rows)
            trunk = [Segment(tuple(rows[0].ids[:shared]))] if shared else []
            forest = Forest.of(trunk + [Segment(tuple(row.ids[shared:]), 0 if shared else -1) for row in rows])
            # the first token of a row has nothing that predicts it
            weights = torch.tensor([0.0] * shared + [w for row in rows for w in (0.0, *row.weights[1:])[shared:]])
            where = weights.nonzero()[:, 0]
            with routing_noted() as routing:
                logprobs, sums = self._scored(forest, where)
            own = weights[where].to(logprobs.device)
            loss = cross_entropy(logprobs, own, total)
            told = {"cross_entropy": float(loss.detach())} if sums is not None or routing else {}
            if sums is not None:
                z = z_loss(sums, own, total)
                loss, told["z_loss"] = loss + self.extra.z_loss * z, float(z.detach())
            if routing:
                more, also = self._of_routers(routing, sum(len(row.ids) for row in rows) / tokens)
                loss, told = loss + more, told | also
            return loss, told

        return Halvable(share, rows, [len(row.ids) for row in rows])

    def _scored(self, forest: Forest, where: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Log-probabilities, and log-sum-exps where they are asked for: a GPU's kernel has none."""
        return (
            self.model.logprobs_and_sums(forest, where)
            if self.extra.z_loss
            else (self.model.logprobs(forest, where), None)
        )

    def _of_routers(self, routing: Sequence[Routing], share: float) -> Share:
        """What a micro-batch's routers add to the loss. Balance is that of the micro-batch, as in OLMo-core: it is the
        one loss that depends on how a step is cut.

        Args:
            share: the micro-batch's, of the step's tokens.
        """
        scale = share / len(routing)
        balance = scale * torch.stack([load_balance(each.logits, each.chosen) for each in routing]).sum()
        z = scale * torch.stack([router_z_loss(each.logits) for each in routing]).sum()
        told = {"balance_loss": float(balance.detach()), "router_z_loss": float(z.detach())}
        told["busiest_expert"] = scale * sum(_busiest(each) for each in routing)
        return self.extra.balance * balance + self.extra.router_z * z, told


def _busiest(routing: Routing) -> float:
    """Tokens of the expert that has most, over the mean."""
    counts = torch.bincount(routing.chosen.reshape(-1), minlength=routing.logits.shape[1])
    return float(counts.max() / counts.float().mean())


def _shared(rows: Sequence[Rendered]) -> int:
    """How many tokens all rows begin with alike and untrained (a system turn): they are stored once."""
    if not rows:
        return 0
    untrained = min(next(i for i, w in enumerate(row.weights) if w > 0) for row in rows)
    return common_prefix([row.ids for row in rows], limit=untrained)
