"""Commands that make nothing: the recipes that come with Bactrian, their schema, a look at the machine."""

from pathlib import Path

import click

from bactrian.cli.options import store_option
from bactrian.errors import BactrianError


@click.command("recipes")
@click.argument("name", required=False)
def recipes_command(name: str | None) -> None:
    """List the recipes that come with Bactrian; with NAME, print one: `bactrian recipes nano > mine.yaml`.

    `run`, `plan` and `rehearse` take such a name in place of a file.
    """
    from bactrian.recipe.shipped import recipe_text, shipped_recipes, summary

    if name is not None:
        click.echo(recipe_text(name), nl=False)
        return
    from bactrian.cli.tables import print_recipes

    print_recipes({name: summary(path) for name, path in shipped_recipes().items()})


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
        try:
            file.write_text(text, encoding="utf-8")
        except OSError as error:
            raise BactrianError(f"{file}: cannot be written ({error.strerror})") from None
