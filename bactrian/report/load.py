"""Reads a run's folder. Only run.json must be there; of the rest, what is missing is noted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from bactrian.errors import BactrianError
from bactrian.report.formatting import finite
from bactrian.report.run_record import (
    JsonRecord,
    Metrics,
    ReportedRun,
    ReportedStep,
    ResultsRecord,
    RunRecord,
    StepRecord,
)
from bactrian.store.hashes import METRICS
from bactrian.store.manifest import Manifest

R = TypeVar("R", bound=JsonRecord)


def load_run(folder: Path) -> ReportedRun:
    """The run recorded in `folder`.

    Raises:
        BactrianError: run.json is missing or is not a run's record.
    """
    path = folder / "run.json"
    if not path.is_file():
        raise BactrianError(f"{folder}: no run.json here; expected the folder of a run, such as runs/quickstart")
    record, fault = _read(path, RunRecord)
    if record is None:
        raise BactrianError(f"{path}: not a run's record: {fault}")
    return ReportedRun(record, folder, tuple(_load_step(step, folder) for step in record.steps))


def _load_step(record: StepRecord, run_folder: Path) -> ReportedStep:
    if not record.path or record.status not in ("made", "reused", ""):
        return ReportedStep(
            record, note="not made yet" if record.status in ("", "waiting") else f"not made ({record.status})"
        )
    folder = _find(record.path, run_folder)
    if folder is None:
        return ReportedStep(record, note="its artifact is no longer there: moved or deleted since")
    try:
        manifest = Manifest.read(folder)
        manifest.check_inputs(folder)
    except (BactrianError, OSError, ValueError) as error:
        return ReportedStep(record, folder, note=f"its artifact cannot be used: {error}")
    faults = [f"{name} is missing or has changed since" for name in _changed(folder, manifest)]
    results = None
    if (folder / "results.json").is_file():
        results, fault = _read(folder / "results.json", ResultsRecord)
        if results is None:
            faults.append(f"its results.json could not be read: {fault}")
    metrics = _read_metrics(folder / METRICS)
    return ReportedStep(record, folder, manifest, metrics, results, "; ".join(faults))


def load_results(folder: Path) -> ResultsRecord | None:
    """results.json of an artifact; None where it cannot be read."""
    return _read(folder / "results.json", ResultsRecord)[0]


def _find(path: str, run_folder: Path) -> Path | None:
    """An artifact's folder: absolute, or relative to the store, the run, or where the command was given."""
    if "\0" in path:
        return None
    roots = (run_folder.parent, run_folder, Path(), run_folder.parent.parent)
    return next((root / path for root in roots if (root / path).is_dir()), None)


def _changed(folder: Path, manifest: Manifest) -> list[str]:
    """Files whose size is not the manifest's. Hashing gigabytes again is not the page's business."""

    def same(name: str, size: int) -> bool:
        path = folder / name
        return path.is_file() and path.stat().st_size == size

    return [name for name, file in manifest.files.items() if "\0" not in name and not same(name, file.bytes)]


def _read(path: Path, record: type[R]) -> tuple[R | None, str]:
    try:
        return record.model_validate(json.loads(path.read_text(encoding="utf-8"))), ""
    except FileNotFoundError:
        return None, f"{path.name} is missing"
    except (OSError, ValueError, RecursionError) as fault:
        return None, _one_line(fault)


def _one_line(fault: Exception) -> str:
    if isinstance(fault, ValidationError):
        first = fault.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        return f"{where}: {first['msg']}"
    return str(fault).splitlines()[0] if str(fault) else type(fault).__name__


def _read_metrics(path: Path) -> Metrics | None:
    if not path.is_file():
        return None
    columns: dict[str, list[tuple[float, float]]] = {}
    lines = unreadable = 0
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if not line.strip():
            continue
        lines += 1
        row = _row(line)
        if row is None:
            unreadable += 1
            continue
        at = finite(row.get("step"))
        step = float(lines) if at is None else at
        for key, value in row.items():
            if key != "step":
                column = columns.setdefault(key, [])
                if (number := finite(value)) is not None:
                    column.append((step, number))
    return Metrics(columns, lines, unreadable)


def _row(line: str) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None
