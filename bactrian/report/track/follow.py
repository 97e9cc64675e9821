"""A step that is being made, as a stream of events, read from the files that it writes anyway.

    follower = Follower(store.folder(stage, key))
    while not follower.over:
        for event in follower.poll():
            ...

Nothing here touches the step: a reader that is slow, or dies, costs it nothing. What is half written is read later. A
step that was killed and resumed makes some updates again, to the same numbers; they are told once.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from bactrian.errors import BactrianError
from bactrian.report.track.result_tables import Row, tables_of
from bactrian.store import step_attempt
from bactrian.store.hashes import METRICS, ROLLOUTS
from bactrian.store.manifest import MANIFEST, Manifest


@dataclass(frozen=True)
class Began:
    """A process works on the step. `making` names what it makes: the same after a kill, another when made anew.

    With another `making` everything is told from the beginning.
    """

    making: str
    started: str
    attempts: int


@dataclass(frozen=True)
class Scalars:
    """Numbers of an update (from 1)."""

    step: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class Samples:
    """Answers that a step of reinforcement learning (from 1) sampled: rows of rollouts.jsonl. A step may come in
    several of these."""

    step: int
    rows: Sequence[Row]


@dataclass(frozen=True)
class Table:
    """Something that is known at the end, such as an evaluation's scores."""

    name: str
    rows: Sequence[Row]


@dataclass(frozen=True)
class Finished:
    """The artifact is there."""

    folder: Path
    seconds: float
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Failed:
    """Nobody works on the step any more; the same command would go on with it."""

    reason: str


Event = Began | Scalars | Samples | Table | Finished | Failed


Place = tuple[int, int]
"""Of a line: its step, and which of the step's lines it is, from 1."""


@dataclass
class FollowPosition:
    """How much of a making was told: of each file up to which line."""

    making: str = ""
    told: dict[str, Place] = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps({"making": self.making, "told": self.told})

    @classmethod
    def from_json(cls, text: str) -> FollowPosition:
        """What `to_json` gave; the beginning, for anything else."""
        try:
            found = json.loads(text)
            places = {str(name): (int(step), int(line)) for name, (step, line) in found["told"].items()}
            return cls(str(found["making"]), places)
        except (ValueError, KeyError, TypeError, AttributeError):
            return cls()


@dataclass
class _GrowingFile:
    """A file of JSON lines, each of a step, that grows, and is sometimes replaced by one that ends earlier."""

    name: str
    offset: int = 0
    inode: int = 0
    place: Place = (0, 0)

    def read(self, folder: Path) -> Iterator[tuple[Place, Row]]:
        """What is new since the last time; a last line without its end is left for the next."""
        try:
            with (folder / self.name).open("rb") as file:
                found = os.fstat(file.fileno())
                if found.st_ino != self.inode or found.st_size < self.offset:
                    self.inode, self.offset, self.place = found.st_ino, 0, (0, 0)
                file.seek(self.offset)
                whole, end, _ = file.read().rpartition(b"\n")
        except OSError:  # not there yet, or just moved to its final place
            return
        self.offset += len(whole) + len(end)
        for line in whole.splitlines():
            if (row := _row(line)) is not None:
                step, number = self.place
                self.place = (row["step"], number + 1 if row["step"] == step else 1)
                yield self.place, row


def _row(line: bytes) -> Row | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    good = isinstance(row, dict) and isinstance(row.get("step"), int) and not isinstance(row["step"], bool)
    return row if good else None


@dataclass
class Follower:
    """Reads what a step has done since the last look.

    folder: of the artifact, whether it is there yet or not (`Store.folder`).
    position: where an earlier follower of the same step was; it goes on there.
    over: Finished or Failed was told. It may be polled on: the step may be resumed, or made again.
    """

    folder: Path
    position: FollowPosition = field(default_factory=FollowPosition)
    over: bool = field(default=False, init=False)
    _attempts: int = field(default=0, init=False)
    _read_manifest: tuple[int, int] | None = field(default=None, init=False)
    _files: dict[str, _GrowingFile] = field(default_factory=dict, init=False)

    def poll(self) -> list[Event]:
        """What happened since the last poll, in order; empty where nothing did, or the step has not begun."""
        return list(self.events())

    def events(self) -> Iterator[Event]:
        """As `poll`, each read when it is asked for: who hears `Began` can still set the position."""
        try:
            found = (self.folder / MANIFEST).stat()
        except OSError:
            yield from self._going_on()
            return
        if (found.st_ino, found.st_mtime_ns) != self._read_manifest:
            self._read_manifest = (found.st_ino, found.st_mtime_ns)
            yield from self._finished()

    def _going_on(self) -> Iterator[Event]:
        partial = self.folder.with_name(self.folder.name + ".partial")
        record = step_attempt.read(partial)
        if record is None:
            return
        over = record.over  # asked before the files are read, so that all that was written until then is told
        yield from self._began(record.making, record.started, record.attempts)
        yield from self._told(partial / "output")
        if over is not None and not self.over:
            self.over = True
            yield Failed(over)

    def _finished(self) -> Iterator[Event]:
        try:
            manifest = Manifest.read(self.folder)
        except (BactrianError, OSError) as error:
            self.over = True
            yield Failed(str(error))
            return
        yield from self._began(manifest.making, manifest.started, manifest.attempts)
        yield from self._told(self.folder)
        yield from (Table(name, rows) for name, rows in tables_of(self.folder))
        self.over = True
        known = {name: value for name, value in manifest.metrics.items() if value is not None}
        yield Finished(self.folder, manifest.seconds, known)

    def _began(self, making: str, started: str, attempts: int) -> Iterator[Event]:
        if making != self.position.making:
            self.position, self._attempts = FollowPosition(making), 0
        if attempts != self._attempts:
            self._attempts, self.over = attempts, False
            self._files = {name: _GrowingFile(name) for name in (METRICS, ROLLOUTS)}
            yield Began(making, started, attempts)

    def _told(self, output: Path) -> Iterator[Event]:
        for row in self._new(METRICS, output):
            yield Scalars(row["step"], _numbers(row))
        for step, rows in groupby(self._new(ROLLOUTS, output), key=itemgetter("step")):
            yield Samples(step, list(rows))

    def _new(self, name: str, output: Path) -> Iterator[Row]:
        """The rows of a file that were not told yet, by this follower or one before it."""
        for place, row in self._files[name].read(output):
            if place > self.position.told.get(name, (0, 0)):
                self.position.told[name] = place
                yield row


def _numbers(row: Row) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in row.items()
        if name != "step" and isinstance(value, int | float) and not isinstance(value, bool)
    }
