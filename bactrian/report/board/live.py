"""What is in a store now: its runs, how far each step is, and where its files lie."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bactrian.progress import PROGRESS
from bactrian.report.formatting import finite
from bactrian.report.run_record import RunRecord, StepRecord
from bactrian.store.hashes import METRICS, ROLLOUTS
from bactrian.store.manifest import MANIFEST
from bactrian.store.step_attempt import NAME as NAME_OF_ATTEMPT
from bactrian.store.step_attempt import read as read_attempt

NAME = re.compile(r"[A-Za-z0-9_~-]{1,200}")
QUESTIONS = "questions.parquet"


@dataclass(frozen=True)
class StepState:
    """One step. `id` is the name of its artifact's folder.

    status: "made", "reused", "making", "cut" (begun, and nobody is at it) or "waiting".
    left: seconds to go in the present bar, None where that is not known.
    """

    id: str
    name: str
    stage: str
    kind: str
    status: str
    seconds: float | None = None
    progress: Mapping[str, Any] | None = None
    left: float | None = None
    curves: bool = False
    samples: str = ""
    note: str = ""


@dataclass(frozen=True)
class RunState:
    """One run, and its steps in order."""

    name: str
    started: str
    command: str
    steps: list[StepState]


class LiveStore:
    """A store's folder, looked at again with every call. Nothing outside of it is read: links out of it are not
    followed, and no name from outside is used as a path."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.artifacts = self.root / "artifacts"

    def runs(self) -> list[RunState]:
        """All runs, the one that was begun last first."""
        found = [state for folder in self._run_folders() if (state := self._run(folder))]
        return sorted(found, key=lambda run: run.started, reverse=True)

    def as_json(self) -> dict[str, Any]:
        return {"now": time.time(), "store": str(self.root), "runs": [asdict(run) for run in self.runs()]}

    def folder(self, step: str) -> Path | None:
        """Where the files of a step are, by its id: its artifact, or what is being made."""
        if not NAME.fullmatch(step):
            return None
        for place in (self.artifacts / step, self.artifacts / f"{step}.partial" / "output"):
            if place.is_dir() and self._inside(place):
                return place
        return None

    def file(self, step: str, name: str) -> Path | None:
        """A file of a step, if it is there and is the store's own."""
        folder = self.folder(step)
        path = folder / name if folder else None
        return path if path and path.is_file() and self._inside(path) else None

    def _inside(self, path: Path) -> bool:
        return path.resolve().is_relative_to(self.root)

    def _run_folders(self) -> Iterator[Path]:
        try:
            folders = sorted(self.root.iterdir())
        except OSError:
            return
        yield from (each for each in folders if (each / "run.json").is_file() and self._inside(each / "run.json"))

    def _run(self, folder: Path) -> RunState | None:
        try:
            record = RunRecord.model_validate(json.loads((folder / "run.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, ValidationError, RecursionError):
            return None
        command = record.command if isinstance(record.command, str) else " ".join(record.command)
        return RunState(record.name, str(record.started or ""), command, [self._step(step) for step in record.steps])

    def _step(self, record: StepRecord) -> StepState:
        step = Path(record.path).name if record.path else f"{record.stage}-{record.key[:16]}"
        state = StepState("", record.name, record.stage, record.kind, "waiting")
        if not NAME.fullmatch(step):
            return replace(state, note="its folder's name is none of ours")
        state = replace(state, id=step, curves=bool(self.file(step, METRICS)), samples=self._samples(step))
        if self.file(step, MANIFEST):
            status = record.status if record.status in ("made", "reused") else "made"
            return replace(state, status=status, seconds=record.seconds)
        partial = self.artifacts / f"{step}.partial"
        if partial.is_dir() and all(map(self._inside, (partial, partial / PROGRESS, partial / NAME_OF_ATTEMPT))):
            return _begun(state, partial)
        return replace(state, note="its artifact is no longer there") if record.path else state

    def _samples(self, step: str) -> str:
        return "answers" if self.file(step, QUESTIONS) else "rollouts" if self.file(step, ROLLOUTS) else ""


def _begun(state: StepState, partial: Path) -> StepState:
    """A step that is being made, or that was cut."""
    attempt, progress = read_attempt(partial), read_object(partial / PROGRESS) or None
    if attempt is None or attempt.over is not None:
        return replace(state, status="cut", progress=progress, note=(attempt and attempt.over) or "")
    return replace(state, status="making", progress=progress, left=time_left(progress or {}))


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object; empty where there is none, or it cannot be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def time_left(progress: Mapping[str, Any]) -> float | None:
    """Seconds until the bar is full, at its rate since it began."""
    total, done, before, began, now = (
        finite(progress.get(name)) for name in ("total", "done", "before", "began", "time")
    )
    if total is None or done is None or began is None or now is None:
        return None
    made = done - (before or 0.0)
    return max(0.0, (total - done) * (now - began) / made) if made > 0 else None
