"""Models behind servers that speak OpenAI's chat completions: asked side by side, again where that may help.

429, 408, 425, 5xx, time-outs, refused or reset connections and answers that break off are tried again after a backoff,
or after the server's own Retry-After where that is longer; so is an answer that is no JSON of the right form. As set
by default that outlasts a limit of requests a minute. What a server refuses for what is asked (400, 413, 422) is that
row's fault and not tried again; any other refusal (a wrong key, no such model) ends the asking. The key comes from the
environment, and from no message of ours can it be read.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from queue import SimpleQueue
from typing import Any, Literal, TypeVar

import urllib3
from urllib3.exceptions import InvalidHeader
from urllib3.response import BaseHTTPResponse
from urllib3.util import Retry, Timeout

from bactrian.chat.tool_calls import for_template, schemas, written_calls
from bactrian.errors import BactrianError
from bactrian.generate.chat_request import ChatReply, ChatRequest, OnReply, before_stop
from bactrian.progress import moved
from bactrian.store.watchdog import waits_for

Answer = TypeVar("Answer")
AGAIN = (408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529)
"""Statuses after which the same request may well succeed."""
ROWS_FAULT = (400, 413, 422)
"""Statuses that speak of what was asked, and not of who asks."""
CHATS, CONTINUES = "/chat/completions", "/completions"
NO_SUCH_DOOR = (404, 405, 501)
"""Statuses of a server that has no such path, or not for this model."""
LONGEST_BACKOFF = 60
GIVEN_UP = 5
"""After so many asks in a row that failed to the last try, the server is taken to be gone."""
LONGEST_ANSWER = 4 << 20
"""Characters of an answer's text that are taken; a longer one is a fault."""


class Unanswered(Exception):
    """A request got no usable answer, however often it was tried."""


class Refused(Exception):
    """The server refuses what was asked: the row's fault, which no further try mends."""


@dataclass(frozen=True)
class Endpoint:
    """Where a model is served. `url`: up to and with `/v1`; `key_name`: the environment variable that holds the key."""

    url: str
    model: str
    key_name: str | None = None
    concurrency: int = 8
    timeout: float = 120.0
    tries: int = 7
    backoff: float = 1.0

    def key(self) -> str | None:
        """The key itself.

        Raises:
            BactrianError: if the variable is not set.
        """
        if self.key_name is None:
            return None
        key = os.environ.get(self.key_name, "").strip()
        if not key:
            raise BactrianError(f"{self.url}: the environment variable {self.key_name}, for its key, is not set")
        return key


class PatientRetry(Retry):
    """Waits for the backoff or for as long as the server asks, whichever is longer.

    urllib3's own takes Retry-After in place of the backoff: a server that says "1 second" for a whole minute would use
    up all tries in a few. And it gives up where that header cannot be read ("1.5").
    """

    def sleep(self, response: BaseHTTPResponse | None = None) -> None:
        time.sleep(max(self._asked(response), self.get_backoff_time()))

    def _asked(self, response: BaseHTTPResponse | None) -> float:
        try:
            return (response is not None and self.get_retry_after(response)) or 0.0
        except InvalidHeader:
            return 0.0


