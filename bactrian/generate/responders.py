"""The door to whoever answers messages: a model of this run, or one behind a server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bactrian.chat import literal_ids, prompt_ids
from bactrian.generate.chat_request import ChatReply, ChatRequest, OnReply, Responder, before_stop
from bactrian.generate.chat_server import Endpoint, ServerResponder
from bactrian.generate.engine import Completion, Engine, Request
from bactrian.generate.engines import open_engine
from bactrian.store.hardware import Hardware


def open_responder(
    model: Path | Endpoint,
    hardware: Hardware,
    *,
    template: str | None = None,
    rows: int = 64,
    elastic: bool = False,
) -> Responder:
    """Whoever answers for a model: the model itself, loaded, or the server that it is behind.

    Args:
        model: a folder of the Hugging Face layout, or where a model is served.
        template: chat template of a model in a folder, where not its own; a server has its own.
        rows: answers that a model in a folder samples side by side.
        elastic: as in `open_engine`.

    Raises:
        BactrianError: the folder holds no model, or the server's key is not in the environment.
    """
    if isinstance(model, Endpoint):
        return ServerResponder(model)
    return EngineResponder(open_engine(model, hardware, template=template, rows=rows, elastic=elastic))


class EngineResponder:
    """A language model, in this process or wherever its engine has it."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def answer(self, asked: Sequence[ChatRequest], on_reply: OnReply) -> None:
        requests = [self._request(ask) for ask in asked]
        for longest in {ask.max_new_tokens for ask in asked}:
            some = [place for place, ask in enumerate(asked) if ask.max_new_tokens == longest]
            prompts, names = [requests[place].prompt for place in some], [asked[place].name for place in some]
            self.engine.check_fits(prompts, longest, names)

        def heard(place: int, sample: int, completion: Completion) -> None:
            asked_tokens = len(requests[place].prompt)
            text = before_stop(completion.text, asked[place].stop)
            on_reply(place, ChatReply(text, completion.finish, len(completion.ids), prompt_tokens=asked_tokens))

        self.engine.generate(requests, on_finish=heard)

    def _request(self, ask: ChatRequest) -> Request:
        template = self.engine.template
        how = Request(
            literal_ids(template, ask.opening)
            if ask.opening
            else tuple(prompt_ids(list(ask.messages), template, ask.name, ask.tools)),
            seed=ask.seed,
            max_new_tokens=ask.max_new_tokens,
            temperature=ask.temperature,
            top_p=ask.top_p,
            presence_penalty=ask.presence_penalty,
            stop=tuple(each for each in ask.stop if each not in template.encoder.controls),
        )
        if not ask.opening:
            return how
        # a turn that was opened by hand ends with any control token: none of them is something that is said
        return replace(how, stop_ids=tuple(control.id for control in template.encoder.controls.values()))
