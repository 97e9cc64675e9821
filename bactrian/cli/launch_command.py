"""`bactrian launch`: a recipe as a job of a cluster."""

from pathlib import Path

import click

from bactrian.cli.shared_options import FiniteRange, store_option
from bactrian.errors import BactrianError


@click.command("launch")
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--for", "manager", type=click.Choice(["slurm", "skypilot"]), required=True, help="Who starts the job.")
@click.option("--set", "overrides", multiple=True, metavar="STEP.FIELD=VALUE", help="Change a setting; repeatable.")
@click.option("--hours", type=FiniteRange(0.1, 8760), default=24.0, show_default=True, help="A job's time limit.")
@click.option("--price", type=FiniteRange(min=0), help="Of a GPU for an hour, in your money.")
@click.option("--partition", help="Of SLURM.")
@click.option("--account", help="Of SLURM.")
@click.option("--output", "-o", type=click.Path(path_type=Path, dir_okay=False), help="Default: print it.")
@store_option
def launch_command(
    recipe: Path,
    manager: str,
    overrides: tuple[str, ...],
    hours: float,
    price: float | None,
    partition: str | None,
    account: str | None,
    output: Path | None,
    store: Path,
) -> None:
    """Write the file with which SLURM or SkyPilot runs RECIPE on its `hardware:`; starts nothing.

    What it would take stands at its head: GPU-hours, hours and, with --price, money.
    """
    from bactrian.recipe.recipe import load
    from bactrian.run.launch.job import Wishes, job
    from bactrian.run.launch.skypilot import task
    from bactrian.run.launch.slurm import batch_script
    from bactrian.run.plan import plan
    from bactrian.store.artifact import Store

    if output is not None and output.exists():
        raise BactrianError(f"{output}: found a file already, expected a new one")
    read = load(recipe, overrides)
    made = job(read, plan(read, Store(store)), Wishes(store, overrides, hours, price, partition, account))
    text = batch_script(made) if manager == "slurm" else task(made)
    if output is None:
        click.echo(text, nl=False)
    else:
        try:
            output.write_text(text, encoding="utf-8")
        except OSError as error:
            raise BactrianError(f"{output}: cannot be written ({error.strerror})") from None
    for line in made.summary():
        click.echo(line, err=True)
