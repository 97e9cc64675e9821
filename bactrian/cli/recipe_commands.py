"""Commands that make nothing: the recipes that come with Bactrian, their schema, a look at the machine."""

from pathlib import Path

import click

from bactrian.cli.shared_options import store_option
from bactrian.errors import BactrianError


@click.command("recipes")
@click.argument("name", required=False)
def recipes_command(name: str | None) -> None:
    """List the recipes that come with Bactrian; with NAME, print one: `bactrian recipes nano > mine.yaml`.

    `run`, `plan` and `rehearse` take such a name in place of a file.
    """
    from bactrian.recipe.shipped_recipes import recipe_text, shipped_recipes, summary

    if name is not None:
        click.echo(recipe_text(name), nl=False)
        return
    from bactrian.cli.tables import print_recipes

    print_recipes({name: summary(path) for name, path in shipped_recipes().items()})


@click.command("convert")
@click.argument("given", nargs=-1, required=True, metavar="FILE | -- COMMAND…")
@click.option("--kind", type=click.Choice(["sft", "dpo", "kto", "reward", "grpo"]), help="Where it does not say so.")
@click.option("--devices", type=click.IntRange(min=1), default=1, show_default=True, help="On which it ran before.")
@click.option("--output", "-o", type=click.Path(path_type=Path, dir_okay=False), help="Default: print it.")
def convert_command(given: tuple[str, ...], kind: str | None, devices: int, output: Path | None) -> None:
    """A configuration of axolotl or TRL as a recipe, with a list of what is not the same.

    FILE is YAML or JSON; after `--` a command as you typed it: `bactrian convert -- trl sft --model_name_or_path …`.
    """
    from bactrian.recipe.foreign.convert import convert, recipe_text
    from bactrian.recipe.foreign.read import KINDS, read_command, read_file

    stage = KINDS[kind] if kind else None
    read = read_file(Path(given[0]), stage) if len(given) == 1 else read_command(given, stage)
    made = convert(read, devices)
    text = recipe_text(made, read)
    if output is None:
        click.echo(text, nl=False)
    else:
        if output.exists():
            raise BactrianError(f"{output}: found a file already, expected a new one")
        _write(output, text)
    for each in made.differs:
        click.echo(f"not the same: {each}", err=True)
    if made.left_out:
        click.echo(f"left out, {len(made.left_out)} settings without a counterpart:", err=True)
        for why in dict.fromkeys(made.left_out.values()):
            names = ", ".join(name for name, reason in made.left_out.items() if reason == why)
            click.echo(f"  {names}: {why}", err=True)


@click.command("doctor")
@store_option
def doctor_command(store: Path) -> int:
    """What this machine and installation have, what is missing, and what is slow. Status 1: a run would fail."""
    from bactrian.cli.tables import print_findings
    from bactrian.run.doctor import examine

    return print_findings(examine(store))


@click.command("schema")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), required=False)
def schema_command(file: Path | None) -> None:
    """Write the JSON schema of recipes to FILE, or print it: editors complete and check recipes with it.

    A recipe that begins with `# yaml-language-server: $schema=FILE` is checked as you type.
    """
    from bactrian.recipe.schema import schema_text

    text = schema_text()
    if file is None:
        click.echo(text, nl=False)
    else:
        _write(file, text)


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BactrianError(f"{file}: cannot be written ({error.strerror})") from None
