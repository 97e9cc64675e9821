"""Next-token training on rendered rows: the task of SFT and of pretraining."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from bactrian.chat import Rendered, split, truncate
from bactrian.data.io.tally import Tally
from bactrian.model.language_model import LanguageModel
from bactrian.model.packing import Forest, Segment, common_prefix
from bactrian.train.dealing import cut
from bactrian.train.loop import Share, Update
from bactrian.train.objectives import cross_entropy


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


def epoch_order(rows: int, epoch: int, seed: int) -> np.ndarray:
    """A permutation of `rows` that depends on (seed, epoch) alone."""
    return np.random.Generator(np.random.Philox(key=np.array([seed % 2**64, epoch], dtype=np.uint64))).permutation(rows)


def step_rows(rows: int, batch: int, step: int, seed: int) -> list[int]:
    """The rows of a step: epochs of `rows`, each in its own order, one after the other, cut into batches.

    A batch may span two epochs; so every step but the last is full.
    """
    chosen: list[int] = []
    for place in range(step * batch, (step + 1) * batch):
        epoch, offset = divmod(place, rows)
        if not chosen or offset == 0:
            order = epoch_order(rows, epoch, seed)
        chosen.append(int(order[offset]))
    return chosen


class Supervised:
    """Weighted cross-entropy on the trained tokens of packed rows."""

    updates_per_step = 1

    def __init__(
        self,
        model: LanguageModel,
        rows: Sequence[Rendered],
        *,
        batch_rows: int,
        epochs: float,
        seed: int,
        micro_tokens: int,
    ):
        """
        Args:
            rows: each with at least one trained token.
            batch_rows: rows per optimiser step.
            epochs: passes over the rows; may be a fraction.
            micro_tokens: tokens of one forward and backward.
        """
        self.model, self.rows = model, rows
        self.batch_rows, self.seed, self.micro_tokens = batch_rows, seed, micro_tokens
        self.total = max(1, round(len(rows) * epochs))
        self.steps = math.ceil(self.total / batch_rows)

    def updates(self, step: int) -> Iterator[Update]:
        count = min(self.batch_rows, self.total - step * self.batch_rows)
        rows = [self.rows[i] for i in step_rows(len(self.rows), self.batch_rows, step, self.seed)[:count]]
        total = sum(sum(row.weights[1:]) for row in rows)
        shared = _shared(rows)
        bins = cut([len(row.ids) - shared for row in rows], max(1, self.micro_tokens - shared))
        yield Update(
            micro_batches=[self._share([rows[i] for i in chosen], total) for chosen in bins],
            tokens=sum(len(row.ids) for row in rows),
            sizes=[sum(len(rows[i].ids) - shared for i in chosen) for chosen in bins],
            metrics={"trained_tokens": float(sum(sum(w > 0 for w in row.weights[1:]) for row in rows))},
        )

    def _share(self, rows: list[Rendered], total: float) -> Callable[[], Share]:
        def share() -> Share:
            shared = _shared(rows)
            trunk = [Segment(tuple(rows[0].ids[:shared]))] if shared else []
            forest = Forest.of(trunk + [Segment(tuple(row.ids[shared:]), 0 if shared else -1) for row in rows])
            # the first token of a row has nothing that predicts it
            weights = torch.tensor([0.0] * shared + [w for row in rows for w in (0.0, *row.weights[1:])[shared:]])
            where = weights.nonzero()[:, 0]
            logprobs = self.model.logprobs(forest, where)
            return cross_entropy(logprobs, weights[where].to(logprobs.device), total), {}

        return share


def _shared(rows: Sequence[Rendered]) -> int:
    """How many tokens all rows begin with alike and untrained (a system turn): they are stored once."""
    untrained = min(next(i for i, w in enumerate(row.weights) if w > 0) for row in rows)
    return common_prefix([row.ids for row in rows], limit=untrained)
