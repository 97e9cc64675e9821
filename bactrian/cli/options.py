"""Options that several commands have."""

from pathlib import Path

import click

store_option = click.option(
    "--store",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("runs"),
    help="Folder of artifacts and runs.  [default: runs]",
)
