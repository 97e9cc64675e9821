"""The door to whoever says how likely each of a few options is: a model of this run, or one behind a server."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from bactrian.chat import prompt_ids
from bactrian.errors import BactrianError
from bactrian.generate.chat_server import Endpoint
from bactrian.generate.choice_server import ServerChooser
from bactrian.generate.choices import ChoiceReply, ChoiceRequest, Chooser, OnChoice
from bactrian.generate.engine import Engine
from bactrian.generate.engines import open_engine
from bactrian.model.ranking import Ask
from bactrian.store.hardware import Hardware

Ids = tuple[int, ...]
TRUNKS_KNOWN = 64
PROBES = ("x", "?")
"""Two user turns with nothing in common: what prompts with either begin with, every prompt begins with."""


def open_chooser(
    model: Path | Endpoint,
    hardware: Hardware,
    *,
    template: str | None = None,
    rows: int = 64,
    samples: int | None = None,
) -> Chooser:
    """Whoever chooses for a model: the model itself, loaded, or the server that it is behind.

    Args:
        model: a folder of the Hugging Face layout, or where a model is served.
        template: chat template of a model in a folder, where not its own; a server has its own.
        rows: of the engine, for whoever samples with it too.
        samples: of a server, answers that are sampled and counted for each request; 0: only log-probabilities will do;
            None: 8 samples where the server turns out to give no log-probabilities.

    Raises:
        BactrianError: the folder holds no model, or the server's key is not in the environment.
    """
    if isinstance(model, Endpoint):
        return ServerChooser(model, samples)
    return EngineChooser(open_engine(model, hardware, template=template, rows=rows))


class EngineChooser:
    """A language model in this process: the likelihoods of the options as what its answer begins with."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._trunks: dict[tuple[str, ...], Ids] = {}

    def choose(self, asked: Sequence[ChoiceRequest], on_reply: OnChoice) -> None:
        asks: list[Ask] = []
        places: list[int] = []
        for place, request in enumerate(asked):
            ask = self.ask_of(request)
            need = len(ask.context) + max(map(len, ask.options))
            if need > self.engine.longest:
                on_reply(place, ChoiceReply(fault=f"{need:,} tokens; the model's context is {self.engine.longest:,}"))
                continue
            places.append(place)
            asks.append(ask)
        for batch in self.engine.likelihoods(asks):
            for number, found in batch:
                ask = asks[number]
                logprobs = {option: each.logprob for option, each in zip(ask.options, found, strict=True)}
                on_reply(places[number], reply_of(ask, logprobs))

    def ask_of(self, request: ChoiceRequest) -> Ask:
        """The tokens of a request. What all options begin with, when tokenised after `prefilled`, is context.

        Raises:
            BactrianError: fewer than two options, or two that are the same in tokens.
        """
        encoder = self.engine.template.encoder
        prompt = tuple(prompt_ids(list(request.messages), self.engine.template, request.name))
        answers = [tuple(encoder.text(request.prefilled + option)) for option in request.options]
        if len(answers) < 2 or not all(answers) or len(set(answers)) < len(answers):
            raise BactrianError(f"{request.name}: options {request.options}: expected two or more, all different")
        begun = min(common_length(answers), min(map(len, answers)) - 1)
        shared = self.shared_length(request, prompt)
        return Ask(prompt + answers[0][:begun], tuple(answer[begun:] for answer in answers), shared)

    def shared_length(self, request: ChoiceRequest, prompt: Ids) -> int:
        """Tokens of the messages that others begin with too, the same whatever follows them."""
        if not request.shared:
            return 0
        messages = request.messages[: request.shared]
        key = tuple(f"{message['role']}\0{message['content']}" for message in messages)
        if key not in self._trunks:
            if len(self._trunks) >= TRUNKS_KNOWN:
                self._trunks.clear()
            self._trunks[key] = self._trunk(messages, request.name)
        trunk = self._trunks[key]
        return len(trunk) if prompt[: len(trunk)] == trunk and len(trunk) < len(prompt) else 0

    def tokens(self, messages: Sequence[Mapping[str, object]], name: str) -> int:
        """How many tokens messages take that a user's turn follows, its header included; 0 for none."""
        return len(self._trunk(messages, name)) if messages else 0

    def _trunk(self, messages: Sequence[Mapping[str, object]], name: str) -> Ids:
        both = [
            tuple(prompt_ids([*messages, {"role": "user", "content": text}], self.engine.template, name))
            for text in PROBES
        ]
        return both[0][: common_length(both)]


def common_length(texts: Sequence[Ids]) -> int:
    """How many tokens all of them begin with."""
    return next((at for at, ids in enumerate(zip(*texts, strict=False)) if len(set(ids)) > 1), min(map(len, texts)))


def reply_of(ask: Ask, logprobs: Mapping[Ids, float]) -> ChoiceReply:
    """Probabilities with sum 1. Where an option goes on from another ("10" from "1"), the other's is without that."""
    top = max(logprobs.values())
    mass = [math.exp(logprobs[option] - top) for option in ask.options]
    own = [
        max(0.0, mine - sum(mass[at] for at, other in enumerate(ask.options) if goes_on(option, other, ask.options)))
        for option, mine in zip(ask.options, mass, strict=True)
    ]
    whole = sum(own)
    if not math.isfinite(top) or not whole > 0:
        return ChoiceReply(fault=f"likelihoods {[logprobs[option] for option in ask.options]} are none")
    return ChoiceReply(
        tuple(each / whole for each in own),
        min(1.0, whole * math.exp(top)),
        tokens_in=len(ask.context),
        tokens_out=1,
    )


def goes_on(option: Ids, other: Ids, options: Sequence[Ids]) -> bool:
    """Whether `other` goes on from `option` with none of the options between."""
    longer = [each for each in options if len(each) > len(option) and each[: len(option)] == option]
    return other in longer and not any(
        each != other and other[: len(each)] == each and len(each) < len(other) for each in longer
    )
