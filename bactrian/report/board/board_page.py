"""The board's page: the same one from the server, which it asks, and as one file, which holds all of it."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bactrian.errors import BactrianError
from bactrian.report.board.live import LiveStore
from bactrian.report.board.queries import BoardQueries
from bactrian.report.board.samples import SampleSet
from bactrian.report.html import policy, render

STYLES = ("style.css", "board/board.css")
SCRIPTS = tuple(
    f"board/{name}.js" for name in ("dom", "stats", "source", "charts", "runs", "browser", "detail", "boot")
)
TEMPLATE = "board/board.html.j2"
CHUNK = 400
"""Answers in one compressed piece of the file: what is unpacked to read one of them."""


@dataclass(frozen=True)
class BoardPage:
    """The page that the server gives out, and what a browser may do with it."""

    html: str
    policy: str

    @classmethod
    def live(cls, store: Path) -> BoardPage:
        html = render(TEMPLATE, STYLES, SCRIPTS, {"name": store.name, "pieces": []}, "'self'")
        return cls(html, f"{policy(STYLES, SCRIPTS, chr(39) + 'self' + chr(39))}; frame-ancestors 'none'")


def export(store: Path, target: Path) -> Path:
    """Write the board as it is now into one file: no server, no network, every answer in it.

    Raises:
        BactrianError: the file cannot be written.
    """
    pieces = dict(_pieces(LiveStore(store)))
    page = render(TEMPLATE, STYLES, SCRIPTS, {"name": store.resolve().name, "pieces": list(pieces.items())})
    try:
        target.write_text(page, encoding="utf-8")
    except OSError as error:
        raise BactrianError(f"{target}: cannot be written ({error.strerror})") from None
    return target


def _pieces(store: LiveStore) -> Iterator[tuple[str, str]]:
    """Name → packed JSON: runs, and of each step its curves, the index of its answers, and their texts."""
    answers = BoardQueries(store)
    runs = answers.runs({})
    yield "runs", _packed(runs)
    steps = {step["id"]: step for run in runs["runs"] for step in run["steps"]}
    for name, step in steps.items():
        if step["curves"]:
            yield f"curves:{name}", _packed(answers.curves({"step": name}))
        if step["samples"]:
            found = answers.set_of({"step": name})
            yield f"samples:{name}", _packed(found.index)
            yield f"prompts:{name}", _packed({"prompts": found.prompts, "starts": found.starts})
            for number, first in enumerate(range(0, found.count, CHUNK)):
                yield f"texts:{name}:{number}", _packed(_texts(found, first))


def _texts(found: SampleSet, first: int) -> list[dict[str, Any]]:
    """A piece's answers, each prompt as its number."""
    rows = range(first, min(first + CHUNK, found.count))
    return [
        {key: value for key, value in row.items() if key not in ("prompt", "start") and value != ""}
        | {"p": found.prompt_of[row["row"]]}
        for row in found.texts(rows)
    ]


def _packed(value: Any) -> str:
    """gzip, as base64: no character of it means anything in HTML."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(gzip.compress(text.encode(), 6, mtime=0)).decode("ascii")
