"""Starts Python inside an isolation with a job, and ends it with all that it started."""

import marshal
import os
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

from bactrian.sandbox import seccomp
from bactrian.sandbox.inside import candidate, codec, confine, examiner, script
from bactrian.sandbox.isolation import ENVIRONMENT, Isolation, python
from bactrian.sandbox.limits import Limits

BOOT = """
import sys, marshal
job = marshal.load(sys.stdin.buffer)
inside = sys.modules["bactrian.sandbox.inside"] = type(sys)("inside")
for name, code in job["modules"]:
    module = sys.modules["bactrian.sandbox.inside." + name] = type(sys)("bactrian.sandbox.inside." + name)
    setattr(inside, name, module)
    exec(code, vars(module))
module.main(job)
"""
"""Reads its job from standard input: the modules as code objects (of this very interpreter), then what to do."""
NEEDED = {"script": [confine, script], "candidate": [confine, codec, candidate],
          "examiner": [confine, codec, examiner]}  # fmt: skip


@cache
def _code(module: ModuleType) -> Any:
    assert module.__file__ is not None
    return compile(Path(module.__file__).read_text(encoding="utf-8"), f"<{module.__name__}>", "exec")


class Sandboxed:
    """One process in one sandbox; a context that leaves nothing of it behind: no process, no file, no mount."""

    def __init__(
        self, what: str, job: Mapping[str, Any], isolation: Isolation, limits: Limits,
        keep: Sequence[int] = (), output: int | None = None,
    ) -> None:  # fmt: skip
        """Start it. `keep`: descriptors that it inherits under their numbers; `output`: pipe it, else throw it away.

        Raises OSError if the tool cannot be started.
        """
        self.errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in end()
        self.folder = None if isolation.strong else tempfile.TemporaryDirectory(prefix="bactrian-weak-")
        modules = [(module.__name__.rpartition(".")[2], _code(module)) for module in NEEDED[what]]
        settings = {"memory": limits.memory, "cpu": limits.cpu, "scratch": limits.scratch, "test": limits.test,
                    "new_root": isolation.new_root, "filter": seccomp.program(), "modules": modules}  # fmt: skip
        command = isolation.command([*python(), "-c", BOOT], limits.scratch)
        with tempfile.TemporaryFile() as given:
            given.write(marshal.dumps({**settings, **job}))
            given.seek(0)
            self.process = subprocess.Popen(
                command, stdin=given, stdout=output if output is not None else subprocess.DEVNULL, stderr=self.errors,
                env=ENVIRONMENT, cwd=self.folder.name if self.folder else "/", pass_fds=keep, start_new_session=True,
            )  # fmt: skip
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
        """Kill the tool and its session; the kernel then ends every process of its namespaces. Waits for that."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.errors.close()
        if self.folder is not None:
            self.folder.cleanup()
