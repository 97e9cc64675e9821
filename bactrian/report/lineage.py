"""Where a run's artifacts come from: licences, time and tokens, settings, hashes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from bactrian.report import charts
from bactrian.report.formatting import count, date, duration, number, shorten, size
from bactrian.report.graph import Box
from bactrian.report.run_record import Metrics, ReportedRun, ReportedStep

HASH = 16  # characters of a hash that are shown; the whole is in the manifest


@dataclass(frozen=True)
class LicenceLine:
    """One source and licence, and the steps that carry it."""

    source: str
    licence: str
    marks: list[str]
    steps: list[str]


@dataclass(frozen=True)
class TimeLine:
    """A step's time and tokens."""

    step: str
    stage: str
    status: str
    bar: Markup
    seconds: str
    tokens: str
    speed: str


@dataclass(frozen=True)
class Details:
    """A step's settings and what pins it down."""

    step: str
    caption: str
    note: str
    settings: list[tuple[str, str]]
    facts: list[tuple[str, str]]
    metrics: list[tuple[str, str]]
    packages: str
    files: list[tuple[str, str, str]]


def boxes(run: ReportedRun) -> list[Box]:
    """The run's steps for the graph."""
    out = []
    for step in run.steps:
        status = step.record.status or "not made"
        absent = "not there" if step.record.path else "not made yet"
        done = f"{status} · {duration(making_seconds(step))}" if step.manifest else absent
        inputs = tuple(name for names in step.inputs.values() for name in names)
        out.append(Box(step.name, " · ".join(filter(None, (step.record.stage, step.kind))), _kind(step), done, inputs))
    return out


def _kind(step: ReportedStep) -> str:
    """The style class of a box; a step whose artifact is not there is drawn as absent."""
    kind = step.kind if step.kind in ("data", "model", "results") else "other"
    return kind if step.manifest else f"{kind} absent"


def making_seconds(step: ReportedStep) -> float | None:
    """How long the step took when it was made, in this run or an earlier one."""
    return step.manifest.seconds if step.manifest else step.record.seconds


def licences(run: ReportedRun) -> list[LicenceLine]:
    """Every source with its licence; those with marks first."""
    found: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
    for step in run.steps:
        for item in step.manifest.licences if step.manifest else []:
            found.setdefault((item.source, item.licence, item.marks), []).append(step.name)
    lines = [LicenceLine(*key[:2], list(key[2]), list(dict.fromkeys(names))) for key, names in found.items()]
    return sorted(lines, key=lambda line: not line.marks)


def final_marks(run: ReportedRun) -> tuple[str, list[str]]:
    """The last model of the run and the marks that it carries."""
    models = [step for step in run.steps if step.kind == "model" and step.manifest]
    if not models or models[-1].manifest is None:
        return "", []
    marks = [mark for item in models[-1].manifest.licences for mark in item.marks]
    return models[-1].name, list(dict.fromkeys(marks))


def times(run: ReportedRun) -> list[TimeLine]:
    """Time and tokens per step, bars in proportion to the slowest."""
    longest = max((seconds for step in run.steps if (seconds := making_seconds(step))), default=0.0)
    lines = []
    for step in run.steps:
        seconds = making_seconds(step)
        tokens = _tokens(step)
        speed = _mean(step.metrics, "tokens_per_second")
        if speed is None and tokens and seconds:
            speed = tokens / seconds
        bar = charts.stacked([("time", seconds / longest)] if seconds and longest else [])
        lines.append(
            TimeLine(
                step.name,
                step.record.stage,
                step.record.status or "not made",
                bar,
                duration(seconds),
                number(tokens),
                f"{count(speed)}/s" if speed else "–",
            )
        )
    return lines


def _tokens(step: ReportedStep) -> float | None:
    """Tokens from the manifest's metrics, else from the training log, which counts them up."""
    if step.manifest and (given := step.manifest.metrics.get("tokens")) is not None:
        return given
    column = step.metrics.columns.get("tokens", []) if step.metrics else []
    return max((value for _, value in column), default=None)


def _mean(metrics: Metrics | None, key: str) -> float | None:
    column = metrics.columns.get(key, []) if metrics else []
    return sum(value for _, value in column) / len(column) if column else None


def details(run: ReportedRun) -> list[Details]:
    """Everything recorded of each step."""
    return [_details(step) for step in run.steps]


def _details(step: ReportedStep) -> Details:
    record, manifest = step.record, step.manifest
    caption = " · ".join(filter(None, (record.stage, step.kind, record.status)))
    given = ("made from", ", ".join(name for names in step.inputs.values() for name in names))
    where = [("key", record.key[:HASH]), ("artifact", record.path or "")]
    if manifest is None:
        return Details(step.name, caption, step.note, [], [pair for pair in (given, *where) if pair[1]], [], "", [])
    settings = [(name, _written(value)) for name, value in manifest.settings.items()]
    hashes = (f"{name} {found.content_hash[:HASH]}" for name, found in manifest.inputs.items())
    facts = [
        ("made from", "\n".join(hashes)) if manifest.inputs else given,
        ("seed", str(manifest.seed)),
        *where,
        ("content hash", manifest.content_hash[:HASH]),
        ("decontaminated", "\n".join(map(str, manifest.decontamination))),
        *((f"code {name}", shorten(value, HASH)) for name, value in manifest.code.items() if value),
        ("made", date(manifest.started)),
        ("took", duration(manifest.seconds)),
        ("attempts", str(manifest.attempts)),
        *((name, _hardware(name, value)) for name, value in manifest.hardware.items() if value is not None),
    ]
    metrics = [(name, number(value)) for name, value in manifest.metrics.items()]
    packages = ", ".join(f"{name} {version}" for name, version in manifest.packages.items())
    files = [(name, size(file.bytes), file.sha256[:HASH]) for name, file in manifest.files.items()]
    return Details(step.name, caption, step.note, settings, [f for f in facts if f[1]], metrics, packages, files)


def _hardware(name: str, value: Any) -> str:
    if name == "memory" and isinstance(value, int | float) and value > 2**20:
        return size(value)
    return _written(value)


def hardware_line(run: ReportedRun) -> str:
    """The machine in one line, from the step made last."""
    for step in reversed(run.steps):
        if step.manifest and step.manifest.hardware:
            have = step.manifest.hardware
            cores, threads = have.get("cores"), have.get("threads")
            parts = [
                _written(have.get("gpu") or ""),
                _written(have.get("cpu") or ""),
                f"{_written(cores)} core{'' if cores == 1 else 's'}" if cores else "",
                f"{_written(threads)} thread{'' if threads == 1 else 's'}" if threads and threads != cores else "",
                _hardware("memory", have["memory"]) if have.get("memory") else "",
                _written(have.get("dtype") or ""),
            ]
            return " · ".join(part for part in parts if part) or "hardware not recorded"
    return "hardware not recorded"


def seeds(run: ReportedRun) -> str:
    """The seeds of the steps."""
    found = dict.fromkeys(str(s.manifest.seed) for s in run.steps if s.manifest)
    return ", ".join(found)


def code_version(run: ReportedRun) -> str:
    """Version and commit of the step made last."""
    for step in reversed(run.steps):
        if step.manifest and step.manifest.code:
            version, commit = (_written(step.manifest.code.get(name) or "") for name in ("version", "commit"))
            return " · ".join(filter(None, (f"bactrian {version}" if version else "", commit[:12])))
    return ""


def _written(value: Any) -> str:
    """A setting as the recipe would hold it."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return shorten(text, 2000)
