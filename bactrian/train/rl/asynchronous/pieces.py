"""Answers sampled in pieces, between which new weights may be taken up: each goes on where it was, with those.

While the weights stay, nothing is forwarded twice: rows go on from their own caches. When there are new ones, each row
ends with its piece, and goes on behind its own tokens, which the new weights read first: so that the log-probability of
each token is that of the weights which its span names, given all before it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from bactrian.generate.engine import Completion, Continuation, Engine, Request

Spans = tuple[tuple[int, int, int], ...]
"""(start, end, version): the tokens [start, end) were sampled by this version of the weights."""


@dataclass
class Unfinished:
    """An answer in the making."""

    ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    spans: list[tuple[int, int, int]] = field(default_factory=list)
    finish: bool = False
    """Whether an end token or stop text was sampled."""

    def add(self, more: Completion) -> None:
        start, self.ids, self.logprobs = len(self.ids), self.ids + more.ids, self.logprobs + more.logprobs
        self.finish = more.finish == "stop"
        if self.spans and self.spans[-1][2] == more.version:
            start = self.spans.pop()[0]
        self.spans.append((start, len(self.ids), more.version))


def in_pieces(
    engine: Engine, requests: Sequence[Request], piece: int, waits: Callable[[], bool], renew: Callable[[], None]
) -> list[list[tuple[Completion, Spans]]]:
    """The completions of each request, each with the versions of its tokens; `Completion.version` is the oldest.

    Where no new weights come, these are the tokens that `generate` would have sampled.

    Args:
        requests: without stop texts, which may lie across pieces.
        piece: tokens of an answer after which it is asked for new weights.
        waits: whether there are new weights.
        renew: take them up.
    """
    made = [[Unfinished() for _ in range(asked.n)] for asked in requests]
    first = [replace(asked, max_new_tokens=min(piece, asked.max_new_tokens)) for asked in requests]
    going = [(number, tuple(range(asked.n))) for number, asked in enumerate(requests)]
    asked_now = first
    while asked_now:

        def on_finish(place: int, sample: int, said: Completion) -> Continuation | None:
            number, samples = going[place]  # noqa: B023 (called within this round alone)
            left = requests[number].max_new_tokens - len(made[number][samples[sample]].ids) - len(said.ids)
            if said.finish == "stop" or left <= 0 or waits():
                return None
            return Continuation(max_new_tokens=min(piece, left))

        for (number, samples), group in zip(going, engine.generate(asked_now, on_finish=on_finish), strict=True):
            for sample, said in zip(samples, group, strict=True):
                made[number][sample].add(said)
        going = [
            (number, (sample,))
            for number, group in enumerate(made)
            for sample, answer in enumerate(group)
            if not answer.finish and len(answer.ids) < requests[number].max_new_tokens
        ]
        if going:
            renew()
        asked_now = [_going_on(requests[n], sample, made[n][sample], piece) for n, (sample,) in going]
    return [[(_completion(engine, answer), tuple(answer.spans)) for answer in group] for group in made]


def _going_on(asked: Request, sample: int, answer: Unfinished, piece: int) -> Request:
    """The rest of an answer; its random numbers are those of no other."""
    words = np.random.SeedSequence([asked.seed % 2**64, sample, len(answer.ids)]).generate_state(1, np.uint64)
    left = asked.max_new_tokens - len(answer.ids)
    return replace(
        asked,
        prompt=asked.prompt + answer.ids,
        n=1,
        seed=int(words[0]),
        max_new_tokens=min(piece, left),
        min_new_tokens=min(max(0, asked.min_new_tokens - len(answer.ids)), min(piece, left)),
        banned=(),
        shared=len(asked.prompt),
    )


def _completion(engine: Engine, answer: Unfinished) -> Completion:
    oldest = min(version for _, _, version in answer.spans)
    finish = "stop" if answer.finish else "length"
    return Completion(answer.ids, engine.text(answer.ids), answer.logprobs, finish, oldest)  # type: ignore[arg-type]
