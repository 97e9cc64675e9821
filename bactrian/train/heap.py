"""Keeps the process's heap from growing without end.

For speed the command line tells glibc to keep freed memory (cli.py). Buffers of ever-changing sizes then leave holes
that later ones do not fit into, and the heap grows by some of them in every step. Now and then the holes' pages are
given back; what is in use is not touched.
"""

import ctypes
import gc
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

GROWTH = 1.25
"""Resident memory that has grown by this factor since it was last looked through is looked through again."""


class Heap:
    """Resident memory of this process, held near what it needs.

    What earlier work in this process left is given back first: what is held is measured against what training itself
    needs.
    """

    def __init__(self) -> None:
        self.trim = _trim()
        if self.trim is not None:
            gc.collect()  # models and engines that only each other still know
            self.trim(0)
        self.least = 0  # bytes resident after the first step, or after the pages were last given back

    def settle(self) -> bool:
        """Call after each step. Gives unused pages back to the system if memory has grown much; True if it did."""
        if self.trim is None:
            return False
        now = resident()
        if not self.least:
            self.least = now
        if now <= GROWTH * self.least:
            return False
        self.trim(0)
        self.least = resident()
        return True


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
