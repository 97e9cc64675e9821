"""What an artifact says about itself: kinds, licences and the manifest that ties them to the hashes of its files.

A manifest is sealed: its last field is the SHA-256 of every byte before it. That finds accidents and edits made without
thought. It is no signature: whoever edits a manifest can seal it again, and is then found only by what was made from
the artifact, as `statement` of the manifest stands in the manifests of those.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from bactrian.errors import BactrianError
from bactrian.store.hashes import UNLIKE, FileRecord, content_hash, files_below, hash_files, hash_json

MANIFEST = "manifest.json"
FORMAT = 2
"""1 had no seal."""
SEAL, END = b',\n "seal": "', b'"\n}\n'


class Kind(StrEnum):
    """What an artifact is."""

    MODEL = "model"
    DATA = "data"
    RESULTS = "results"


class Licence(BaseModel):
    """Where something came from and on what terms.

    `marks` are short warnings: "NC" (not for commerce), "SA" (share alike), "unclear" (no licence could be found).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    source: str
    licence: str
    marks: tuple[str, ...] = ()

    @classmethod
    def of(cls, source: str, licence: str | None) -> "Licence":
        """A licence with the marks that its usual name implies; an empty or unknown name is marked unclear."""
        name = (licence or "").strip()
        words = set(re.split(r"[^a-z0-9]+", name.lower()))
        marks = [mark for mark in ("NC", "SA", "ND") if mark.lower() in words]
        if "noncommercial" in words or {"non", "commercial"} <= words:
            marks = sorted({"NC", *marks})
        if not name or words & {"unknown", "other", "unclear", "none"}:
            marks.append("unclear")
        return cls(source=source, licence=name or "unknown", marks=tuple(marks))


class Decontamination(BaseModel):
    """What is known of some training rows and test items: `against` is empty if nobody compared them.

    `data` names the rows as a person does (a step or a source); `left` is the largest share of a benchmark's items that
    they still hold by `rule`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    data: str
    against: tuple[str, ...] = ()
    rule: str = ""
    left: float = 0.0

    def __str__(self) -> str:
        if not self.against:
            return f"{self.data}: not decontaminated"
        return (
            f"{self.data}: against {len(self.against)} benchmarks ({', '.join(self.against)}); {self.rule}; "
            f"at most {self.left:.1%} of one is left"
        )


class InputRecord(BaseModel):
    """What a step was made from; `key` is None for what no step made."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    key: str | None
    content_hash: str
    path: str
    statement: str | None = None  # "<which making> <hash>" of the input's manifest, where it has one


class LedgerRecord(BaseModel):
    """What results know of their store's ledger: its name, its newest seal, its lines, and the looks behind them."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    id: str
    lines: int
    seal: str
    looks: tuple[dict[str, Any], ...] = ()


class PartRecord(BaseModel):
    """A part that was looked up by name (parts.py): the module that holds it, and its code as a hash."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    module: str
    fingerprint: str


class Manifest(BaseModel):
    """The content of `manifest.json`; docs/design.md lists the fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    format: int = FORMAT
    kind: Kind
    stage: str
    step: str
    key: str
    content_hash: str
    inputs: dict[str, InputRecord]
    settings: dict[str, Any]
    seed: int
    code: dict[str, str | None]
    parts: dict[str, PartRecord] = {}  # what was looked up by name and shaped the output, such as verifiers
    packages: dict[str, str]
    hardware: dict[str, str | int | None]
    licences: tuple[Licence, ...]
    decontamination: tuple[Decontamination, ...] = ()  # of every row that data or a model were made from
    making: str = ""  # drawn at random: tells this making from another of the same key
    started: str  # ISO 8601, UTC
    seconds: float  # of all processes that worked on it
    attempts: int = 1  # processes that worked on it; more than 1 where it was interrupted and resumed
    metrics: dict[str, float | None]
    files: dict[str, FileRecord]
    ledger: LedgerRecord | None = None  # of results, where their store has a ledger
    fields: dict[str, str] = Field({}, repr=False)  # the beginning of each field's hash, to name the one that changed

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Read `folder/manifest.json`.

        Raises:
            BactrianError: naming what is missing, malformed or changed since it was sealed.
        """
        path = folder / MANIFEST
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            raise BactrianError(f"{folder}: no {MANIFEST}, so this is not a finished artifact") from None
        return cls.parse(raw, str(path))

    @classmethod
    def parse(cls, raw: bytes, where: str) -> "Manifest":
        """What the bytes of a manifest.json say.

        Raises:
            BactrianError: naming `where` they are from, and what is malformed or changed since it was sealed.
        """
        try:
            return cls.model_validate(_unsealed(raw, where))
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"])) or "the whole file"
            raise BactrianError(f"{where}: field {field}: {first['msg']}; the manifest is damaged") from None

    def write(self, folder: Path) -> "Manifest":
        """Write `folder/manifest.json`, sealed; returns what `read` gives."""
        sealed = self.model_copy(update={"fields": _marks(self.model_dump(mode="json"))})
        body = sealed.model_dump_json(indent=1).encode().removesuffix(b"\n}")
        (folder / MANIFEST).write_bytes(body + SEAL + hashlib.sha256(body).hexdigest().encode() + END)
        return sealed

    def statement(self) -> str:
        """Which making this was, and a hash of what making the artifact again would say again.

        That is not of times, machines, places and step names: what was removed and made again has the same hash.
        """
        inputs = {ref: record.key or record.content_hash for ref, record in self.inputs.items()}
        files = [[name, record.sha256] for name, record in sorted(self.files.items()) if name not in UNLIKE]
        said = hash_json(
            [
                self.format,
                self.kind,
                self.stage,
                self.key,
                self.content_hash,
                sorted(inputs.values()),
                _renamed(self.settings, inputs),
                self.seed,
                self.code.get("fingerprint"),
                self.licences,
                self.decontamination,
                files,
            ]
        )
        return f"{self.making} {said}"

    def restated(self, key: str | None, content_hash: str, statement: str | None) -> Literal["", "again", "changed"]:
        """Whether an input whose files are the same says other things than when this was made from it.

        "again": it was made again since. "changed": it was not.
        """
        for record in self.inputs.values():
            if (record.key, record.content_hash) == (key, content_hash) and record.statement and statement:
                (then, said), (now, says) = record.statement.rsplit(" ", 1), statement.rsplit(" ", 1)
                if said != says:
                    return "changed" if then == now else "again"
        return ""

    def check_inputs(self, folder: Path) -> None:
        """Read the manifests of what this artifact, in `folder`, was made from, beside it or where
        they were then.

        Raises:
            BactrianError: for one that is damaged, or that says other things than it did;
                passes over what is gone.
        """
        for record in (each for each in self.inputs.values() if each.statement is not None):
            places = (folder.parent / Path(record.path).name, Path(record.path))
            place = next((place for place in places if (place / MANIFEST).is_file()), None)
            if place is not None:
                made_from = Manifest.read(place)
                if self.restated(made_from.key, made_from.content_hash, made_from.statement()) == "changed":
                    raise BactrianError(restated(str(place), str(folder)))

    def verify(self, folder: Path) -> None:
        """Compare every file of `folder` with its hash.

        Raises:
            BactrianError: naming the artifact and each bad file.
        """
        present = {path.relative_to(folder).as_posix() for path in files_below(folder)} - {MANIFEST}
        missing, extra = sorted(self.files.keys() - present), sorted(present - self.files.keys())
        found = hash_files(folder, sorted(present & self.files.keys()))
        changed = [name for name, record in found.items() if record != self.files[name]]
        problems = [f"missing file {name}" for name in missing]
        problems += [f"file {name} is not part of it" for name in extra]
        problems += [f"changed file {name} (its sha256 is not the manifest's)" for name in changed]
        if content_hash(self.files) != self.content_hash:
            problems.append(f"{MANIFEST} itself was changed (content_hash does not fit its files)")
        if problems:
            raise BactrianError(
                f"artifact {folder} does not match its manifest: {'; '.join(problems)}. "
                f"It will not be used; remove that folder and run again to remake it"
            )


