"""Messages for limits of the machine that a process meets: disk, size of a file, open files, memory, permission."""

import errno
import os
import re
import resource
import shutil
from collections.abc import Callable
from pathlib import Path

AGAIN = "What was finished stays"
_NUMBER = re.compile(r"\b(?:os error|[Ee]rrno) (\d+)")  # as Rust and Arrow write it
_MEMORY = re.compile(r"can't allocate memory|cannot allocate memory|out of memory|bad_alloc|unable to allocate", re.I)
_THREAD = re.compile(r"can't start new thread|pthread_create")


def refusal(error: BaseException, path: Path | None = None) -> str | None:
    """What was refused, where, and what to do; None if the error is of another sort.

    Libraries wrap such errors each in its own way; they are told by errno, or by how the text gives it.

    Args:
        path: the file or folder that was being written, for errors that do not say it themselves.
    """
    if type(error).__name__ == "BrokenProcessPool":
        return f"a worker process was killed, most often for want of memory. {AGAIN}; run again to resume"
    number = _number_of(error)
    words = _WORDS.get(number or 0)
    if words is None:
        return None
    named = getattr(error, "filename", None)
    if named is None and number in _ONLY_NAMED:
        return None
    place = Path(os.fsdecode(named)) if isinstance(named, (str, bytes)) else path
    if number == errno.EFBIG and place is not None:
        place = _grown(place)
    text = words(place or Path())
    return text if place is None or number == errno.ENOMEM else f"{place}: {text}"


def _number_of(error: BaseException) -> int | None:
    if isinstance(error, MemoryError):
        return errno.ENOMEM
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    text = str(error)
    if found := _NUMBER.search(text):
        return int(found[1])
    if isinstance(error, (OSError, RuntimeError)) and _MEMORY.search(text):
        return errno.ENOMEM
    if isinstance(error, RuntimeError) and _THREAD.search(text):
        return errno.EAGAIN
    return next(
        (number for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EMFILE) if os.strerror(number) in text),
        None,
    )


def _grown(place: Path) -> Path:
    """The file below a folder that has reached the limit; the folder, if there is none."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    if limit == resource.RLIM_INFINITY or not place.is_dir():
        return place
    found = (path for path in sorted(place.rglob("*")) if path.is_file() and path.stat().st_size >= limit)
    return next(found, place)


def _full(place: Path) -> str:
    there = next((folder for folder in (place, *place.parents) if folder.exists()), Path())
    free = shutil.disk_usage(there).free
    return f"the disk is full ({free:,} bytes free). {AGAIN}; make room and run again to resume"


def _quota(_: Path) -> str:
    return f"your quota of this disk is used up. {AGAIN}; make room and run again to resume"


def _too_large(_: Path) -> str:
    limit = _limit(resource.RLIMIT_FSIZE)
    if not limit:
        return f"a larger file than this file system takes. {AGAIN}; use another --store"
    return (
        f"a file would be larger than the limit of {limit} bytes (ulimit -f). {AGAIN}; raise the limit "
        f"(ulimit -f unlimited) and run again to resume"
    )


def _too_many(_: Path) -> str:
    return (
        f"this process may not open more files ({_limit(resource.RLIMIT_NOFILE) or 'no'} is the limit, ulimit -n). "
        f"{AGAIN}; raise the limit (ulimit -n 4096) and run again to resume"
    )


def _memory(_: Path) -> str:
    limit = _limit(resource.RLIMIT_AS)
    which = f"; the limit of this process is {limit} bytes (ulimit -v)" if limit else ""
    return (
        f"memory ran out{which}. {AGAIN}; give it more, or lower what is held at once (micro_tokens, "
        f"rows_at_once), and run again to resume"
    )


def _threads(_: Path) -> str:
    return f"no more threads or processes may be started (ulimit -u). {AGAIN}; raise the limit and run again to resume"


def _says(words: str) -> Callable[[Path], str]:
    return lambda _: words


def _limit(which: int) -> str:
    """The soft limit with its digits in groups; empty if there is none."""
    limit = resource.getrlimit(which)[0]
    return "" if limit == resource.RLIM_INFINITY else f"{limit:,}"


_ONLY_NAMED = {errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG}  # else they may be of anything
_WORDS: dict[int, Callable[[Path], str]] = {
    errno.ENOSPC: _full,
    errno.EDQUOT: _quota,
    errno.EFBIG: _too_large,
    errno.EMFILE: _too_many,
    errno.ENFILE: _says(f"the machine has as many files open as it may. {AGAIN}; run again to resume"),
    errno.ENOMEM: _memory,
    errno.EAGAIN: _threads,
    errno.EROFS: _says(f"on a file system that is read-only. {AGAIN}; make it writable, or use another --store"),
    errno.EACCES: _says(f"permission denied. {AGAIN}; change the permissions and run again to resume"),
    errno.EPERM: _says(f"not permitted. {AGAIN}; change the permissions and run again to resume"),
    errno.EIO: _says(f"the disk (or what is behind it) failed to read or write. {AGAIN}"),
    errno.ELOOP: _says("symbolic links that lead in a circle"),
    errno.ENAMETOOLONG: _says("a name or path longer than the file system takes (255 bytes a name on most)"),
}
