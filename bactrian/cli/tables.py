"""Plans and manifests as tables on the terminal. All text is shown as it is: no markup, no control characters."""

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from bactrian.progress import duration, printable
from bactrian.recipe.recipe import Compute
from bactrian.run.doctor import Finding
from bactrian.run.plan import EFFICIENCY, Plan, PlannedStep
from bactrian.store.manifest import Manifest


def print_findings(findings: Iterable[Finding]) -> int:
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
        table.add_row(_text(name), _text(text))
    open_console().print(table)


def print_plan(plan: Plan) -> None:
    """The steps, a total, and a warning for each step that does not fit in memory."""
    costs = (Column(name, justify="right") for name in ("rows", "tokens", "FLOPs", "peak memory", "time"))
    table = Table("step", "stage", "reads", "state", *costs, box=SIMPLE)
    for step in plan.steps:
        rows = f"{step.rows:,}" if step.rows else ""
        table.add_row(
            *map(_text, (step.name, step.stage, ", ".join(step.inputs), step.state, rows)),
            *_costs(step.tokens, step.flops, step.peak_memory, step.seconds, step.state == "exists"),
        )
    todo = [step for step in plan.steps if step.state != "exists"]
    table.add_section()
    table.add_row("total", "", "", f"{len(todo)} of {len(plan.steps)} to make", "", *_total(todo))
    out = open_console()
    out.print(table)
    if todo:
        hardware = plan.hardware
        out.print(
            f"{hardware.device}, {hardware.threads} threads, {hardware.dtype}: {plan.speed / 1e9:,.0f} "
            f"GFLOP/s measured on one large matrix product. Times are rough: steps took half to four times "
            f"as long.",
            soft_wrap=True,
        )
    if plan.compute is not None:
        out.print(_gpu_hours(plan, plan.compute))
    if plan.unlicensed:
        out.print(f"warning: no licence is stated for {printable(', '.join(plan.unlicensed))}", soft_wrap=True)
    for step in plan.short_of_memory:
        out.print(
            f"warning: {step.name} may need {_bytes(step.peak_memory)}, more than this machine has", soft_wrap=True
        )


def _gpu_hours(plan: Plan, compute: Compute) -> Table:
    """GPU-hours of each step that computes, and those published; `of peak` is what the published hours would mean."""
    gpu = compute.gpu.upper()
    costs = (Column(name, justify="right") for name in (f"{gpu}-hours", "published", "of peak"))
    note = (
        f"{gpu}-hours: FLOPs at {EFFICIENCY:.0%} of the peak; sampling, which waits for memory, takes longer. "
        "Of peak: FLOPs by the published hours."
    )
    table = Table("step", *costs, box=SIMPLE, caption=note, caption_justify="left")
    for step in plan.steps:
        if hours := plan.gpu_hours(step):
            said = compute.published.get(step.name)
            share = f"{hours * EFFICIENCY / said:.1%}" if said else ""
            table.add_row(_text(step.name), f"{hours:,.1f}", f"{said:,.0f}" if said else "", share)
    return table


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
    rows += _rows("files", {name: f"{file.sha256[:16]} {_bytes(file.bytes)}" for name, file in manifest.files.items()})
    for label, value in rows:
        table.add_row(_text(label), _text(value))
    open_console().print(table)


def open_console() -> Console:
    """Standard output for tables: nothing in a text is taken for markup."""
    return Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else 120)


def _rows(part: str, values: dict[str, str]) -> list[tuple[str, str]]:
    return [(f"{part if index == 0 else ''}", f"{name}: {value}") for index, (name, value) in enumerate(values.items())]


def _costs(tokens: float, flops: float, memory: float, seconds: float, exists: bool) -> list[str]:
    if exists:
        return ["", "", "", ""]
    return [_short(tokens), _short(flops), _bytes(memory), duration(seconds)]


def _total(steps: list[PlannedStep]) -> list[str]:
    tokens, flops, seconds = (sum(getattr(step, name) for step in steps) for name in ("tokens", "flops", "seconds"))
    return _costs(tokens, flops, max((step.peak_memory for step in steps), default=0.0), seconds, not steps)


def _short(number: float) -> str:
    """1234567 → "1.2M"."""
    for size, letter in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.1f}{letter}"
    return f"{number:.0f}"


def _bytes(number: float) -> str:
    for size, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number:.0f} B"


def _text(value: str) -> Text:
    return Text(printable(value))
