"""Puts every attack to an isolation, with bait outside, and looks at what is left afterwards."""

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from bactrian.sandbox.attacks.escapes import ESCAPES
from bactrian.sandbox.attacks.forged_calls import CALLS
from bactrian.sandbox.attacks.forged_names import NAMES
from bactrian.sandbox.attacks.forged_objects import OBJECTS
from bactrian.sandbox.attacks.forged_values import VALUES
from bactrian.sandbox.attacks.forgeries import FORGERIES
from bactrian.sandbox.attacks.tasks import TASKS
from bactrian.sandbox.choice import problem_with
from bactrian.sandbox.examination import examine
from bactrian.sandbox.isolation import Isolation
from bactrian.sandbox.limits import MIB, Limits
from bactrian.sandbox.process import MARK
from bactrian.sandbox.scripts import run_program
from bactrian.sandbox.unit_tests import UnitTests

SUITE = UnitTests(tests=("assert double(7) == 14", "assert double(10737) == 21474", "assert [double(-1)] == [-2]"))
LIMITS = Limits(wall=6.0, cpu=2, test=0.5, memory=512 * MIB, scratch=32 * MIB)


FORGED = {**CALLS, **VALUES, **OBJECTS, **NAMES}
"""Forgeries against tasks of their own: (task, program)."""
ATTACKS = (*ESCAPES, *FORGERIES, *FORGED)
"""The names of all."""


class Attack(NamedTuple):
    """`program` with its bait in place; `suite` is what it would pass, and with `script` it is run by itself too."""

    name: str
    program: str
    suite: UnitTests = SUITE
    script: bool = True


@dataclass(frozen=True)
class Result:
    """What became of one attack: `holes` is empty if it was contained."""

    attack: str
    holes: tuple[str, ...]
    seconds: float


class Bait:
    """What an attack that gets out would find: a file, servers on loopback, a process, a word in the environment."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.token = folder, secrets.token_hex(16)
        self.file = folder / "secret.txt"
        self.file.write_text(self.token)
        self.calls: list[str] = []
        self.servers = [socket.create_server(("127.0.0.1", 0)), _abstract_server(f"\0bait-{self.token}")]
        self.port: int = self.servers[0].getsockname()[1]
        for server in self.servers:
            threading.Thread(target=self._serve, args=(server,), daemon=True).start()
        self.process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])

    def _serve(self, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = server.accept()
                self.calls.append("a connection from inside")
                connection.close()

    def close(self) -> None:
        for server in self.servers:
            server.close()
        self.process.kill()
        self.process.wait()

    def attacks(self) -> list[Attack]:
        """All of them; the bait's places are written into those that look for it."""
        places = {
            "file": str(self.file),
            "folder": str(self.folder),
            "port": self.port,
            "socket": f"\0bait-{self.token}",
            "process": self.process.pid,
        }
        escapes = [Attack(name, _written(text, places)) for name, text in ESCAPES.items()]
        forgeries = [Attack(name, text) for name, text in FORGERIES.items()]
        return escapes + forgeries + [Attack(n, text, TASKS[t].suite, False) for n, (t, text) in FORGED.items()]

    def touched(self) -> list[str]:
        """What was done to the bait."""
        found = list(self.calls)
        if self.process.poll() is not None:
            found.append("a process outside was ended")
        if self.file.read_text() != self.token or [*self.folder.iterdir()] != [self.file]:
            found.append("files outside were changed")
        return found


def _abstract_server(name: str) -> socket.socket:
    server = socket.socket(socket.AF_UNIX)
    server.bind(name)
    server.listen()
    return server


def _written(text: str, places: dict[str, object]) -> str:
    """Only names of places in braces are replaced, so that the programs may use braces."""
    for name, value in places.items():
        text = text.replace(f"{{{name}!r}}", repr(value)).replace(f"{{{name}}}", str(value))
    return text.replace("{{", "{").replace("}}", "}")


@contextlib.contextmanager
def bait() -> Iterator[Bait]:
    """The bait, laid out for as long as attacks run; also as an environment variable of this process."""
    with tempfile.TemporaryDirectory(prefix="bactrian-bait-") as folder:
        laid = Bait(Path(folder))
        os.environ["BACTRIAN_BAIT"] = laid.token
        try:
            yield laid
        finally:
            del os.environ["BACTRIAN_BAIT"]
            laid.close()


def perform(attack: Attack, isolation: Isolation, laid: Bait) -> Result:
    """Run one attack, as a script and as an answer to the task, and say what it got."""
    began = time.monotonic()
    holes = scripted(attack, isolation, laid) if attack.script else []
    report = examine(attack.program, attack.suite, isolation, LIMITS)
    if report.all_passed or (report.passed and attack.suite is SUITE):
        holes.append(f"passed {report.passed} of {report.total} tests")
    if report.broken or report.stalled:
        holes.append(f"broke the examination: {report.broken or report.stalled}")
    holes += laid.touched() + left_behind()
    return Result(attack.name, tuple(holes), time.monotonic() - began)


def scripted(attack: Attack, isolation: Isolation, laid: Bait) -> list[str]:
    """What an attack got as a script."""
    holes = []
    run = run_program(attack.program, isolation, limits=LIMITS)
    printed = run.output + run.error
    if "ESCAPED" in printed or laid.token in printed:
        line = next((line for line in printed.splitlines() if "ESCAPED" in line), "the token")
        holes.append(f"got out: {line[:80]}")
    if run.ended == "stalled":
        holes.append(f"neither worked nor slept, for {run.seconds:.0f} s")
    return holes


def left_behind(patience: float = 2.0) -> list[str]:
    """Processes and mounts of this process's sandboxes that exist, and still do after `patience` seconds."""
    deadline = time.monotonic() + patience
    while (found := _processes() + _mounts()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


def _processes() -> list[str]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if MARK.encode() in (folder / "cmdline").read_bytes():
                found.append(f"left process {folder.name}")
    return found


def mounts() -> set[str]:
    """The mount table of this process, a line a mount."""
    table = Path("/proc/self/mountinfo")
    return set(table.read_text().splitlines()) if table.exists() else set()


def _mounts() -> list[str]:
    ours = [line for line in mounts() if " - tmpfs sandbox " in line or " - tmpfs scratch " in line]
    return [f"left a mount: {line[:80]}" for line in ours]


def besiege(isolation: Isolation, names: Sequence[str] = ()) -> Iterator[Result]:
    """Every attack in turn (or those of these names). Never without walls: some attacks would do
    what they try.

    Raises:
        ValueError: for an isolation that is weak or was seen to leak.
    """
    if not isolation.strong or problem_with(isolation) is not None:
        raise ValueError(f"no attack is run under {isolation.name}")
    with bait() as laid:
        for attack in laid.attacks():
            if not names or attack.name in names:
                yield perform(attack, isolation, laid)
