"""Answers on disk, and the table that a person sees at the end."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from bactrian.errors import BactrianError
from bactrian.evaluate.scoring import Answer

TYPES: dict[Any, str] = {int: "int64", float: "float64", str: "string", str | None: "string"}
LABELS = ("model", "task", "mode")


def write_answers(path: Path, answers: Iterable[tuple[Mapping[str, str], Answer]]) -> None:
    """Answers as Parquet, each with its labels (model, task, mode; may be left out) in the first columns.

    A lone surrogate in a text, which Parquet cannot hold, becomes "?".
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{**labels, **vars(answer)} for labels, answer in answers]
    labels = [name for name in LABELS if rows and name in rows[0]]
    schema = [(name, pa.string()) for name in labels]
    schema += [(field.name, getattr(pa, TYPES[field.type])()) for field in fields(Answer)]
    columns = {name: [storable(row[name]) for row in rows] for name, _ in schema}
    pq.write_table(pa.table(columns, schema=pa.schema(schema)), path, compression="zstd")


def read_answers(path: Path) -> list[Answer]:
    """The answers of a file, without labels."""
    import pyarrow.parquet as pq

    names = [field.name for field in fields(Answer)]
    return [Answer(**row) for row in pq.read_table(path, columns=names).to_pylist()]


def read_labelled(path: Path) -> dict[tuple[str, str, str], list[Answer]]:
    """(model, task, mode) → its answers in order, of a file that was written with labels.

    Raises BactrianError naming a file that is none.
    """
    import pyarrow.parquet as pq

    names = [field.name for field in fields(Answer)]
    try:
        table = pq.read_table(path, columns=[*LABELS, *names])
    except (OSError, ValueError) as error:
        raise BactrianError(f"{path}: cannot be read as an evaluation's answers: {error}") from None
    found: dict[tuple[str, str, str], list[Answer]] = {}
    for row in table.to_pylist():
        place = (row["model"], row["task"], row["mode"])
        found.setdefault(place, []).append(Answer(**{name: row[name] for name in names}))
    return found


def storable(value: Any) -> Any:
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def print_table(scores: Sequence[Mapping[str, Any]], comparisons: Sequence[Mapping[str, Any]]) -> None:
    """The scores and comparisons of results.json on standard error: percent, 95 % intervals, p-values, mean tokens.

    Thinking and answer are counted apart where any model thinks.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from bactrian.progress import printable

    def cells(*values: str) -> list[Text]:
        return [Text(printable(value)) for value in values]

    apart = any(each["mean_thinking_tokens"] for each in scores)
    counted = ("thinking", "answer") if apart else ("tokens",)
    means = ("mean_thinking_tokens", "mean_answer_tokens") if apart else ("mean_tokens",)
    table = Table("task", "mode", "model", "score", "95 % interval", "failures", *counted, title="Scores")
    for each in scores:
        low, high = each["interval"]
        counts = {name: n for name, n in each["counts"].items() if n and name not in ("right", "wrong")}
        failures = ", ".join(f"{n} {name}" for name, n in counts.items())
        percents = f"{each['score']:.1%}", f"{low:.1%} to {high:.1%}"
        tokens = [f"{each[mean]:.0f}" for mean in means]
        table.add_row(*cells(each["task"], each["mode"], each["model"], *percents, failures, *tokens))
    console = Console(stderr=True, width=None if sys.stderr.isatty() else 120)
    console.print(table)
    if comparisons:
        table = Table("task", "mode", "from", "to", "difference", "95 % interval", "p", "test", title="Differences")
        for each in comparisons:
            low, high = (f"{100 * bound:+.1f}" for bound in each["interval"])
            numbers = f"{100 * each['difference']:+.1f}", f"{low} to {high}", f"{each['p']:.2g}"
            table.add_row(*cells(each["task"], each["mode"], each["before"], each["after"], *numbers, each["test"]))
        console.print(table)
