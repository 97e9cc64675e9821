"""A real vLLM server, started as its user would: the same answers, weights sent while it runs, versions of tokens.

Where vLLM is not installed, nothing of this can be tried: a server of our own would only say what we think vLLM says.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from bactrian.errors import BactrianError
from bactrian.generate.engine import Request
from bactrian.generate.engines import open_engine
from bactrian.generate.local import LocalEngine
from bactrian.generate.process_engine import ProcessEngine
from bactrian.generate.vllm_server import VllmServer
from bactrian.model.language_model import LanguageModel
from bactrian.model.ranking import Ask
from bactrian.store.hardware import Hardware, VllmSettings
from tests.model.tiny import write_tiny

PROMPT = (5, 6, 7, 8)
COMMAND = [
    *("--dtype", "float32", "--enforce-eager", "--max-model-len", "256", "--kv-cache-memory-bytes", "100000000"),
    *("--logprobs-mode", "processed_logprobs", "--weight-transfer-config", '{"backend": "bactrian_files"}'),
    *("--worker-extension-cls", "bactrian.generate.vllm_weights.BactrianWorker"),
]
ENVIRONMENT = {"VLLM_SERVER_DEV_MODE": "1", "VLLM_LOGGING_LEVEL": "ERROR", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    if find_spec("vllm") is None:
        pytest.skip("vLLM is not installed (100 s; extra vllm)")
    heads: dict[str, Any] = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32}
    folder = write_tiny(tmp_path_factory.mktemp("served"), "llama", hidden_size=64, **heads)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("vllm")), "serve", str(folder), "--port", str(port), *COMMAND]
    with subprocess.Popen(command, env={**os.environ, **ENVIRONMENT, "OMP_NUM_THREADS": "1"}) as process:
        yield f"http://127.0.0.1:{port}", folder
        process.terminate()


def opened(url: str, policy: LanguageModel | Path) -> ProcessEngine:
    how = VllmSettings(server=url, check_weights=True)
    engine = open_engine(policy, Hardware(dtype="float32", engine="vllm", vllm=how), rows=8)
    assert isinstance(engine, ProcessEngine)
    return engine


def test_a_server_draws_what_the_engine_here_draws_and_follows_the_policy(served: tuple[str, Path]) -> None:
    url, folder = served
    policy = LanguageModel.load(folder)
    engine, here = opened(url, policy), LocalEngine(policy)
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
        with torch.no_grad():
            for weight in policy.network.parameters():
                weight.mul_(1.1)
    assert len(engine.sent) == 2
    (told,) = dict(pair for batch in engine.likelihoods([Ask(PROMPT, ((3, 4), (9,)))]) for pair in batch).values()
    (expected,) = dict(pair for batch in here.likelihoods([Ask(PROMPT, ((3, 4), (9,)))]) for pair in batch).values()
    assert [each.logprob for each in told] == pytest.approx([each.logprob for each in expected], abs=1e-3)


def test_tokens_of_a_server_say_which_weights_drew_them(served: tuple[str, Path]) -> None:
    url, folder = served
    policy = LanguageModel.load(folder)
    engine, moved = opened(url, policy), False
    engine.version = 5

    def on_tokens(_: int) -> None:
        nonlocal moved
        if not moved:
            moved = True
            with torch.no_grad():
                for weight in policy.network.parameters():
                    weight.mul_(1.1)
            engine.version = 6
            engine.follow_policy()

    lengths = (2, 240)
    _, (long,) = engine.generate([Request(PROMPT, max_new_tokens=n, min_new_tokens=n) for n in lengths], on_tokens)
    assert long.version == 5 and [version for version, _, _ in long.versions] == [5, 6]
    assert long.versions[0][1:] == (0, long.versions[1][1]) and long.versions[1][2] == 240


def test_a_server_that_is_not_there_is_named() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(Exception, match=f"{url}: no answer for 0 s"):
        VllmServer(url, rows=1, patience=0.0)


def test_a_policy_is_not_sent_to_a_server_whose_doors_are_closed(tmp_path: Path) -> None:
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from threading import Thread

    class Closed(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.path in ("/health", "/v1/models")
            self.send_response(200 if known else 404)
            self.end_headers()
            self.wfile.write(b'{"data": [{"max_model_len": 64}]}')

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Closed)
    Thread(target=server.serve_forever, daemon=True).start()
    with pytest.raises(BactrianError, match=r"weight_info: answered 404 \(.* started with VLLM_SERVER_DEV_MODE=1"):
        VllmServer(f"http://127.0.0.1:{server.server_port}", rows=1)
    server.shutdown()
