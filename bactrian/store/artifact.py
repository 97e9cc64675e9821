"""What a step leaves behind, and the workspace in which a stage makes it.

A step is made in `artifacts/<stage>-<key>.partial/{output,scratch}` under a lock, and becomes an artifact by one
rename, after its files were hashed and synced. So a folder without `.partial` in its name is whole, or somebody changed
it, which its hashes tell.
"""

import json
import math
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bactrian.errors import BactrianError
from bactrian.store.disk import allow_as_umask, naming_full_disk, sync, sync_folder, take_lock, write_atomically
from bactrian.store.hardware import Hardware
from bactrian.store.hashes import METRICS, ROLLOUTS, FileRecord, content_hash, files_below, hash_files, hash_json
from bactrian.store.manifest import MANIFEST, Decontamination, Kind, Licence, Manifest


@dataclass(frozen=True)
class Artifact:
    """A finished folder and what it says about itself."""

    path: Path
    manifest: Manifest


@dataclass(frozen=True)
class Input:
    """Something that a step reads: an artifact of another step, an embedded model, a file, a folder, a Hub download.

    `name` is what a person calls it (a step's name or the text in the recipe); `path` is a file or a folder.
    """

    name: str
    path: Path
    kind: Kind
    content_hash: str
    licences: tuple[Licence, ...] = ()
    key: str | None = None
    decontamination: tuple[Decontamination, ...] = ()
    statement: str | None = None  # of the artifact's manifest

    @classmethod
    def of(cls, name: str, artifact: Artifact) -> "Input":
        """An artifact, as the step called `name`."""
        manifest = artifact.manifest
        return cls(
            name,
            artifact.path.resolve(),
            manifest.kind,
            manifest.content_hash,
            manifest.licences,
            manifest.key,
            manifest.decontamination,
            manifest.statement(),
        )


