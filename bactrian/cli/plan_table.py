"""A plan on the terminal, and as JSON for tools."""

import json
from dataclasses import asdict
from typing import Any

from rich.box import SIMPLE
from rich.table import Column, Table

from bactrian.cli.tables import in_bytes, open_console, plain
from bactrian.progress import long_duration, printable
from bactrian.recipe.recipe import Compute
from bactrian.run.gpu_hours import fewest_gpus
from bactrian.run.plan import Plan, PlannedStep
from bactrian.stages.stage import TOKENS_PER_ROW


def print_plan(plan: Plan) -> None:
    """The steps, a total, how its numbers are known, and for each step that does not fit in memory what would help."""
    time = "time" if plan.compute is None else "time here"
    costs = (Column(name, justify="right") for name in ("rows", "tokens", "FLOPs", "peak memory", time))
    table = Table("step", "stage", "reads", "state", *costs, box=SIMPLE)
    for step in plan.steps:
        rows = f"{step.rows:,}" if step.rows else ""
        names = map(plain, (step.name, step.stage, ", ".join(step.inputs), step.state, rows))
        table.add_row(*names, *_costs(step, step.state == "exists"))
    todo = [step for step in plan.steps if step.state != "exists"]
    table.add_section()
    table.add_row("total", "", "", f"{len(todo)} of {len(plan.steps)} to make", "", *_total(todo))
    out = open_console()
    out.print(table)
    for line in [*_notes(plan, todo), *_licences(plan), *_memory(plan)]:
        out.print(line, soft_wrap=True)
    if plan.compute is not None:
        out.print(_gpu_hours(plan, plan.compute))
    for line in _by_the_clock(plan):
        out.print(line, soft_wrap=True)


def plan_json(plan: Plan) -> str:
    """All that a plan says: seconds, bytes, FLOPs and GPU-hours as numbers."""
    steps = []
    for step in plan.steps:
        said: dict[str, Any] = asdict(step) | {"inputs": list(step.inputs)}
        del said["forecast"]
        said["money"] = step.forecast.money
        if plan.compute is not None:
            run = plan.compute.published.get(step.name)
            said["gpu_hours"] = plan.gpu_time(step).hours
            said["published_gpu_hours"] = run.gpu_hours if run else None
        if (found := plan.clock(step)) is not None:
            said["on_the_cluster"] = asdict(found)
        steps.append(said)
    about = {
        "hardware": asdict(plan.hardware) | {"vllm": plan.hardware.vllm.model_dump()},
        "flops_a_second": plan.speed,
        "memory": plan.memory,
        "lack": plan.lack,
    }
    gpu = {} if plan.compute is None else {"gpu": plan.compute.gpu}
    return json.dumps({"steps": steps, "seconds": plan.seconds, **about, **gpu}, indent=1)


def _notes(plan: Plan, todo: list[PlannedStep]) -> list[str]:
    """What the numbers of the table rest on."""
    if not todo:
        return []
    notes = []
    assumed = [step.name for step in todo if step.tokens and step.basis == "assumed"]
    weighed = [step.name for step in todo if step.tokens and step.basis == "bytes"]
    if assumed:
        notes.append(
            f"about: {TOKENS_PER_ROW:.0f} tokens a row assumed, as nothing says how long rows are ({_few(assumed)})"
        )
    if weighed:
        notes.append(f"about: four bytes a token, as no tokenizer of the recipe is on this machine ({_few(weighed)})")
    if paid := [step for step in todo if step.forecast.money]:
        each = ", ".join(f"{step.name} {step.forecast.money:,.2f}" for step in paid)
        notes.append(f"about {sum(step.forecast.money for step in paid):,.2f} of money, at the prices given: {each}")
    hardware = plan.hardware
    notes.append(
        f"{hardware.device}, {hardware.threads} threads, {hardware.dtype}: {plan.speed / 1e9:,.0f} GFLOP/s measured on "
        "one large matrix product. Times are rough: steps took half to four times as long."
    )
    return notes


def _licences(plan: Plan) -> list[str]:
    names = printable(", ".join(plan.unlicensed))
    return [f"warning: no licence is stated for {names}"] if plan.unlicensed else []