class ServerResponder:
    """Asks a server, `concurrency` requests at a time."""

    def __init__(self, server: Endpoint) -> None:
        """
        Raises:
            BactrianError: if the server's key is not in the environment.
        """
        self.server = server
        self._key = server.key()
        self._pool = urllib3.PoolManager(
            maxsize=server.concurrency,
            block=True,
            timeout=Timeout(connect=min(30.0, server.timeout), read=server.timeout),
        )

    def answer(self, asked: Sequence[ChatRequest], on_reply: OnReply) -> None:
        self.side_by_side([ask.name for ask in asked], lambda place: self._ask(asked[place]), on_reply)

    def side_by_side(
        self, names: Sequence[str], ask: Callable[[int], Answer], hear: Callable[[int, Answer], None]
    ) -> None:
        """`ask(place)` for each name, `concurrency` at a time; `hear` is told of each answer, in this thread.

        Raises:
            BactrianError: some got no answer (`Unanswered`); whatever came, has been heard of.
        """
        lost: list[str] = []
        in_a_row = under_way = 0
        waiting = iter(range(len(names)))
        come: SimpleQueue[tuple[int, Answer | None, BaseException | None]] = SimpleQueue()

        def bring(place: int) -> None:
            try:
                come.put((place, ask(place), None))
            except BaseException as error:
                come.put((place, None, error))

        with ThreadPoolExecutor(self.server.concurrency) as threads:
            try:
                while True:
                    while under_way < self.server.concurrency and (place := next(waiting, None)) is not None:
                        threads.submit(bring, place)
                        under_way += 1
                    if not under_way:
                        break
                    with waits_for(f"{under_way} answers of the server {self.server.url}"):
                        # waiting for futures costs more than a quick server's answer
                        place, answer, error = come.get()
                    under_way -= 1
                    moved()
                    if answer is not None:
                        in_a_row = 0
                        hear(place, answer)
                    elif not isinstance(error, Unanswered):
                        raise error or AssertionError("neither an answer nor an error")
                    else:
                        lost.append(f"{names[place]}: {error}")
                        in_a_row += 1
                        if in_a_row >= GIVEN_UP:
                            raise self._gone(lost)
            except BaseException:
                threads.shutdown()  # what is on its way is heard of all the same; a signal may have come at any line
                while not come.empty():
                    place, answer, _ = come.get()
                    if answer is not None:
                        hear(place, answer)
                raise
        if lost:
            raise self._gone(lost)

    def _gone(self, lost: Sequence[str]) -> BactrianError:
        shown = "; ".join(lost[:3]) + ("; …" if len(lost) > 3 else "")
        return BactrianError(
            f"{self.server.url}: {len(lost):,} request{'s' if len(lost) > 1 else ''} got no answer in "
            f"{self.server.tries} tries each ({shown}); the answers that came are kept: run again to ask for the rest"
        )

    def _ask(self, ask: ChatRequest) -> ChatReply:
        body: dict[str, Any] = {
            "max_tokens": ask.max_new_tokens,
            "temperature": ask.temperature,
            "top_p": ask.top_p,
            "seed": ask.seed,
        }
        body |= {"presence_penalty": ask.presence_penalty} if ask.presence_penalty else {}
        try:
            if ask.opening:
                # control tokens are to be seen: by default vLLM leaves out what ends a turn, and looks past it
                body |= {"prompt": ask.opening, "stop": list(ask.stop), "skip_special_tokens": False}
                reply = self.completion(body, read_continuation, CONTINUES)
                return replace(reply, text=before_stop(reply.text, ask.stop))
            body |= {"messages": plain_messages(ask.messages)} | ({"tools": schemas(ask.tools)} if ask.tools else {})
            body |= {"stop": list(ask.stop)} if ask.stop else {}
            reply = self.completion(body, read_completion)
            return replace(reply, text=before_stop(reply.text, ask.stop))
        except Refused as error:
            return ChatReply("", fault=str(error))

    def completion(self, body: dict[str, Any], read: Callable[[str], Answer], path: str = CHATS) -> Answer:
        """What `read` makes of the answer to a completion; it is asked for again where that is a ValueError.

        Raises:
            Unanswered: none has come; it may be asked for again.
            Refused: the server refuses what is asked.
            BactrianError: for what will not get better.
        """
        fault = ""
        for attempt in range(self.server.tries):  # urllib3 tries again what fails; this, what comes but is no answer
            if attempt:
                time.sleep(min(LONGEST_BACKOFF, self.server.backoff * 2 ** (attempt - 1)))
            status, text = self.post({"model": self.server.model, **body}, path)
            if path == CONTINUES and status in NO_SUCH_DOOR:
                raise BactrianError(
                    f"{self.server.url}: model {self.server.model}: answered {status} to {CONTINUES}: it chats, but "
                    f"does not continue a text; expected a server with OpenAI's completions (vLLM, SGLang, llama.cpp)"
                )
            if status in ROWS_FAULT:
                raise Refused(f"refused with {status}: {self.safe(error_message(text))}")
            if status != 200:
                raise BactrianError(
                    f"{self.server.url}: model {self.server.model}: answered {status}: {self.safe(error_message(text))}"
                )
            try:
                return read(text)
            except ValueError as error:
                fault = str(error)
        raise Unanswered(self.safe(fault))

    def post(self, body: dict[str, Any], path: str = CHATS) -> tuple[int, str]:
        """Status and text of the answer.

        Raises:
            Unanswered: where none came, however often it was tried.
        """
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        retries = PatientRetry(
            total=self.server.tries - 1,
            redirect=0,
            backoff_factor=self.server.backoff,
            backoff_max=LONGEST_BACKOFF,
            backoff_jitter=self.server.backoff / 2,
            status_forcelist=AGAIN,
            allowed_methods=None,
            raise_on_status=True,
            raise_on_redirect=False,
            retry_after_max=LONGEST_BACKOFF,
        )
        url = self.server.url.rstrip("/") + path
        try:
            response = self._pool.request("POST", url, body=json.dumps(body).encode(), headers=headers, retries=retries)
        except urllib3.exceptions.HTTPError as error:
            raise Unanswered(self.safe(_why(error))) from None
        return response.status, response.data.decode("utf-8", "replace")

    def safe(self, text: str) -> str:
        """Text for a person: short, and without the key, which some servers quote."""
        return (text.replace(self._key, "…") if self._key else text)[:200]


