"""Starts Python inside an isolation to do a job, and ends it together with everything that it started."""

import marshal
import os
import secrets
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import ModuleType, TracebackType
from typing import IO, Any, Self

from bactrian.sandbox import packages, seccomp
from bactrian.sandbox.inside import arrays, candidate, codec, confine, examiner, reference, remote, script
from bactrian.sandbox.isolation import ENVIRONMENT, Isolation, python
from bactrian.sandbox.limits import Limits

BOOT = """
import sys, marshal
job = marshal.load(sys.stdin.buffer)
sys.path.append(job["packages"])
inside = sys.modules["bactrian.sandbox.inside"] = type(sys)("inside")
for name, code in job["modules"]:
    module = sys.modules["bactrian.sandbox.inside." + name] = type(sys)("bactrian.sandbox.inside." + name)
    setattr(inside, name, module)
    exec(code, vars(module))
module.main(job)
"""
"""Reads its job from standard input: the modules as code objects (of this very interpreter), then what to do."""
MARK = f"bactrian-{secrets.token_hex(8)}"
"""Last word of the command of every process that this one has sandboxed: what a search for leftovers looks for."""
DYING = 30.0
NEEDED = {
    "script": [confine, script],
    "candidate": [confine, arrays, codec, candidate],
    "examiner": [confine, arrays, codec, remote, examiner],
    "reference": [confine, arrays, codec, reference],
}


@cache
def _code(module: ModuleType) -> Any:
    assert module.__file__ is not None
    return compile(Path(module.__file__).read_text(encoding="utf-8"), f"<{module.__name__}>", "exec")


def settings(what: str, isolation: Isolation, limits: Limits) -> dict[str, Any]:
    """The part of a job that is the same for every program: the code that runs inside, and what confine.py reads."""
    modules = [(module.__name__.rpartition(".")[2], _code(module)) for module in NEEDED[what]]
    root = Path("/").stat()
    return {
        "modules": modules,
        "walls": isolation.strong,
        "new_root": isolation.new_root,
        "packages": packages.INSIDE if isolation.strong else packages.linked(),
        "outside": [root.st_dev, root.st_ino],
        "filter": seccomp.program(signals=isolation.strong),
        **vars(limits),
    }


class Sandboxed:
    """One process in one sandbox; a context that leaves nothing of it behind: no process, no file, no mount."""

    def __init__(
        self,
        what: str,
        job: Mapping[str, Any],
        isolation: Isolation,
        limits: Limits,
        keep: Sequence[int] = (),
        output: int | None = None,
        error: int | None = None,
    ) -> None:
        """Start it. `keep`: descriptors that it inherits under their numbers; `output`, `error`:
        where that goes; else nowhere, and what is said before the program begins to `complaint`.

        Raises:
            OSError: if the tool cannot be started.
        """
        self.errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in end()
        self.folder = None if isolation.strong else tempfile.TemporaryDirectory(prefix="bactrian-weak-")
        if self.folder is not None and os.getuid() == 0:
            os.chown(self.folder.name, confine.NOBODY, confine.NOBODY)
        self._alive, held = os.pipe()
        held_inside = os.dup(held)  # bubblewrap keeps `held` for its own process 1 and closes it for the program
        command = isolation.command([*python(), "-c", BOOT, MARK], held)
        try:
            with tempfile.TemporaryFile() as given:
                given.write(marshal.dumps({**settings(what, isolation, limits), **job}))
                given.seek(0)
                self.process = subprocess.Popen(
                    command,
                    stdin=given,
                    stdout=subprocess.DEVNULL if output is None else output,
                    stderr=self.errors if error is None else error,
                    env=ENVIRONMENT,
                    start_new_session=True,
                    cwd=self.folder.name if self.folder else "/",
                    pass_fds=(*keep, held, held_inside),
                )
        finally:
            os.close(held)
            os.close(held_inside)
        self.started = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.end()

    def complaint(self) -> str:
        """The end of what went to standard error."""
        self.errors.seek(0, os.SEEK_END)
        self.errors.seek(max(0, self.errors.tell() - 2000))
        return self.errors.read().decode(errors="replace").strip()

    def end(self) -> None:
        """Kill the tool and its session; the kernel then ends every process of its namespaces.
        Waits for that.

        Raises:
            OSError: if something is still alive after DYING seconds.
        """
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        deadline = time.monotonic() + DYING
        while select.select([self._alive], [], [], max(0.0, deadline - time.monotonic()))[0]:
            if not os.read(self._alive, 1 << 16):
                break
        else:
            raise OSError(f"processes of a sandbox are still alive {DYING:g} s after they were killed")
        os.close(self._alive)
        self.errors.close()
        if self.folder is not None:
            self.folder.cleanup()
