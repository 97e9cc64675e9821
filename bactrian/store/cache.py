"""What is kept between runs to save time, in one folder; whatever is missing or damaged there is made again."""

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path

from bactrian.errors import BactrianError
from bactrian.store.disk import write_atomically

MOST = 4096
"""Values in a file of `Kept`; beyond it those that this process did not ask for go."""


def cache_folder() -> Path:
    """Where results are kept that can be made again, converted models among them: $BACTRIAN_CACHE, else
    $XDG_CACHE_HOME/bactrian, else ~/.cache/bactrian."""
    if path := os.environ.get("BACTRIAN_CACHE"):
        return Path(path)
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "bactrian"


class Kept:
    """Lists of texts by a hash of all that they follow from, in a file with a hash of its own.

    Processes that write at the same time overwrite each other's values, which are then made again.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.asked = path, set[str]()
        self.values = _values(path)
        self.new = False

    def get(self, key: str) -> list[str] | None:
        self.asked.add(key)
        return self.values.get(key)

    def put(self, key: str, value: list[str]) -> None:
        self.values[key], self.new = value, True

    def save(self) -> None:
        """Write what is new. Where that cannot be, the next process makes it again."""
        if not self.new:
            return
        self.new = False
        if len(self.values) > MOST:
            self.values = {key: value for key, value in self.values.items() if key in self.asked}
        text = json.dumps(self.values)
        with suppress(OSError, BactrianError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path, f"{hashlib.sha256(text.encode()).hexdigest()}\n{text}")


def _values(path: Path) -> dict[str, list[str]]:
    try:
        digest, _, text = path.read_text(encoding="utf-8").partition("\n")
    except (OSError, ValueError):
        return {}
    if hashlib.sha256(text.encode()).hexdigest() != digest:
        return {}
    values: dict[str, list[str]] = json.loads(text)
    return values
