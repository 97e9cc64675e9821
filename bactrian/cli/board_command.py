"""`bactrian board`: the runs of a store in a browser, while they train and after; or as one file."""

from __future__ import annotations

from pathlib import Path

import click

from bactrian.cli.shared_options import store_option
from bactrian.errors import BactrianError


@click.command("board")
@store_option
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, show_default=True, help="On 127.0.0.1; 0 is any that is free."
)
@click.option(
    "--export",
    "target",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the page with all answers into one file, and serve nothing.",
)
def board_command(store: Path, port: int, target: Path | None) -> None:
    """Watch the runs of a store while they train, and read every answer of their evaluations.

    Prints an address for the browser on this machine, and answers until Ctrl-C. Only reads.
    """
    if not store.is_dir():
        raise BactrianError(f"{store}: no such folder; expected a store, whose runs are to be shown (--store)")
    if target is not None:
        from bactrian.report.board.board_page import export

        click.echo(export(store, target))
        return
    from bactrian.report.board.board_page import BoardPage
    from bactrian.report.board.live import LiveStore
    from bactrian.report.board.queries import BoardQueries
    from bactrian.report.board.server import BoardServer

    with BoardServer(BoardQueries(LiveStore(store)), BoardPage.live(store.resolve()), port) as server:
        click.echo(server.address)
        server.serve_forever()
