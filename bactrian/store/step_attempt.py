"""Who is making an artifact: a small record in its partial folder, kept across kills, that others may read."""

from __future__ import annotations

import json
import os
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from bactrian.errors import BactrianError
from bactrian.store.disk import now, write_atomically
from bactrian.store.hashes import files_below

NAME = "attempt.json"


@dataclass(frozen=True)
class StepAttempt:
    """A process's work on an artifact.

    making: the same for all attempts at one artifact; of one that is made anew, another. In the manifest too.
    started: of the first attempt, ISO 8601. attempts: with this one.
    seconds: that the attempts before this one took; began: of this one, seconds of the epoch.
    failure: why this attempt ended, where it could still say so.
    """

    making: str = field(default_factory=lambda: secrets.token_hex(8))
    started: str = field(default_factory=now)
    attempts: int = 1
    seconds: float = 0.0
    began: float = field(default_factory=time.time)
    process: int = field(default_factory=os.getpid)
    host: str = field(default_factory=socket.gethostname)
    failure: str | None = None

    @property
    def over(self) -> str | None:
        """Why nobody makes the artifact any more; None while somebody does, as far as can be told from here.

        A process on another machine is taken to be at work. (The lock is not asked: to look at it in the process
        that holds it would give it up.)
        """
        if self.failure is not None:
            return self.failure
        if self.host != socket.gethostname() or _runs(self.process):
            return None
        return f"process {self.process} ended without a word: it was killed"


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True


def begin(partial: Path) -> StepAttempt:
    """Note that this process works on the artifact; continues the record of those before.

    A process that was killed is taken to have worked until it last wrote a file here.
    """
    attempt = StepAttempt()
    if (before := read(partial)) is not None:
        last = max((file.stat().st_mtime for file in files_below(partial)), default=before.began)
        attempt = replace(
            attempt,
            making=before.making,
            started=before.started,
            attempts=before.attempts + 1,
            seconds=before.seconds + max(0.0, last - before.began),
        )
    _write(partial, attempt)
    return attempt


@contextmanager
def noting_failure(partial: Path) -> Iterator[None]:
    """Leave word in the record why this process stops, where it can; else its end alone is seen."""
    try:
        yield
    except BaseException as error:
        said = (str(error) or type(error).__name__).splitlines()[0]
        with suppress(BactrianError, OSError):
            if (attempt := read(partial)) is not None:
                _write(partial, replace(attempt, failure=said))
        raise


def read(partial: Path) -> StepAttempt | None:
    """The record of an artifact that is being made, or was cut; None if there is none that can be read."""
    try:
        found: Any = json.loads((partial / NAME).read_text(encoding="utf-8"))
        known = {each.name: found[each.name] for each in fields(StepAttempt) if each.name in found}
        return StepAttempt(**known) if {"started", "attempts", "seconds", "began"} <= known.keys() else None
    except (OSError, ValueError, TypeError):  # not there, or cut
        return None


def _write(partial: Path, attempt: StepAttempt) -> None:
    write_atomically(partial / NAME, json.dumps(asdict(attempt)))