def _memory(plan: Plan) -> list[str]:
    """Each step that does not fit, with settings that were tried in its forecast."""
    if plan.compute is not None and plan.short_of_memory:
        names = _few([step.name for step in plan.short_of_memory])
        return [f"for a cluster: with {in_bytes(plan.memory)}, this machine has no room for {names}"]
    lines = []
    for step in plan.short_of_memory:
        line = f"warning: {step.name} may need {in_bytes(step.peak_memory)} of {in_bytes(plan.memory)}"
        if step.remedy is None:
            line += ": no setting of the step changes that; a smaller model would"
        elif step.remedy.fits:
            line += f": {step.remedy.settings} brings {in_bytes(step.remedy.peak_memory)}"
        else:
            line += f": {step.remedy.settings} brings {in_bytes(step.remedy.peak_memory)}, still too much"
        lines.append(line)
    return lines


def _gpu_hours(plan: Plan, compute: Compute) -> Table:
    """GPU-hours of each step that computes, beside those published."""
    gpu = compute.gpu.upper()
    names = ("at least", f"{gpu}-hours", "of it sampling", "waiting", "published", "forecast / published")
    table = Table(
        "step",
        *(Column(name, justify="right") for name in names),
        box=SIMPLE,
        caption=f"{gpu}-hours: as the published runs of 2024 ran, {_how(compute)}; how they are reckoned, and how far "
        "off they were: docs/large-recipes.md",
        caption_justify="left",
    )
    for step in plan.steps:
        time, run = plan.gpu_time(step), compute.published.get(step.name)
        if not time.hours:
            continue
        published, ratio = "", ""
        if run is not None:
            published = f"{run.gpu_hours:,.0f}"
            share = run.steps / made if run.steps and (made := _rounds(step)) else 1.0
            published += f" for {run.steps} of {made:,.0f} steps" if share != 1.0 else ""
            ratio = f"{time.hours * share / run.gpu_hours:.2f}"
        parts = [f"{part / 3600 / time.hours:.0%}" if part else "" for part in (time.sampling, time.waiting)]
        cards = f"{fewest_gpus(step.peak_memory, compute):,} GPUs"
        table.add_row(plain(step.name), cards, f"{time.hours:,.1f}", *parts, published, ratio)
    return table


def _by_the_clock(plan: Plan) -> list[str]:
    """Training on the recipe's own cluster, a line a step."""
    cluster, lines = plan.cluster, []
    for step in plan.steps:
        if cluster is not None and (found := plan.clock(step)) is not None:
            lines.append(
                f"{plain(step.name)} on {cluster.nodes} x {cluster.per_node} {cluster.gpu.upper()}, {cluster.weights}: "
                f"about {found.hours:,.1f} hours, {found.tokens_a_second:,.0f} tokens/s a GPU; of the time "
                f"{found.links:.0%} waiting for links, {found.others:.0%} for the GPU with most to do"
            )
    return lines and [*lines, "about: as an update played through gives it; how far off it was: docs/clusters.md"]


def _rounds(step: PlannedStep) -> float:
    return step.forecast.sampling[0].rounds if step.forecast.sampling else 0.0


def _how(compute: Compute) -> str:
    return "but with packed rows" if compute.packed else "one row in a micro-batch"


def _few(names: list[str]) -> str:
    return ", ".join(names if len(names) <= 6 else [*names[:5], f"and {len(names) - 5} more"])


def _costs(step: PlannedStep, exists: bool) -> list[str]:
    if exists:
        return ["", "", "", ""]
    tokens = _short(step.tokens)
    if step.basis in ("assumed", "bytes") and step.tokens:
        tokens = f"about {tokens}"
    elif step.error >= 0.005 and step.tokens:
        tokens += f" ±{step.error:.0%}"
    return [tokens, _short(step.flops), in_bytes(step.peak_memory), long_duration(step.seconds)]


def _total(steps: list[PlannedStep]) -> list[str]:
    tokens, flops, seconds = (sum(getattr(step, name) for step in steps) for name in ("tokens", "flops", "seconds"))
    if not steps:
        return ["", "", "", ""]
    return [_short(tokens), _short(flops), in_bytes(max(step.peak_memory for step in steps)), long_duration(seconds)]


def _short(number: float) -> str:
    """1234567 → "1.2M"; nothing for nothing."""
    for size, letter in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.1f}{letter}"
    return f"{number:.0f}" if number else ""