def check_artifact(folder: Path) -> None:
    """
    Raises:
        BactrianError: where a folder has a manifest that is damaged, or that it or its inputs
            do not match.
    """
    if (folder / MANIFEST).is_file():
        manifest = Manifest.read(folder)
        manifest.verify(folder)
        manifest.check_inputs(folder)


def restated(name: str, reader: str) -> str:
    """What is said of an artifact whose manifest is not the one that `reader` was made with."""
    return (
        f"{name}: its {MANIFEST} says other things than when {reader} was made from it, and its files are the "
        f"same: it was changed and sealed again. Neither will be used; remove both folders and run again"
    )


def _unsealed(raw: bytes, path: str) -> dict[str, Any]:
    """The fields of a manifest whose seal fits.

    Raises:
        BactrianError: naming the field that changed, if it can be told.
        ValidationError: (not JSON).
    """
    found: dict[str, Any] = TypeAdapter(dict[str, Any]).validate_json(raw)
    if found.get("format") == 1 and "seal" not in found:
        raise BactrianError(
            f"{path}: field format: found 1, expected {FORMAT}: it was made before manifests were "
            f"sealed, so nothing says whether it was changed; remake it with bactrian run"
        )
    body, mark, rest = raw.rpartition(SEAL)
    if mark and rest == hashlib.sha256(body).hexdigest().encode() + END:
        if found.get("format") != FORMAT:
            raise BactrianError(f"{path}: field format: found {found.get('format')!r:.20}, expected {FORMAT}")
        return {name: value for name, value in found.items() if name != "seal"}
    marks, now = found.get("fields"), _marks(found)
    told = marks if isinstance(marks, dict) else {}
    changed = sorted(name for name in told.keys() | now.keys() if told.get(name) != now.get(name))
    where = f"field {', '.join(changed)}" if 0 < len(changed) < 4 else "the whole file"
    raise BactrianError(
        f"{path}: {where}: changed since it was sealed (its SHA-256 is not the one in its seal). It "
        f"will not be used; remove that folder and run again to remake it"
    )


def _marks(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: hash_json(value)[:12] for name, value in values.items() if name not in ("fields", "seal")}


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    """A setting with each text that is one of the names replaced."""
    if isinstance(value, dict):
        return {key: _renamed(inner, names) for key, inner in value.items()}
    if isinstance(value, list):
        return [_renamed(inner, names) for inner in value]
    return names.get(value, value) if isinstance(value, str) else value


def merge_licences(*groups: Iterable[Licence]) -> tuple[Licence, ...]:
    """All licences once each, sorted, so that the order of inputs does not show."""
    return tuple(
        sorted(
            {licence for group in groups for licence in group},
            key=lambda licence: (licence.source, licence.licence, licence.marks),
        )
    )


def merge_decontamination(*groups: Iterable[Decontamination]) -> tuple[Decontamination, ...]:
    """All records once each, sorted: what was made from clean rows and others says both."""
    return tuple(sorted({record for group in groups for record in group}, key=str))
