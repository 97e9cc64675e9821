"""Who looked at which unseen suite, with which model, when, why: a file that only grows, each line sealed by the last.

A line's `seal` is the SHA-256 of the line before's seal and of its own content. To change, drop or reorder a line, all
that follow have to be forged too; `check` names the first that does not fit. The newest seals stand in every results
artifact as well, so that a ledger that was cut short at its end, or written anew, is found out by its own results.
"""

from __future__ import annotations

import getpass
import json
import os
import socket
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bactrian.artifact import now, take_lock, write_atomically
from bactrian.errors import BactrianError
from bactrian.manifest import hash_json

NAME = "ledger.jsonl"
START = "0" * 64


@dataclass(frozen=True)
class Look:
    """One look at one task of an unseen suite. `model` is what a person calls it, `model_hash` its content."""

    number: int
    when: str
    who: str
    task: str
    task_digest: str
    model: str
    model_hash: str
    reason: str
    seal: str = ""


class Ledger:
    """The ledger of a project: a file in its store."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME

    def looks(self) -> list[Look]:
        """All lines, checked. Raises BactrianError naming the first that does not follow from the one before."""
        if not self.path.is_file():
            return []
        looks: list[Look] = []
        seal = START
        for number, line in enumerate(self.path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            try:
                look = Look(**json.loads(line))
            except (ValueError, TypeError) as error:
                raise BactrianError(f"{self.path}, line {number}: not a line of a ledger ({error}){TAMPERED}") from None
            if look.number != number or look.seal != sealed(seal, look):
                raise BactrianError(f"{self.path}, line {number}: its seal does not fit what it says and the lines "
                                    f"before it{TAMPERED}")  # fmt: skip
            looks.append(look)
            seal = look.seal
        return looks

    def check_holds(self, seals: Sequence[str], where: str) -> None:
        """Raises BactrianError where seals that results carry are not in the ledger: it was cut or written anew."""
        known = {look.seal for look in self.looks()}
        lost = [seal for seal in seals if seal not in known]
        if lost:
            raise BactrianError(f"{where}: {len(lost)} looks that it was made with are not in {self.path}{TAMPERED}")

    def add(self, looks: Sequence[Look]) -> list[Look]:
        """Append looks under a lock, numbered, dated and sealed; they are on the disk before this returns."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        held = take_lock(self.path.with_name(f".{NAME}.lock"), f"an entry in {self.path}")
        try:
            known = self.looks()
            seal = known[-1].seal if known else START
            added: list[Look] = []
            for number, look in enumerate(looks, len(known) + 1):
                whole = Look(**(asdict(look) | {"number": number, "seal": ""}))
                seal = sealed(seal, whole)
                added.append(Look(**(asdict(whole) | {"seal": seal})))
            # all lines or none, even where the process is killed or the disk is full: half a line would look forged
            before = self.path.read_text(encoding="utf-8") if known else ""
            lines = "".join(json.dumps(asdict(look), ensure_ascii=False) + "\n" for look in added)
            write_atomically(self.path, before + lines)
            return added
        finally:
            os.close(held)


TAMPERED = ": the ledger was tampered with. Restore it from a copy; without it no unseen score can be believed"


def sealed(before: str, look: Look) -> str:
    """The seal of a line, given the seal before it."""
    return hash_json([before, {name: value for name, value in asdict(look).items() if name != "seal"}])


def entry(task: str, task_digest: str, model: str, model_hash: str, reason: str) -> Look:
    """A look that is about to be taken, by whoever runs this process, now."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # no such user in a container
        user = str(os.getuid()) if hasattr(os, "getuid") else "unknown"
    return Look(0, now(), f"{user}@{socket.gethostname()}", task, task_digest, model, model_hash, reason)


def counts(looks: Sequence[Look]) -> dict[str, int]:
    """Task → how often it was looked at, with whatever model."""
    found: dict[str, int] = {}
    for look in looks:
        found[look.task] = found.get(look.task, 0) + 1
    return found
