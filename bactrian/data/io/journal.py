"""What a step has got so far, entry by entry on disk, so that a kill loses none that was finished."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, Self, TypeVar

from bactrian.store.disk import write_atomically

Value = TypeVar("Value")


class Journal:
    """A file of JSON lines, [key, value] each, added to from any thread; a key's last value counts.

    A line that a kill cut in the middle is taken back when the file is opened again.

    >>> with Journal(path) as journal:
    ...     journal.put("a", {"text": "so"})
    ...     journal.found["a"]
    {'text': 'so'}
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.found: dict[str, Any] = {}
        self._lock = Lock()

    def __enter__(self) -> Self:
        self.path.touch()
        data = self.path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            with self.path.open("r+b") as file:
                file.truncate(len(whole))
        self.found = dict(json.loads(line) for line in whole.splitlines())
        self._file = self.path.open("ab")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def put(self, key: str, value: Any) -> None:
        """Note an entry; it is on disk when this returns."""
        line = json.dumps([key, value]).encode() + b"\n"
        with self._lock:
            self._file.write(line)
            self._file.flush()
            os.fsync(self._file.fileno())
            self.found[key] = json.loads(line)[1]


def made_once(path: Path, make: Callable[[], Value]) -> Value:
    """What `make` gave, as JSON keeps it; it is called only if the file is not there yet."""
    if not path.exists():
        write_atomically(path, json.dumps(make()))
    found: Value = json.loads(path.read_text(encoding="utf-8"))
    return found
