"""Restrictions that a worker process puts on itself, because some scorers evaluate a model's text as Python.

reasoning-gym 0.1.25 calls `eval` on the answer in four tasks (gym.py mends those) and sympy's `parse_expr`, which ends
in `eval` too, in five more. This is a fence against accidents and against what a model stumbles on in RL. It is no
sandbox: code that knows of it can get around it.
"""

import ctypes  # noqa: F401 - opens the interpreter as a library when it is imported, which is denied later
import os
import sys
from functools import partial

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
NETWORK = ("socket.", "urllib.")
"""Of these, what a reward of the user's own may do: ask a server."""
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def deny(network: bool = True) -> None:
    """From now on this process starts no other, writes no file, opens no connection; PermissionError if it tries.

    Args:
        network: connections too.
    """
    denied = DENIED if network else tuple(name for name in DENIED if name not in NETWORK)
    sys.addaudithook(partial(_hook, denied))


def _hook(denied: tuple[str, ...], event: str, arguments: tuple[object, ...]) -> None:
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING
    if writes or event.startswith(denied):
        raise PermissionError(f"a verifier may not do this: {event}")
