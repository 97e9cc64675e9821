"""Who looked at which unseen suite, with which model, when, why: a file that only grows, each line sealed by the last.

A line's `seal` is the SHA-256 of the line before's seal and of its own content. To change, drop or reorder a line, all
that follow have to be forged too; `looks` names the first that does not fit. What the store knows besides (evidence.py)
tells a ledger that was emptied, cut, replaced, deleted or written anew. A ledger has a name (`ledger`, drawn at its
first line): results that were copied in from another store are of another ledger, and say nothing against this one.
"""

from __future__ import annotations

import getpass
import json
import os
import secrets
import shutil
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

from bactrian.errors import BactrianError
from bactrian.evaluate.evidence import WITNESS, Evidence, evidence, of_results, read_witness, write_witness
from bactrian.store.artifact import Store, Workspace
from bactrian.store.disk import now, take_lock, write_atomically
from bactrian.store.hashes import hash_json
from bactrian.store.manifest import Kind, LedgerRecord

NAME = "ledger.jsonl"
START = "0" * 64
PATIENCE = 60.0
"""Seconds to wait for another process that writes into the ledger."""
GAP = "gap"
OPTIONAL = ("ledger", "rebuilt", "stands_for")


@dataclass(frozen=True)
class Look:
    """One look at one task of an unseen suite. `model` is what a person calls it, `model_hash` its content.

    rebuilt: where a line is from that was written into a ledger again; "gap": no look, only what is known to be lost.
    stands_for: seals of the lines that were lost and that this one is there for.
    """

    number: int
    when: str
    who: str
    task: str
    task_digest: str
    model: str
    model_hash: str
    reason: str
    seal: str = ""
    ledger: str = ""
    rebuilt: str = ""
    stands_for: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """All fields; of those that most lines lack, the ones that say something."""
        return {name: value for name, value in asdict(self).items() if value or name not in OPTIONAL}

    @classmethod
    def of(cls, given: dict[str, Any]) -> Look:
        """A look from its JSON.

        Raises:
            TypeError: for fields that a look does not have.
        """
        look = cls(**given)
        return replace(look, stands_for=tuple(look.stands_for))

    def __str__(self) -> str:
        return f"line {self.number} ({self.task} with {self.model}, {self.when}, {self.reason!r})"


