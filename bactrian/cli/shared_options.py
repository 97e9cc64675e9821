"""Options that several commands have."""

import math
from pathlib import Path
from typing import Any

import click

from bactrian.report.track.trackers import BACKENDS

store_option = click.option(
    "--store",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("runs"),
    help="Folder of artifacts and runs.  [default: runs]",
)


def _keep(context: click.Context, option: click.Parameter, value: tuple[str, ...]) -> None:
    context.meta[__name__] = value


track_option = click.option(
    "--track",
    multiple=True,
    type=click.Choice(list(BACKENDS)),
    expose_value=False,
    callback=_keep,
    help="Tell an experiment tracker what happens; repeatable.",
)


def asked_to_track() -> tuple[str, ...]:
    """What --track named, in the command at hand."""
    context = click.get_current_context(silent=True)
    found: tuple[str, ...] = context.meta.get(__name__, ()) if context else ()
    return found


class FiniteRange(click.FloatRange):
    """A number in a range; NaN, which no bound keeps out, and infinity are none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number
