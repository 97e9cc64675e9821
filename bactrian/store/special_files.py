"""Where a path leads, and what it is if neither a file nor a folder: a link to nothing, a pipe, a socket, a device."""

import errno
import os
import stat
from pathlib import Path

from bactrian.errors import BactrianError

_ODD = {
    stat.S_IFIFO: "a named pipe, which can be read only once and by one reader; write it to a file first",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def at_home(path: str) -> Path:
    """The path, `~` read as the home folder; as it stands where nobody has that name, for which pathlib raises."""
    return Path(os.path.expanduser(path))  # noqa: PTH111


def special(path: Path) -> str | None:
    """In words what it is; None for a file, a folder, and where there is nothing. Opens nothing, so never waits.

    >>> special(Path("/dev/null"))
    'a device'
    """
    try:
        return _ODD.get(stat.S_IFMT(path.stat().st_mode))
    except (OSError, ValueError):
        pass  # a link that leads nowhere, or nothing at all
    if not path.is_symlink():
        return None
    try:
        path.resolve(strict=True)
    except RuntimeError:  # Python's word for it before 3.13
        return f"a symbolic link to {path.readlink()}, which leads in a circle"
    except OSError as error:
        end = "leads in a circle" if error.errno == errno.ELOOP else f"cannot be followed ({error.strerror})"
        return f"a symbolic link to {path.readlink()}, which {end}"
    return None


def refuse_special(path: Path) -> None:
    """
    Raises:
        BactrianError: naming the path and what it is, if it is neither a file nor a folder.
    """
    if (found := special(path)) is not None:
        raise BactrianError(f"{path}: found {found}; expected a file or a folder")
