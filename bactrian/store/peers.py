"""Sees to it that no process outlives the others: each says when it fails, and all look whether the rest still live."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bactrian.errors import BactrianError
from bactrian.progress import note
from bactrian.stopping import Stop

BEAT = 1.0  # seconds between two looks
SILENCE = 60.0  # seconds after which a process of another machine that gives no sign is taken for dead
GRACE = 15.0  # seconds that the main thread has to end after another's failure; a collective of a GPU may never return
WORD = 5.0  # seconds to wait for the word of whoever failed, where a collective broke


@dataclass(frozen=True)
class Failure:
    """Why all end: which process was first, on which machine, and what became of it.

    noted_by: the rank of the process that says so; itself where it still could. signal: that asked it to stop.
    """

    rank: int
    host: str
    process: int
    message: str
    noted_by: int
    signal: int | None = None

    def __str__(self) -> str:
        return f"process {self.rank} ({self.host}, pid {self.process}) {self.message}"


class Lost(BactrianError):
    """Another process has ended, so this one does."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(str(failure))
        self.failure = failure


class Peers:
    """The other processes, as a thread of this one sees them."""

    def __init__(self, store: Any, rank: int, members: Sequence[Mapping[str, Any]]) -> None:
        """
        Args:
            store: a connection that nobody else uses.
            members: of all ranks: rank, host, process, space (see `Member`).
        """
        self.store, self.rank, self.members = store, rank, members
        self.failure: Failure | None = None
        self.waiting = ""
        self._ended, self._lock = threading.Event(), threading.Lock()
        self._beats: dict[int, tuple[bytes, float]] = {}
        self._looked = time.monotonic()
        # two: a call to a store whose machine is cut off may not return
        self._threads = [threading.Thread(target=each, daemon=True) for each in (self._watch, self._guard)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._ended.set()
        if self._threads[0].is_alive():
            self._threads[0].join(5 * BEAT)

    def waits_for(self, what: str) -> None:
        """What this process waits for, in words; empty: for nothing."""
        self.waiting = what

    def check(self) -> None:
        """
        Raises:
            Lost: another process has ended.
        """
        if self.failure is not None:
            raise Lost(self.failure)

    def ending(self, error: BaseException) -> Failure | None:
        """Note that this process ends by this error.

        Returns:
            The first failure that was noted: this one, or another's that came before it; None where all had agreed to
            stop.
        """
        if isinstance(error, Stop) and error.place and self.failure is None:
            self.stop()
            return None
        if isinstance(error, RuntimeError):  # a collective breaks when another's process is gone
            self._await_word()
        found = error.failure if isinstance(error, Lost) else self.failure
        if found is None:
            mine = found = self._own(error)
            with suppress(Exception):  # the store may be gone with the process that had it
                found = self._look(0) or self._first(mine)
                with self._hold():
                    self.store.set(f"seen/{self.rank}", "")
                if found == mine and self.rank == 0:
                    self._await_seen()
        self.stop()
        return found

    def speaks(self, failure: Failure) -> bool:
        """Whether this process tells the user: the leader does, and where that is gone the next."""
        if failure.rank == 0 and failure.noted_by != 0:
            return self.rank == 1
        return self.rank == 0

    def _own(self, error: BaseException) -> Failure:
        number = error.number if isinstance(error, Stop) else None
        said = str(error).strip() or type(error).__name__
        known = said if isinstance(error, BactrianError) else f"{type(error).__name__}: {said}"
        return self._of(self.members[self.rank], f"failed: {known}", number)

    def _of(self, member: Mapping[str, Any], message: str, number: int | None = None) -> Failure:
        return Failure(int(member["rank"]), str(member["host"]), int(member["process"]), message, self.rank, number)

    def _first(self, failure: Failure) -> Failure:
        """The first failure that was noted, which is this one if there was none."""
        with self._hold():
            found = self.store.compare_set("failure", "", json.dumps(asdict(failure)))
        return Failure(**json.loads(found))

    def _await_seen(self) -> None:
        """The store may be in this process: it stays until the others know."""
        others, end = [f"seen/{rank}" for rank in range(1, len(self.members))], time.monotonic() + WORD
        while time.monotonic() < end:
            with self._hold():
                others = [key for key in others if not self.store.check([key])]
            if not others:
                return
            time.sleep(BEAT / 10)

    def _await_word(self) -> None:
        end = time.monotonic() + WORD
        while self.failure is None and time.monotonic() < end:
            time.sleep(BEAT / 10)

    @contextmanager
    def _hold(self) -> Iterator[None]:
        """The store for this thread alone.

        Raises:
            TimeoutError: another thread's call does not return.
        """
        if not self._lock.acquire(timeout=WORD):
            raise TimeoutError("the store does not answer")
        try:
            yield
        finally:
            self._lock.release()

    def _guard(self) -> None:
        """Where the store has not answered for long, whoever has it is cut off."""
        while not self._ended.wait(BEAT):
            if time.monotonic() - self._looked > SILENCE and self.failure is None:
                self.failure = self._without_store(TimeoutError(f"no answer for {SILENCE:.0f} s"))
                self._see_to_the_end()
                return

    def _watch(self) -> None:
        beat = 0
        while not self._ended.wait(BEAT):
            beat += 1
            try:
                found = self._look(beat)
            except Exception as error:
                found = self._without_store(error)
            self._looked = time.monotonic()
            if found is not None and not self._ended.is_set():
                self.failure = found
                self._see_to_the_end()
                return

    def _look(self, beat: int) -> Failure | None:
        with self._hold():
            self.store.set(f"beat/{self.rank}", str(beat))
            if self.store.check(["failure"]):
                self.store.set(f"seen/{self.rank}", "")
                return Failure(**json.loads(self.store.get("failure")))
        for member in self.members:
            if (said := self._gone(member)) is not None:
                return self._first(self._of(member, said))
        return None

    def _gone(self, member: Mapping[str, Any]) -> str | None:
        """Why a process is taken for dead; None if it is not."""
        rank, me = int(member["rank"]), self.members[self.rank]
        if rank == self.rank:
            return None
        if (member["host"], member["space"]) == (me["host"], me["space"]) and me["space"]:
            return None if alive(int(member["process"])) else "ended without a word: it was killed"
        if 0 not in (rank, self.rank):  # of other machines the leader looks at all, and all look at the leader
            return None
        with self._hold():
            key = f"beat/{rank}"
            beat = self.store.get(key) if self.store.check([key]) else b""
        now = time.monotonic()
        if self._beats.get(rank, (None, 0.0))[0] != beat:
            self._beats[rank] = (beat, now)
        silent = now - self._beats[rank][1]
        return f"has given no sign for {silent:.0f} s" if silent > SILENCE else None

    def _without_store(self, error: Exception) -> Failure:
        """The store cannot be reached: whoever had it is gone, the leader or torchrun on its machine."""
        leader = self.members[0]
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        gone = "ended without a word: it was killed" if not self._lives(leader) else f"cannot be reached ({reason})"
        return self._of(leader, gone)

    def _lives(self, member: Mapping[str, Any]) -> bool:
        return member["host"] != socket.gethostname() or alive(int(member["process"]))

    def _see_to_the_end(self) -> None:
        """Another has failed: where the main thread does not notice, it is asked to stop, and then made to."""
        failure = self.failure
        assert failure is not None
        if self._ended.wait(GRACE):
            return
        with suppress(OSError):
            os.kill(os.getpid(), signal.SIGTERM)
        if self._ended.wait(GRACE):
            return
        if self.speaks(failure):
            note(f"error: {failure}")
        sys.stderr.flush()
        os._exit(2)


def alive(process: int) -> bool:
    """Whether a process of this machine runs: one that was killed and not yet buried does not."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state not in "ZX"
