"""Choices by a model behind a server: from the log-probabilities of its answer's tokens, or from counted answers.

What a server does is found out with the first request: one that gives log-probabilities is read by them from then on,
of one that gives none answers are sampled and counted. The two are never mixed: a reply that lacks what the first one
had is a fault.
"""

from __future__ import annotations

import json
import math
import re
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bactrian.generate.chat_server import Endpoint, Refused, ServerResponder, plain_messages, read_completion
from bactrian.generate.choices import ChoiceReply, ChoiceRequest, OnChoice

SAMPLES = 8
LISTED = 20
"""Likeliest tokens that are asked for; no server gives more."""
ROOM = 8
"""Tokens of an answer beyond those of what it begins with."""
PROBE = "Which letter comes first in the alphabet, A or B? Write the letter and nothing else."
AROUND = " \t\r\n\"'`*_()[]<>.,:;!#"
"""Marks around an option that are not looked at."""


class NoLogprobs(Exception):
    """An answer came without log-probabilities."""


@dataclass(frozen=True)
class Listed:
    """An answer's tokens, the likeliest ones at each place with their probabilities, and what it took."""

    tokens: tuple[str, ...]
    likeliest: tuple[Mapping[str, float], ...]
    tokens_in: int
    tokens_out: int


class ServerChooser:
    """Asks a server, `concurrency` requests at a time; retries are `ServerResponder`'s."""

    def __init__(self, server: Endpoint, samples: int | None = None) -> None:
        """
        Args:
            samples: answers counted for each request; 0: log-probabilities or a fault; None: whatever it gives.

        Raises:
            BactrianError: if the server's key is not in the environment.
        """
        self.server = server
        self._asker = ServerResponder(server)
        self._samples = samples
        self._lock = threading.Lock()

    @property
    def samples(self) -> int:
        """How many answers are counted for a request; 0 where log-probabilities are read.

        Raises:
            BactrianError: where the server has to be asked first, and does not answer.
        """
        with self._lock:
            if self._samples is None:
                found: list[int] = []
                self._asker.side_by_side(
                    ["a first question"], lambda _: self._probe(), lambda _, way: found.append(way)
                )
                self._samples = found[0]
            return self._samples

    def choose(self, asked: Sequence[ChoiceRequest], on_reply: OnChoice) -> None:
        if not asked:
            return
        samples = self.samples
        counts = [samples or (0 if told_by_first_token(request.options) else SAMPLES) for request in asked]
        calls = [(place, sample) for place, count in enumerate(counts) for sample in range(max(1, count))]
        said: dict[int, list[ChoiceReply]] = {}

        def ask(call: int) -> ChoiceReply:
            place, sample = calls[call]
            return self._sampled(asked[place], sample) if counts[place] else self._listed(asked[place])

        def hear(call: int, reply: ChoiceReply) -> None:
            place = calls[call][0]
            mine = said.setdefault(place, [])
            mine.append(reply)
            if len(mine) == max(1, counts[place]):
                on_reply(place, counted(mine, asked[place].options) if counts[place] else mine[0])
                del said[place]

        self._asker.side_by_side([asked[place].name for place, _ in calls], ask, hear)

    def _probe(self) -> int:
        try:
            self._asker.completion(self._body(ChoiceRequest(_user(PROBE), ("A", "B"), "probe"), True, 0), read_listed)
        except (NoLogprobs, Refused):
            return SAMPLES
        return 0

    def _listed(self, request: ChoiceRequest) -> ChoiceReply:
        try:
            found = self._asker.completion(self._body(request, True, 0), read_listed)
        except Refused as error:
            return ChoiceReply(fault=str(error))
        except NoLogprobs:
            return ChoiceReply(fault="the server gave no log-probabilities; with samples, answers are counted")
        return listed_reply(found, request.options, request.prefilled)

    def _sampled(self, request: ChoiceRequest, sample: int) -> ChoiceReply:
        """One answer: probability 1 of the option that it says, none where it says no one option."""
        try:
            reply = self._asker.completion(self._body(request, False, sample), read_completion)
        except Refused as error:
            return ChoiceReply(fault=str(error))
        text = reply.text
        option = option_said(text, request.options, request.prefilled)
        one = tuple(float(each == option) for each in request.options) if option else ()
        said = "" if option else f"said {text[:60]!r}"
        return ChoiceReply(one, float(option is not None), 1, reply.prompt_tokens, reply.tokens, said)

    def _body(self, request: ChoiceRequest, logprobs: bool, sample: int) -> dict[str, Any]:
        begins = len(request.prefilled) // 2
        most = 1 if logprobs and not begins else ROOM + begins + max(map(len, request.options)) // 2
        return {
            "messages": plain_messages(request.messages),
            "max_tokens": most,
            # the listed probabilities are the model's own at temperature 1, whatever the server scales
            "temperature": 0.0 if logprobs and begins else 1.0,
            "seed": request.seed + sample,
        } | ({"logprobs": True, "top_logprobs": LISTED} if logprobs else {})


def _user(text: str) -> tuple[dict[str, Any], ...]:
    return ({"role": "user", "content": text},)


