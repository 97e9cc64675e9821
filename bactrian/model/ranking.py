"""How likely each of several continuations of a text is: what multiple choice by log-probability is made of.

A context is forwarded once for all of its continuations, and what many contexts begin with once for all of them. The
last token of a continuation is never forwarded: it is only predicted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from bactrian.model.language_model import LanguageModel
from bactrian.model.logprobs import picked_logprobs
from bactrian.model.packing import Forest, Segment
from bactrian.model.trunks import Trunk, states_after

TOKENS = 8192  # of one forest


@dataclass(frozen=True)
class Ask:
    """A context and what may follow it, each at least one token; the first `shared` tokens are others' too."""

    context: tuple[int, ...]
    options: tuple[tuple[int, ...], ...]
    shared: int = 0

    def __post_init__(self) -> None:
        if not self.context or not self.options or not all(self.options):
            raise ValueError("a context and its continuations need at least one token each")
        if not 0 <= self.shared < len(self.context):
            raise ValueError(f"shared ({self.shared}) must leave a token of the context ({len(self.context)})")

    @property
    def tokens(self) -> int:
        """Forwarded for it, its trunk aside."""
        return len(self.context) - self.shared + sum(len(option) - 1 for option in self.options)


@dataclass(frozen=True)
class Likelihood:
    """Of one continuation: the sum of its tokens' log-probabilities, how many they are, and whether greedy says it."""

    logprob: float
    tokens: int
    greedy: bool


@torch.inference_mode()
def likelihoods(
    model: LanguageModel, asks: Sequence[Ask], budget: int = TOKENS
) -> Iterator[list[tuple[int, list[Likelihood]]]]:
    """Batches of (number of the ask, a `Likelihood` for each of its continuations), in an order of its own.

    A trunk that two or more asks share is forwarded once for all of them; `budget`: tokens of one forest.
    """
    by_trunk: dict[tuple[int, ...], list[int]] = {}
    for number, ask in enumerate(asks):
        by_trunk.setdefault(ask.context[: ask.shared], []).append(number)
    on_cpu = model.device.type == "cpu"
    for ids, members in by_trunk.items():
        trunks = [Trunk.grow(model, ids)] if ids and on_cpu and len(members) > 1 else []
        for batch in _batches(asks, members, budget, bool(trunks)):
            found = _score(model, [asks[number] for number in batch], trunks)
            yield list(zip(batch, found, strict=True))


def _batches(asks: Sequence[Ask], members: list[int], budget: int, grown: bool) -> Iterator[list[int]]:
    """Asks of like length together, at most `budget` tokens (or one ask)."""
    batch: list[int] = []
    used = 0
    for number in sorted(members, key=lambda i: -asks[i].tokens):
        size = asks[number].tokens + (0 if grown else asks[number].shared)
        if batch and used + size > budget:
            yield batch
            batch, used = [], 0
        batch.append(number)
        used += size
    if batch:
        yield batch


def _score(model: LanguageModel, asks: Sequence[Ask], trunks: Sequence[Trunk]) -> list[list[Likelihood]]:
    """Asks that all continue the one trunk, if there is one."""
    segments = [Segment(trunk.ids) for trunk in trunks]
    past = sum(len(trunk.ids) for trunk in trunks)
    begins = len(trunks[0].ids) if trunks else 0
    at = past  # where the next segment begins
    sources: list[int] = []  # the token whose state predicts each target, counted after the trunks
    targets: list[int] = []
    for ask in asks:
        body = ask.context[begins:]
        segments.append(Segment(body, 0 if trunks else -1))
        parent, at = len(segments) - 1, at + len(body)
        last = at - 1 - past
        for option in ask.options:
            sources.append(last)
            if len(option) > 1:
                segments.append(Segment(option[:-1], parent))
                sources += range(at - past, at - past + len(option) - 1)
                at += len(option) - 1
            targets += option
    states = states_after(model, Forest.of(segments), trunks)
    needed, rows = torch.unique(torch.tensor(sources), return_inverse=True)
    device = states.device
    logprobs, likeliest = picked_logprobs(
        states[needed.to(device)], model.head, rows.to(device), torch.tensor(targets, device=device), model.softcap
    )
    return _folded(asks, logprobs.double().tolist(), likeliest.tolist())


def _folded(asks: Sequence[Ask], logprobs: list[float], likeliest: list[bool]) -> list[list[Likelihood]]:
    at = 0
    found: list[list[Likelihood]] = []
    for ask in asks:
        found.append([])
        for option in ask.options:
            mine = slice(at, at + len(option))
            found[-1].append(Likelihood(sum(logprobs[mine]), len(option), all(likeliest[mine])))
            at += len(option)
    return found
