"""Looks at the weights while they are trained: numbers before every so-many-th step, in the log beside its loss.

A look is a function of the weights and draws nothing, so training is the same to the bit with it and without it, and
looks of steps that a killed run makes again come out again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import torch

from bactrian.train.backend import Backend
from bactrian.train.loop import Remembering, Sampling, TrainingTask, Update

Look = Callable[[], Mapping[str, float]]
"""Numbers by name, of the present weights."""


class LookingTask:
    """A task whose weights are looked at before every `every`-th step; the step's first update logs what was seen."""

    def __init__(self, task: TrainingTask, look: Look, every: int, backend: Backend) -> None:
        self.task, self.look, self.every, self.backend = task, look, every, backend
        self.steps, self.updates_per_step = task.steps, task.updates_per_step
        self._looks = False  # before the step whose updates were asked for last

    @property
    def whole_weights(self) -> bool:
        """A look reads the weights by itself."""
        return self._looks or (isinstance(self.task, Sampling) and self.task.whole_weights)

    def updates(self, step: int) -> Iterator[Update]:
        self._looks = step % self.every == 0
        return self._watched(step) if self._looks else iter(self.task.updates(step))

    def _watched(self, step: int) -> Iterator[Update]:
        seen = dict(self.look())
        for place, update in enumerate(self.task.updates(step)):
            yield update if place else replace(update, metrics={**update.metrics, **seen})

    def state(self) -> dict[str, torch.Tensor]:
        return self.task.state() if isinstance(self.task, Remembering) else {}

    def restore(self, tensors: dict[str, torch.Tensor]) -> None:
        if isinstance(self.task, Remembering):
            self.task.restore(tensors)

    def last(self) -> dict[str, float]:
        """What is seen when training has ended."""
        return dict(self.backend.reading(self.look, whole=True))
