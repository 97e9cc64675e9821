"""What a model has answered, and what was said of it, by content: one line each, written at once, never changed.

The file's name says who answered (weights, precision, template, engine, code; of verdicts the sandbox's walls too). A
line's key says what was asked. So a run that was killed asks only what is missing, and another metric, verifier or
suite over the same prompts asks nothing. A line carries a checksum: one that a kill cut in half is dropped, one that
was changed is an error.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bactrian.errors import BactrianError
from bactrian.store.disk import take_lock
from bactrian.store.hashes import hash_json

Value = list[Any]


class AnswerStore:
    """Answers of one model, or verdicts on them. Use it as a context: it holds the file's lock, and closes it.

    `by`: all that shapes what is kept, besides what a key says.
    """

    def __init__(self, folder: Path, *by: Any) -> None:
        self.path = folder / f"{hash_json(by)[:32]}.jsonl"
        self._known: dict[str, Value] = {}
        self._held: int | None = None
        self._file: Any = None

    def __enter__(self) -> AnswerStore:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._held = take_lock(self.path.parent / ".locks" / self.path.name, f"the answers in {self.path}")
        self._read()
        self._file = self.path.open("a", encoding="utf-8")
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()
        self._file.close()
        if self._held is not None:
            os.close(self._held)
        self._held = None

    def _read(self) -> None:
        """Every whole line; what a kill left of the last one is cut off."""
        if not self.path.is_file():
            return
        kept = 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    break
                self._take(line, number)
                kept += len(line)
        if kept < self.path.stat().st_size:
            os.truncate(self.path, kept)

    def _take(self, line: bytes, number: int) -> None:
        try:
            record = json.loads(line)
            key, value, check = record["key"], record["value"], record["check"]
        except (ValueError, KeyError, TypeError):
            key, value, check = "", [], None
        if check != checksum(key, value):
            raise BactrianError(
                f"{self.path}, line {number}: an answer that was changed since it was written (its checksum does not "
                f"fit); remove the line, or the file, and run again"
            )
        self._known[key] = value

    def get(self, key: str) -> Value | None:
        return self._known.get(key)

    def put(self, key: str, value: Value) -> None:
        """Append an answer. From now on a kill leaves it; after the next `flush` a power cut does, too."""
        line = json.dumps({"key": key, "value": value, "check": checksum(key, value)}, ensure_ascii=True)
        self._file.write(line + "\n")
        self._file.flush()
        self._known[key] = value

    def flush(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())


def checksum(key: str, value: Value) -> str:
    return hash_json([key, value])[:12]


def request_key(what: str, **parts: Any) -> str:
    """The key of a request: a hash of all that shapes its answer besides the model."""
    shaping: Mapping[str, Any] = {"what": what, **parts}
    return hash_json(shaping)[:32]
