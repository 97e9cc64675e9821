"""The door to whoever answers messages: a model of this run, or one behind a server."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bactrian.chat import prompt_ids
from bactrian.generate.chat_request import ChatReply, ChatRequest, OnReply, Responder
from bactrian.generate.chat_server import Endpoint, ServerResponder
from bactrian.generate.engine import Completion, Engine, Request
from bactrian.generate.engines import open_engine
from bactrian.store.hardware import Hardware


def open_responder(
    model: Path | Endpoint, hardware: Hardware, *, template: str | None = None, rows: int = 64
) -> Responder:
    """Whoever answers for a model: the model itself, loaded, or the server that it is behind.

    Args:
        model: a folder of the Hugging Face layout, or where a model is served.
        template: chat template of a model in a folder, where not its own; a server has its own.
        rows: answers that a model in a folder samples side by side.

    Raises:
        BactrianError: the folder holds no model, or the server's key is not in the environment.
    """
    if isinstance(model, Endpoint):
        return ServerResponder(model)
    return EngineResponder(open_engine(model, hardware, template=template, rows=rows))


class EngineResponder:
    """A language model in this process."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def answer(self, asked: Sequence[ChatRequest], on_reply: OnReply) -> None:
        requests = [
            Request(
                tuple(prompt_ids(list(ask.messages), self.engine.template, ask.name, ask.tools)),
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
            asked_tokens = len(requests[place].prompt)
            on_reply(
                place,
                ChatReply(completion.text, completion.finish, len(completion.ids), prompt_tokens=asked_tokens),
            )

        self.engine.generate(requests, on_finish=heard)
