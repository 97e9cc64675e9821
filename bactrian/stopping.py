"""Signals that ask a process to stop, and work that is worth finishing first.

Ctrl-C, SIGTERM (a scheduler, a shutdown) and SIGHUP (a closed terminal) are one thing here: a request to stop. Where
nothing is to be finished it is met at once, by an exception; within `finishing` it is noted, and whoever does the work
asks for it (`asked`) where stopping loses nothing. A second signal is met at once everywhere.
"""

import os
import signal
import stat
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class Stop(KeyboardInterrupt):
    """A signal asked the process to stop; `place` says what is done, if whoever stopped knows."""

    def __init__(self, number: int, place: str = "") -> None:
        super().__init__(place)
        self.number, self.place = number, place

    @property
    def status(self) -> int:
        """The exit status by convention: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP."""
        return 128 + self.number

    def __str__(self) -> str:
        if self.place:
            return f"{self.place}; the same command resumes there"
        how = "interrupted" if self.number == signal.SIGINT else f"stopped by {signal.Signals(self.number).name}"
        return f"{how}; the same command resumes where this one stopped"


_asked: int | None = None
_when = 0.0
_hushed = False
_same_request = 0.0
_finishing = ""  # what is being finished
_pid = 0  # of the process that listens; a fork of it does not


def asked() -> int | None:
    """The signal that has asked this process to stop, if one has and the process is still to do so."""
    return _asked


def check(place: str) -> None:
    """Where all that was made is kept: raises Stop if that was asked for."""
    if _asked is not None:
        raise Stop(_asked, place)


@contextmanager
def listening() -> Iterator[None]:
    """Meet signals as this module says. One that is ignored (nohup, a job in the background) stays so.

    Only in a process's main thread; elsewhere nothing changes. Processes forked within die of a signal as usual.
    """
    global _asked, _pid
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _asked, _pid = None, os.getpid()
    before: dict[int, Any] = {number: signal.getsignal(number) for number in SIGNALS}
    before = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}
    for number in before:
        signal.signal(number, _meet)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _asked, _pid = None, 0


@contextmanager
def finishing(what: str) -> Iterator[None]:
    """Within, a first signal is noted and answered by a line ("finishing `what`"); the block is to ask for it."""
    global _finishing
    before, _finishing = _finishing, what
    try:
        yield
    finally:
        _finishing = before


def among_others(silent: bool, same_request: float) -> None:
    """From now on this process is one of several that get the same signals.

    Args:
        silent: it answers them without a word: another one speaks.
        same_request: seconds after a signal in which another is the same request once more: whoever started the
            processes may pass on what the terminal has sent to all of them already.
    """
    global _hushed, _same_request
    _hushed, _same_request = silent, same_request


def _meet(number: int, frame: FrameType | None) -> None:
    global _asked, _when
    if os.getpid() != _pid:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        return
    if number == getattr(signal, "SIGHUP", None):
        _let_go_of_the_terminal()
    first, _asked = _asked is None, number
    if first:
        _when = time.monotonic()
    elif time.monotonic() - _when < _same_request:
        return
    if not (first and _finishing):
        raise Stop(number)
    if _hushed:
        return
    name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
    with suppress(OSError):  # not by print, which a signal may have come in the middle of
        os.write(2, f"\n{name}: finishing {_finishing}, then stopping; once more stops at once\n".encode())


def _let_go_of_the_terminal() -> None:
    """What is still to be said goes nowhere: a terminal that was closed answers with errors."""
    with suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):
                if stat.S_ISCHR(os.fstat(stream.fileno()).st_mode):
                    os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
