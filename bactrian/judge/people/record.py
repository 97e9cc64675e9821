"""What annotators said, in a SQLite file: a record that only grows, each line on the disk before it is confirmed."""

from __future__ import annotations

import os
import secrets
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from bactrian.errors import BactrianError
from bactrian.judge.people.pairs_by_hand import Label, PairByHand

Choice = Literal["first", "second", "tie", "both_bad", "skip"]
APPLICATION = 0x42616374  # "Bact": the header says whose file it is
LAYOUT = 1
_SCHEMA = """
CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE pair (id TEXT PRIMARY KEY, digest TEXT NOT NULL) STRICT;
CREATE TABLE annotator (name TEXT PRIMARY KEY, token TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE said (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  annotator TEXT NOT NULL REFERENCES annotator (name),
  pair TEXT NOT NULL REFERENCES pair (id),
  choice TEXT NOT NULL CHECK (choice IN ('first', 'second', 'tie', 'both_bad', 'skip', 'undone')),
  first_acceptable INTEGER CHECK (first_acceptable IN (0, 1)),
  second_acceptable INTEGER CHECK (second_acceptable IN (0, 1)),
  comment TEXT NOT NULL,
  seconds REAL NOT NULL CHECK (seconds >= 0),
  swapped INTEGER NOT NULL CHECK (swapped IN (0, 1)),
  at TEXT NOT NULL,
  sent TEXT NOT NULL,
  UNIQUE (annotator, sent)) STRICT;
CREATE INDEX said_of ON said (annotator, pair, number);
"""
_COLUMNS = "annotator, pair, choice, first_acceptable, second_acceptable, comment, seconds, swapped"
_STANDING = """
SELECT {columns} FROM said
WHERE number IN (SELECT max(number) FROM said GROUP BY annotator, pair) AND choice != 'undone' {more} ORDER BY number
"""


@dataclass(frozen=True)
class HandVerdict:
    """What one annotator said of one pair, in the file's order of the two answers, whatever side each was shown on.

    acceptable: whether first and second would do, each by itself; None where that was not asked.
    seconds: for which the pair was on the screen. swapped: whether the second answer was on the left.
    """

    annotator: str
    pair: str
    choice: Choice
    acceptable: tuple[bool, bool] | None = None
    comment: str = ""
    seconds: float = 0.0
    swapped: bool = False