class Ledger:
    """The ledger of a store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.path = store.root / NAME

    def looks(self) -> list[Look]:
        """All lines, whole in themselves.

        Raises:
            BactrianError: naming the first that does not follow.
        """
        return list(self._lines())

    def checked(self) -> list[Look]:
        """All lines, and nothing that the store knows of is missing.

        Raises:
            BactrianError: naming what is missing, and the results that know of it.
        """
        known_by = evidence(self.store)  # first, as another process may add a line, and then a note of it
        looks = self.looks()
        self._compare(looks, known_by)
        return looks

    def all_looks(self) -> list[Look]:
        """The lines that are looks, and looks of other ledgers whose results were copied into this store."""
        looks = self.looks()
        return [*(look for look in looks if look.rebuilt != GAP), *foreign(looks, evidence(self.store))]

    def record(self, looks: Sequence[dict[str, Any]] = ()) -> LedgerRecord | None:
        """What results that were made with some looks hold of the ledger; None where there is none."""
        known = self.looks()
        if not known:
            return None
        return LedgerRecord(id=name_of(known), lines=len(known), seal=known[-1].seal, looks=tuple(looks))

    def add(self, looks: Sequence[Look]) -> list[Look]:
        """Append looks under a lock, numbered, dated and sealed; they are on the disk before this returns."""
        with self._locked():
            known = self.checked()
            self._write([*known, *looks], known)
            return self.looks()[len(known) :]

    def rebuild(self) -> list[Look]:
        """Write the ledger anew from what is whole of it and what results prove; what was there is kept beside it.

        What is lost is a line of its own, and each line that comes from results says from which. Returns the new lines:
        none where nothing is missing.
        """
        with self._locked():
            found, whole, witness = self._whole()
            known_by = [*([witness] if witness else []), *of_results(self.store)]
            expected = witness.record.id if witness else ""
            kept = found if not expected or not found or name_of(found) == expected else []
            mine = expected or (name_of(kept) if kept else "")
            proved = recovered(kept, [each for each in known_by if not mine or each.record.id in ("", mine)])
            aside = [
                replace(look, rebuilt=f"line {look.number} of the ledger that lay there", stands_for=(look.seal,))
                for look in found
                if not kept
            ]
            lost = lost_seals([*kept, *proved, *aside], known_by, mine)
            if whole and not (proved or aside or lost):
                return []
            self._keep_aside()
            told = (
                f"rebuilt: {len(kept)} lines are as they were; of {len(lost)} more only the seal is known; lines "
                f"that nothing proves are lost"
            )
            gap = replace(entry("", "", "", "", told), rebuilt=GAP, stands_for=lost)
            self._write([*kept, gap, *proved, *aside], kept, mine)
            return self.looks()[len(kept) :]

    def _write(self, lines: Sequence[Look], known: Sequence[Look], name: str = "") -> None:
        """Write all lines or none, as half a line looks forged; those beyond the known ones are numbered and sealed."""
        whole = list(known)
        name = name or (name_of(known) if known else secrets.token_hex(8))
        for look in lines[len(known) :]:
            bare = replace(look, number=len(whole) + 1, seal="", ledger=name)
            whole.append(replace(bare, seal=sealed(whole[-1].seal if whole else START, bare)))
        text = "".join(json.dumps(look.as_json(), ensure_ascii=False) + "\n" for look in whole)
        write_atomically(self.path, text)
        write_witness(self.store, LedgerRecord(id=name_of(whole), lines=len(whole), seal=whole[-1].seal))

    def _lines(self) -> Iterator[Look]:
        seal, text = START, ""
        if self.path.is_file():
            text = self.path.read_text(encoding="utf-8", errors="replace")
        for number, line in enumerate(text.splitlines(), 1):
            try:
                look = Look.of(json.loads(line))
                fits = look.number == number and look.seal == sealed(seal, look)
            except (ValueError, TypeError, RecursionError) as error:
                raise BactrianError(
                    f"{self.path}, line {number}: not a line of a ledger ({error}){self._remedy}"
                ) from None
            if not fits:
                raise BactrianError(
                    f"{self.path}, line {number}: its seal does not fit what it says and the lines "
                    f"before it{self._remedy}"
                )
            yield look
            seal = look.seal

    def _compare(self, looks: Sequence[Look], known_by: Sequence[Evidence]) -> None:
        name, known = name_of(looks) if looks else "", seals_of(looks)
        witness = next((each for each in known_by if each.where.name == WITNESS), None)
        if witness is not None and name and witness.record.id != name:
            raise BactrianError(
                f"{self.path}: it is another ledger ({name}) than this store's, which is "
                f"{witness.record.id} and had {witness.record.lines} lines{self._remedy}"
            )
        mine = name or (witness.record.id if witness else "")
        of_mine = [each for each in known_by if not mine or each.record.id in ("", mine)]  # others were copied in
        missing = {
            look["seal"]: Look.of(look)
            for each in of_mine
            for look in each.record.looks
            if look.get("seal") not in known
        }
        knowing = [
            each
            for each in of_mine
            if {*each.seals, *filter(None, [each.record.seal])} - known
            or missing.keys() & {look["seal"] for look in each.record.looks}
        ]
        if not knowing:
            return
        seals = {seal for each in knowing for seal in (*each.seals, each.record.seal) if seal and seal not in known}
        longest = max(each.record.lines for each in knowing)
        told = "; missing: " + "; ".join(map(str, missing.values())) if missing else ""
        copied = "" if mine else ". If all results here were copied from other stores, that begins a ledger"
        where = " and ".join(str(each.where) for each in (knowing[0], *knowing[1:][-1:]))
        raise BactrianError(
            f"{where}: {len(seals | missing.keys())} looks that they were made with are not in "
            f"{self.path}, which has {len(looks)} lines and had {longest}{told}"
            f"{self._remedy}{copied}"
        )

    @property
    def _remedy(self) -> str:
        return (
            f": the ledger was tampered with. Restore {self.path.name} from a copy of the store. Where there is "
            f"none, `bactrian ledger --store {self.store.root} --rebuild` writes what results still prove, and "
            f"marks the gap. Until then nothing is measured in this store"
        )

    def _whole(self) -> tuple[list[Look], bool, Evidence | None]:
        """The lines up to the first that does not fit; whether all do; how far it was by the note beside it."""
        found: list[Look] = []
        witness = None
        try:
            for look in self._lines():
                found.append(look)
            witness = read_witness(self.store)
        except BactrianError:
            with suppress(BactrianError):
                witness = read_witness(self.store)
            return found, False, witness
        return found, True, witness

    def _keep_aside(self) -> None:
        if self.path.is_file():
            taken = len(list(self.path.parent.glob(f"{NAME}.before-*")))
            shutil.copy2(self.path, self.path.with_name(f"{NAME}.before-{taken + 1}"))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        held = take_lock(self.path.with_name(f".{NAME}.lock"), f"an entry in {self.path}", PATIENCE)
        try:
            yield
        finally:
            os.close(held)


def sealed(before: str, look: Look) -> str:
    """The seal of a line, given the seal before it."""
    return hash_json([before, {name: value for name, value in look.as_json().items() if name != "seal"}])


def name_of(looks: Sequence[Look]) -> str:
    """The name of a ledger: drawn at random; of one from before ledgers had names, its first seal."""
    return looks[0].ledger or looks[0].seal


def seals_of(looks: Sequence[Look]) -> set[str]:
    """The seals that a ledger answers for."""
    return {seal for look in looks for seal in (look.seal, *look.stands_for)}


def foreign(looks: Sequence[Look], known_by: Sequence[Evidence]) -> list[Look]:
    """Looks of results that were made with another ledger, each once."""
    known, name, found = seals_of(looks), name_of(looks) if looks else "", list[Look]()
    for each in known_by:
        if each.record.id not in ("", name):
            mine = [Look.of(look) for look in each.record.looks]
            found += [look for look in mine if look.seal not in known]
            known |= {look.seal for look in mine}
    return found


def recovered(looks: Sequence[Look], known_by: Sequence[Evidence]) -> list[Look]:
    """The looks that results prove and a ledger lacks, in their old order, each saying where it is from."""
    known, found = seals_of(looks), dict[str, Look]()
    for each in known_by:
        for look in map(Look.of, each.record.looks):
            if look.seal not in known:
                told = f"line {look.number} of ledger {each.record.id}, by {each.where.parent.name}"
                found[look.seal] = replace(look, rebuilt=told, stands_for=(look.seal, *look.stands_for))
    return sorted(found.values(), key=lambda look: (look.number, look.when, look.seal))


def lost_seals(looks: Sequence[Look], known_by: Sequence[Evidence], name: str) -> tuple[str, ...]:
    """Seals that the store knows of and no line answers for."""
    of_mine = [each for each in known_by if not name or each.record.id in ("", name)]
    seals = {seal for each in of_mine for seal in (each.record.seal, *each.seals) if seal}
    return tuple(sorted(seals - seals_of(looks)))


def entry(task: str, task_digest: str, model: str, model_hash: str, reason: str) -> Look:
    """A look that is about to be taken, by whoever runs this process, now."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # no such user in a container
        user = str(os.getuid()) if hasattr(os, "getuid") else "unknown"
    return Look(0, now(), f"{user}@{socket.gethostname()}", task, task_digest, model, model_hash, reason)


