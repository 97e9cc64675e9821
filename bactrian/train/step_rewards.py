"""Process reward models: after each step of a thought, how likely it is to end right [Lightman et al. 2023]."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from bactrian.model.packing import Group, Span, pack, plant
from bactrian.model.reward_model import RewardModel
from bactrian.train.batches import Batches
from bactrian.train.loop import Share
from bactrian.train.objectives import step_loss


@dataclass(frozen=True)
class Trace:
    """A thought of several steps, as token ids after the prompt that opened it.

    ends: of each step, the number of the thought's tokens up to its end; the last is all of them.
    values: of each step, how likely a thought that has come so far ends right, in [0, 1].
    """

    prompt: tuple[int, ...]
    ids: tuple[int, ...]
    ends: tuple[int, ...]
    values: tuple[float, ...]

    @property
    def group(self) -> Group:
        return Group(self.prompt, (self.ids,))


class StepRewards(Batches):
    """Cross-entropy of σ(score at a step's last token) against the step's value; mean over steps, then over traces."""

    def __init__(
        self,
        model: RewardModel,
        traces: Sequence[Trace],
        *,
        batch_traces: int,
        epochs: float,
        seed: int,
        micro_tokens: int,
    ):
        super().__init__(traces, batch=batch_traces, epochs=epochs, seed=seed, micro_tokens=micro_tokens)
        self.model, self.traces = model, traces

    def share(self, rows: list[int], count: int, known: dict[str, float]) -> Share:
        chosen = [self.traces[i] for i in rows]
        scores = step_scores(self.model, chosen)
        values = torch.tensor([value for trace in chosen for value in trace.values]).to(scores)
        weights = torch.tensor([1 / len(trace.ends) for trace in chosen for _ in trace.ends]).to(scores)
        told = ((scores > 0) == (values >= 0.5)).to(scores)
        metrics = {"accuracy": float((weights * told).sum()), "value": float((weights * values).sum())}
        return (weights * step_loss(scores, values)).sum() / count, metrics


def step_scores(model: RewardModel, traces: Sequence[Trace]) -> torch.Tensor:
    """The score at the end of every step of these traces, in order, float32 [steps]; each trace is forwarded once."""
    forest, spans = plant([trace.group for trace in traces])
    where = [last(span, end) for trace, span in zip(traces, spans, strict=True) for end in trace.ends]
    return model.scores(forest, torch.tensor(where))


def last(span: Span, end: int) -> int:
    return span.start + end - 1


@torch.no_grad()
def told_apart(model: RewardModel, traces: Sequence[Trace], micro_tokens: int) -> dict[str, float]:
    """How well steps are judged: `accuracy`, and `auc`, the share of (right, wrong) pairs in the right order.

    A step counts as right if its value is 0.5 or more; ties count half; without both kinds there is no `auc`.
    """
    scores, values = list[float](), list[float]()
    for some in pack([trace.group.tokens for trace in traces], micro_tokens):
        chosen = [traces[i] for i in some]
        scores += step_scores(model, chosen).tolist()
        values += [value for trace in chosen for value in trace.values]
    ranked, right = np.array(scores), np.array(values) >= 0.5
    found = {"accuracy": float(np.mean((ranked > 0) == right))}
    if right.any() and not right.all():
        above = ranked[right][:, None] - ranked[~right][None, :]
        found["auc"] = float(np.mean((above > 0) + 0.5 * (above == 0)))
    return found
