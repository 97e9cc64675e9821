"""The command `init`: five questions, a look at the data, and a recipe that plans."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from bactrian.cli.shared_options import FiniteRange, store_option
from bactrian.errors import BactrianError
from bactrian.progress import printable

AIMS = ("sft", "preference", "rl", "evaluation")


@click.command("init")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), default=Path("recipe.yaml"))
@click.option("--model", help="embedded:NAME, a folder, an artifact or a Hub id.")
@click.option(
    "--data", help="A file, a folder or a pattern: .jsonl, .json, .csv, .parquet, in any known layout; or a Hub id."
)
@click.option("--for", "aim", type=click.Choice(AIMS), help="What for.")
@click.option("--reward", metavar="FILE.py:FUNCTION", help="A reward of your own, for rl: def f(completion, row).")
@click.option("--hardware", "device", type=click.Choice(["auto", "cpu", "cuda"]), help="On what.")
@click.option("--minutes", type=FiniteRange(min=0, min_open=True), help="How long at most; else all of it.")
@click.option("--yes", is_flag=True, help="Ask nothing: the likeliest answer where none is given.")
@click.option("--force", is_flag=True, help="Replace FILE.")
@store_option
def init_command(
    file: Path,
    model: str | None,
    data: str | None,
    aim: Any,
    reward: str | None,
    device: Any,
    minutes: float | None,
    yes: bool,
    force: bool,
    store: Path,
) -> None:
    """Write a recipe to FILE [recipe.yaml] from five answers: model, data, aim, hardware, time.

    Each is asked for, unless its option or --yes is given. The first rows of the data are looked at; where they do not
    suit the aim, it is said what would. Nothing is made, and no file is replaced without --force.
    """
    from bactrian.cli.plan_table import print_plan
    from bactrian.run.first_recipe import DEFAULT_MODEL, InitAnswers, likeliest, look, refuse_existing, write_recipe
    from bactrian.store.artifact import Store

    refuse_existing(file, force)
    model = model or (DEFAULT_MODEL if yes else _asked("--model", "Which model", default=DEFAULT_MODEL))
    if data is None and yes:
        raise BactrianError("--data: found nothing, expected a file, a folder, a pattern or a Hub id")
    data = data or _asked("--data", "Which data (a file, a folder or a Hub id)")
    found = look(data)
    click.echo(printable(_found(data, found, reward)), err=True)
    likely = likeliest(found)
    if reward is not None:
        aim = aim or "rl"
    if found.unseen and aim is None and yes:
        raise BactrianError(f"--for: found nothing, expected one of {', '.join(AIMS)}: {found.unseen}")
    if aim is None and not found.unseen and (yes or likely is None):
        aim = likely or "sft"  # what is in the way is said
    aim = aim or _asked("--for", "What for", type=click.Choice(AIMS), default=likely)
    if not yes:
        device = device or _asked(
            "--hardware",
            f"On what hardware (here: {_hardware()})",
            type=click.Choice(["auto", "cpu", "cuda"]),
            default="auto",
        )
        if minutes is None:
            how_long = "How many minutes at most (0: as long as it takes)"
            minutes = _asked("--minutes", how_long, type=FiniteRange(0), default=0) or None
    answers = InitAnswers(model, data, aim, device or "auto", minutes, reward)
    written = write_recipe(file, answers, found, Store(store), force)
    print_plan(written.plan)
    click.echo(f"{file} is written; now: bactrian run {file}", err=True)


def _asked(option: str, question: str, **how: Any) -> Any:
    """An answer of the person at the terminal.

    Raises:
        BactrianError: nobody is there, and standard input has ended.
    """
    try:
        return click.prompt(question, **how)
    except click.Abort:
        if sys.stdin.isatty():
            raise
        raise BactrianError(
            f"{option}: found no answer, as standard input has ended; expected it, or --yes for what is likeliest"
        ) from None


def _found(data: str, found: Any, reward: str | None) -> str:
    if found.unseen:
        return f"{data}: not looked at: {found.unseen}"
    layouts = ", ".join(f"{name} ({count})" for name, count in found.layouts.items()) or "none known"
    aims = [use.aim for use in found.suits] + (["rl"] if reward is not None else [])
    suits = ", ".join(dict.fromkeys(aims)) or "none of the aims as they are"
    return (
        f"{data}: {found.rows} rows looked at; layouts: {layouts}; about {found.characters:,.0f} characters a row; "
        f"good for: {suits}"
    )


def _hardware() -> str:
    from bactrian.store.hardware import machine

    has = machine()
    memory = f"{(has['memory'] or 0) / 2**30:.0f} GiB"  # type: ignore[operator]
    return f"{has['cpu']}, {has['cores']} core{'' if has['cores'] == 1 else 's'}, {memory}, {has['gpu'] or 'no GPU'}"