@dataclass
class Workspace:
    """What a stage's `run` gets."""

    output: Path  # what is written here becomes the artifact
    scratch: Path  # survives a kill; removed when the artifact is committed
    seed: int
    hardware: Hardware
    inputs: Mapping[str, Input]
    store: "Store"
    code: str = ""  # the stage's code fingerprint; part of every memo's name
    metrics: dict[str, float] = field(default_factory=dict)  # headline numbers for the manifest
    licences: list[Licence] = field(default_factory=list)  # beyond the inputs'
    decontamination: Decontamination | None = None  # set by a stage that compared its rows with test items
    shared: Path | None = None  # the scratch of the process that makes the artifact, where another does
    memos: Path = field(init=False)
    _log_checked: bool = False
    _rollouts_checked: bool = False

    def __post_init__(self) -> None:
        self.memos = self.store.memos

    @classmethod
    def temporary(
        cls, folder: Path, inputs: Mapping[str, Input] | None = None, seed: int = 0, hardware: Hardware | None = None
    ) -> "Workspace":
        """A workspace in any folder, for tests and for calling a stage without a recipe."""
        for name in ("output", "scratch"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        return cls(folder / "output", folder / "scratch", seed, hardware or Hardware(), inputs or {}, Store(folder))

    @property
    def common(self) -> Path:
        """The scratch that all processes see that make the artifact together; what is the leader's alone to write."""
        return self.shared or self.scratch

    @property
    def checkpoints(self) -> Path:
        """Where training leaves its state."""
        return self.common / "checkpoints"

    def input(self, ref: str) -> Input:
        """What a reference of the stage's settings names.

        Raises:
            KeyError: if the stage has no such reference.
        """
        return self.inputs[ref]

    def add_licence(self, licence: Licence) -> None:
        """Note a licence beyond the inputs' own, which are carried up without asking."""
        if licence not in self.licences:
            self.licences.append(licence)

    @property
    def looks(self) -> list[dict[str, Any]]:
        """The looks at unseen tasks that this artifact was made with, those before a kill included."""
        path = self.scratch / "looks.json"
        found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
        return found

    def add_looks(self, looks: Iterable[dict[str, Any]]) -> None:
        """Note looks for the manifest."""
        write_atomically(self.scratch / "looks.json", json.dumps([*self.looks, *looks]))

    def memo(self, **parts: object) -> "Memo":
        """A result shared between steps, named by everything that shapes it: `parts`, the dtype and
        the stage's code.

        Raises:
            TypeError: if a part cannot be written as JSON.
        """
        parts = {**parts, "dtype": self.hardware.dtype, "code": self.code}
        return Memo(self.memos / hash_json(parts)[:32])

    def log(self, step: int, **values: float) -> None:
        """Append a line to output/metrics.jsonl. What is not finite is written as null (JSON has no NaN)."""
        if not self._log_checked:
            self.rewind(step - 1)
        line = {"step": step} | {name: finite(value) for name, value in values.items()}
        with naming_full_disk(self.output), (self.output / METRICS).open("a") as file:
            file.write(json.dumps(line) + "\n")

    def rewind(self, step: int) -> None:
        """Drop the logged lines of later steps, and a last line that a kill cut in half. Atomic."""
        self._log_checked = True
        _drop_after(self.output / METRICS, step)

    def show_rollouts(self, step: int, rows: Iterable[Mapping[str, Any]]) -> None:
        """Append answers sampled in a step (from 1) to output/rollouts.jsonl, for whoever looks on.

        What an earlier process wrote of this step or later ones goes: it is sampled again.
        """
        path = self.output / ROLLOUTS
        if not self._rollouts_checked:
            self._rollouts_checked = True
            _drop_after(path, step - 1)
        lines = "".join(json.dumps({"step": step, **row}) + "\n" for row in rows)
        with naming_full_disk(self.output), path.open("a") as file:
            file.write(lines)


def _drop_after(path: Path, step: int) -> None:
    if path.exists():
        lines = path.read_text().splitlines(keepends=True)
        kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
        write_atomically(path, "".join(kept))


class Memo:
    """`if not memo.exists: folder = memo.begin(); …write files…; memo.commit()`, then read `memo.path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._partial = path.with_name(path.name + ".partial")
        self._held: int | None = None

    @property
    def exists(self) -> bool:
        """Whether it was made, whole.

        Raises:
            BactrianError: naming the memo and the file if its hashes do not fit.
        """
        if not self.path.exists():
            return False
        try:
            recorded = {name: FileRecord(**record) for name, record in json.loads(self._list.read_text()).items()}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise BactrianError(
                f"memo {self.path}: files.json cannot be read ({error}); remove that folder and run again"
            ) from None
        found = _hash_all(self.path, but="files.json")
        bad = sorted(name for name in recorded.keys() | found.keys() if recorded.get(name) != found.get(name))
        if bad:
            raise BactrianError(
                f"memo {self.path} does not match its hashes: {', '.join(bad)} missing, changed or "
                f"not part of it; remove that folder and run again"
            )
        return True

    def begin(self) -> Path:
        """An empty folder to write into.

        Raises:
            BactrianError: if another process is making the same memo.
        """
        self._held = take_lock(self.path.parent / ".locks" / self.path.name, f"memo {self.path}")
        shutil.rmtree(self._partial, ignore_errors=True)
        self._partial.mkdir(parents=True)
        return self._partial

    def commit(self) -> Path:
        """Hash what was written and give it its final name, which is returned."""
        with naming_full_disk(self._partial):
            records = {name: record.model_dump() for name, record in _hash_all(self._partial).items()}
            (self._partial / "files.json").write_text(json.dumps(records))
            allow_as_umask(self._partial)
            sync_folder(self._partial)
        if self.path.exists():
            shutil.rmtree(self._partial)
        else:
            self._partial.rename(self.path)
            sync(self.path.parent)
        if self._held is not None:
            os.close(self._held)
            self._held = None
        return self.path

    @property
    def _list(self) -> Path:
        return self.path / "files.json"


class Store:
    """The folder (`runs/` by default) in which artifacts, memos and the records of runs lie."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.artifacts = root / "artifacts"
        self.memos = root / "memo"

    def folder(self, stage: str, key: str) -> Path:
        """Where the artifact of this key is, or will be."""
        return self.artifacts / f"{stage}-{key[:16]}"

    def partial(self, stage: str, key: str) -> Path:
        """Where the artifact is while it is being made; there after an interruption, if it can be resumed."""
        return self.artifacts / f"{stage}-{key[:16]}.partial"

    def find(self, stage: str, key: str) -> Artifact | None:
        """The artifact of this key without a look at its files' content (see `Manifest.verify`), or
        None.

        Raises:
            BactrianError: if the folder is there and its manifest is not, or is damaged, or is
                another's.
        """
        folder = self.folder(stage, key)
        if not folder.exists():
            return None
        manifest = Manifest.read(folder)
        if manifest.key != key:
            raise BactrianError(f"{folder}: field key: found {manifest.key}, expected {key}; remove that folder")
        return Artifact(folder, manifest)

    def locate(self, name: str, run: str | None = None) -> Path:
        """The folder of an artifact: `name` is a folder, the beginning of a key, or with `run` the
        name of a step.

        Raises:
            BactrianError: if there is no such artifact, or more than one.
        """
        if run is None and (Path(name) / MANIFEST).is_file():
            return Path(name)
        if run is not None:
            return self._of_step(name, run)
        found = [
            folder
            for folder in sorted(self.artifacts.glob("*/"))
            if (folder / MANIFEST).is_file()
            and (folder.name.startswith(name) or folder.name.rpartition("-")[2].startswith(name))
        ]
        if len(found) != 1 or not name:
            several = ", ".join(folder.name for folder in found) or "no artifact"
            raise BactrianError(
                f'"{name}": found {several} in {self.artifacts}, expected an artifact\'s folder, the '
                f"beginning of its key, or a step's name with --run"
            )
        return found[0]

    def _of_step(self, step: str, run: str) -> Path:
        path = self.root / run / "run.json"
        if not path.is_file():
            raise BactrianError(f"{path}: found no such file, so there is no run named {run} in {self.root}")
        try:
            paths = {record["name"]: record["path"] for record in json.loads(path.read_text())["steps"]}
        except (ValueError, KeyError, TypeError) as error:
            raise BactrianError(f"{path}: found no record of a run ({error!r})") from None
        if step not in paths:
            raise BactrianError(f'{path}: found no step "{step}", expected one of: {", ".join(paths)}')
        if paths[step] is None:
            raise BactrianError(f'{path}: step "{step}" is not made yet; bactrian run makes it')
        return self.root / str(paths[step])

    def set_aside(self, artifact: Artifact) -> None:
        """Make room for a new artifact of the same key; the old one is removed when the new one is committed."""
        old = artifact.path.with_name(artifact.path.name + ".old")
        shutil.rmtree(old, ignore_errors=True)
        shutil.rmtree(artifact.path.with_name(artifact.path.name + ".partial"), ignore_errors=True)
        artifact.path.rename(old)

    @contextmanager
    def making(self, stage: str, key: str) -> Iterator[Path]:
        """The partial folder of this key, with `output` and `scratch`, locked. Whatever a kill left
        is still in it.

        Raises:
            BactrianError: naming the process that holds the lock, if one does.
        """
        folder = self.partial(stage, key)
        held = take_lock(self.artifacts / ".locks" / folder.stem, f"artifact {self.folder(stage, key)}")
        try:
            with naming_full_disk(folder):
                for part in ("output", "scratch"):
                    (folder / part).mkdir(parents=True, exist_ok=True)
                (folder / "output" / MANIFEST).unlink(missing_ok=True)
                yield folder
        finally:
            os.close(held)

    def commit(self, partial: Path, manifest: Manifest) -> Artifact:
        """Turn `partial/output` into an artifact: files hashed and synced, manifest written, one rename.

        `content_hash` and `files` of the manifest are filled in here.
        """
        output, final = partial / "output", partial.with_name(partial.name.removesuffix(".partial"))
        with naming_full_disk(output):
            files = _hash_all(output)
            manifest = manifest.model_copy(update={"files": files, "content_hash": content_hash(files)})
            manifest = manifest.write(output)
            allow_as_umask(output)
            sync_folder(output)
            output.rename(final)
            sync(final.parent)
        shutil.rmtree(partial)
        shutil.rmtree(final.with_name(final.name + ".old"), ignore_errors=True)
        return Artifact(final, manifest)


def finite(value: float) -> float | None:
    """The number as JSON can hold it: None for NaN and infinities."""
    number = value if isinstance(value, int) else float(value)
    return number if math.isfinite(number) else None


def _hash_all(folder: Path, but: str = "") -> dict[str, FileRecord]:
    return hash_files(
        folder, [name for path in files_below(folder) if (name := path.relative_to(folder).as_posix()) != but]
    )
