"""What `bactrian data --diversity` and `--against` print. Texts of others are shown without control characters."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from bactrian.cli.tables import open_console
from bactrian.progress import printable
from bactrian.report.formatting import NARROW
from bactrian.report.likeness_views import against_lines, diversity_lines, drawn, tells_text, verdict

_EXAMPLES, _WIDTH = 5, 150


def print_likeness(told: Mapping[str, Any]) -> None:
    """The tables of what was asked for."""
    out, names, of = open_console(), told["names"], told["of"]
    if "diversity" in told:
        found = told["diversity"]
        counts = f"{found['texts']:,} texts, {found['different']:,} different{drawn(found)}"
        out.print(_text(f"{names['a']}, {of}: {counts}"), soft_wrap=True)
        _print_lines(out, ("value",), diversity_lines(found))
        out.print(_clusters(found["topics"]["clusters"], {"share": "share"}))
    if "against" in told:
        _print_against(out, names, of, told["against"])


def _print_against(out: Console, names: Mapping[str, str], of: str, told: Mapping[str, Any]) -> None:
    for side in "ab":
        counts = f"{told[side]['rows']:,} texts, {told[side]['different']:,} different{drawn(told[side])}"
        out.print(_text(f"{side.upper()}: {names[side]}, {of}: {counts}"), soft_wrap=True)
    out.print(_text(verdict(told)), soft_wrap=True)
    _print_lines(out, ("A", "B"), against_lines(told))
    out.print(_clusters(told["topics"]["clusters"], {"a": "A", "b": "B"}))
    for side in "ab":
        if tells := tells_text(told, side):
            out.print(_text(f"{side.upper()} is told by (in brackets the other's share): {tells}"), soft_wrap=True)
    if told["copies"]["examples"]:
        out.print("The texts of A that are nearest to one of B:")
    for each in told["copies"]["examples"][:_EXAMPLES]:
        out.print(_text(f"  ROUGE-L {each['rouge_l']:.2f}, distance {each['distance']:.2f}"))
        for side in "ab":
            out.print(_text(f"    {side.upper()}: {' '.join(each[side].split())[:_WIDTH]}"), soft_wrap=True)


def _print_lines(out: Console, heads: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    table = Table("measure", *(Column(head, justify="right", no_wrap=True) for head in heads), "", box=SIMPLE)
    for line in lines:
        table.add_row(*map(_text, line))
    out.print(table)


def _clusters(clusters: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> Table:
    table = Table(*(Column(head, justify="right") for head in columns.values()), "topic", box=SIMPLE)
    for each in clusters:
        table.add_row(*(f"{each[name]:.1%}" for name in columns), _text(", ".join(each["words"])))
    return table


def _text(value: str) -> Text:
    value = value.replace(NARROW, " ")  # before a per cent sign, on the page
    return Text(printable(value).replace("\n", "\\n").replace("\t", "\\t"))
