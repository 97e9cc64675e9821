"""Budget forcing on a server of plain completions, by continuation: the same thoughts as in this process."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from chain import thinker

from bactrian.chat import FORMATS
from bactrian.errors import BactrianError
from bactrian.generate.chat_server import Endpoint
from bactrian.generate.completions_server import CompletionEngine
from bactrian.generate.engine import Request
from bactrian.generate.local import LocalEngine
from bactrian.think.forcing import ThinkingQuestion, opened_prompt, think
from bactrian.think.thought import Budget


class ServedForcing:
    """A completions server on a model in this process; `ids`: it answers in token ids, as vLLM does."""

    def __init__(self, engine: LocalEngine, ids: bool) -> None:
        self.engine, self.ids, self.lock = engine, ids, threading.Lock()
        self.bodies: list[dict[str, Any]] = []
        self.broken = 0

    def answer(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        assert path == "/v1/completions" and all(type(token) is int for token in body["prompt"])
        banned = tuple(int(token) for token in body.get("logit_bias", {}))
        with self.lock:
            self.bodies.append(body)
            asked = Request(
                tuple(body["prompt"]),
                seed=body.get("seed", 0),
                max_new_tokens=body["max_tokens"],
                temperature=body["temperature"],
                stop=tuple(body.get("stop", ())),
                stop_ids=tuple(body.get("stop_token_ids", ())),
                banned=banned,
            )
            said = self.engine.generate([asked])[0][0]
        text = self.engine.model.tokenizer.decode(said.ids)
        choice = {"text": text, "finish_reason": said.finish, **({"token_ids": said.ids} if self.ids else {})}
        return {"choices": [choice]}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> LocalEngine:
    return LocalEngine(thinker(tmp_path_factory.mktemp("chain")))


@pytest.fixture(params=["ids", "text"])
def served(request: pytest.FixtureRequest, engine: LocalEngine) -> Iterator[tuple[ServedForcing, Endpoint]]:
    served = ServedForcing(LocalEngine(engine.model), request.param == "ids")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer = json.dumps(served.answer(self.path, body)).encode()
            if served.broken:
                served.broken -= 1
                answer = b'{"choices": []}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield served, Endpoint(f"http://127.0.0.1:{http.server_address[1]}/v1", "chain", concurrency=4, tries=2)
    finally:
        http.shutdown()
        http.server_close()


@pytest.mark.parametrize("name", ["tags", "s1"])
@pytest.mark.parametrize("budget", [Budget(0, answer=5), Budget(14, answer=5), Budget(40, waits=2, answer=5)])
def test_greedy_thoughts_are_those_of_this_process(
    engine: LocalEngine, served: tuple[ServedForcing, Endpoint], name: str, budget: Budget
) -> None:
    remote = CompletionEngine(served[1], engine.template, engine.longest)
    form, asked = FORMATS[name], [{"role": "user", "content": "ab?"}]
    questions = [ThinkingQuestion(opened_prompt(asked, engine.template, form), seed=seed) for seed in range(3)]
    mine = think(engine, questions, form, budget)
    theirs = think(remote, questions, form, budget)
    assert [[(t.ids, t.answer, t.waits, t.forced) for t in g] for g in theirs] == [
        [(t.ids, t.answer, t.waits, t.forced) for t in g] for g in mine
    ]


def test_sampled_thoughts_keep_their_budget(engine: LocalEngine, served: tuple[ServedForcing, Endpoint]) -> None:
    remote = CompletionEngine(served[1], engine.template, engine.longest)
    form = FORMATS["tags"]
    prompt = opened_prompt([{"role": "user", "content": "ab?"}], engine.template, form)
    (thoughts,) = think(remote, [ThinkingQuestion(prompt, 24, 3, 1.0)], form, Budget(12, waits=1, answer=4))
    assert {t.ended for t in thoughts} >= {"budget", "itself"} and any(t.waits for t in thoughts)
    for thought in thoughts:
        assert thought.thinking_tokens <= 12 and thought.answer_tokens >= 1 and "</think>" not in thought.thinking


def test_an_answer_that_is_none_is_asked_for_again_and_then_an_error(
    engine: LocalEngine, served: tuple[ServedForcing, Endpoint]
) -> None:
    remote = CompletionEngine(served[1], engine.template, engine.longest)
    served[0].broken = 1
    assert remote.generate([Request((5, 6), max_new_tokens=3, temperature=0)])[0][0].ids
    served[0].broken = 2
    with pytest.raises(BactrianError, match="no completion"):
        remote.generate([Request((5, 6), max_new_tokens=3, temperature=0)])
    with pytest.raises(BactrianError, match="more than the server's 512"):
        remote.generate([Request((5,) * 510, max_new_tokens=3)])


def test_the_command_thinks_on_a_server(
    tmp_path: Path, served: tuple[ServedForcing, Endpoint], capsys: pytest.CaptureFixture[str]
) -> None:
    from bactrian.cli.main import invoke

    thinker(tmp_path / "m")
    options = ["--budget", "12", "--answer", "4", "--format", "tags"]
    assert invoke(["think", str(tmp_path / "m"), "ab?", *options]) == 0
    here, _ = capsys.readouterr()
    assert invoke(["think", str(tmp_path / "m"), "ab?", *options, "--server", served[1].url]) == 0
    there, said = capsys.readouterr()
    assert there == here and "⟦" in there and "thinking 12 of 12 tokens, cut by the budget" in said
    assert served[0].bodies[-1]["model"] == str(tmp_path / "m")
