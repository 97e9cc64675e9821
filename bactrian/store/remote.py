"""Artifacts in object storage, beside the store: what is made here is sent there, what others made is fetched.

Below the URL lie `files/<first two digits>/<sha256>`, each file once however many artifacts hold it, and
`artifacts/<stage>-<key>/manifest.json`, which is written last and names them. So what is half sent is not seen; two
that send at once write the same bytes under the same names; what was sent before a kill is not sent again. What comes
back is held against the manifest's hashes, and becomes an artifact here by one rename.
"""

from __future__ import annotations

import json
import os
import secrets
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import Any

from bactrian.errors import BactrianError
from bactrian.progress import moved, say
from bactrian.store.artifact import Artifact, Store
from bactrian.store.disk import naming_full_disk, sync, sync_folder, take_lock
from bactrian.store.extras import install_line, lacking
from bactrian.store.hashes import FileRecord, hash_file
from bactrian.store.manifest import MANIFEST, Manifest
from bactrian.store.watchdog import waits_for

MARK = "bactrian.json"
"""Says that artifacts lie here, and in what layout. Written first: who may not, or where there is no bucket, is told
before anything is made."""
LAYOUT = {"layout": 1}
FETCHING = ".fetching"
WHOLE_OR_NOTHING = ("s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss", "memory")
"""Where an object shows when all of it is there. Elsewhere it is written under another name first."""
PATIENCE = 600.0
"""Seconds to wait for another process of this machine that fetches or makes the same."""
EXTRAS = {"s3": "s3", "s3a": "s3"}
"""Protocol → our extra that brings its client."""


@dataclass(frozen=True)
class Uploaded:
    """Bytes and files that went over; `kept` were there already."""

    files: int
    bytes: int
    kept: int


