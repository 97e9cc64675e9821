"""Findings and manifests as tables on the terminal. All text is shown as it is: no markup, no control characters."""

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bactrian.progress import duration, printable
from bactrian.run.doctor import MachineCheck
from bactrian.store.manifest import Manifest


def print_findings(findings: Iterable[MachineCheck]) -> int:
    """Each finding as it is made, its advice below it; returns 1 if one is broken, else 0."""
    out, status = open_console(), 0
    colours = {"good": "green", "slow": "yellow", "missing": "cyan", "broken": "red"}
    for each in findings:
        status |= each.state == "broken"
        line = Text.assemble((f"{each.state:<8}", colours[each.state]), f"{each.what:<20}", printable(each.found))
        out.print(line, soft_wrap=True)
        if each.advice:
            out.print(Text(" " * 28 + "→ " + printable(each.advice)), soft_wrap=True)
    return int(status)


def print_recipes(summaries: Mapping[str, str]) -> None:
    """Name and summary of each recipe."""
    table = Table("recipe", "what it does", box=SIMPLE)
    for name, text in summaries.items():
        table.add_row(plain(name), plain(text))
    open_console().print(table)


def print_manifest(folder: Path, manifest: Manifest) -> None:
    """All that a manifest holds; of the files name, size and the beginning of the hash."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    dumped = manifest.model_dump(mode="json")
    resumed = f" (of {manifest.attempts} processes, as it was interrupted)" if manifest.attempts > 1 else ""
    rows = [("artifact", str(folder)), ("is", f"{manifest.kind}, by step {manifest.step}, stage {manifest.stage}")]
    rows += [("key", manifest.key), ("content hash", manifest.content_hash), ("seed", str(manifest.seed))]
    rows += [("started", manifest.started), ("took", duration(manifest.seconds) + resumed)]
    for part in ("settings", "metrics", "code", "hardware", "packages"):
        rows += _rows(part, {name: str(value) for name, value in dumped[part].items()})
    rows += _rows("inputs", {ref: f"{item.content_hash[:16]} {item.path}" for ref, item in manifest.inputs.items()})
    rows += _rows(
        "licences",
        {item.source: " ".join([item.licence, *(f"[{mark}]" for mark in item.marks)]) for item in manifest.licences},
    )
    rows += [("" if index else "decontamination", str(item)) for index, item in enumerate(manifest.decontamination)]
    rows += _rows(
        "files", {name: f"{file.sha256[:16]} {in_bytes(file.bytes)}" for name, file in manifest.files.items()}
    )
    for label, value in rows:
        table.add_row(plain(label), plain(value))
    open_console().print(table)


def open_console() -> Console:
    """Standard output for tables: nothing in a text is taken for markup."""
    return Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else 120)


def _rows(part: str, values: dict[str, str]) -> list[tuple[str, str]]:
    return [(f"{part if index == 0 else ''}", f"{name}: {value}") for index, (name, value) in enumerate(values.items())]


def in_bytes(number: float) -> str:
    """1536 → "1.5 KiB"."""
    for size, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number:.0f} B"


def plain(value: str) -> Text:
    """Text of others as a cell, without control characters."""
    return Text(printable(value))
