"""An engine in processes of its own, as the engine in ours sees it: asked for runs of tokens, and it may die."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from bactrian.generate.weight_transfer import WeightReceiver


class EngineDied(Exception):
    """The processes of an engine are gone, or no longer answer; the message says what is known."""


@dataclass(frozen=True)
class TokenRun:
    """Tokens that are asked for in one go: after `prompt`, `most` of them at most.

    stop: texts that end it. ends: tokens that end it. banned: tokens that it may not draw.
    score_from: instead of drawing, say how likely the prompt's tokens from this one on are; None: draw.
    """

    prompt: tuple[int, ...]
    most: int = 1
    seed: int = 0
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    stop: tuple[str, ...] = ()
    ends: tuple[int, ...] = ()
    banned: tuple[int, ...] = ()
    presence_penalty: float = 0.0
    score_from: int | None = None

    @property
    def cut(self) -> bool:
        """Whether top-p or top-k cut the distribution that is drawn from."""
        return self.top_p < 1 or self.top_k > 0


@dataclass(frozen=True)
class News:
    """What has come of a run since the last news of it.

    ids, logprobs: drawn. finish: why it ended, if it did.
    versions: of a run that ended, (version, start, stop) of all of its tokens; empty where the engine does not know.
    scores: of the prompt's tokens that were asked about, (log-probability, whether it is the likeliest).
    """

    key: str
    ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    finish: Literal["stop", "length"] | None = None
    versions: tuple[tuple[int, int, int], ...] = ()
    scores: tuple[tuple[float, bool], ...] = ()


class EngineProcess(WeightReceiver, Protocol):
    """Every method may raise `EngineDied`; then it is only good for `close`."""

    @property
    def longest(self) -> int:
        """Tokens of prompt and completion together that it can hold."""
        ...

    @property
    def pids(self) -> list[int]:
        """Its processes that ours has started."""
        ...

    def add(self, key: str, run: TokenRun) -> None:
        """Begin a run, beside those that are under way."""
        ...

    def step(self) -> list[News]:
        """Wait until there is news of some runs."""
        ...

    def drop(self, keys: Sequence[str]) -> None:
        """Forget runs that are under way: no news of them comes any more."""
        ...

    def pause(self) -> None:
        """Draw nothing until `resume`; runs keep what they have, but no key or value made with the old weights."""
        ...

    def resume(self) -> None: ...

    def label(self, version: int) -> None:
        """The weights that are there are of this version."""
        ...

    def holds(self, version: int) -> bool:
        """Whether they are still those that were sent, or labelled, as this version: others may send to it too."""
        return True

    def close(self) -> None:
        """End the processes."""
        ...
