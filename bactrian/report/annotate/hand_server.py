"""The server of `annotate-by-hand`: pages and answers for the browsers that were given a link, and for nobody else.

Starlette with uvicorn, as several people write at once and each answer waits for a disk. Other users of the machine
reach its ports too: without a token in the path they get nothing. Pages of other sites that are open in the same
browser are refused by Host (names that were rebound to 127.0.0.1), Origin and Sec-Fetch-Site; there are no cookies
that such a page could send along.
"""

from __future__ import annotations

import json
import secrets
import socket
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bactrian.errors import BactrianError
from bactrian.report.html import policy, render

LOOPBACK = "127.0.0.1"
NAMES = ("127.0.0.1", "localhost")
LONGEST_BODY = 64_000
STYLES = ("style.css", "annotate/hand_page.css")
SCRIPTS = ("board/dom.js", "annotate/hand_page.js")
PLAIN = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "x-frame-options": "DENY",
}


class HandWork(Protocol):
    """What the pages show and where answers go."""

    def state(self, annotator: str) -> dict[str, Any]: ...

    def answer(self, annotator: str, said: Mapping[str, Any]) -> dict[str, Any]: ...

    def undo(self, annotator: str, said: Mapping[str, Any]) -> dict[str, Any]: ...

    def progress(self) -> dict[str, Any]: ...


class OwnBrowsersOnly:
    """Refuses what does not come from a page of this server, and adds to every answer what browsers must keep to."""

    def __init__(self, app: ASGIApp, port: int) -> None:
        self.app, self.hosts = app, [f"{name}:{port}" for name in NAMES]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                names = {name for name, _ in message["headers"]}
                more = PLAIN | {"content-security-policy": "default-src 'none'"}
                message["headers"] += [(k.encode(), v.encode()) for k, v in more.items() if k.encode() not in names]
            await send(message)

        if scope["type"] != "http":
            return
        request = Request(scope)
        if self._is_ours(request):
            return await self.app(scope, receive, send_with_headers)
        refusal = _refusal(403, "this address is for the browser that was given it")
        await refusal(scope, receive, send_with_headers)

    def _is_ours(self, request: Request) -> bool:
        headers = request.headers
        if request.headers.getlist("host") not in [[host] for host in self.hosts]:
            return False
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return False
        return request.method in ("GET", "HEAD") or headers.get("origin") == f"http://{headers['host']}"


class HandServer:
    """Serves the pages on 127.0.0.1, one path for each annotator and one for whoever leads the work."""

    def __init__(self, work: HandWork, annotators: Mapping[str, str], lead: str, port: int = 0) -> None:
        """
        Args:
            annotators: name → token. lead: the token of the page with the progress of all.
            port: 0 is any that is free.

        Raises:
            BactrianError: the port is taken, or not allowed.
        """
        self.work, self.annotators, self.lead = work, dict(annotators), lead
        self._socket = bound(port)
        self.port = int(self._socket.getsockname()[1])
        routes = [
            Route("/{token}/", self._page),
            Route("/{token}/state", self._state),
            Route("/{token}/answer", self._answer, methods=["POST"]),
            Route("/{token}/undo", self._undo, methods=["POST"]),
        ]
        app = Starlette(routes=routes, exception_handlers={HTTPException: _refused, BactrianError: _bad_request})
        app.router.redirect_slashes = False
        config = uvicorn.Config(
            OwnBrowsersOnly(app, self.port),
            loop="asyncio",
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=2,
        )
        self.server = uvicorn.Server(config)
        self._html = render("annotate/hand_page.html.j2", STYLES, SCRIPTS, {}, "'self'")
        self._policy = f"{policy(STYLES, SCRIPTS, chr(39) + 'self' + chr(39))}; frame-ancestors 'none'"

    def link(self, token: str) -> str:
        return f"http://{LOOPBACK}:{self.port}/{token}/"

    def serve(self) -> None:
        """Answers until it is stopped by a signal."""
        self.server.run(sockets=[self._socket])

    def _whose(self, request: Request) -> str:
        """The annotator of the token; compared in a time that does not depend on how much of it is right."""
        given = request.path_params["token"].encode()
        for name, token in self.annotators.items():
            if secrets.compare_digest(token.encode(), given):
                return name
        raise HTTPException(404, "nothing here; use the whole address that bactrian annotate-by-hand printed")

    async def _page(self, request: Request) -> Response:
        if secrets.compare_digest(self.lead.encode(), request.path_params["token"].encode()):
            return await run_in_threadpool(self._progress_page)
        self._whose(request)
        return HTMLResponse(self._html, headers={"content-security-policy": self._policy})

    def _progress_page(self) -> Response:
        page = render("annotate/progress_page.html.j2", STYLES, (), self.work.progress())
        allowed = f"{policy(STYLES, ())}; frame-ancestors 'none'"
        return HTMLResponse(page, headers={"content-security-policy": allowed})

    async def _state(self, request: Request) -> Response:
        return _json(await run_in_threadpool(self.work.state, self._whose(request)))

    async def _answer(self, request: Request) -> Response:
        return await self._told(request, self.work.answer)

    async def _undo(self, request: Request) -> Response:
        return await self._told(request, self.work.undo)

    async def _told(self, request: Request, act: Callable[[str, Mapping[str, Any]], dict[str, Any]]) -> Response:
        name = self._whose(request)
        return _json(await run_in_threadpool(act, name, await _message(request)))


def bound(port: int) -> socket.socket:
    """A listening socket on 127.0.0.1.

    Raises:
        BactrianError: the port is taken, or not allowed.
    """
    try:
        return socket.create_server((LOOPBACK, port))
    except OSError as error:
        raise BactrianError(f"--port {port}: found {error.strerror}; expected a free port, or 0 for any") from None


def is_free(port: int) -> bool:
    try:
        bound(port).close()
    except BactrianError:
        return False
    return True


async def _message(request: Request) -> Mapping[str, Any]:
    if request.headers.get("content-type") != "application/json":
        raise HTTPException(415, "expected application/json")
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > LONGEST_BODY:
            raise HTTPException(413, f"expected at most {LONGEST_BODY} bytes")
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise HTTPException(400, "expected JSON") from None
    if not isinstance(found, dict):
        raise HTTPException(400, "expected a JSON object")
    return found


def _json(value: Any) -> Response:
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)  # ASCII: lone surrogates stay escapes
    return Response(text, media_type="application/json")


def _refusal(status: int, why: str) -> Response:
    return JSONResponse({"error": why}, status)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _refusal(error.status_code, error.detail)


async def _bad_request(request: Request, error: Exception) -> Response:
    return _refusal(400, str(error))
