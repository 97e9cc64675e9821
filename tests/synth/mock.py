"""Generators for tests: a local server whose answers a function gives, and a workspace for a stage."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bactrian.store.artifact import Input, Workspace
from bactrian.store.manifest import Kind
from tests.generate.chat_server import Handler, completion, serving

ITEMS = "gsm8k_test.jsonl"
TEST_ITEM = "A farmer keeps forty two geese and sells nine of them on Monday, how many geese does he have then?"


@contextmanager
def generator(answer: Callable[[dict[str, Any]], str], **settings: Any) -> Iterator[tuple[dict[str, Any], Any]]:
    """Settings of a generator whose server answers with `answer(body)`, and the server's handler."""

    def behave(handler: Handler, content: str, nth: int) -> None:
        handler.give(200, completion(answer(handler.body)))

    with serving(behave) as (url, handler):
        server = {"url": url, "model": "mock", "backoff": 0.0, "licence": "MIT", "tries": 2}
        yield {"server": server | settings.pop("server", {}), **settings}, handler


def workspace(folder: Path, rows: list[dict[str, Any]], name: str = "w") -> Workspace:
    """With the rows as `seeds.jsonl`, and one test item as ITEMS."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "seeds.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / ITEMS).write_text(json.dumps({"question": TEST_ITEM, "answer": "#### 33"}) + "\n")
    inputs = {ref: Input(ref, folder / ref, Kind.DATA, "c0ffee") for ref in ("seeds.jsonl", ITEMS)}
    return Workspace.temporary(folder / name, inputs)


def personas(count: int) -> list[dict[str, Any]]:
    return [
        {"id": f"p{n}", "text": f"A keeper of {n + 2} bees.", "source": "ours", "license": "CC0-1.0"}
        for n in range(count)
    ]


def dropped(work: Workspace) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (work.output / "dropped.jsonl").read_text().splitlines()]
