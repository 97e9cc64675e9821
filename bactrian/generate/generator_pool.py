"""Asking a pool of generators side by side, within a budget of tokens or money.

The scheduler is here, and not in data/, because it opens models; and not in a stage, because it decides nothing: who is
asked what, what an answer costs and when to stop are given to it. Retries and backoff are each responder's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from threading import Event, RLock
from typing import Any

from bactrian.generate.chat_request import ChatReply, ChatRequest, Responder

CHARACTERS_PER_TOKEN = 4
"""Of an answer, or what was asked, whose tokens a server does not count; a budget must not depend on its manners."""
MILLION = 1_000_000


@dataclass(frozen=True)
class PoolMember:
    """One generator. price_in, price_out: money for a million tokens read, and written.

    served: it is behind a server, and can be asked while others are; models in this process take turns.
    """

    label: str
    open: Callable[[], Responder]
    served: bool = False
    price_in: float = 0.0
    price_out: float = 0.0

    def cost(self, read: int, written: int) -> float:
        """Money for so many tokens."""
        return (read * self.price_in + written * self.price_out) / MILLION


@dataclass
class Spending:
    """What was spent so far, and the most that may be. None: no limit. From any thread."""

    most_tokens: int | None = None
    most_money: float | None = None
    answers: int = 0
    read: int = 0
    written: int = 0
    money: float = 0.0
    _lock: Any = field(default_factory=RLock, repr=False)

    @property
    def tokens(self) -> int:
        """Read and written."""
        return self.read + self.written

    @property
    def spent(self) -> bool:
        """Whether a limit is reached."""
        over_tokens = self.most_tokens is not None and self.tokens >= self.most_tokens
        return over_tokens or (self.most_money is not None and self.money >= self.most_money)

    def add(self, member: PoolMember, read: int, written: int) -> None:
        """Count an answer, just come or found."""
        with self._lock:
            self.answers += 1
            self.read += read
            self.written += written
            self.money += member.cost(read, written)


class _Enough(Exception):
    """Leaves a responder that has more to ask: the budget is spent, or another generator failed."""


Asked = tuple[str, ChatRequest]
"""A request under the key by which its asker knows it."""


def counted(request: ChatRequest, reply: ChatReply) -> tuple[int, int]:
    """Tokens read and written; what nobody counted is estimated from the characters."""
    asked = len(request.opening) + sum(len(str(message.get("content") or "")) for message in request.messages)
    read = reply.prompt_tokens or math.ceil(asked / CHARACTERS_PER_TOKEN)
    return read, reply.tokens or math.ceil(len(reply.text) / CHARACTERS_PER_TOKEN)


def ask_pool(
    asked: Mapping[str, Sequence[Asked]],
    members: Mapping[str, PoolMember],
    on_reply: Callable[[str, ChatRequest, ChatReply], None],
    spending: Spending,
) -> bool:
    """Have requests answered, each by its generator; servers all at once, models of this process one after another.

    Once the budget is spent nothing more is sent. What is on its way then is heard of, and counts: at most as many
    answers as each server answers side by side.

    Args:
        asked: label of a generator → what it is asked.
        on_reply: hears of each answer by its key, as soon as it is there; one call at a time.

    Returns:
        False where the budget is spent: then some requests may not have been sent.

    Raises:
        BactrianError: a generator cannot be opened, or stopped answering; the others end what they have begun.
    """
    stop, lock = Event(), RLock()

    def run(label: str) -> None:
        requests, leaving = asked[label], Event()

        def heard(place: int, reply: ChatReply) -> None:
            key, request = requests[place]
            with lock:
                on_reply(key, request, reply)
                spending.add(members[label], *counted(request, reply))
            if (spending.spent or stop.is_set()) and not leaving.is_set():
                leaving.set()  # once: what was on its way is heard of without another interruption
                raise _Enough

        if spending.spent:
            return
        try:
            members[label].open().answer([request for _, request in requests], heard)
        except _Enough:
            pass
        except BaseException:
            stop.set()
            raise

    there = [label for label, requests in asked.items() if requests]
    served = [label for label in there if members[label].served]
    with ThreadPoolExecutor(max(1, len(served))) as threads:
        running = [threads.submit(run, label) for label in served]
        try:
            for label in there:
                if label not in served and not stop.is_set():
                    run(label)
            wait(running)
        except BaseException:
            stop.set()
            raise
    if faults := [error for each in running if (error := each.exception()) is not None]:
        raise faults[0]
    return not spending.spent
