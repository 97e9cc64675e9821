"""What `bactrian data` prints: sources, layouts, licences, lengths, rows that cannot be used. All text is escaped."""

from collections import Counter
from itertools import islice
from pathlib import Path

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from bactrian.cli.tables import open_console
from bactrian.data.io.formats import TextRows
from bactrian.data.io.survey import Group, Lengths, Survey, survey
from bactrian.data.io.tally import CountedCases
from bactrian.errors import BactrianError
from bactrian.progress import printable, progress

MOST_LINES = 30
_BAR = 40


def show_survey(path: Path, layout: str, text_rows: TextRows, limit: int | None) -> None:
    """Survey the rows of a path, at most `limit`, and print what was found.

    Raises:
        BactrianError: for no rows.
    """
    found = None
    with progress(f"data {path.name}", unit="row") as bar:
        for growing in islice(survey(path, layout, text_rows), limit):
            found = growing
            bar.advance()
    if found is None:
        raise BactrianError(f"{path}: empty, no rows")
    print_survey(open_console(), path, found)


def print_survey(out: Console, path: Path, found: Survey) -> None:
    """The tables of one found."""
    tally, lengths = found.account.tally, found.lengths
    size = sum(file.stat().st_size for file in found.files)
    files = f"{len(found.files):,} file{'' if len(found.files) == 1 else 's'}, {size / 2**20:,.1f} MiB"
    out.print(_text(f"{path}: {files}, {tally.total:,} rows, {lengths.total:,} characters"), soft_wrap=True)
    out.print(_sources(found))
    out.print(_lengths(lengths))
    about = ", ".join(f"{name} {lengths.quantile(share):,}" for name, share in _QUANTILES)
    out.print(f"Characters, about: {about}; longest {lengths.longest:,}", soft_wrap=True)
    counts = tally.counts()
    mended = f", {counts['rows_repaired']:,.0f} repaired" if "rows_repaired" in counts else ""
    out.print(
        f"As training rows ({found.account.kind or 'no kind'}): {tally.kept:,} as they are{mended}, "
        f"{counts['rows_dropped']:,.0f} cannot be used",
        soft_wrap=True,
    )
    for word, cases in (("repaired", tally.repaired), ("dropped", tally.dropped)):
        for reason, case in sorted(cases.items(), key=lambda item: -item[1].count):
            out.print(_text(f"  {word}: {reason}: {case.count:,} ({_examples(case)})"), soft_wrap=True)
    if found.account.left_out:
        named = ", ".join(f"{name} ({count:,})" for name, count in found.account.left_out.most_common(12))
        out.print(_text(f"  columns that its layout does not read (rows): {named}"), soft_wrap=True)


def _sources(found: Survey) -> Table:
    numbers = (Column(name, justify="right") for name in ("rows", "share", "characters a row"))
    table = Table("source", "layout", "licence", *numbers, box=SIMPLE)
    total = found.groups.total()
    for group, rows in found.groups.most_common(MOST_LINES):
        source, layout, licence = group
        named = " ".join([licence.licence, *(f"[{mark}]" for mark in licence.marks)])
        each = found.characters[group] / rows
        cells = (source, layout, named, f"{rows:,}", f"{rows / total:.1%}", f"{each:,.0f}")
        table.add_row(*map(_text, cells))
    rest: Counter[Group] = Counter(dict(islice(found.groups.most_common(), MOST_LINES, None)))
    if rest:
        table.add_row(f"({len(rest):,} more)", "", "", f"{rest.total():,}", f"{rest.total() / total:.1%}", "")
    return table


def _lengths(lengths: Lengths) -> Table:
    """A bar per doubling of the length."""
    table = Table(Column("characters", justify="right"), Column("rows", justify="right"), "", box=SIMPLE)
    bars = lengths.by_doubling()
    most = max((rows for _, rows in bars), default=1)
    for least, rows in bars:
        table.add_row(f"{least:,}–{max(2 * least - 1, 0):,}", f"{rows:,}", "█" * -(-_BAR * rows // most))
    return table


_QUANTILES = (("a tenth up to", 0.1), ("half up to", 0.5), ("nine tenths up to", 0.9))


def _examples(case: CountedCases) -> str:
    return "; ".join(case.examples) + ("; …" if case.count > len(case.examples) else "")


def _text(value: str) -> Text:
    return Text(printable(value).replace("\n", "\\n").replace("\t", "\\t"))