def ledgers(workspace: Workspace) -> list[Ledger]:
    """The ledger of the workspace's store, then those of the stores that its models lie in.

    A model that is looked at from another working directory, and so by another store, is noted at home too.
    """
    roots = {workspace.store.root.resolve(): workspace.store}
    for given in workspace.inputs.values():
        parents = given.path.resolve().parents if given.kind is Kind.MODEL else ()
        for folder in parents:
            if folder.name == "artifacts":
                roots.setdefault(folder.parent, Store(folder.parent))
    return [Ledger(store) for store in roots.values()]


def note(workspace: Workspace, looks: Sequence[Look]) -> list[Look]:
    """Write looks into each of the `ledgers`; returns the lines of the workspace's own store.

    Raises:
        BactrianError: where one of them has forgotten something: then none is written.
    """
    places = ledgers(workspace)
    for each in places:
        each.checked()
    if not looks:
        return []
    added = [each.add(looks) for each in places]
    return added[0]


def counted(workspace: Workspace) -> dict[str, int]:
    """Task → how often it was looked at, as far as any of the `ledgers` knows."""
    found: dict[str, int] = {}
    for each in ledgers(workspace):
        for task, count in counts(each.all_looks()).items():
            found[task] = max(count, found.get(task, 0))
    return found


def counts(looks: Sequence[Look]) -> dict[str, int]:
    """Task → how often it was looked at, with whatever model."""
    found: dict[str, int] = {}
    for look in looks:
        found[look.task] = found.get(look.task, 0) + 1
    return found