def _why(error: urllib3.exceptions.HTTPError) -> str:
    reason = getattr(error, "reason", None) or error
    return f"{type(reason).__name__}: {reason}".split("object at", 1)[0]


def plain_messages(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Messages as servers read them."""
    return [_plain(message) for message in for_template(messages)]


def _plain(message: dict[str, Any]) -> dict[str, Any]:
    """A message as servers read it: arguments of calls are JSON text there."""
    plain = {key: message[key] for key in ("role", "content", "tool_call_id") if key in message}
    calls = [{**call, "function": {**call["function"]}} for call in message.get("tool_calls", ())]
    for call in calls:
        call["function"]["arguments"] = json.dumps(call["function"]["arguments"], ensure_ascii=False)
    return plain | ({"tool_calls": calls} if calls else {})


def error_message(text: str) -> str:
    """What an error answer says: its message, or its beginning."""
    try:
        error = json.loads(text)["error"]
        return str(error["message"] if isinstance(error, dict) else error)
    except (ValueError, LookupError, TypeError):
        return " ".join(text.split())[:200] or "nothing"


def read_completion(text: str) -> ChatReply:
    """The reply in a chat completion. Calls of tools become text, as a model of this run writes them.

    Raises:
        ValueError: for what is none: broken off, or of another form.
    """
    try:
        found = json.loads(text)
        choice = found["choices"][0]
        message, finish = choice["message"], choice.get("finish_reason")
        called = written_calls(message.get("tool_calls") or [])
        content = message.get("content") if called else message["content"]
    except (ValueError, LookupError, TypeError, AttributeError):
        raise ValueError(f"an answer that is no chat completion: {' '.join(text.split())[:80]!r}") from None
    if called:
        content = "\n".join(filter(None, [content, called]))
    if content is None:
        return ChatReply("", fault=f"no text, ended by {finish!r}"[:80])
    return _reply(content, finish, found.get("usage"))


def read_continuation(text: str) -> ChatReply:
    """The reply in a (plain, not chat) completion.

    Raises:
        ValueError: for what is none: broken off, or of another form.
    """
    try:
        found = json.loads(text)
        choice = found["choices"][0]
        content, finish = choice["text"], choice.get("finish_reason")
    except (ValueError, LookupError, TypeError, AttributeError):
        raise ValueError(f"an answer that is no completion: {' '.join(text.split())[:80]!r}") from None
    return _reply(content, finish, found.get("usage"))


def _reply(content: Any, finish: Any, usage: Any) -> ChatReply:
    if not isinstance(content, str):
        raise ValueError(f"a content that is no text: {content!r:.60}")
    if len(content) > LONGEST_ANSWER:
        return ChatReply("", fault=f"an answer of more than {LONGEST_ANSWER:,} characters")
    usage = usage if isinstance(usage, dict) else {}
    ended: Literal["stop", "length"] = "length" if finish == "length" else "stop"
    said = content.encode("utf-8", "replace").decode()
    return ChatReply(said, ended, _count(usage, "completion_tokens"), prompt_tokens=_count(usage, "prompt_tokens"))


def _count(usage: dict[str, Any], name: str) -> int:
    found = usage.get(name)
    return found if type(found) is int and found >= 0 else 0
