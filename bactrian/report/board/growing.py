"""Files of JSON lines that somebody else is writing: read on from where the last look ended."""

from __future__ import annotations

import json
from pathlib import Path
from threading import Lock
from typing import Any

Row = dict[str, Any]


class GrowingFile:
    """The whole lines of a file so far. It may not be there yet; it may be cut back and grow anew after a kill."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[Row] = []
        self.unreadable = 0
        self.version = 0
        """Changes whenever `rows` do."""
        self._offset, self._inode = 0, 0
        self._lock = Lock()

    def read(self) -> list[Row]:
        """What was known and what has been added since."""
        with self._lock:
            try:
                with self.path.open("rb") as file:
                    self._read(file)
            except OSError:  # not there yet, or no longer
                self._begin_anew(0)
            return self.rows

    def _read(self, file: Any) -> None:
        import os

        about = os.fstat(file.fileno())
        if about.st_ino != self._inode or about.st_size < self._offset:
            self._begin_anew(about.st_ino)
        file.seek(self._offset)
        added = file.read()
        whole = added[: added.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            row = _row(line)
            self.unreadable += row is None and bool(line.strip())
            if row is not None:
                self.rows.append(row)
        self.version += bool(whole)

    def _begin_anew(self, inode: int) -> None:
        self.version += bool(self.rows)
        self.rows, self.unreadable, self._offset, self._inode = [], 0, 0, inode


def _row(line: bytes) -> Row | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None
