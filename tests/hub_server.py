"""A stand-in for the Hub on loopback: repositories in memory, behind the routes that uploads take."""

import base64
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LARGE = (".safetensors", ".gguf")


@dataclass
class Hub:
    """repositories: id → path → content. stored: large files that have arrived, by SHA-256, committed or not.

    fails: how many uploads of large files are still let through before the connection breaks; None: all.
    hangs_after: how many are, before one gets no answer; `hanging` is then set.
    """

    url: str = ""
    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    private: dict[str, bool] = field(default_factory=dict)
    stored: dict[str, bytes] = field(default_factory=dict)
    uploads: list[str] = field(default_factory=list)
    commits: list[list[str]] = field(default_factory=list)
    fails: int | None = None
    hangs_after: int | None = None
    hanging: threading.Event = field(default_factory=threading.Event)

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        """Status and JSON of one request."""
        parts = path.partition("?")[0].strip("/").split("/")
        if method == "PUT" and parts[0] == "upload":
            return self._upload(parts[1], body)
        if path.startswith("/api/repos/create"):
            asked = json.loads(body)
            name = f"{asked.get('organization') or 'me'}/{asked['name']}"
            if name in self.repositories:
                return 409, {"error": "there"}
            self.repositories[name], self.private[name] = (
                {},
                asked.get("visibility") == "private" or asked.get("private") is True,
            )
            return 200, {"url": f"{self.url}/{name}"}
        if ".git/info/lfs/objects/batch" in path:
            return 200, {"objects": [self._batch(each) for each in json.loads(body)["objects"]]}
        if path.startswith("/api/validate-yaml"):
            return 200, _check_card(json.loads(body)["content"])
        name = "/".join(parts[2:4])
        if parts[:2] != ["api", "models"] or name not in self.repositories:
            return 404, {"error": "Repository not found"}
        files = self.repositories[name]
        if parts[4:5] == ["tree"]:
            return 200, [_entry(path, content) for path, content in files.items()]
        if parts[4:5] == ["preupload"]:
            return 200, {
                "files": [
                    {
                        "path": each["path"],
                        "uploadMode": "lfs" if each["path"].endswith(LARGE) else "regular",
                        "shouldIgnore": False,
                    }
                    for each in json.loads(body)["files"]
                ]
            }
        if parts[4:5] == ["commit"]:
            return 200, self._commit(name, files, [json.loads(line) for line in body.splitlines() if line.strip()])
        return 200, {"id": name, "sha": "0" * 40, "siblings": []}

    def _batch(self, each: dict[str, Any]) -> dict[str, Any]:
        if each["oid"] in self.stored:
            return each
        return each | {"actions": {"upload": {"href": f"{self.url}/upload/{each['oid']}"}}}

    def _upload(self, oid: str, body: bytes) -> tuple[int, Any]:
        if self.fails is not None:
            if not self.fails:
                return 403, {"error": "cut"}
            self.fails -= 1
        if self.hangs_after is not None and len(self.uploads) >= self.hangs_after:
            self.hanging.set()
            time.sleep(2)
            return 503, {"error": "slow"}
        assert hashlib.sha256(body).hexdigest() == oid
        self.stored[oid] = body
        self.uploads.append(oid)
        return 200, {}

    def _commit(self, name: str, files: dict[str, bytes], lines: list[dict[str, Any]]) -> dict[str, Any]:
        names = []
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.stored[value["oid"]]
            names += [value["path"]] if line["key"] != "header" else []
        self.commits.append(names)
        return {"commitUrl": f"{self.url}/{name}/commit/{'0' * 40}", "commitOid": "0" * 40, "success": True}


def _check_card(text: str) -> dict[str, Any]:
    """What the Hub says of a card's header before it takes it."""
    from ruamel.yaml import YAML

    header = YAML(typ="safe", pure=True).load(text.split("---\n", 2)[1])
    faults = [] if isinstance(header, dict) and header.get("license") else [{"message": "license is required"}]
    return {"errors": faults, "warnings": []}


def _entry(path: str, content: bytes) -> dict[str, Any]:
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    entry = {"type": "file", "path": path, "size": len(content), "oid": blob}
    if path.endswith(LARGE):
        entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
    return entry


@contextmanager
def running() -> Iterator[Hub]:
    """The server, as long as the block lasts."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _do(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("Transfer-Encoding") == "chunked":
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
            status, said = hub.answer(self.command, self.path, body)
            text = json.dumps(said).encode()
            self.send_response(status)
            if status == 404:
                self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PUT = _do

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"

    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
