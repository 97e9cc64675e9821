"""Parts that a step looks up by name while it runs, such as the verifiers that its rows name.

A stage imports no verifier, so a verifier's code is in no stage's key (fingerprint.py), and a change to one would go
unseen. So each part that is looked up is noted with the hash of its code. The notes go into the manifest, and an
artifact whose parts have changed since is made again. A step does not depend on what it did not use.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bactrian.store.disk import write_atomically
from bactrian.store.fingerprint import fingerprint_of
from bactrian.store.manifest import PartRecord

NAME = "parts.json"
_USED: dict[str, PartRecord] = {}
_KEPT: list[Path] = []  # where the step at hand keeps its notes, so that a kill does not lose them


def note(part: str, module: str) -> None:
    """The step at hand uses a part, such as "verifier gsm8k", which a module holds.

    Raises:
        OSError: for a module whose code cannot be read.
        SyntaxError: for a module whose code cannot be read.
    """
    if part not in _USED:
        _USED[part] = PartRecord(module=module, fingerprint=fingerprint_of(module))
        for path in _KEPT:
            write_atomically(path, json.dumps({name: record.model_dump() for name, record in used().items()}))


@contextmanager
def noting(folder: Path) -> Iterator[list[str]]:
    """A step is at hand, in a folder that keeps its notes; gives the parts that changed since a kill cut it there."""
    try:
        yield _begin(folder)
    finally:
        _USED.clear()
        _KEPT.clear()


def _begin(folder: Path) -> list[str]:
    _USED.clear()
    _KEPT[:] = [folder / NAME]
    try:
        noted = json.loads(_KEPT[0].read_text(encoding="utf-8"))
        before = {part: PartRecord.model_validate(record) for part, record in noted.items()}
    except FileNotFoundError:
        return []
    except (ValueError, AttributeError):  # not ours: nothing is known of what is there
        return [str(_KEPT[0])]
    stale = changed(before)
    if not stale:
        _USED.update(before)
    return stale


def used() -> dict[str, PartRecord]:
    """All parts that the step at hand has used, in order of name."""
    return dict(sorted(_USED.items()))


def changed(parts: Mapping[str, PartRecord]) -> list[str]:
    """Of parts that something was made with, those whose code is another now, or no longer there.

    Parts in a user's own file (own_files.py) are not among them: the settings name them, so they are in the key.
    """
    return [
        part
        for part, record in parts.items()
        if not record.module.endswith(".py") and _fingerprint(record.module) != record.fingerprint
    ]


def _fingerprint(module: str) -> str:
    try:
        return fingerprint_of(module)
    except (ImportError, OSError, SyntaxError, ValueError):  # gone, or broken: not what it was
        return ""
