"""`bactrian annotate-by-hand`: people judge pairs in a browser; then how far they agree, and what they said as rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bactrian.errors import BactrianError

if TYPE_CHECKING:
    from bactrian.judge.people.pairs_by_hand import PairByHand
    from bactrian.judge.people.record import HandRecord

LONGEST_NAME = 60
LEAD = "lead"


@click.command("annotate-by-hand")
@click.argument("pairs", type=click.Path(path_type=Path))
@click.option("--annotator", "names", multiple=True, metavar="NAME", help="Who will annotate; repeatable.")
@click.option(
    "--database",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Where all that is said is kept (SQLite).  [default: PAIRS.annotations.sqlite in this folder]",
)
@click.option("--port", type=click.IntRange(0, 65535), help="On 127.0.0.1; 0 is any.  [default: the last one, or any]")
@click.option(
    "--seed", type=click.IntRange(min=0), help="Of orders and sides, when the database is begun.  [default: 0]"
)
@click.option("--acceptability", is_flag=True, help="Ask of each answer by itself whether it is acceptable, too.")
@click.option("--agreement", is_flag=True, help="Say how far the annotators agree, and serve nothing.")
@click.option(
    "--judge",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="With --agreement: rows of `id` and `label` by a judge. May it replace an annotator (alt-test)?",
)
@click.option(
    "--instead-of",
    type=click.Choice(["expert", "skilled", "crowd"]),
    default="skilled",
    show_default=True,
    help="The annotators' kind: what the alt-test allows the judge to be worse by (0.2, 0.15, 0.1).",
)
@click.option("--study", is_flag=True, help="Rank the models by what people preferred, and serve nothing.")
@click.option(
    "--export",
    "target",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write what was said as rows that calibrate a judge (JSONL), and serve nothing.",
)
def hand_command(
    pairs: Path,
    names: tuple[str, ...],
    database: Path | None,
    port: int | None,
    seed: int | None,
    acceptability: bool,
    agreement: bool,
    judge: Path | None,
    instead_of: str,
    study: bool,
    target: Path | None,
) -> None:
    """Let people judge pairs of answers in a browser: blind, by keyboard, several at once.

    Prints a link for each annotator, and one to follow the work. Ctrl-C ends it; the same command goes on.
    """
    from bactrian.judge.people.pairs_by_hand import read_pairs
    from bactrian.judge.people.record import HandRecord

    if judge is not None and not agreement:
        raise BactrianError("--judge: a judge is compared with people by --agreement; give both")
    serves = not (agreement or study or target)
    found = read_pairs(pairs)
    path = database or Path(f"{pairs.resolve().name}.annotations.sqlite")
    if not serves and not path.is_file():
        raise BactrianError(f"{path}: no such file; expected the annotations of {pairs} (--database)")
    if serves:
        _check(names, path)
    record = HandRecord(path, found)
    try:
        if serves:
            _serve(found, record, names, port, seed, acceptability)
        if agreement:
            from bactrian.cli.people_tables import print_agreement

            print_agreement(found, record.standing(), judge, instead_of)
        if study:
            from bactrian.cli.people_tables import print_study

            print_study(found, record.standing())
        if target:
            _export(found, record, target)
    finally:
        record.close()


def _check(names: Sequence[str], path: Path) -> None:
    from bactrian.store.extras import lacking, lacks

    if lacking("annotate"):
        raise lacks("annotate-by-hand", "annotate")
    for number, name in enumerate(names):
        if name in names[:number]:
            raise BactrianError(f"--annotator {name}: found twice; expected each annotator once")
        if not name.isprintable() or not 0 < len(name.strip()) <= LONGEST_NAME:
            raise BactrianError(f"--annotator {name!r}: expected a name of 1 to {LONGEST_NAME} printable characters")
    if not names and not path.exists():
        raise BactrianError(f"{path}: has no annotators yet; expected --annotator NAME")


def _serve(
    pairs: Sequence[PairByHand],
    record: HandRecord,
    names: Sequence[str],
    port: int | None,
    seed: int | None,
    acceptability: bool,
) -> None:
    from bactrian.judge.people.desk import Desk
    from bactrian.report.annotate.hand_server import HandServer

    record.add_annotators(names)
    if not (annotators := record.annotators()):
        raise BactrianError(f"{record.path}: has no annotators yet; expected --annotator NAME")
    asks = record.setting("acceptability", str(acceptability)) == "True"
    if acceptability and not asks:
        raise BactrianError(
            f"{record.path}: was begun without --acceptability; expected the same questions for all, or another "
            f"--database"
        )
    begun_with = int(record.setting("seed", str(seed or 0)))
    if seed not in (None, begun_with):
        raise BactrianError(f"--seed {seed}: {record.path} was begun with seed {begun_with}; expected that, or none")
    server = HandServer(Desk(pairs, record, begun_with, asks), annotators, record.lead(), _port(record, port))
    record.set("port", str(server.port))
    width = max(map(len, (*annotators, LEAD)))
    for name, token in annotators.items():
        click.echo(f"{name:{width}}  {server.link(token)}")
    click.echo(f"{LEAD:{width}}  {server.link(record.lead())}")
    server.serve()


def _port(record: HandRecord, asked: int | None) -> int:
    """The port asked for; else the one of the last time if it is free, so that open pages find their server again."""
    from bactrian.report.annotate.hand_server import is_free

    last = int(record.setting("port", "0"))
    return asked if asked is not None else last if is_free(last) else 0


def _export(pairs: Sequence[PairByHand], record: HandRecord, target: Path) -> None:
    import json

    from bactrian.data.io.rows import licences
    from bactrian.judge.people.hand_rows import labelled_rows
    from bactrian.store.disk import write_atomically

    rows, counts = labelled_rows(pairs, record.standing())
    if not counts["labelled"]:
        raise BactrianError(f"{record.path}: found no pair with a majority label, expected at least one")
    try:
        write_atomically(target, "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows))
    except OSError as error:
        raise BactrianError(f"{target}: cannot be written ({error.strerror})") from None
    click.echo(
        f"{target}: {counts['labelled']} pairs with a majority label; without one: {counts['tie']} ties, "
        f"{counts['split']} split; left out: {counts['unlabelled']} unlabelled, {counts['attention']} attention items"
    )
    for each in sorted(licences(rows), key=str):
        click.echo(f"licence: {each.licence or 'unknown'} ({each.source})")
