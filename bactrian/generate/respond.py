"""Whoever answers messages, in this process or behind a server: one interface, replies heard of one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from bactrian.chat import prompt_ids
from bactrian.generate.engine import Completion, Engine, Request


@dataclass(frozen=True)
class Ask:
    """Messages to be answered, and how; `name` is for messages to people. Temperature 0 is greedy."""

    messages: tuple[dict[str, Any], ...]
    name: str
    seed: int = 0
    max_new_tokens: int = 256
    temperature: float = 1.0
    top_p: float = 1.0


@dataclass(frozen=True)
class Reply:
    """An answer; or, with `fault`, why there is none: the asker's words were refused, for instance.

    finish: "length" where it was cut at its limit. tokens: of the answer, 0 where the server does not say.
    """

    text: str
    finish: Literal["stop", "length"] = "stop"
    tokens: int = 0
    fault: str = ""


OnReply = Callable[[int, Reply], None]


class Responder(Protocol):
    """Answers messages. The same ask gets the same answer from a model in this process; a server may differ."""

    def answer(self, asked: Sequence[Ask], on_reply: OnReply) -> None:
        """`on_reply` hears of each reply, by its place in `asked`, as soon as it is there, in any order.

        Raises BactrianError if no further reply can be had; those that were, have been heard of.
        """
        ...


class LocalResponder:
    """A language model in this process."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def answer(self, asked: Sequence[Ask], on_reply: OnReply) -> None:
        requests = [
            Request(
                tuple(prompt_ids(list(ask.messages), self.engine.template, ask.name)),
                seed=ask.seed,
                max_new_tokens=ask.max_new_tokens,
                temperature=ask.temperature,
                top_p=ask.top_p,
            )
            for ask in asked
        ]
        for longest in {ask.max_new_tokens for ask in asked}:
            some = [place for place, ask in enumerate(asked) if ask.max_new_tokens == longest]
            prompts, names = [requests[place].prompt for place in some], [asked[place].name for place in some]
            self.engine.check_fits(prompts, longest, names)

        def heard(place: int, sample: int, completion: Completion) -> None:
            on_reply(place, Reply(completion.text, completion.finish, len(completion.ids)))

        self.engine.generate(requests, on_finish=heard)
