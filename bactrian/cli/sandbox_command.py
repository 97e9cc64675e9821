"""`bactrian sandbox`: run a program in the sandbox; say what isolation there is, and try it."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from bactrian.sandbox import Isolation


@click.group("sandbox")
def sandbox_commands() -> None:
    """Programs that models wrote: run one, or try the walls around them."""


@sandbox_commands.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--stdin", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="What it reads.")
@click.option(
    "--seconds", type=click.IntRange(min=1), default=15, show_default=True, help="Of processor time, and asleep."
)
@click.option("--memory", type=click.IntRange(min=64), default=512, show_default=True, help="MiB.")
@click.option("--rlimits", is_flag=True, help="Without walls, with limits alone: not for programs you do not trust.")
def run(file: Path, stdin: Path | None, seconds: int, memory: int, rlimits: bool) -> int:
    """Run a Python program in the sandbox; print what it prints. Exits with 1 unless it ran to its end."""
    from bactrian.progress import printable
    from bactrian.sandbox import Limits, chosen_isolation, run_program, want

    want("rlimits" if rlimits else "isolated")
    isolation = chosen_isolation()
    limits = Limits(wall=float(seconds), cpu=seconds, memory=memory << 20)
    done = run_program(_read(file), isolation, _read(stdin) if stdin else "", limits)
    click.echo(printable(done.output), nl=False)
    click.echo(printable(done.error), nl=bool(done.error), err=True)
    click.echo(f"{file}: {done.ended.replace('_', ' ')} after {done.seconds:.2f} s, under {isolation.name}", err=True)
    return 0 if done.ended == "finished" else 1


@sandbox_commands.command()
@click.option("--quick", is_flag=True, help="Only say what isolation there is.")
@click.argument("attacks", nargs=-1)
def check(attacks: tuple[str, ...], quick: bool) -> int:
    """Say what isolation works here, and put the attacks to it, or those named. Exits with 1 if one gets through."""
    from bactrian.sandbox import available
    from bactrian.sandbox.choice import strongest

    for isolation, problem in available():
        click.echo(f"{isolation.name}: {'works' if problem is None else problem}")
    best = strongest()
    click.echo(f"used: {best.name}")
    return 0 if quick else _besiege(best, attacks)


def _besiege(isolation: "Isolation", names: tuple[str, ...]) -> int:
    from bactrian.errors import BactrianError
    from bactrian.errors.wording import nearest
    from bactrian.sandbox.attacks.siege import ATTACKS, besiege

    for name in names:
        if name not in ATTACKS:
            meant = nearest(name, ATTACKS)
            raise BactrianError(f"no attack is called {name!r}" + (f"; did you mean {meant!r}?" if meant else ""))
    tried = breached = 0
    for result in besiege(isolation, names):
        tried += 1
        breached += bool(result.holes)
        told = "contained" if not result.holes else f"NOT CONTAINED: {'; '.join(result.holes)}"
        click.echo(f"{result.seconds:6.2f} s  {result.attack}: {told}")
    click.echo(f"{tried} attacks, {tried - breached} contained")
    return 1 if breached else 0


def _read(file: Path) -> str:
    """Text in UTF-8.

    Raises:
        BactrianError: if it is none.
    """
    from bactrian.errors import BactrianError

    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BactrianError(f"{file}: byte {error.start}: not UTF-8") from None
