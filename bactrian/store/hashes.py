"""SHA-256 of files, of folders and of values, and which files a folder or a pattern stands for."""

import glob
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from bactrian.errors import BactrianError
from bactrian.store.special_files import refuse_special

METRICS = "metrics.jsonl"
"""One line for each optimiser update; it holds times."""
ROLLOUTS = "rollouts.jsonl"
"""Some answers of each step of reinforcement learning: what was said on the way is no part of a model."""
HISTORY = (METRICS, ROLLOUTS)
UNLIKE = (*HISTORY, "adapter/adapter_config.json")
"""Left out of an artifact's content hash; the last says in which folder the base lies."""


class FileRecord(BaseModel):
    """One file of an artifact."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    sha256: str
    bytes: int


def content_hash(files: Mapping[str, FileRecord]) -> str:
    """One hash for a set of files, without those that no two places share (UNLIKE)."""
    lines = [[name, files[name].sha256] for name in sorted(files) if name not in UNLIKE]
    return hash_json(lines)


def hash_json(value: object) -> str:
    """sha256 of the value's canonical JSON.

    Raises:
        TypeError: for what JSON cannot hold.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_plain)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def hash_file(path: Path) -> FileRecord:
    """sha256 and size of one file, read as a stream."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return FileRecord(sha256=digest.hexdigest(), bytes=file.tell())


def hash_files(folder: Path, names: Iterable[str]) -> dict[str, FileRecord]:
    """`hash_file` for several files of a folder, a few at a time (hashing releases the interpreter's lock)."""
    from concurrent.futures import ThreadPoolExecutor

    names = list(names)
    with ThreadPoolExecutor(max_workers=4) as pool:
        return dict(zip(names, pool.map(lambda name: hash_file(folder / name), names), strict=True))


def hash_path(path: Path) -> str:
    """Content hash of a file, of all files below a folder (their names within it included), or that
    a pattern names.

    Raises:
        BactrianError: for what is no file (a pipe would be waited for), and for a file that
            cannot be read.
    """
    refuse_special(path)
    try:
        if path.is_file():
            return hash_file(path).sha256
        if not path.exists():
            return hash_json([[file.name, hash_file(file).sha256] for file in files_matching(path)])
        below = list(files_below(path))
        for file in below:
            refuse_special(file)
        return content_hash(hash_files(path, (file.relative_to(path).as_posix() for file in below)))
    except OSError as error:
        raise BactrianError(f"{error.filename or path}: cannot be read ({error.strerror})") from None


def files_below(folder: Path) -> Iterator[Path]:
    """Every file below a folder, at any depth, in order of name."""
    return (path for path in sorted(folder.rglob("*")) if not path.is_dir())


def files_matching(pattern: Path) -> list[Path]:
    """The files that a pattern such as data/*.jsonl.gz names, in order of name; ** goes into folders."""
    if not glob.has_magic(str(pattern)):
        return []
    found = [Path(name) for name in glob.glob(str(pattern), recursive=True)]  # noqa: PTH207
    for path in found:
        refuse_special(path)
    return sorted(path for path in found if path.is_file())


def _plain(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(f"cannot be part of a hash: {value!r}")
