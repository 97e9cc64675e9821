"""A real vLLM server, started as its user would: the same answers, weights sent while it runs, versions of tokens.

Where vLLM is not installed, nothing of this can be tried: a server of our own would only say what we think vLLM says.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch

from bactrian.errors import BactrianError
from bactrian.generate.engine import Completion, Request
from bactrian.generate.engines import open_engine
from bactrian.generate.local import LocalEngine
from bactrian.generate.process_engine import ProcessEngine
from bactrian.generate.vllm_server import ABORT, VllmServer
from bactrian.model.language_model import LanguageModel
from bactrian.model.packing import Forest, Segment
from bactrian.model.ranking import Ask
from bactrian.store.hardware import Hardware, VllmSettings
from tests.model.tiny import write_tiny

PROMPT = (5, 6, 7, 8)
COMMAND = [
    *("--dtype", "float32", "--enforce-eager", "--max-model-len", "256", "--kv-cache-memory-bytes", "100000000"),
    *("--enable-scale-out", "--logprobs-mode", "processed_logprobs"),
    *("--weight-transfer-config", '{"backend": "bactrian_files"}'),
    *("--worker-extension-cls", "bactrian.generate.vllm_weights.BactrianWorker"),
]
ENVIRONMENT = {"VLLM_SERVER_DEV_MODE": "1", "VLLM_LOGGING_LEVEL": "ERROR", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
HEADS: dict[str, Any] = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32}  # vLLM takes no smaller


@dataclass
class Served:
    """A server on a folder, in a session of its own, with all its processes."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.process = started(self.folder, self.port)

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def started(folder: Path, port: int) -> subprocess.Popen[bytes]:
    # the command `vllm serve` of package vllm-cpu 0.32.0 ends at once: it asks for the version of a package vllm
    program = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder)]
    command = [*program, "--host", "127.0.0.1", "--port", str(port), *COMMAND]
    environment = {**os.environ, **ENVIRONMENT, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, start_new_session=True)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    if find_spec("vllm") is None:
        pytest.skip("vLLM is not installed (100 s; extra vllm)")
    folder = write_tiny(tmp_path_factory.mktemp("served"), "llama", hidden_size=64, **HEADS)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = Served(folder, port, started(folder, port))
    yield server
    server.kill()


def opened(server: Served, policy: LanguageModel | Path) -> ProcessEngine:
    how = VllmSettings(server=server.url, check_weights=True)
    engine = open_engine(policy, Hardware(dtype="float32", engine="vllm", vllm=how), rows=8)
    assert isinstance(engine, ProcessEngine)
    return engine


def move(policy: LanguageModel, by: float) -> None:
    with torch.no_grad():
        for weight in policy.network.parameters():
            weight.mul_(by)


def same(engine: ProcessEngine, here: LocalEngine) -> None:
    """Greedy answers are those of the engine in this process."""
    asked = [Request(PROMPT, temperature=0.0, max_new_tokens=12)]
    ((mine,),), ((theirs,),) = engine.generate(asked), here.generate(asked)
    assert (mine.ids, mine.finish) == (theirs.ids, theirs.finish)
    assert mine.logprobs == pytest.approx(theirs.logprobs, abs=1e-4) and not engine.replaced


def test_a_server_draws_what_the_engine_here_draws_and_follows_the_policy(served: Served) -> None:
    policy = LanguageModel.load(served.folder)
    engine, here = opened(served, policy), LocalEngine(policy)
    first = here.generate([Request(PROMPT, temperature=0.0, max_new_tokens=12)])[0][0].ids
    for version in range(2):
        engine.version = version
        requests = [
            Request(PROMPT, temperature=0.0, max_new_tokens=12, n=2),
            Request(PROMPT, temperature=0.0, max_new_tokens=12, banned=(first[0],)),
            Request(PROMPT, temperature=0.0, max_new_tokens=12, stop=(engine.text(first[3:4]),)),
        ]
        for mine, theirs in zip(engine.generate(requests), here.generate(requests), strict=True):
            assert [(c.ids, c.finish) for c in mine] == [(c.ids, c.finish) for c in theirs]
            assert mine[0].logprobs == pytest.approx(theirs[0].logprobs, abs=1e-4) and mine[0].version == version
        move(policy, 1.1)
    assert len(engine.sent) == 2
    (told,) = dict(pair for batch in engine.likelihoods([Ask(PROMPT, ((3, 4), (9,)))]) for pair in batch).values()
    (expected,) = dict(pair for batch in here.likelihoods([Ask(PROMPT, ((3, 4), (9,)))]) for pair in batch).values()
    assert [each.logprob for each in told] == pytest.approx([each.logprob for each in expected], abs=1e-3)


def test_drawn_tokens_have_the_trainers_log_probabilities(served: Served) -> None:
    policy = LanguageModel.load(served.folder)
    engine = opened(served, policy)
    requests = [Request(PROMPT, n=3, seed=1, max_new_tokens=8, temperature=t) for t in (1.0, 0.6)]
    for asked, group in zip(requests, engine.generate(requests), strict=True):
        assert len({c.ids for c in group}) == 3
        for c in group:
            where = torch.arange(len(PROMPT), len(PROMPT) + len(c.ids))
            with torch.no_grad():
                expected = policy.logprobs(Forest.of([Segment(PROMPT + c.ids)]), where, asked.temperature)
            assert c.logprobs == pytest.approx(expected.tolist(), abs=1e-4)
    assert engine.generate(requests) == engine.generate(requests), "the same seeds draw the same"


