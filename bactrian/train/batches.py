"""Batches of prompts with answers: what the tasks of preference tuning, reward models and unpaired answers share."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Protocol

import torch

from bactrian.model.packing import Group, Span
from bactrian.train.dealing import cut
from bactrian.train.fitting import Halvable
from bactrian.train.loop import Share, Update
from bactrian.train.supervised import step_rows


class Grouped(Protocol):
    """Whatever is a prompt with answers."""

    @property
    def group(self) -> Group: ...


class Batches(ABC):
    """Epochs over items in a random order, cut into optimiser steps, and those into micro-batches by their tokens.

    A subclass says what the loss of some items is; it is a mean over the items of a step.
    """

    updates_per_step = 1

    def __init__(self, items: Sequence[Grouped], *, batch: int, epochs: float, seed: int, micro_tokens: int):
        """
        Args:
            batch: items per optimiser step.
            micro_tokens: tokens of one forward and backward.
        """
        self.items, self.batch, self.seed, self.micro_tokens = items, batch, seed, micro_tokens
        self.total = max(1, round(len(items) * epochs))
        self.steps = math.ceil(self.total / batch)

    def updates(self, step: int) -> Iterator[Update]:
        count = min(self.batch, self.total - step * self.batch)
        rows = step_rows(len(self.items), self.batch, step, self.seed)[:count]
        bins = self.bins(rows)
        known = self.before(rows, bins)
        yield Update(
            micro_batches=[
                Halvable(
                    partial(self.share, count=count, known=known),
                    chosen,
                    [self.items[i].group.tokens for i in chosen],
                )
                for chosen in bins
            ],
            tokens=sum(self.items[i].group.tokens for i in rows),
            sizes=[sum(self.items[i].group.tokens for i in chosen) for chosen in bins],
            finish=lambda sums: self.means(sums, count) | known,
        )

    def bins(self, rows: Sequence[int]) -> list[list[int]]:
        """The rows, packed into micro-batches."""
        packed = cut([self.items[i].group.tokens for i in rows], self.micro_tokens)
        return [[rows[i] for i in chosen] for chosen in packed]

    def means(self, sums: dict[str, float], count: int) -> dict[str, float]:
        """What is logged, from the summed metrics of a step of `count` items."""
        return {key: value / count for key, value in sums.items()}

    def before(self, rows: Sequence[int], bins: Sequence[list[int]]) -> dict[str, float]:
        """What the losses of a step need to know of all of it; logged too."""
        return {}

    @abstractmethod
    def share(self, rows: list[int], count: int, known: dict[str, float]) -> Share:
        """The loss of these rows as a share of the step's mean over `count`, and sums of metrics."""


def answer_tokens(spans: Sequence[Span]) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices of all tokens of the spans (long [N]) and the number of the span that each is of (long [N])."""
    where = torch.cat([torch.arange(span.start, span.stop) for span in spans])
    return where, torch.repeat_interleave(torch.arange(len(spans)), torch.tensor([span.length for span in spans]))
