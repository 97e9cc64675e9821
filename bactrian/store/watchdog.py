"""When nothing moves: says what this process waits for and where it stands, and leaves the stacks of its threads.

What moves is what a bar shows (`progress.moved`). A line comes after a minute (BACTRIAN_NOTICE, seconds), and then
after four times as long, and so on; after ten of those minutes all stacks are written to `stacks.txt` in the step's
folder. SIGUSR1 writes them to standard error at any moment. Nothing is ended: slow is not stuck, and only people know.
"""

from __future__ import annotations

import faulthandler
import itertools
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from bactrian.errors import BactrianError
from bactrian.progress import last_moved, long_duration, note
from bactrian.store.processes import present

NOTICE = "BACTRIAN_NOTICE"
STACKS = "stacks.txt"
_SECONDS = 60.0
_AGAIN = 4
"""Times as long until the next line."""
_STACKS_AFTER = 10
"""Times as long as the first line took until the stacks are written."""
_PACKAGE = str(Path(__file__).resolve().parents[1])

Words = str | Callable[[], str]


@dataclass(frozen=True)
class Wait:
    """What is waited for, in words that may be found when they are needed, and since when (monotonic clock)."""

    what: Words
    since: float


_waits: dict[int, Wait] = {}
_numbers = itertools.count()


@contextmanager
def waits_for(what: Words) -> Iterator[None]:
    """Within, this process waits for something that it does not do itself: a server, a worker, another process."""
    number = next(_numbers)
    _waits[number] = Wait(what, time.monotonic())
    try:
        yield
    finally:
        del _waits[number]


def patience() -> float:
    """Seconds without a move until the first line.

    Raises:
        BactrianError: BACTRIAN_NOTICE is no number of seconds.
    """
    given = os.environ.get(NOTICE, "")
    try:
        seconds = float(given) if given else _SECONDS
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise BactrianError(f"environment variable {NOTICE}: found {given!r}, expected seconds, more than 0")
    return seconds


@contextmanager
def watched(what: str, folder: Path) -> Iterator[None]:
    """Within, a thread looks whether anything moves. `what`: is being made; `folder`: where stacks are left."""
    watchdog = Watchdog(what, folder, patience(), threading.get_ident())
    with _stacks_on_demand():
        watchdog.start()
        try:
            yield
        finally:
            watchdog.stop()


class Watchdog(threading.Thread):
    """Looks at one piece of work, which `worker`, a thread, does."""

    def __init__(self, what: str, folder: Path, seconds: float, worker: int) -> None:
        super().__init__(daemon=True, name="watchdog")
        self.what, self.folder, self.seconds, self.worker = what, folder, seconds, worker
        self.began, self._over = time.monotonic(), threading.Event()
        self._group = present()

    def stop(self) -> None:
        """Returns when it says no more."""
        self._over.set()
        self.join(1.0)

    def run(self) -> None:
        moved, due, left = self._moved(), self.seconds, False
        while not self._over.wait(min(1.0, self.seconds / 4)):
            if self._moved() > moved:
                moved, due, left = self._moved(), self.seconds, False
            still = time.monotonic() - moved
            if still >= due:
                due *= _AGAIN
                note(self.line(still))
            if still >= _STACKS_AFTER * self.seconds and not left:
                left = True
                self._leave_stacks()

    def line(self, still: float) -> str:
        """What nothing has come of for `still` seconds."""
        who = f"{self._group.name}, {self.what}" if self._group.size > 1 else self.what
        waits = [f"it waits for {words(wait)}" for wait in list(_waits.values())]
        told = [f"{who}: nothing has moved for {long_duration(still)}", *waits, f"it is {self._place()}"]
        return "; ".join(told) + f" (kill -USR1 {os.getpid()} shows all stacks)"

    def _moved(self) -> float:
        return max(self.began, last_moved())

    def _place(self) -> str:
        return place_of(sys._current_frames().get(self.worker))

    def _leave_stacks(self) -> None:
        path = self.folder / STACKS
        with suppress(OSError), path.open("w") as file:
            faulthandler.dump_traceback(file, all_threads=True)
            note(f"{self.what}: the stacks of all threads are in {path}")


def words(wait: Wait) -> str:
    """What is waited for, and how long it has been."""
    try:
        said = wait.what if isinstance(wait.what, str) else wait.what()
    except Exception as error:  # to look is not worth an end of the work
        said = f"something that cannot be asked ({error!r})"
    return f"{said}, for {long_duration(time.monotonic() - wait.since)}"


def place_of(frame: FrameType | None) -> str:
    """The innermost line of our own code that a thread is in, and what it called there."""
    inner = frame
    while frame is not None and not frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    if inner is None or frame is None:
        return "in code that is not Bactrian's"
    path = Path(frame.f_code.co_filename).relative_to(Path(_PACKAGE).parent)
    called = "" if inner is frame else f", in {inner.f_code.co_name} ({Path(inner.f_code.co_filename).name})"
    return f"at {path}:{frame.f_lineno}, {frame.f_code.co_name}{called}"


@contextmanager
def _stacks_on_demand() -> Iterator[None]:
    number = getattr(signal, "SIGUSR1", None)
    if number is None or sys.__stderr__ is None:
        yield
        return
    try:
        faulthandler.register(number, file=sys.__stderr__, all_threads=True)
    except (OSError, ValueError, RuntimeError):  # a standard error that is no file
        yield
        return
    try:
        yield
    finally:
        faulthandler.unregister(number)


def stacks_when_asked() -> None:
    """From now on, in a process of our own that works for another: SIGUSR1 shows its stacks."""
    if hasattr(signal, "SIGUSR1") and sys.__stderr__ is not None:
        with suppress(OSError, ValueError, RuntimeError):
            faulthandler.register(signal.SIGUSR1, file=sys.__stderr__, all_threads=True)