def test_tokens_of_a_server_say_which_weights_drew_them(served: Served) -> None:
    policy = LanguageModel.load(served.folder)
    engine, moved = opened(served, policy), False
    engine.version = 5

    def on_tokens(_: int) -> None:
        nonlocal moved
        if not moved:
            moved = True
            move(policy, 1.1)
            engine.version = 6
            engine.follow_policy()

    lengths = (2, 240)
    _, (long,) = engine.generate([Request(PROMPT, max_new_tokens=n, min_new_tokens=n) for n in lengths], on_tokens)
    assert long.version == 5 and [version for version, _, _ in long.versions] == [5, 6]
    assert long.versions[0][1:] == (0, long.versions[1][1]) and long.versions[1][2] == 240


def test_two_that_ask_one_server_by_turns_each_get_their_own_weights(served: Served) -> None:
    policies = [LanguageModel.load(served.folder) for _ in range(2)]
    move(policies[1], 1.2)
    engines = [opened(served, policy) for policy in policies]
    for _ in range(2):
        for engine, policy in zip(engines, policies, strict=True):
            same(engine, LocalEngine(policy))
    assert [len(engine.sent) for engine in engines] == [2, 2]


def test_weights_that_another_sends_under_way_are_an_error(served: Served) -> None:
    engine, other = (opened(served, LanguageModel.load(served.folder)) for _ in range(2))
    lengths = (2, 240)
    with pytest.raises(BactrianError, match="which this run did not send: a server can follow one policy at a time"):
        engine.generate(
            [Request(PROMPT, max_new_tokens=n, min_new_tokens=n) for n in lengths], lambda _: other.follow_policy()
        )


def test_an_interrupted_call_leaves_nothing_behind(served: Served) -> None:
    policy = LanguageModel.load(served.folder)
    engine = opened(served, policy)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    long = [Request(PROMPT, n=4, max_new_tokens=n, min_new_tokens=n) for n in (2, 240)]
    with pytest.raises(KeyboardInterrupt):
        engine.generate(long, on_finish=stop)
    same(engine, LocalEngine(policy))


def test_a_trainer_that_was_killed_while_it_sent_weights_does_not_stop_the_next(served: Served) -> None:
    first = opened(served, LanguageModel.load(served.folder)).process
    first.init_weight_transfer_engine({"check": False})
    first.pause()
    first.start_weight_update()
    policy = LanguageModel.load(served.folder)
    same(opened(served, policy), LocalEngine(policy))


def test_a_policy_of_another_shape_is_refused_and_the_server_goes_on(served: Served, tmp_path: Path) -> None:
    other = write_tiny(tmp_path, "llama", hidden_size=96, **HEADS)
    with pytest.raises(BactrianError, match=r"update_weights: answered 500 \(.* with a model of the policy's shape"):
        opened(served, other).generate([Request(PROMPT, max_new_tokens=2)])
    policy = LanguageModel.load(served.folder)
    same(opened(served, policy), LocalEngine(policy))


def test_a_server_that_is_killed_and_started_again_goes_on(served: Served) -> None:
    policy = LanguageModel.load(served.folder)
    engine = opened(served, policy)
    requests = [Request(PROMPT, n=4, seed=i, max_new_tokens=n, min_new_tokens=n) for i, n in enumerate((4, 200))]
    expected = engine.generate(requests)
    finished: Counter[tuple[int, int]] = Counter()

    def on_finish(request: int, sample: int, _: Completion) -> None:
        finished[request, sample] += 1
        if sum(finished.values()) == 4:
            served.kill()
            served.start()

    found = engine.generate(requests, on_finish=on_finish)
    assert engine.replaced == 1 and len(engine.sent) == 2
    assert finished == Counter({(i, j): 1 for i in range(2) for j in range(4)})
    assert [[c.ids for c in group] for group in found] == [[c.ids for c in group] for group in expected]


def test_a_server_that_is_not_there_is_named() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(Exception, match=f"{url}: no answer for 0 s"):
        VllmServer(url, rows=1, patience=0.0)


@pytest.mark.parametrize(
    ("closed", "expected"),
    [
        ("/weight_info", r"weight_info: answered 404 \(.* started with VLLM_SERVER_DEV_MODE=1"),
        (ABORT, r"abort_requests: answered 404 \(.* started with --enable-scale-out"),
        ("", r"it says the log-probability -0.5, expected 0 \(.* --logprobs-mode processed_logprobs"),
    ],
)
def test_a_server_that_was_started_without_what_it_needs_is_refused(closed: str, expected: str) -> None:
    """A server of our own, which answers as vLLM's did when it was started so."""

    class Closed(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            said = {"data": [{"max_model_len": 64}], "choices": [{"logprobs": {"content": [{"logprob": -0.5}]}}]}
            body = json.dumps(said).encode()
            self.send_response(404 if self.path == closed else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Closed)
    Thread(target=server.serve_forever, daemon=True).start()
    with pytest.raises(BactrianError, match=expected):
        VllmServer(f"http://127.0.0.1:{server.server_port}", rows=1).resume()
    server.shutdown()
