"""A vLLM server as an engine's processes: asked in token ids, sent weights by its routes for reinforcement learning.

The server is started by its user, who alone starts it again. One that does not answer is waited for, and then gets all
weights anew and what it was drawing. Its doors are vLLM 0.32's (`VLLM_SERVER_DEV_MODE=1` opens those for weights).
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import Any
from uuid import uuid4

import urllib3
from urllib3.util import Timeout

from bactrian.errors import BactrianError
from bactrian.generate.engine_process import EngineDied, EngineProcess, News, TokenRun
from bactrian.generate.vllm_process import sampling
from bactrian.progress import say

PATIENCE = 900.0  # seconds that a server which does not answer is waited for
SILENCE = 600.0  # seconds without a byte of an answer, after which it is taken to be gone
POLL = 2.0


class VllmServer(EngineProcess):
    """One server; as many requests at once as rows."""

    def __init__(self, url: str, *, rows: int, patience: float = PATIENCE) -> None:
        """
        Raises:
            EngineDied: it has not answered for so long.
            BactrianError: it is no vLLM server, or its doors for weights are closed.
        """
        self.url = url.rstrip("/").removesuffix("/v1")
        self._pool = urllib3.PoolManager(maxsize=rows + 1, timeout=Timeout(connect=10.0, read=SILENCE), retries=False)
        self._threads = ThreadPoolExecutor(rows)
        self._name = f"bactrian-{uuid4().hex[:12]}-"  # others may ask the same server
        self._news: SimpleQueue[News | Exception] = SimpleQueue()
        self._wait(patience)
        models = self._call("GET", "/v1/models")["data"]
        self._longest = int(models[0]["max_model_len"])
        self._call("GET", "/weight_info", needs="VLLM_SERVER_DEV_MODE=1")

    @property
    def longest(self) -> int:
        return self._longest

    @property
    def pids(self) -> list[int]:
        return []  # none is ours

    def add(self, key: str, run: TokenRun) -> None:
        self._threads.submit(self._draw, key, run)

    def step(self) -> list[News]:
        found = [self._news.get()]
        while True:
            try:
                found.append(self._news.get_nowait())
            except Empty:
                break
        for each in found:
            if isinstance(each, Exception):
                raise each
        return [each for each in found if isinstance(each, News)]

    def drop(self, keys: Sequence[str]) -> None:
        self._call("POST", "/inference/v1/abort_requests", {"request_ids": [self._name + key for key in keys]})

    def pause(self) -> None:
        self._call("POST", "/pause?mode=keep")

    def resume(self) -> None:
        self._call("POST", "/reset_prefix_cache?reset_running_requests=true")
        self._call("POST", "/resume")

    def label(self, version: int) -> None:
        self._call("POST", "/update_weight_version", {"new_version": str(version)})

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        self._call("POST", "/init_weight_transfer_engine", {"init_info": init_info}, needs="--weight-transfer-config")

    def start_weight_update(self) -> None:
        self._call("POST", "/start_weight_update")

    def update_weights(self, update_info: dict[str, Any]) -> None:
        self._call("POST", "/update_weights", {"update_info": update_info})

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        self._call("POST", "/finish_weight_update", {"weight_version": weight_version})

    def received_weights(self) -> dict[str, str]:
        found = self._call("POST", "/collective_rpc", {"method": "received_weights"})["results"]
        return {name: told if all(each[name] == told for each in found) else "" for name, told in found[0].items()}

    def close(self) -> None:
        """Let go of the server, which goes on."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _draw(self, key: str, run: TokenRun) -> None:
        """In a thread: ask for a run, and put what came of it where `step` looks."""
        how = {name: value for name, value in sampling(run).items() if value is not None}
        asked = {"request_id": self._name + key, "token_ids": list(run.prompt), "sampling_params": how}
        try:
            self._news.put(_read(key, run, self._call("POST", "/inference/v1/generate", asked)))
        except (EngineDied, BactrianError) as error:
            self._news.put(error)
        except (LookupError, TypeError, ValueError) as error:
            self._news.put(BactrianError(f"{self.url}: an answer that is not vLLM's: {error!r}"))

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None, needs: str = "") -> Any:
        try:
            answer = self._pool.request(method, self.url + path, json=body)
        except urllib3.exceptions.HTTPError as error:
            raise EngineDied(f"{self.url}{path}: {error}") from error
        said = answer.data.decode(errors="replace")
        if answer.status >= 400:
            hint = f" (the server must be started with {needs}: docs/rl.md)" if needs else ""
            raise BactrianError(f"{self.url}{path}: answered {answer.status}{hint}: {said[:300]}")
        return json.loads(said) if said else None

    def _wait(self, patience: float) -> None:
        began, told = time.monotonic(), False
        while True:
            try:
                self._pool.request("GET", self.url + "/health", timeout=10.0)
                return
            except urllib3.exceptions.HTTPError as error:
                if time.monotonic() - began > patience:
                    raise EngineDied(f"{self.url}: no answer for {patience:.0f} s: {error}") from error
            if not told:
                say(f"{self.url} does not answer; it is waited for")
                told = True
            time.sleep(POLL)


def _read(key: str, run: TokenRun, answer: Any) -> News:
    if run.score_from is not None:
        told = list(zip(run.prompt, answer["prompt_logprobs"], strict=True))[run.score_from :]
        scores = ((each[str(token)]["logprob"], each[str(token)]["rank"] == 1) for token, each in told)
        return News(key, finish="stop", scores=tuple(scores))
    said = answer["choices"][0]
    if said["finish_reason"] not in ("stop", "length"):
        raise EngineDied(f"a request ended as {said['finish_reason']!r}")
    spans = said.get("weight_versions") or []
    known = all(span["version"].isdecimal() for span in spans)
    return News(
        key,
        tuple(said["token_ids"]),
        tuple(each["logprob"] for each in said["logprobs"]["content"]),
        said["finish_reason"],
        tuple((int(span["version"]), span["start"], span["end"]) for span in spans) if known else (),
    )
