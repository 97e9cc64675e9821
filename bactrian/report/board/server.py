"""The board's server: this machine's own browsers ask, and nobody else.

The standard library's server is enough: one page and five questions, all of them GET, answered from memory. It needs no
event loop, as the page asks every few seconds, and no package that every user would have to install for it.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from bactrian.errors import BactrianError
from bactrian.report.board.board_page import BoardPage
from bactrian.report.board.queries import BoardQueries

LOOPBACK = "127.0.0.1"
NAMES = ("127.0.0.1", "localhost")
LONGEST = 100_000
"""Characters of a request's address."""
PLAIN = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}


class BoardServer(ThreadingHTTPServer):
    """Serves one store on 127.0.0.1, below a path that nobody can guess.

    Other users of the machine reach its ports too: without the path they get nothing. Pages of other origins that a
    browser here has open are refused by the Host header (names that were rebound to 127.0.0.1) and by Sec-Fetch-Site.
    """

    daemon_threads = True

    def __init__(self, answers: BoardQueries, page: BoardPage, port: int = 0) -> None:
        """
        Args:
            port: 0 is any that is free.

        Raises:
            BactrianError: the port is taken, or not allowed.
        """
        self.answers, self.page, self.secret = answers, page, secrets.token_urlsafe(12)
        try:
            super().__init__((LOOPBACK, port), Asked)
        except OSError as error:
            raise BactrianError(f"--port {port}: found {error.strerror}; expected a free port, or 0 for any") from None

    @property
    def address(self) -> str:
        return f"http://{LOOPBACK}:{self.server_port}/{self.secret}/"


class Asked(BaseHTTPRequestHandler):
    """One connection."""

    server: BoardServer
    server_version = "bactrian"
    sys_version = ""
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:
        if not self._is_ours():
            return self._refuse(HTTPStatus.FORBIDDEN, "this address is for the browser that was given it")
        path, _, query = self.path[:LONGEST].partition("?")
        _, _, name = urlsplit(path).path.removeprefix("/").partition("/")
        if not secrets.compare_digest(
            path[1 : len(self.server.secret) + 2].encode(), f"{self.server.secret}/".encode()
        ):
            return self._refuse(HTTPStatus.NOT_FOUND, "nothing here; use the whole address that bactrian board printed")
        if name == "":
            return self._send(HTTPStatus.OK, self.server.page.html, "text/html", self.server.page.policy)
        answer = self.server.answers.by_name.get(name)
        if answer is None:
            return self._refuse(HTTPStatus.NOT_FOUND, "no such question")
        return self._answer(answer, {key: values[-1] for key, values in parse_qs(query).items()})

    def _is_ours(self) -> bool:
        port = self.server.server_port
        host = self.headers.get("Host", "")
        site = self.headers.get("Sec-Fetch-Site", "none")
        return host in [f"{name}:{port}" for name in NAMES] and site in ("none", "same-origin")

    def _answer(self, answer: Callable[[Mapping[str, str]], Any], asked: Mapping[str, str]) -> None:
        try:
            found = answer(asked)
        except BactrianError as error:
            return self._refuse(HTTPStatus.BAD_REQUEST, str(error))
        return self._send(HTTPStatus.OK, json.dumps(found, separators=(",", ":"), allow_nan=False), "application/json")

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        self._send(status, json.dumps({"error": why}), "application/json")

    def _send(self, status: HTTPStatus, text: str, kind: str, policy: str = "default-src 'none'") -> None:
        body = text.encode("utf-8", "replace")
        self.send_response(status)
        headers = {"Content-Type": f"{kind}; charset=utf-8", "Content-Length": str(len(body)), **PLAIN}
        for name, value in {**headers, "Content-Security-Policy": policy}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a line for each look would bury the address."""
