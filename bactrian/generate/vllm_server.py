"""A vLLM server as an engine's processes: asked in token ids, sent weights by its routes for reinforcement learning.

The server is started by its user, who alone starts it again. One that does not answer is waited for, and then gets all
weights anew and what it was drawing. Its doors are vLLM 0.32's (`VLLM_SERVER_DEV_MODE=1` opens those for weights,
`--enable-scale-out` those for token ids). Versions of weights carry the name of who sent them, so that nobody takes
answers of another's weights for its own.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any
from uuid import uuid4

import urllib3
from urllib3.util import Timeout

from bactrian.errors import BactrianError
from bactrian.generate.engine_process import EngineDied, EngineProcess, News, TokenRun
from bactrian.generate.vllm_process import sampling
from bactrian.progress import say

PATIENCE = 900.0  # seconds that a server which does not answer is waited for
SILENCE = 600.0  # seconds without an answer, after which it is asked whether it is well
POLL = 2.0
GENERATE, ABORT = "/inference/v1/generate", "/inference/v1/abort_requests"
CERTAIN = -1e-6  # log-probability of the only token that may be drawn, as far as it is computed


class VllmServer(EngineProcess):
    """One server; as many requests at once as rows."""

    def __init__(self, url: str, *, rows: int, patience: float = PATIENCE) -> None:
        """
        Raises:
            EngineDied: it has not answered for so long.
            BactrianError: it is no vLLM server, or was started without what it needs.
        """
        self.url = url.rstrip("/").removesuffix("/v1")
        # a connection for each call: the server closes those that it thinks idle, or on which something went wrong
        self._pool = urllib3.PoolManager(maxsize=rows + 1, headers={"Connection": "close"}, retries=False)
        self._name = f"bactrian-{uuid4().hex[:12]}-"  # others may ask the same server, or send it weights
        self._news: SimpleQueue[tuple[str, News | Exception]] = SimpleQueue()
        self._asked: set[str] = set()  # keys of runs that are under way
        self._jobs: SimpleQueue[tuple[str, TokenRun] | None] = SimpleQueue()
        self._rows, self._closed = rows, False
        self._wait(patience)
        models = self._call("GET", "/v1/models")
        try:
            self._longest = int(models["data"][0]["max_model_len"])
        except (LookupError, TypeError, ValueError) as error:
            raise BactrianError(f"{self.url}/v1/models: an answer that is not vLLM's: {error!r}") from error
        self._call("GET", "/weight_info", needs="VLLM_SERVER_DEV_MODE=1")
        self._call("POST", ABORT, {"request_ids": []}, needs="--enable-scale-out")
        self._checked = False
        for _ in range(rows):  # no executor: Python would wait for its threads, and so for the server, before it ends
            Thread(target=self._work, daemon=True).start()

    @property
    def longest(self) -> int:
        return self._longest

    @property
    def pids(self) -> list[int]:
        return []  # none is ours

    def add(self, key: str, run: TokenRun) -> None:
        self._asked.add(key)
        self._jobs.put((key, run))

    def step(self) -> list[News]:
        found: list[News] = []
        while not found:
            try:
                heard = [self._news.get(timeout=SILENCE)]
            except Empty:
                if not self._well():
                    raise EngineDied(f"{self.url}: no answer for {SILENCE:.0f} s") from None
                continue
            with suppress(Empty):
                while True:
                    heard.append(self._news.get_nowait())
            for key, news in heard:
                if key not in self._asked:
                    continue  # dropped meanwhile
                if isinstance(news, Exception):
                    raise news
                self._asked.discard(key)
                found.append(news)
        return found

    def drop(self, keys: Sequence[str]) -> None:
        self._asked -= set(keys)
        # under the names that the route for token ids gives them
        names = [f"generate-tokens-{self._name}{key}" for key in keys]
        self._call("POST", ABORT, {"request_ids": names})

    def pause(self) -> None:
        self._call("POST", "/pause?mode=keep")

    def resume(self) -> None:
        self._call("POST", "/reset_prefix_cache?reset_running_requests=true")
        self._call("POST", "/resume")
        if not self._checked:  # not before there are weights: a trainer that was killed may have left half of its own
            self._check_logprobs()
            self._checked = True

    def label(self, version: int) -> None:
        self._call("POST", "/update_weight_version", {"new_version": f"{self._name}{version}"})

    def holds(self, version: int) -> bool:
        told: dict[str, Any] = self._call("GET", "/weight_info")
        return told.get("weight_version") == f"{self._name}{version}"

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        self._call("POST", "/init_weight_transfer_engine", {"init_info": init_info}, needs="--weight-transfer-config")

    def start_weight_update(self) -> None:
        try:
            self._call("POST", "/start_weight_update")
        except BactrianError as error:
            if "already active" not in str(error):
                raise
            with suppress(BactrianError):  # of a trainer that was killed; vLLM forgets an update that fails
                self.update_weights({"path": "", "names": []})
            self._call("POST", "/start_weight_update")

    def update_weights(self, update_info: dict[str, Any]) -> None:
        self._call("POST", "/update_weights", {"update_info": update_info}, needs="a model of the policy's shape")

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        label = None if weight_version is None else self._name + weight_version
        self._call("POST", "/finish_weight_update", {"weight_version": label})

    def received_weights(self) -> dict[str, str]:
        """What all workers received alike; of a weight that differs between them, no digest."""
        told = self._call("POST", "/collective_rpc", {"method": "received_weights"}, needs="--worker-extension-cls")
        found = told["results"]
        return {name: said if all(each[name] == said for each in found) else "" for name, said in found[0].items()}

    def close(self) -> None:
        """Let go of the server, which goes on."""
        self._closed = True
        for _ in range(self._rows):
            self._jobs.put(None)

    def _work(self) -> None:
        """In a thread: ask for one run after another, and put what came of each where `step` looks."""
        while (job := self._jobs.get()) is not None and not self._closed:
            key, run = job
            if key not in self._asked:
                continue
            try:
                self._news.put((key, self._draw(key, run)))
            except (EngineDied, BactrianError) as error:
                self._news.put((key, error))
            except (LookupError, TypeError, ValueError) as error:
                self._news.put((key, BactrianError(f"{self.url}: an answer that is not vLLM's: {error!r}")))

    def _draw(self, key: str, run: TokenRun) -> News:
        how = {name: value for name, value in sampling(run).items() if value is not None}
        asked = {"request_id": self._name + key, "token_ids": list(run.prompt), "sampling_params": how}
        answer = self._call("POST", GENERATE, asked, patient=True)
        said = answer["choices"][0]
        if said["finish_reason"] not in ("stop", "length"):
            raise EngineDied(f"{self.url}: a request ended as {said['finish_reason']!r}")
        versions = self._versions(said.get("weight_versions") or [])
        if run.score_from is not None:
            told = list(zip(run.prompt, answer["prompt_logprobs"], strict=True))[run.score_from :]
            scores = ((each[str(token)]["logprob"], each[str(token)]["rank"] == 1) for token, each in told)
            return News(key, finish="stop", scores=tuple(scores))
        logprobs = tuple(each["logprob"] for each in said["logprobs"]["content"])
        return News(key, tuple(said["token_ids"]), logprobs, said["finish_reason"], versions)

    def _versions(self, spans: Sequence[dict[str, Any]]) -> tuple[tuple[int, int, int], ...]:
        """
        Raises:
            BactrianError: weights that somebody else sent drew some of the tokens.
        """
        for span in spans:
            if not span["version"].startswith(self._name):
                raise BactrianError(
                    f"{self.url}: it answered with weights of version {span['version']!r}, which this run did not "
                    "send: a server can follow one policy at a time"
                )
        return tuple((int(span["version"].removeprefix(self._name)), span["start"], span["end"]) for span in spans)

    def _check_logprobs(self) -> None:
        """
        Raises:
            BactrianError: its log-probabilities are not those of what it drew from.
        """
        only = {"max_tokens": 1, "top_k": 1, "logprobs": 0, "ignore_eos": True, "detokenize": False}
        answer = self._call("POST", GENERATE, {"token_ids": [0], "sampling_params": only})
        try:
            logprob = answer["choices"][0]["logprobs"]["content"][0]["logprob"]
        except (LookupError, TypeError) as error:
            raise BactrianError(f"{self.url}{GENERATE}: an answer that is not vLLM's: {error!r}") from error
        if logprob < CERTAIN:
            raise BactrianError(
                f"{self.url}: of the only token that it might draw it says the log-probability {logprob:.3g}, expected "
                "0 (the server must be started with --logprobs-mode processed_logprobs: docs/rl.md)"
            )

    def _call(
        self, method: str, path: str, body: dict[str, Any] | None = None, *, needs: str = "", patient: bool = False
    ) -> Any:
        """What the server answers.

        Args:
            needs: with what it must have been started to answer, for the message.
            patient: the answer may take as long as it takes.

        Raises:
            EngineDied: it does not answer, or is not well.
            BactrianError: it refuses, or answers what is no JSON.
        """
        patience = Timeout(connect=10.0, read=None if patient else SILENCE)
        try:
            answer = self._pool.request(method, self.url + path, json=body, timeout=patience)
        except urllib3.exceptions.HTTPError as error:
            raise EngineDied(f"{self.url}{path}: {error}") from error
        said = answer.data.decode(errors="replace")
        if answer.status >= 500 and not self._well():
            raise EngineDied(f"{self.url}{path}: answered {answer.status}, and is not well: {said[:300]}")
        if answer.status >= 400:
            hint = f" (the server must be started with {needs}: docs/rl.md)" if needs else ""
            raise BactrianError(f"{self.url}{path}: answered {answer.status}{hint}: {said[:300]}")
        try:
            return json.loads(said) if said else None
        except ValueError as error:
            raise BactrianError(f"{self.url}{path}: an answer that is not vLLM's: {said[:100]!r}") from error

    def _well(self) -> bool:
        try:
            return self._pool.request("GET", self.url + "/health", timeout=10.0).status == 200
        except urllib3.exceptions.HTTPError:
            return False

    def _wait(self, patience: float) -> None:
        began, told = time.monotonic(), False
        while True:
            try:
                status = self._pool.request("GET", self.url + "/health", timeout=10.0).status
                if status != 503:  # which it says when its core is gone
                    return
                fault = f"it answers {status}"
            except urllib3.exceptions.HTTPError as error:
                fault = str(error)
            if time.monotonic() - began > patience:
                raise EngineDied(f"{self.url}: no answer for {patience:.0f} s: {fault}")
            if not told:
                say(f"{self.url} does not answer; it is waited for")
                told = True
            time.sleep(POLL)
