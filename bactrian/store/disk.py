"""Writes that a kill or a full disk cannot leave half done, and locks between processes."""

import errno
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from bactrian.errors import BactrianError
from bactrian.progress import say
from bactrian.store.hashes import files_below
from bactrian.store.machine_limits import refusal


def take_lock(path: Path, what: str, patience: float = 0.0) -> int:
    """Lock a file until the returned descriptor is closed or the process ends; a fork does not
    inherit the lock.

    Raises:
        BactrianError: saying which process holds it, and still did after `patience` seconds.
    """
    import fcntl

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise BactrianError(f"{path.parent}: cannot be written to ({error.strerror}); {what} cannot be made") from None
    end = time.monotonic() + patience
    try:
        while not _locked(descriptor) and time.monotonic() < end:
            time.sleep(0.05)
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.read(descriptor, 200).decode(errors="replace").strip() or "another process"
        os.close(descriptor)
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            raise
        raise BactrianError(f"{what} is being made by {holder}; wait for it to finish, or stop it") from None
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()} since {now()}".encode())
    return descriptor


def _locked(descriptor: int) -> bool:
    """Whether a lock could be had at once."""
    import fcntl

    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            raise
        return False
    return True


@contextmanager
def naming_full_disk(path: Path) -> Iterator[None]:
    """Turn a full disk, and whatever else the machine refuses, into a BactrianError naming the path."""
    try:
        yield
    except Exception as error:
        said = None if isinstance(error, BactrianError) else refusal(error, path)
        if said is None:
            raise
        raise BactrianError(said) from error


def write_atomically(path: Path, text: str) -> None:
    """Replace a file's content so that a reader, or a kill, sees all of the old or all of the new."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with naming_full_disk(path):
        with draft.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)


def allow_as_umask(folder: Path) -> None:
    """Let a group's members read what the umask lets them: some libraries write files that are their owner's alone."""
    mask = os.umask(0)
    os.umask(mask)
    for path in files_below(folder):
        path.chmod(path.stat().st_mode | (0o666 & ~mask))


def link(path: Path, target: Path) -> None:
    """Make `path` a relative link to a folder, in place of a link that is there; what is no link is left alone.

    A file system without links is said, and does without.
    """
    if path.exists() and not path.is_symlink():
        say(f"{path}: not a link, so it is left as it is; it would have led to {target}")
        return
    leads_to, draft = os.path.relpath(target, path.parent), path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if path.is_symlink() and str(path.readlink()) == leads_to:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.symlink_to(leads_to, target_is_directory=True)
        draft.replace(path)
    except OSError as error:
        say(f"{path}: no link to {target} can be made here ({error.strerror})")


def sync_folder(folder: Path) -> None:
    """Ask the disk to hold every file below the folder, and the folder's own lists of names."""
    for path in files_below(folder):
        sync(path)
    for path in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        sync(path)


def sync(path: Path) -> None:
    """Ask the disk to hold one file, or a folder's list of names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
