"""Which isolation this process uses. Fails closed: without one that a test has shown to hold, nothing runs."""

import sys
from functools import cache
from typing import Literal

from bactrian.errors import BactrianError
from bactrian.sandbox.isolation import WEAK, Isolation, tools
from bactrian.sandbox.limits import Limits
from bactrian.sandbox.scripts import run_program

Wanted = Literal["isolated", "rlimits"]
ADVICE = """\
Install bubblewrap (Debian, Ubuntu: apt-get install bubblewrap; Fedora: dnf install bubblewrap), or let this user make \
namespaces (sysctl kernel.unprivileged_userns_clone=1, or kernel.apparmor_restrict_unprivileged_userns=0; in Docker: \
--security-opt seccomp=unconfined --security-opt systempaths=unconfined). To run model-written programs with limits on \
resources alone, which does not hold against hostile ones, set `sandbox: rlimits` in the recipe's hardware block"""

PROBE = """
import os, ctypes
folders = sorted(os.listdir("/"))
print("files" if {"etc", "home", "proc", "sys", "var"} & set(folders) or os.path.exists("/old/usr") else "none")
def exists(process):
    try:
        os.kill(process, 0)
    except OSError as error:
        return isinstance(error, PermissionError)
    return True
print("processes" if sum(map(exists, range(1, 10_000))) > 2 else "none")
try:
    ctypes.CDLL(None).fork() == 0 and os._exit(0)
    os.fork() == 0 and os._exit(0)
    print("fork")
except OSError:
    print("none")
try:
    import socket
    socket.socket()
    print("network")
except OSError:
    print("none")
print("writing" if any(os.access(path, os.W_OK) for path in ("/", "/usr", "/dev", "/lib64", os.__file__)) else "none")
open("probe", "w").write("x")
open("/dev/null", "w").write("x")
len(os.urandom(1)), open("/dev/urandom", "rb").read(1)
"""
"""Prints "none" five times where the walls stand: files, processes, forks, network, writing outside the scratch."""
PROBING = Limits(wall=30.0)

_wanted: list[Wanted] = ["isolated"]
_used: set[str] = set()


def want(what: Wanted) -> None:
    """Choose for this process: isolated programs, or none; or, by hand only, limits on resources alone."""
    _wanted[:] = [what]
    _used.clear()


def used() -> str | None:
    """The name of the isolation in which programs ran since `want`, for manifests; None if none ran."""
    return ", ".join(sorted(_used)) or None


def note_used(names: str | None) -> None:
    """In another process, which works for this one, programs ran in what `used` names there."""
    _used.update(names.split(", ") if names else ())


def chosen_isolation() -> Isolation:
    """The isolation to run programs in.

    Raises:
        BactrianError: saying what is missing and what to install.
    """
    isolation = weak() if _wanted == ["rlimits"] else strongest()
    _used.add(isolation.name)
    return isolation


@cache
def weak() -> Isolation:
    """Limits alone. Root gives up being root for it; BactrianError where Python then cannot be read."""
    run = run_program("import fractions\nprint(1)", WEAK, limits=PROBING)
    if run.ended != "finished":
        raise BactrianError(
            f"programs cannot be run with limits alone ({run.ended}: {run.error[-200:]}); as root they are run as the "
            "user nobody, who must be able to read Python's library: be an ordinary user, or use a Python in /usr"
        )
    return WEAK


@cache
def strongest() -> Isolation:
    """The best isolation that holds on this machine.

    Raises:
        BactrianError: with what was tried and what to do.
    """
    found = available()
    for isolation, problem in found:
        if problem is None:
            return isolation
    tried = "; ".join(f"{isolation.name}: {problem}" for isolation, problem in found) or "neither is installed"
    raise BactrianError(
        f"no program that a model wrote is run here, because nothing can isolate it: bubblewrap and unshare were "
        f"looked for on {sys.platform} ({tried}). {ADVICE}"
    )


def available() -> list[tuple[Isolation, str | None]]:
    """Every tool at hand, with what is wrong with it, or None if its walls stand: each is tried."""
    return [(isolation, problem_with(isolation)) for isolation in tools()]


def problem_with(isolation: Isolation) -> str | None:
    """What an isolation lets through or complains of; None if nothing."""
    try:
        run = run_program(PROBE, isolation, limits=PROBING)
    except OSError as error:
        return f"cannot be started: {error}"
    if run.ended != "finished":
        return f"{run.ended}: {run.error[-300:] or 'without a word'}"
    through = [line for line in run.output.split() if line != "none"]
    return f"lets through: {', '.join(through)}" if through else None
