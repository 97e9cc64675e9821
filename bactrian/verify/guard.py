"""Restrictions that a worker process puts on itself, because some scorers evaluate a model's text as Python.

reasoning-gym 0.1.25 calls `eval` on the answer in four tasks (gym.py mends those) and sympy's `parse_expr`, which ends
in `eval` too, in five more. This is a fence against accidents and against what a model stumbles on in RL. It is no
sandbox: code that knows of it can get around it.
"""

import ctypes  # noqa: F401 - opens the interpreter as a library when it is imported, which is denied later
import os
import sys

DENIED = (
    "subprocess.",
    "socket.",
    "shutil.",
    "ctypes.",
    "pty.",
    "ftplib.",
    "urllib.",
    "webbrowser.",
    "os.system",
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "os.kill",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.mkdir",
    "os.link",
    "os.symlink",
    "os.truncate",
    "os.chmod",
    "os.chown",
    "os.putenv",
    "signal.pthread_kill",
    "resource.setrlimit",
)
"""Beginnings of the names of audit events (docs.python.org/3/library/audit_events.html)."""
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def deny() -> None:
    """From now on this process starts no other, writes no file, opens no connection; PermissionError if it tries."""
    sys.addaudithook(_hook)


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING
    if writes or event.startswith(DENIED):
        raise PermissionError(f"a verifier may not do this: {event}")
