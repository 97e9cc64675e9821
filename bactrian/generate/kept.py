"""Sampling and asking that a kill does not undo: what a request got is on disk as soon as its last answer is there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

from bactrian.data.io.journal import Journal
from bactrian.generate.chat_request import ChatReply, ChatRequest, OnReply, Responder
from bactrian.generate.choices import ChoiceReply, ChoiceRequest, Chooser, OnChoice
from bactrian.generate.engine import Completion, Engine, Request
from bactrian.progress import progress, say


def generate_kept(
    engine: Engine, requests: Sequence[Request], path: Path, on_tokens: Callable[[int], None] | None = None
) -> list[list[Completion]]:
    """As `Engine.generate`, but only for the requests that the journal at `path` lacks.

    A request's samples depend on its seed and prompt and on nothing beside them, so those that are left come out as
    they would have. Of completions ids, text and finish are kept; `logprobs` are empty, made now or found.

    Args:
        path: of these requests alone: they are told by their place. Whoever has used the completions removes it.
    """
    with Journal(path) as journal:
        missing = [number for number in range(len(requests)) if str(number) not in journal.found]
        if len(missing) < len(requests):
            done = len(requests) - len(missing)
            say(f"{path.name}: resuming after {done:,} of {len(requests):,} prompts; {len(missing):,} to go")
        waiting: dict[int, dict[int, Any]] = {}

        def keep(place: int, sample: int, completion: Completion) -> None:
            number = missing[place]
            mine = waiting.setdefault(number, {})
            mine[sample] = [completion.ids, completion.text, completion.finish]
            if len(mine) == requests[number].n:
                journal.put(str(number), [mine[each] for each in range(len(mine))])
                del waiting[number]

        if missing:
            engine.generate([requests[number] for number in missing], on_tokens, keep)
        return [
            [Completion(tuple(ids), text, (), finish) for ids, text, finish in journal.found[str(number)]]
            for number in range(len(requests))
        ]


def ask_missing(
    requests: Mapping[str, ChatRequest],
    journal: Journal,
    open_responder: Callable[[], Responder],
    title: str,
    unit: str,
) -> None:
    """Have those requests answered that the journal lacks; it keeps {text, finish, tokens, fault, prompt_tokens}
    under their keys.

    Args:
        open_responder: called only if something is missing.
        title, unit: of the progress bar.

    Raises:
        BactrianError: the responder cannot be opened, or stopped answering; what it answered is kept.
    """
    missing = [key for key in requests if key not in journal.found]
    if not missing:
        return
    responder = open_responder()
    with progress(title, total=len(requests), unit=unit, done=len(requests) - len(missing)) as bar:

        def keep(place: int, reply: ChatReply) -> None:
            kept = {"text": reply.text, "finish": reply.finish, "tokens": reply.tokens, "fault": reply.fault}
            journal.put(missing[place], {**kept, "prompt_tokens": reply.prompt_tokens})
            bar.advance()

        responder.answer([requests[key] for key in missing], keep)


def request_key(request: ChatRequest | ChoiceRequest) -> str:
    """SHA-256 of all that is asked; the name, which is for people, is no part of it."""
    told = {name: value for name, value in asdict(request).items() if name != "name"}
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()


class KeptResponder:
    """A responder whose replies are on disk as they come. What the journal has is not asked again.

    One model to a journal: whoever keeps it answers for that.
    """

    def __init__(self, open_responder: Callable[[], Responder], journal: Journal) -> None:
        """
        Args:
            open_responder: called only if something is missing.
        """
        self._open, self.journal = open_responder, journal

    @cached_property
    def responder(self) -> Responder:
        """
        Raises:
            BactrianError: it cannot be opened.
        """
        return self._open()

    def answer(self, asked: Sequence[ChatRequest], on_reply: OnReply) -> None:
        """As `Responder.answer`; equal requests are asked once.

        Raises:
            BactrianError: it cannot be opened, or stopped answering; what it answered is kept.
        """
        places, missing = _missing(asked, self.journal)

        def tell(key: str) -> None:
            for place in places[key]:
                on_reply(place, ChatReply(**self.journal.found[key]))

        def keep(number: int, reply: ChatReply) -> None:
            self.journal.put(missing[number], asdict(reply))
            tell(missing[number])

        for key in [key for key in places if key in self.journal.found]:
            tell(key)
        if missing:
            self.responder.answer([asked[places[key][0]] for key in missing], keep)


class KeptChooser:
    """A chooser whose replies are kept likewise."""

    def __init__(self, open_chooser: Callable[[], Chooser], journal: Journal) -> None:
        """
        Args:
            open_chooser: called only if something is missing.
        """
        self._open, self.journal = open_chooser, journal

    @cached_property
    def chooser(self) -> Chooser:
        """
        Raises:
            BactrianError: it cannot be opened.
        """
        return self._open()

    def choose(self, asked: Sequence[ChoiceRequest], on_reply: OnChoice) -> None:
        """As `Chooser.choose`; equal requests are asked once.

        Raises:
            BactrianError: it cannot be opened, or stopped answering; what it answered is kept.
        """
        places, missing = _missing(asked, self.journal)

        def tell(key: str) -> None:
            kept = self.journal.found[key]
            for place in places[key]:
                on_reply(place, ChoiceReply(**{**kept, "probabilities": tuple(kept["probabilities"])}))

        def keep(number: int, reply: ChoiceReply) -> None:
            self.journal.put(missing[number], asdict(reply))
            tell(missing[number])

        for key in [key for key in places if key in self.journal.found]:
            tell(key)
        if missing:
            self.chooser.choose([asked[places[key][0]] for key in missing], keep)


def _missing(asked: Sequence[ChatRequest | ChoiceRequest], journal: Journal) -> tuple[dict[str, list[int]], list[str]]:
    """Key → the places where it is asked; and the keys that the journal lacks."""
    places: dict[str, list[int]] = {}
    for place, request in enumerate(asked):
        places.setdefault(request_key(request), []).append(place)
    return places, [key for key in places if key not in journal.found]