def told_by_first_token(options: Sequence[str]) -> bool:
    """Whether no option begins with another one."""
    return not any(one != other and other.startswith(one) for one in options for other in options)


def read_listed(text: str) -> Listed:
    """The likeliest tokens in a chat completion with log-probabilities.

    Raises:
        NoLogprobs: it has none.
        ValueError: it is no chat completion, or what it has is of another form.
    """
    reply, found = read_completion(text), json.loads(text)
    logprobs = found["choices"][0].get("logprobs")
    if not logprobs or (isinstance(logprobs, dict) and logprobs.get("content", []) is None):
        raise NoLogprobs
    try:
        places = logprobs["content"]
        tokens = tuple(str(place["token"]) for place in places)
        likeliest = tuple(_likeliest(place["top_logprobs"]) for place in places)
    except (LookupError, TypeError, AttributeError):
        raise ValueError(f"log-probabilities of another form: {json.dumps(logprobs)[:80]}") from None
    if not any(likeliest):
        raise NoLogprobs
    return Listed(tokens, likeliest, reply.prompt_tokens, reply.tokens)


def _likeliest(listed: Any) -> dict[str, float]:
    """Token → probability; tokens that are written alike count together."""
    found: dict[str, float] = {}
    for each in listed:
        token, logprob = each["token"], each["logprob"]
        if not isinstance(token, str) or isinstance(logprob, bool) or not isinstance(logprob, (int, float)):
            raise ValueError(f"a log-probability of another form: {each!r:.60}")
        if not -math.inf <= logprob <= 1e-3:
            raise ValueError(f"a log-probability of {str(logprob)[:20]}")
        found[token] = found.get(token, 0.0) + math.exp(max(logprob, -1e3))
    return found


def listed_reply(found: Listed, options: Sequence[str], prefilled: str) -> ChoiceReply:
    """Probabilities from the likeliest tokens where the answer's first (or what follows `prefilled`) stands.

    A token counts for the option that it is, or the only one that it begins. An option that is not among those listed
    is less likely than all of them and than what they leave: the smaller of the two is taken for it, which makes the
    reply less sure of itself, never more.
    """
    at = _place(found.tokens, prefilled.strip())
    if at is None:
        return ChoiceReply(
            fault=f"said {''.join(found.tokens)[:60]!r}, which does not begin with {prefilled.strip()!r}"
        )
    listed = found.likeliest[at]
    seen: dict[str, float] = {}
    for token, probability in listed.items():
        if option := _option_begun(token.strip(), options):
            seen[option] = seen.get(option, 0.0) + probability
    if not sum(seen.values()):
        shown = ", ".join(repr(token) for token in list(listed)[:3])
        return ChoiceReply(fault=f"none of {', '.join(options)} is among the likeliest tokens ({shown}, …)")
    least = max(0.0, min(min(listed.values()), 1.0 - sum(listed.values())))
    probabilities = [seen.get(option, least) for option in options]
    whole = sum(probabilities)
    mass = min(1.0, sum(seen.values()))
    return ChoiceReply(tuple(p / whole for p in probabilities), mass, 0, found.tokens_in, found.tokens_out)


def _place(tokens: Sequence[str], begins: str) -> int | None:
    """The first token after this beginning."""
    written = ""
    for at, token in enumerate(tokens):
        if written.strip() == begins and token.strip():
            return at
        written += token
    return 0 if not begins and tokens else None


def _option_begun(token: str, options: Sequence[str]) -> str | None:
    if token in options:
        return token
    begun = [option for option in options if token and option.startswith(token)]
    return begun[0] if len(begun) == 1 else None


def option_said(text: str, options: Sequence[str], prefilled: str = "") -> str | None:
    """The one option that an answer says: alone on a line, with whatever marks around it, or before a full stop.

    None for prose, for two options and for none.

    >>> option_said("**A**", ("A", "B")), option_said("A better answer is B", ("A", "B"))
    ('A', None)
    """
    begins = prefilled.strip()
    said = text[text.rfind(begins) + len(begins) :] if begins and begins in text else text
    found = {line.strip(AROUND) for line in said.splitlines()} & set(options)
    if not found and (first := re.match(rf"({'|'.join(map(re.escape, options))})[.:,)]\s", said.strip())):
        found = {first[1]}
        words = set(re.findall(r"\w+", said))
        found |= words & set(options)
    return found.pop() if len(found) == 1 else None


def counted(replies: Sequence[ChoiceReply], options: Sequence[str]) -> ChoiceReply:
    """Of replies to one request: the shares of those that say an option; a fault where none does or one was refused."""
    refused = next((reply.fault for reply in replies if not reply.samples), "")
    said = Counter(each.probabilities for each in replies if each.probabilities)
    read = sum(said.values())
    took = sum(reply.tokens_in for reply in replies), sum(reply.tokens_out for reply in replies)
    if refused or not read:
        why = refused or f"none of {len(replies)} answers is one of {', '.join(options)}: one {replies[0].fault}"
        return ChoiceReply((), 0.0, len(replies), *took, fault=why)
    shares = tuple(sum(one[at] * count for one, count in said.items()) / read for at in range(len(options)))
    return ChoiceReply(shares, read / len(replies), len(replies), *took)