class HandRecord:
    """The record of one set of pairs. Several threads, and several processes, may write to it at once.

    Write-ahead log with `synchronous = FULL`: what was confirmed is there after a kill, and after a power cut. Taking
    something back is a line too.
    """

    def __init__(self, path: Path, pairs: Sequence[PairByHand]) -> None:
        """Opens the file, or begins it; pairs that it does not know yet are added.

        Raises:
            BactrianError: it is no such file, or holds annotations of pairs that are not among these.
        """
        self.path, self._lock = path, threading.Lock()
        try:
            self._begin(path)
            self._add(pairs)
        except (sqlite3.Error, OSError) as error:
            raise BactrianError(f"{path}: cannot be used as a database of annotations ({error})") from None

    def _begin(self, path: Path) -> None:
        is_new = not path.exists()
        if is_new:
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))  # it holds the tokens
        self._connection = sqlite3.connect(path, timeout=30, check_same_thread=False, isolation_level=None)
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            self._connection.execute(f"PRAGMA {pragma}")
        with self._transaction():
            owner, layout = (self._one(f"PRAGMA {name}") for name in ("application_id", "user_version"))
            if owner == APPLICATION and layout == LAYOUT:
                return
            if owner or layout or self._one("SELECT count(*) FROM sqlite_schema"):
                raise BactrianError(f"{path}: found a database of something else, expected one of annotations")
            for statement in _SCHEMA.split(";\n"):
                self._connection.execute(statement)
            self._connection.execute(f"PRAGMA application_id = {APPLICATION}")
            self._connection.execute(f"PRAGMA user_version = {LAYOUT}")

    def _add(self, pairs: Sequence[PairByHand]) -> None:
        given = {each.pair.id: each.digest for each in pairs}
        with self._transaction():
            for name, digest in self._connection.execute("SELECT id, digest FROM pair"):
                if given.get(name) != digest:
                    how = "other texts" if name in given else "no such pair"
                    raise BactrianError(
                        f"{self.path}: holds annotations of other pairs: of {name!r:.60} the file of pairs has {how}; "
                        f"give another --database, or the file that it was begun with"
                    )
            self._connection.executemany("INSERT OR IGNORE INTO pair VALUES (?, ?)", given.items())

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All of it or nothing is written.

        Raises:
            BactrianError: the disk is full, or the file locked. It is told to annotators, so it names no file.
        """
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield
                self._connection.execute("COMMIT")
            except BaseException as error:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                if isinstance(error, sqlite3.OperationalError):
                    raise BactrianError(f"the database of annotations cannot be written: {error}") from None
                raise

    def _one(self, statement: str, *values: str) -> int:
        return int(self._connection.execute(statement, values).fetchone()[0])

    def setting(self, name: str, value: str) -> str:
        """The setting as the file has it; `value` where it has none yet, which is kept."""
        with self._transaction():
            self._connection.execute("INSERT OR IGNORE INTO setting VALUES (?, ?)", (name, value))
            found = self._connection.execute("SELECT value FROM setting WHERE name = ?", (name,)).fetchone()
        return str(found[0])

    def set(self, name: str, value: str) -> None:
        """Keep a setting, whatever it was before."""
        with self._transaction():
            self._connection.execute("INSERT OR REPLACE INTO setting VALUES (?, ?)", (name, value))

    def lead(self) -> str:
        """The token of whoever leads the work."""
        return self.setting("lead", secrets.token_urlsafe(16))

    def add_annotators(self, names: Iterable[str]) -> None:
        """Those that are there already keep their token and all they have said."""
        made = [(name, secrets.token_urlsafe(16)) for name in names]
        with self._transaction():
            self._connection.executemany("INSERT OR IGNORE INTO annotator VALUES (?, ?)", made)

    def annotators(self) -> dict[str, str]:
        """Name → token, in the order in which they were added."""
        with self._lock:
            return dict(self._connection.execute("SELECT name, token FROM annotator ORDER BY rowid"))

    def standing(self, annotator: str | None = None) -> list[HandVerdict]:
        """What is said and was not taken back, of one annotator or of all; one verdict a pair, the last."""
        more = "" if annotator is None else "AND annotator = ?"
        asked = () if annotator is None else (annotator,)
        with self._lock:
            rows = self._connection.execute(_STANDING.format(columns=_COLUMNS, more=more), asked).fetchall()
        return [_verdict(*row) for row in rows]

    def add(self, verdict: HandVerdict, sent: str) -> bool:
        """Write it down; False where the same message was written down before, or the pair has a verdict already.

        Args:
            sent: names the message: one that is sent again because its answer was lost is not written twice.
        """
        with self._transaction():
            known = self._one(
                "SELECT count(*) FROM said WHERE annotator = ? AND sent = ?", verdict.annotator, sent
            ) or self._one(
                "SELECT count(*) FROM (SELECT choice FROM said WHERE annotator = ? AND pair = ? "
                "ORDER BY number DESC LIMIT 1) WHERE choice != 'undone'",
                verdict.annotator,
                verdict.pair,
            )
            if not known:
                self._write(verdict, verdict.choice, sent)
        return not known

    def take_back(self, annotator: str, sent: str) -> HandVerdict | None:
        """Undo the annotator's last standing verdict, and say what it was; None where there is none.

        Args:
            sent: as in `add`; the same message sent again takes nothing further back.
        """
        with self._transaction():
            if self._one("SELECT count(*) FROM said WHERE annotator = ? AND sent = ?", annotator, sent):
                return None
            statement = _STANDING.format(columns=_COLUMNS, more="AND annotator = ?")
            rows = self._connection.execute(statement, (annotator,)).fetchall()
            if not rows:
                return None
            last = _verdict(*rows[-1])
            self._write(last, "undone", sent)
        return last

    def undone(self, annotator: str, pair: str) -> HandVerdict | None:
        """What was said last of a pair before it was taken back, to go on from."""
        statement = (
            f"SELECT {_COLUMNS} FROM said WHERE annotator = ? AND pair = ? AND choice != 'undone' "
            "ORDER BY number DESC LIMIT 1"
        )
        with self._lock:
            row = self._connection.execute(statement, (annotator, pair)).fetchone()
        return _verdict(*row) if row else None

    def _write(self, verdict: HandVerdict, choice: str, sent: str) -> None:
        acceptable = verdict.acceptable or (None, None)
        values = (verdict.annotator, verdict.pair, choice, *acceptable, verdict.comment, verdict.seconds)
        moment = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._connection.execute(
            f"INSERT INTO said ({_COLUMNS}, at, sent) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*values, verdict.swapped, moment, sent),
        )


def _verdict(
    annotator: str,
    pair: str,
    choice: Choice,
    first: int | None,
    second: int | None,
    comment: str,
    seconds: float,
    swapped: int,
) -> HandVerdict:
    acceptable = None if first is None or second is None else (bool(first), bool(second))
    return HandVerdict(annotator, pair, choice, acceptable, comment, seconds, bool(swapped))


def labels_of(verdicts: Iterable[HandVerdict]) -> dict[str, dict[str, Label]]:
    """Annotator → pair → label, skipped pairs left out."""
    found: dict[str, dict[str, Label]] = {}
    for each in verdicts:
        if each.choice != "skip":
            found.setdefault(each.annotator, {})[each.pair] = each.choice
    return found
