"""The walls around a program that a model wrote: which tool builds them here, and the command that does."""

import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bactrian.sandbox import packages, seccomp

SCRATCH = "/tmp"
ENVIRONMENT = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
    "PYTHONHASHSEED": "0",
    "HOME": SCRATCH,
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}
"""All that a program sees of an environment; sets and hashes are the same in each run. It may start no threads."""
NOBODY = "65534"


@dataclass(frozen=True)
class Isolation:
    """A way to isolate. `name` is what manifests record; `command(python, alive)` starts Python inside.

    `alive` is a descriptor that every process of the sandbox keeps open until it is dead.
    """

    name: str
    command: Callable[[Sequence[str], int], list[str]]
    new_root: bool = False  # whether the old root is still there, to be let go of from inside
    strong: bool = True


def python() -> list[str]:
    """The interpreter without site packages, user folders and the present folder on its path."""
    base: str = getattr(sys, "_base_executable", None) or sys.executable
    return [str(Path(base).resolve()), "-s", "-S", "-P", "-B", "-X", "utf8"]


@cache
def shown() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(the machine's folders and files that a program sees, those in them that it sees empty): what Python needs.

    Python's own library, without what is installed beside it, and the folders of shared libraries.
    """
    library = {Path(sysconfig.get_path(name, vars={"base": sys.base_prefix})) for name in ("stdlib", "platstdlib")}
    prefix, triplet = Path(sys.base_prefix), sysconfig.get_config_var("MULTIARCH")
    folders = [Path("/usr/lib", triplet), Path("/lib", triplet)] if triplet else [Path("/usr/lib"), Path("/lib")]
    found = [*folders, Path("/lib64"), Path("/usr/lib64"), Path("/usr/share/zoneinfo"), *sorted(library)]
    found += [Path(python()[0]), *sorted(prefix.glob("lib*/libpython*.so*"))]
    there = [str(path) for path in dict.fromkeys(found) if path.exists()]
    hidden = [str(path / name) for path in library for name in ("site-packages", "dist-packages")]
    return tuple(there), tuple(name for name in hidden if Path(name).is_dir())


def bubblewrap(python: Sequence[str], alive: int) -> list[str]:
    """New namespaces of every kind, and a root of its own that can only be read but for the scratch folder."""
    there, hidden = shown()
    command = ["bwrap", "--unshare-user", "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    command += ["--cap-add", "CAP_SYS_ADMIN"]  # over its own namespaces, for confine.py, which drops it
    command += ["--uid", NOBODY, "--gid", NOBODY, "--hostname", "sandbox"]
    for path in there:
        command += ["--ro-bind", path, path]
    for path in hidden:
        command += ["--size", "4096", "--tmpfs", path, "--remount-ro", path]
    for folder in packages.folders():
        command += ["--ro-bind", str(folder), f"{packages.INSIDE}/{folder.name}"]
    for device in ("/dev/null", "/dev/urandom"):
        command += ["--dev-bind", device, device]
    command += ["--dir", SCRATCH, "--remount-ro", "/", "--sync-fd", str(alive), "--"]
    return command + list(python)


MOUNTS = r"""
root=$1; shift
mount --make-rprivate /
mount -t tmpfs -o mode=755,size=1m,nosuid sandbox "$root"
cd "$root"; mkdir tmp dev old
while [ "$1" != -- ]; do
  if [ -d "$1" ]; then mkdir -p "./$1"; else mkdir -p "./${1%/*}"; : > "./$1"; fi
  mount --rbind "$1" "./$1"; mount -o remount,bind,ro,nosuid,nodev "./$1"; shift
done; shift
while [ "$1" != -- ]; do mount -t tmpfs -o ro,size=4k sandbox "./$1"; shift; done; shift
while [ "$1" != -- ]; do
  to=packages/"${1##*/}"; mkdir -p "$to"; mount --rbind "$1" "$to"; mount -o remount,bind,ro,nosuid,nodev "$to"; shift
done; shift
for device in null urandom; do : > dev/$device; mount --bind /dev/$device dev/$device; done
mount -o remount,bind,ro,nosuid "$root"
pivot_root . old; cd /; "$@" || exit $?
"""
"""What unshare runs first, in the new namespaces: arguments are the mount point, paths to be shown, paths to be
emptied, packages (each list ended by --), and the command. The shell stays as process 1: unshare cannot hand on which
signal ended a program, and process 1 is deaf to signals."""


def namespaces(python: Sequence[str], alive: int) -> list[str]:
    """The same walls with util-linux alone: `unshare`, `mount` and `pivot_root`."""
    there, hidden = shown()
    offered = [str(folder) for folder in packages.folders()]
    used = [*there, *offered]
    point = next((p for p in ("/mnt", "/media", "/srv") if Path(p).is_dir() and not _below(used, p)), "/mnt")
    spaces = ["--user", "--map-root-user", "--mount", "--pid", "--net", "--ipc", "--uts", "--cgroup"]
    unshare = ["unshare", *spaces, "--fork", "--kill-child=KILL", "/bin/sh", "-ec", MOUNTS, "sandbox"]
    return [*unshare, point, *there, "--", *hidden, "--", *offered, "--", *python]


def _below(paths: Sequence[str], folder: str) -> bool:
    return any(path.startswith(f"{folder}/") for path in paths)


def rlimits(python: Sequence[str], alive: int) -> list[str]:
    """No walls: limits on resources, and on Linux the filter of system calls."""
    return list(python)


def tools() -> list[Isolation]:
    """The ways to isolate that may be tried on this machine, best first."""
    found = []
    if seccomp.program() is not None and sys.platform == "linux":
        if shutil.which("bwrap"):
            found.append(Isolation(f"bubblewrap {_version('bwrap')}", bubblewrap))
        if shutil.which("unshare"):
            found.append(Isolation(f"namespaces by unshare {_version('unshare')}", namespaces, new_root=True))
    return found


WEAK = Isolation("rlimits only", rlimits, strong=False)


@cache
def _version(tool: str) -> str:
    """The last word of what `TOOL --version` says: "bubblewrap 0.8.0", "unshare from util-linux 2.38.1"."""
    said = subprocess.run([tool, "--version"], capture_output=True, text=True, check=False).stdout.split()
    return said[-1] if said else "of unknown version"
