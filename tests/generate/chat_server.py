"""A local HTTP server that answers chat completions as a test tells it to."""

import json
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


def completion(text: str, finish: str = "stop") -> bytes:
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": finish}
    return json.dumps({"choices": [choice], "usage": {"completion_tokens": len(text.split())}}).encode()


def preference(first: float) -> bytes:
    """A completion whose first token is A with this probability, else B: with its log-probabilities."""
    top = [{"token": token, "logprob": math.log(p)} for token, p in (("A", first), ("B", 1 - first))]
    body = json.loads(completion("A"))
    body["choices"][0]["logprobs"] = {"content": [{"token": "A", "logprob": math.log(first), "top_logprobs": top}]}
    return json.dumps(body).encode()


def continuation(text: str, finish: str = "stop") -> bytes:
    """What the (plain, not chat) completions endpoint answers."""
    usage = {"completion_tokens": len(text.split()), "prompt_tokens": 3}
    return json.dumps({"choices": [{"text": text, "finish_reason": finish}], "usage": usage}).encode()


class Handler(BaseHTTPRequestHandler):
    """Asks the test what to do with the n-th request for each content."""

    protocol_version = "HTTP/1.1"
    behave: Callable[["Handler", str, int], None]
    seen: Counter[str]
    bodies: list[dict[str, Any]]
    body: dict[str, Any]
    lock = threading.Lock()

    def do_POST(self) -> None:
        self.body = body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        content = body["messages"][-1]["content"] if "messages" in body else body["prompt"]
        with self.lock:
            self.seen[content] += 1
            self.bodies.append({**body, "path": self.path, "authorization": self.headers.get("Authorization")})
            nth = self.seen[content]
        type(self).behave(self, content, nth)

    def give(self, status: int, body: bytes = b"{}", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


class Clock:
    """Whoever sleeps is there at once, and later. For one thread at a time: two would each move it on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(time, "sleep", self.sleep)

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@contextmanager
def serving(behave: Callable[[Handler, str, int], None]) -> Iterator[tuple[str, type[Handler]]]:
    handler = type("Behaving", (Handler,), {"behave": staticmethod(behave), "seen": Counter(), "bodies": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", handler
    finally:
        server.shutdown()
        server.server_close()