class RemoteStore:
    """Artifacts below a URL that fsspec knows."""

    def __init__(self, url: str) -> None:
        """
        Raises:
            BactrianError: it is no URL, its client is not installed, or it cannot be reached.
        """
        self.url = url.rstrip("/")
        fsspec: Any = import_module("fsspec")  # it has no types
        if "://" not in url:
            raise BactrianError(f"remote: found {url!r}, expected a URL (s3://bucket/folder, file:///folder)")
        with self._naming():
            try:
                self.system, self.root = fsspec.core.url_to_fs(
                    self.url, use_listings_cache=False, skip_instance_cache=True
                )
            except ImportError as error:
                raise BactrianError(f"remote {self.url}: {self._client_lacks(error)}") from None
            except ValueError as error:
                raise BactrianError(
                    f"remote {self.url}: {error}; expected s3://bucket/folder, file:///folder"
                ) from None
        protocol = self.system.protocol
        names = {protocol} if isinstance(protocol, str) else set(protocol)
        self.whole = bool(names & set(WHOLE_OR_NOTHING))

    def check(self) -> None:
        """Whether artifacts can be kept here.

        Raises:
            BactrianError: it cannot be reached or written to; another layout is there.
        """
        target = f"{self.root}/{MARK}"
        found = self._read(target)
        if found is None:
            with tempfile.TemporaryDirectory() as place:
                mark = Path(place) / MARK
                mark.write_text(json.dumps(LAYOUT))
                self._put(mark, target)
        elif found != json.dumps(LAYOUT).encode():
            raise BactrianError(f"remote {self.url}/{MARK}: found {found[:60]!r}, expected {json.dumps(LAYOUT)}")

    def find(self, stage: str, key: str) -> Manifest | None:
        """The manifest of a whole artifact of this key; None where there is none.

        Raises:
            BactrianError: it cannot be reached, or the manifest there is damaged or another's.
        """
        raw = self._read(self._manifest(stage, key))
        if raw is None:
            return None
        where = f"{self.url}/{self._folder(stage, key)}/{MANIFEST}"
        manifest = Manifest.parse(raw, where)
        if manifest.key != key:
            raise BactrianError(f"{where}: field key: found {manifest.key}, expected {key}; remove it there")
        return manifest

    def fetch(self, stage: str, key: str, store: Store) -> Artifact | None:
        """Have an artifact here that is there; None where there is none. A fetch that was cut is gone on with.

        Raises:
            BactrianError: a file there is not what the manifest says; it cannot be reached; the disk is full.
        """
        manifest = self.find(stage, key)
        if manifest is None:
            return None
        final = store.folder(stage, key)
        draft = final.with_name(final.name + FETCHING)
        held = take_lock(store.artifacts / ".locks" / final.name, f"artifact {final}", PATIENCE)
        try:
            if (found := store.find(stage, key)) is not None:
                return found
            say(f"fetching {final.name} from {self.url} ({_size(manifest.files.values())})")
            with naming_full_disk(draft):
                for name, record in sorted(manifest.files.items()):
                    self._fetch_file(draft, name, record)
                for path in [path for path in draft.rglob("*") if path.is_file()]:
                    if path.relative_to(draft).as_posix() not in manifest.files:
                        path.unlink()  # of an earlier fetch, of an artifact that has been made again since
                draft.mkdir(parents=True, exist_ok=True)
                (draft / MANIFEST).write_bytes(self._read(self._manifest(stage, key)) or b"")
                if Manifest.read(draft) != manifest:  # another making of it came between
                    raise BactrianError(f"{self.url}: {final.name} was replaced while it was fetched; run again")
                sync_folder(draft)
                draft.rename(final)
                sync(final.parent)
        finally:
            os.close(held)
        return Artifact(final, manifest)

    def send(self, artifact: Artifact) -> Uploaded:
        """Have an artifact there that is here. What is there of it is not sent again.

        One of the same key and another content that is there gives way: what is made from now on is made from this.

        Raises:
            BactrianError: it cannot be reached, or refuses.
        """
        manifest, name = artifact.manifest, artifact.path.name
        there = self.find(manifest.stage, manifest.key)
        if there is not None and there.content_hash == manifest.content_hash:
            return Uploaded(0, 0, len(manifest.files))
        if there is not None:
            say(f"{name}: {self.url} has it with another content, which gives way")
        sent, files = 0, 0
        wanted = {record.sha256: (path, record) for path, record in sorted(manifest.files.items())}
        for number, (path, record) in enumerate(wanted.values(), 1):
            if self._has(record):
                continue
            if files == 0:
                say(f"sending {name} to {self.url} ({_size(manifest.files.values())})")
            with waits_for(f"{self.url}, to which file {number} of {len(wanted)} of {name} is sent"):
                self._put(artifact.path / path, self._file(record))
            moved()
            sent, files = sent + record.bytes, files + 1
        self._put(artifact.path / MANIFEST, self._manifest(manifest.stage, manifest.key))
        return Uploaded(files, sent, len(wanted) - files)

    def _fetch_file(self, draft: Path, name: str, record: FileRecord) -> None:
        place = draft / name
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise BactrianError(f"{self.url}: a manifest names the file {name!r}, which is in no artifact")
        if place.is_file() and hash_file(place) == record:
            return
        place.parent.mkdir(parents=True, exist_ok=True)
        part = place.with_name(f".{place.name}.part")
        with self._naming(), waits_for(f"{self.url}, from which {name} of {draft.stem} is fetched"):
            try:
                self.system.get_file(self._file(record), str(part))
            except FileNotFoundError:
                raise BactrianError(f"{self.url}/{self._blob(record)}: not there, and a manifest names it") from None
        moved()
        if (found := hash_file(part)) != record:
            part.unlink()
            raise BactrianError(
                f"{self.url}/{self._blob(record)}: found {found.bytes:,} bytes with the sha256 {found.sha256[:16]}…, "
                f"expected {record.bytes:,} and that of its name: it was changed there. Remove it there, and run again "
                f"where the artifact is whole"
            )
        part.replace(place)

    def _put(self, path: Path, target: str) -> None:
        with self._naming():
            if self.whole:  # without a makedirs, which would make a bucket
                try:
                    self.system.put_file(str(path), target)
                except FileNotFoundError as error:
                    raise BactrianError(f"remote {self.url}: no such bucket: make it first ({error})") from error
                return
            self.system.makedirs(target.rpartition("/")[0], exist_ok=True)
            draft = f"{target}.{secrets.token_hex(4)}.part"
            self.system.put_file(str(path), draft)
            self.system.mv(draft, target)

    def _has(self, record: FileRecord) -> bool:
        with self._naming():
            try:
                return bool(self.system.info(self._file(record))["size"] == record.bytes)
            except FileNotFoundError:
                return False

    def _read(self, target: str) -> bytes | None:
        with self._naming():
            try:
                found: bytes = self.system.cat_file(target)
            except FileNotFoundError:
                return None
            return found

    def _blob(self, record: FileRecord) -> str:
        return f"files/{record.sha256[:2]}/{record.sha256}"

    def _file(self, record: FileRecord) -> str:
        return f"{self.root}/{self._blob(record)}"

    def _folder(self, stage: str, key: str) -> str:
        return f"artifacts/{stage}-{key[:16]}"

    def _manifest(self, stage: str, key: str) -> str:
        return f"{self.root}/{self._folder(stage, key)}/{MANIFEST}"

    def _client_lacks(self, error: ImportError) -> str:
        extra = client_extra(self.url)
        if extra is None or not lacking(extra):
            return str(error)
        return f"it needs {' and '.join(lacking(extra))}: {install_line([extra])}"

    @contextmanager
    def _naming(self) -> Iterator[None]:
        """Turn whatever a client raises into a BactrianError that names the URL, and says what to do."""
        try:
            yield
        except (BactrianError, FileNotFoundError):
            raise
        except Exception as error:
            raise BactrianError(f"remote {self.url}: {advice(error)}") from error


def client_extra(url: str) -> str | None:
    """The extra of ours that brings the client for such URLs, if one does."""
    return EXTRAS.get(url.partition("://")[0])


def advice(error: Exception) -> str:
    """What a client's error is about, where that is known, with its own first line."""
    first = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    names = {kind.__name__ for each in _causes(error) for kind in type(each).__mro__}
    known: list[tuple[Callable[[], bool], str]] = [
        (
            lambda: bool({"NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError"} & names),
            "no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE (of other storage, what "
            "its client takes)",
        ),
        (lambda: "PermissionError" in names, "the credentials do not allow it"),
        (
            lambda: bool({"EndpointConnectionError", "ConnectTimeoutError", "ClientConnectorError"} & names),
            "no answer; AWS_ENDPOINT_URL says where another S3 is",
        ),
    ]
    said = next((told for holds, told in known if holds()), type(error).__name__)
    return f"{said} ({first})"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _size(records: Iterable[FileRecord]) -> str:
    whole = sum(record.bytes for record in records)
    return f"{whole / 1e9:.1f} GB" if whole >= 1e8 else f"{whole / 1e6:.1f} MB"
