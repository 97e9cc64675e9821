"""results.json of an evaluation, read by somebody who did not write it: whole and of this form, or one clear error."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bactrian.errors import BactrianError
from bactrian.store.manifest import check_artifact

NAME = "results.json"
OF_ALL: Mapping[str, type] = {"tasks": dict, "models": list, "scores": list, "comparisons": list}
OF_A_SCORE: Mapping[str, type | tuple[type, ...]] = {
    "model": str,
    "task": str,
    "skill": str,
    "metric": str,
    "macro": bool,
    "questions": int,
    "score": (int, float),
    "interval": list,
    "counts": dict,
    "numbers": dict,
    "flags": list,
}
"""Fields that tables are made of, with their types."""
OF_A_TASK: Mapping[str, type] = {"metric": str, "macro": bool, "k": int}
"""Fields by which answers become a score."""


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        BactrianError: where it cannot be read, is damaged, or is something else.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BactrianError(f"{path}: cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise BactrianError(f"{path}: damaged or cut short: not JSON ({error})") from None
    if not isinstance(found, dict):
        raise BactrianError(f"{path}: found a {type(found).__name__}, expected an object")
    return found


def read_results(folder: Path) -> dict[str, Any]:
    """The results of an evaluation in a folder.

    Raises:
        BactrianError: naming what they lack, or what was changed.
    """
    path = folder / NAME
    if not path.is_file():
        raise BactrianError(
            f"{folder}: no {NAME}; expected the folder of an evaluation, such as runs/artifacts/evaluate-…"
        )
    check_artifact(folder)
    found = read_object(path)
    require(found, OF_ALL, str(path))
    for number, score in enumerate(found["scores"], 1):
        if not isinstance(score, dict):
            raise BactrianError(f"{path}, score {number}: found {score!r:.60}, expected an object{OTHER}")
        require(score, OF_A_SCORE, f"{path}, score {number}")
    return found


OTHER = ": these are results of another stage or version; ask again with `bactrian eval`, which reuses kept answers"


def about_of(tasks: Mapping[str, Any], task: str, mode: str) -> dict[str, Any]:
    """What `tasks` of results.json says of a task as it was asked in a mode; {} where it says nothing.

    Raises:
        BactrianError: that is of another form.
    """
    about = tasks.get(task, {})
    more = about.get(mode, {}) if isinstance(about, dict) else None
    if not isinstance(more, dict):
        raise BactrianError(f"{NAME}, task {task}: found {about if more is None else more!r:.60}, expected an object")
    found: dict[str, Any] = about | more
    wrong = [name for name, kind in OF_A_TASK.items() if not isinstance(found.get(name), (kind, type(None)))]
    if wrong:
        name = wrong[0]
        expected = OF_A_TASK[name].__name__
        raise BactrianError(f"{NAME}, task {task}, field {name}: found {found[name]!r:.60}, expected {expected}")
    return found


def require(given: Mapping[str, Any], fields: Mapping[str, type | tuple[type, ...]], where: str) -> None:
    """
    Raises:
        BactrianError: naming the fields that are absent, or the first of another type.
    """
    absent = [name for name in fields if name not in given]
    if absent:
        raise BactrianError(f"{where}: no {', '.join(absent)}{OTHER}")
    for name, kind in fields.items():
        if not isinstance(given[name], kind):
            raise BactrianError(f"{where}: {name}: found {given[name]!r:.60}{OTHER}")
