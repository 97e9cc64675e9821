"""Messages to be answered, their replies, and whoever answers: a model in this process or one behind a server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol


@dataclass(frozen=True)
class ChatRequest:
    """Messages to be answered, and how; `name` is for messages to people. Temperature 0 is greedy.

    tools: JSON text of a list of tools that may be called, as in a row's column of that name.
    presence_penalty: as `engine.Request` has it.
    opening: text that is continued as it is, control tokens and all, in place of messages, without a chat template.
    stop: texts that end the answer, which does not hold them; control tokens among them where there is an opening.
    """

    messages: tuple[dict[str, Any], ...]
    name: str
    seed: int = 0
    max_new_tokens: int = 256
    temperature: float = 1.0
    top_p: float = 1.0
    tools: str | None = None
    presence_penalty: float = 0.0
    opening: str = ""
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class ChatReply:
    """An answer; or, with `fault`, why there is none: the asker's words were refused, for instance.

    finish: "length" where it was cut at its limit. tokens, prompt_tokens: of the answer and of what was asked, 0 where
    the server does not say.
    """

    text: str
    finish: Literal["stop", "length"] = "stop"
    tokens: int = 0
    fault: str = ""
    prompt_tokens: int = 0


def before_stop(text: str, stop: Sequence[str]) -> str:
    """What stands before the first of these texts; all of it where none is there."""
    return text[: min((at for each in stop if (at := text.find(each)) >= 0), default=len(text))]


OnReply = Callable[[int, ChatReply], None]


class Responder(Protocol):
    """Answers messages. The same ask gets the same answer from a model in this process; a server may differ."""

    def answer(self, asked: Sequence[ChatRequest], on_reply: OnReply) -> None:
        """`on_reply` hears of each reply, by its place in `asked`, as soon as it is there, in any
        order.

        Raises:
            BactrianError: if no further reply can be had; those that were, have been heard of.
        """
        ...
