"""An exported folder where others find it: a repository of the Hub, or whatever fsspec has a URL for.

Files go one by one, and what is there with the same hash is not sent: a push that was cut is gone on with, and a second
one sends nothing. A target shows a new export when all of it is there: the Hub by one commit, others by
`export.json`, which goes last.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from bactrian.errors import BactrianError
from bactrian.progress import say
from bactrian.run.export import EXPORT, export, licences_of
from bactrian.run.made import Made
from bactrian.store.hashes import FileRecord, hash_file
from bactrian.store.manifest import MANIFEST

SENT = ".sent.json"
"""Beside a push that is not finished, where the target keeps no hashes of its own: those of what is there."""


@dataclass(frozen=True)
class Pushed:
    """What a push did, or with `dry` would do.

    sent, kept: name → bytes; kept were there already. others: what is at the target besides, and stays.
    """

    target: str
    sent: Mapping[str, int]
    kept: Mapping[str, int]
    others: tuple[str, ...]
    dry: bool


def push(model: Made, target: str, *, public: bool = False, dry_run: bool = False, **options: Any) -> Pushed:
    """Send a model to a target; a folder that `export` made goes as it is, anything else is exported first.

    Args:
        target: a Hub id, owner/name, or a URL.
        public: of a repository that is made now; one that is there stays as it is.
        options: of `export`.

    Raises:
        BactrianError: the target is none, cannot be reached or refuses; an exported folder was changed.
    """
    send = _sender(target)
    if (model.path / EXPORT).is_file() and not (model.path / MANIFEST).is_file():
        return send(model.path, target, _listed(model.path), public, dry_run)
    _warn(model, public)
    with tempfile.TemporaryDirectory(prefix="bactrian-push-") as place:
        options.setdefault("name", target.rstrip("/").rpartition("/")[2])
        folder = export(model, Path(place) / "model", **options)
        return send(folder, target, _listed(folder), public, dry_run)


def _sender(target: str) -> Callable[..., Pushed]:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    if "://" in target and not target.startswith("hf://"):
        return _to_url
    try:
        repository = _repository(target)
        validate_repo_id(repository)
        if repository.count("/") == 1 and not target.startswith("."):
            return _to_hub
    except HFValidationError:
        pass  # said below, with what else it may be
    raise BactrianError(
        f"push: found the target {target!r}, expected a Hub id (owner/name) or a URL (s3://bucket/folder, "
        f"file:///folder); for a folder of this machine, use bactrian export"
    )


def _repository(target: str) -> str:
    return target.removeprefix("hf://").removeprefix("models/")


def _warn(model: Made, public: bool) -> None:
    unclear = sorted({each.source for each in licences_of(model) if "unclear" in each.marks})
    if public and unclear:
        say(f"push: the licence of {', '.join(unclear)} is unclear; whether this may be published is yours to know")


def _listed(folder: Path) -> dict[str, FileRecord]:
    """The files of an exported folder, `export.json` last.

    Raises:
        BactrianError: one is not as it was exported.
    """
    path = folder / EXPORT
    try:
        files = {name: FileRecord(**each) for name, each in json.loads(path.read_text())["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BactrianError(f"{path}: found no list of files ({error!r}); export again") from None
    for name, record in files.items():
        if not (folder / name).is_file() or hash_file(folder / name) != record:
            raise BactrianError(f"{folder / name}: not as it was exported (by {EXPORT}); export again")
    return {**dict(sorted(files.items())), EXPORT: hash_file(path)}


def _to_url(folder: Path, target: str, files: Mapping[str, FileRecord], public: bool, dry: bool) -> Pushed:
    """To anything that fsspec has a URL for."""
    fsspec: Any = import_module("fsspec")  # it has no types

    with _naming(target):
        try:
            system, root = fsspec.core.url_to_fs(target.rstrip("/"))
        except (ImportError, ValueError) as error:
            raise BactrianError(f"{target}: {error}") from None

        def place(name: str) -> str:
            return f"{root}/{name}"

        there = {str(path)[len(root) + 1 :]: size for path, size in _sizes(system, root)}
        known = _read_json(system, place(EXPORT)).get("files", {}) | _read_json(system, place(SENT))
        same = {name for name, each in files.items() if _is_there(name, each, there, known, system, place)}
        done = _sorted(target, files, same, there, dry)
        if dry or not done.sent:
            return done
        sent = {name: files[name].model_dump() for name in same}
        for name in done.sent:
            system.makedirs(place(name).rpartition("/")[0], exist_ok=True)
            say(f"push: {name}")
            system.put_file(str(folder / name), place(name))
            sent[name] = files[name].model_dump()
            system.pipe_file(place(SENT), json.dumps(sent).encode())
        system.rm_file(place(SENT))
    return done


def _is_there(
    name: str, each: FileRecord, there: Mapping[str, int], known: Mapping[str, Any], system: Any, place: Any
) -> bool:
    if there.get(name) != each.bytes:
        return False
    if name == EXPORT:
        return hashlib.sha256(system.cat_file(place(name))).hexdigest() == each.sha256
    return bool(known.get(name, {}).get("sha256") == each.sha256)


def _sizes(system: Any, root: str) -> Iterator[tuple[str, int]]:
    try:
        yield from ((path, about["size"]) for path, about in system.find(root, detail=True).items())
    except FileNotFoundError:
        return


def _read_json(system: Any, path: str) -> dict[str, Any]:
    """An object of the target; {} where there is none, or what is there is something else."""
    try:
        found = json.loads(system.cat_file(path))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _to_hub(folder: Path, target: str, files: Mapping[str, FileRecord], public: bool, dry: bool) -> Pushed:
    """To a repository of the Hub, in one commit."""
    from huggingface_hub import CommitOperationAdd, HfApi, RepoFile
    from huggingface_hub.errors import RepositoryNotFoundError

    repository = _repository(target)
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    with _naming(target):
        try:
            entries = list(api.list_repo_tree(repository, recursive=True))
        except RepositoryNotFoundError:
            entries = []
            if not dry:
                api.create_repo(repository, private=not public, exist_ok=True)
        there = {each.path: each for each in entries if isinstance(each, RepoFile)}
        same = {name for name, each in files.items() if name in there and _same_blob(folder / name, each, there[name])}
        done = _sorted(target, files, same, {name: each.size for name, each in there.items()}, dry)
        if dry or not done.sent:
            return done
        additions = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=str(folder / name)) for name in done.sent]
        for each in additions:  # large files at once, one by one: what has arrived stays, though nothing shows yet
            say(f"push: {each.path_in_repo}")
            api.preupload_lfs_files(repository, additions=[each])
        said = json.loads((folder / EXPORT).read_text())
        api.create_commit(
            repository,
            operations=additions,
            commit_message=f"Model of content {said['content_hash'][:16]}, by Bactrian",
        )
    return done


def _same_blob(path: Path, record: FileRecord, there: Any) -> bool:
    if there.lfs is not None:
        return bool(there.lfs.sha256 == record.sha256)
    if there.size != record.bytes:
        return False
    content = path.read_bytes()  # what is no large file
    return bool(hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest() == there.blob_id)


def _sorted(
    target: str, files: Mapping[str, FileRecord], same: set[str], there: Mapping[str, int], dry: bool
) -> Pushed:
    return Pushed(
        target,
        {name: each.bytes for name, each in files.items() if name not in same},
        {name: each.bytes for name, each in files.items() if name in same},
        tuple(sorted(name for name in there.keys() - files.keys() if name not in (SENT, ".gitattributes"))),
        dry,
    )


@contextmanager
def _naming(target: str) -> Iterator[None]:
    """Turn whatever a client raises into a BactrianError that names the target."""
    try:
        yield
    except BactrianError:
        raise
    except Exception as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        token = "" if "://" in target else ". The Hub wants a token: hf auth login, or HF_TOKEN"
        raise BactrianError(
            f"{target}: cannot be sent to ({type(error).__name__}: {first}); the same command goes on where this "
            f"ended{token}"
        ) from error
