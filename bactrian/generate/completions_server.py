"""An engine behind a server that speaks OpenAI's (plain, not chat) completions: what goes on is asked for again.

Prompts are sent as token ids, which vLLM, SGLang and llama.cpp take; what a completion goes on with is asked for with
all that came before, and its keys and values are then the server's business: one that caches prefixes forwards only
what is new. vLLM answers in token ids too (`return_token_ids`); of others the text is encoded here, and cut to what was
asked for, so that no limit is ever passed.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Literal

from bactrian.chat import ChatTemplate, literal_ids
from bactrian.errors import BactrianError
from bactrian.generate.chat_server import Endpoint, ServerResponder, Unanswered, error_message
from bactrian.generate.engine import Completion, Engine, OnFinish, Request
from bactrian.generate.row import Row

if TYPE_CHECKING:
    from bactrian.model.ranking import Ask, Likelihood

PATH = "/completions"


class CompletionEngine(Engine):
    """Asks a server for completions, `server.concurrency` at a time.

    Raises:
        BactrianError: as `ServerResponder`.
    """

    def __init__(self, server: Endpoint, template: ChatTemplate, longest: int) -> None:
        """
        Args:
            template: of the model that is served; its tokenizer must be the server's.
            longest: the sequence that the server takes at most, tokens.
        """
        self.server = server
        self.version = 0
        self._template, self._longest = template, longest
        self._post = ServerResponder(server).post
        self._lock = threading.Lock()

    @property
    def template(self) -> ChatTemplate:
        return self._template

    @property
    def longest(self) -> int:
        return self._longest

    def likelihoods(self, asks: Sequence[Ask]) -> Iterator[list[tuple[int, list[Likelihood]]]]:
        """
        Raises:
            BactrianError: servers of completions do not say how likely a given text is.
        """
        raise BactrianError(f"{self.server.url}: a server gives no likelihoods; use a model in this process (local)")

    def generate(
        self,
        requests: Sequence[Request],
        on_tokens: Callable[[int], None] | None = None,
        on_finish: OnFinish | None = None,
    ) -> list[list[Completion]]:
        """The completions of each request, in order.

        Raises:
            BactrianError: the server refuses, or gives no usable answer.
        """
        rows = [Row(number, sample, asked) for number, asked in enumerate(requests) for sample in range(asked.n)]
        with ThreadPoolExecutor(self.server.concurrency) as threads:
            done = list(threads.map(lambda row: self._whole(row, on_tokens, on_finish), rows))
        answers: list[list[Completion]] = [[] for _ in requests]
        for row, completion in zip(rows, done, strict=True):
            answers[row.request].append(completion)
        return answers

    def stream(self, request: Request) -> Iterator[str]:
        """The text of one completion, in one piece."""
        yield self.generate([request])[0][0].text

    def _whole(self, row: Row, on_tokens: Callable[[int], None] | None, on_finish: OnFinish | None) -> Completion:
        while True:
            drawn = self._ask(row)
            with self._lock:  # callers' functions are not made for several threads
                if on_tokens:
                    on_tokens(drawn)
                completion = self._completion(row)
                more = on_finish(row.request, row.sample, completion) if on_finish else None
            if more is None:
                return completion
            row.go_on(more)

    def _ask(self, row: Row) -> int:
        """Have the server go on with a row until it stops; how many tokens came."""
        asked = row.asked
        room = row.limit - len(row.ids)
        if len(asked.prompt) + len(row.ids) + room > self.longest:
            raise BactrianError(
                f"request {row.request}: a prompt of {len(asked.prompt)} tokens, {len(row.ids)} said and {room} to "
                f"come are more than the server's {self.longest}"
            )
        first = bool(row.banned)  # a ban is for one token: that one is asked for by itself
        tokens = 0
        for most in [1, room - 1] if first and room > 1 else [room]:
            tokens += self._piece(row, most)
            row.banned = ()
            if row.finish == "stop":
                break
        return tokens

    def _piece(self, row: Row, most: int) -> int:
        asked = row.asked
        body = {
            "model": self.server.model,
            "prompt": [*asked.prompt, *row.ids],
            "max_tokens": most,
            "temperature": asked.temperature,
            "top_p": asked.top_p,
            "seed": (asked.seed + row.sample) % 2**31,
            "stop": list(asked.stop),
            "stop_token_ids": list(asked.stop_ids),
            "min_tokens": min(most, max(0, asked.min_new_tokens - len(row.ids))),
            "include_stop_str_in_output": True,
            "skip_special_tokens": False,
            "return_token_ids": True,
            "logit_bias": {str(token): -100 for token in row.banned},
            "presence_penalty": asked.presence_penalty,
        }
        ids, finish = self._answered({key: value for key, value in body.items() if value or key == "temperature"}, row)
        ids = ids[:most]
        ends = {*self._template.end_ids, *asked.stop_ids}
        stopped = finish == "stop"
        if stopped and not (ids and ids[-1] in ends) and not self._at_stop(ids, asked.stop):
            ids = [*ids[: most - 1], self._template.end_ids[0]]  # a server that leaves out what it stopped at
        row.ids += ids
        row.logprobs += [0.0] * len(ids)
        row.pending = row.ids[-1:]
        row.finish = "stop" if stopped else "length"
        return len(ids)

    def _at_stop(self, ids: Sequence[int], stop: Sequence[str]) -> bool:
        text = self.text(ids)
        return any(each in text for each in stop)

    def _answered(self, body: dict[str, Any], row: Row) -> tuple[list[int], Literal["stop", "length"]]:
        fault = ""
        for _ in range(self.server.tries):
            try:
                status, text = self._post(body, PATH)
            except Unanswered as error:
                raise BactrianError(f"{self.server.url}: request {row.request}: {error}") from None
            if status != 200:
                raise BactrianError(
                    f"{self.server.url}: model {self.server.model}: answered {status}: {error_message(text)}"
                )
            try:
                return self._read(text)
            except (ValueError, LookupError, TypeError, AttributeError) as error:
                fault = f"an answer that is no completion ({error}): {' '.join(text.split())[:80]!r}"
        raise BactrianError(f"{self.server.url}: request {row.request}: {fault}")

    def _read(self, text: str) -> tuple[list[int], Literal["stop", "length"]]:
        choice = json.loads(text)["choices"][0]
        ids = choice.get("token_ids")
        if ids is None:
            ids = literal_ids(self._template, choice["text"])
        if not all(type(token) is int and token >= 0 for token in ids):
            raise ValueError(f"token ids {ids!r:.60}")
        return list(ids), "length" if choice.get("finish_reason") == "length" else "stop"

    def _completion(self, row: Row) -> Completion:
        assert row.finish is not None
        return Completion(tuple(row.ids), self.text(row.ids), tuple(row.logprobs), row.finish, 0, tuple(row.forced))

    def text(self, ids: Sequence[int]) -> str:
        """What a completion's tokens say; control tokens say nothing."""
        if ids and ids[-1] in self._template.end_ids:
            ids = ids[:-1]
        tokenizer = self._template.tokenizer
        text: str = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text
