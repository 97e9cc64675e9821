"""A worker process: reads one item a line from stdin, writes one verdict a line. Started by `pool.py`.

Arguments: the seconds of processor time that one verdict may take, then as JSON the names of the verifiers to be ready
for, each with the module that registers it, or the user's own file that it is in.

The process puts restrictions on itself, because some scorers evaluate a model's text as Python: reasoning-gym 0.1.25
calls `eval` on the answer in four tasks (gym.py mends those) and sympy's `parse_expr`, which ends in `eval` too, in
five more. This is a fence against accidents and against what a model stumbles on in RL. It is no sandbox: code that
knows of it can get around it.
"""

import ctypes  # noqa: F401 - opens the interpreter as a library when it is imported, which is denied later
import importlib
import json
import os
import resource
import signal
import sys
import threading
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TextIO

from bactrian.errors import BactrianError
from bactrian.store.own_files import is_own, load_file
from bactrian.verify.own import register_own
from bactrian.verify.registry import verifier, verify
from bactrian.verify.verdict import Verdict

MEMORY_LIMIT = 4 << 30
OWN_MEMORY_LIMIT = 32 << 30
"""A user's own reward may hold a model."""

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


def main() -> None:
    """Serve until stdin ends, or the parent is gone. What a scorer prints goes nowhere."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    threading.Thread(target=leave_with, args=(os.getppid(),), daemon=True).start()
    seconds, wanted = float(sys.argv[1]), dict(json.loads(sys.argv[2]))
    own = any(module.endswith(".py") for module in wanted.values())
    resource.setrlimit(resource.RLIMIT_AS, (OWN_MEMORY_LIMIT if own else MEMORY_LIMIT,) * 2)
    try:
        for name, module in wanted.items():
            prepare(name, module)
    except BactrianError as error:
        answer(replies, {"error": str(error)})
        return
    fence_in(network=not own)
    answer(replies, {"ready": True})
    for line in sys.stdin:
        item = json.loads(line)
        limit_processor_time(seconds)
        try:
            reply: dict[str, object] = asdict(verify(**item))
        except BactrianError as error:
            reply = {"error": str(error)}
        except BaseException as error:
            reply = asdict(Verdict(0.0, "crashed", None, f"the verifier raised {error!r}"[:300]))
        limit_processor_time(0)
        answer(replies, reply)


def prepare(name: str, module: str) -> None:
    """Import what a verifier needs, by its examples.

    Raises:
        BactrianError: if that cannot be done here.
    """
    if is_own(name):
        register_own(name)
        return
    if module.endswith(".py"):  # what a user's own file registers by the decorator
        load_file(Path(module))
        return
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise BactrianError(
            f"the module {module}, which registers the verifier {name}, cannot be imported in a worker: {error}"
        ) from None
    for example in verifier(name).examples:
        verify(name, example.completion, example.ground_truth, example.settings, example.prompt)


def limit_processor_time(seconds: float) -> None:
    """Die of SIGPROF after so many seconds of this process's own processor time; 0 takes the limit back.

    Not wall time: how loaded the machine is must not decide about a verdict. No handler: it could be swallowed.
    """
    signal.signal(signal.SIGPROF, signal.SIG_DFL if seconds else signal.SIG_IGN)
    signal.setitimer(signal.ITIMER_PROF, seconds)


def leave_with(parent: int) -> None:
    """End this process when its parent has gone."""
    while os.getppid() == parent:
        time.sleep(2.0)
    os._exit(1)


def answer(replies: TextIO, message: dict[str, object]) -> None:
    print(json.dumps(message), file=replies, flush=True)


def fence_in(network: bool = True) -> None:
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


if __name__ == "__main__":
    main()
