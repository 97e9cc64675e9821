"""Keeps the process's heap from growing without end.

For speed the command line (cli/main.py) tells glibc to keep freed memory. Buffers of ever-changing sizes then leave
holes that later ones do not fit into, and the heap grows by some of them in every step. Now and then the holes'
pages are given back; what is in use is not touched.
"""

import ctypes
import gc
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

GROWTH = 1.25
"""Resident memory beyond this factor of what a step in a fresh heap needed is looked through."""
PAUSE = 16
"""Steps between two looks, unless memory grows beyond where it was at the last."""


class Heap:
    """Resident memory of this process, held near what it needs.

    What earlier work in this process left is given back first: what is held is measured against what training itself
    needs. Pages given back must be asked for and cleared again; done after each step that is a fifth of its time, so
    steps of very different sizes must not look like a heap that grows.
    """

    def __init__(self) -> None:
        self.trim = _trim()
        give_back()
        self.need = 0  # bytes resident after a step in a fresh heap, the most of such steps
        self.level = 0  # bytes resident when pages were last given back
        self.since = 0  # steps since then

    def settle(self) -> bool:
        """Call after each step. Gives unused pages back to the system if memory has grown much; True if it did."""
        if self.trim is None:
            return False
        now = resident()
        if not self.since:
            self.need = max(self.need, now)
        self.since += 1
        if now <= GROWTH * (self.need if self.since > PAUSE else max(self.need, self.level)):
            return False
        self.trim(0)
        self.level, self.since = now, 0
        return True


def give_back() -> None:
    """Give the system back what nobody holds any more: what one step needed, the next does without."""
    gc.collect()  # models and engines that only each other still know
    if (trim := _trim()) is not None:
        trim(0)


def resident() -> int:
    """Bytes of this process that are in main memory (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _trim() -> Callable[[int], int] | None:
    """glibc's malloc_trim; None where there is none."""
    if not sys.platform.startswith("linux"):
        return None
    with suppress(OSError, AttributeError):  # another C library has no such function, and no such trouble
        found: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
        return found
    return None
