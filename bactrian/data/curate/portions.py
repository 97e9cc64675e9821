"""How much of each source a mixture takes: sources measured, amounts and weights turned into rows, and what came of it.

Which rows those are is decided in mixture.py.
"""

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from bactrian.chat.tool_calls import calls_within
from bactrian.data.curate.mixture import draw, rows_within, shares
from bactrian.data.io.parallel import map_rows
from bactrian.data.io.rows import Row
from bactrian.data.io.texts import estimated_tokens, token_text
from bactrian.errors import BactrianError
from bactrian.progress import progress
from bactrian.store.hardware import Hardware

Unit = Literal["rows", "tokens"]


class PortionOf(Protocol):
    """What is wanted of a source: an amount (a float is a share, None all), or a share of the total by weight."""

    @property
    def label(self) -> str: ...
    @property
    def amount(self) -> int | float | None: ...
    @property
    def weight(self) -> float | None: ...
    @property
    def most(self) -> int | None: ...


@dataclass(frozen=True)
class MeasuredSource:
    """A source as it is: tokens of each row [rows]."""

    tokens: NDArray[np.int64]


def measured_source(label: str, path: Path, model: Path | None, hardware: Hardware) -> MeasuredSource:
    """Reads a source once. `model`: whose template and tokenizer count; by default 4 bytes are taken for a token."""
    tokens = array("q")
    # an estimate is made in less time than it takes to send a row to another process
    where = hardware if model else replace(hardware, threads=1)
    with progress(f"mix · measure {label}", unit="row") as bar:
        for count in map_rows(partial(measure, model=model), path, where):
            tokens.append(count)
            bar.advance()
    return MeasuredSource(np.frombuffer(tokens, dtype=np.int64))


def row_counts(
    measured: Sequence[MeasuredSource], portions: Sequence[PortionOf], unit: Unit, total: int | None, seed: int
) -> list[int]:
    """Rows to take of each source.

    Args:
        unit: what whole amounts and `total` count.
        total: what the portions with weights share, together with the fixed amounts; None where there are none.

    Raises:
        BactrianError: the fixed amounts leave nothing of `total`, or no row is taken at all.
    """
    together = list(zip(portions, measured, strict=True))
    fixed = [None if p.weight else _fixed_rows(p, source, unit, seed) for p, source in together]
    if total is not None:
        used = sum(_used(p, source, count, unit, seed) for (p, source), count in zip(together, fixed, strict=True))
        if total <= used:
            raise BactrianError(
                f"mix: found amounts of {used:,} {unit}, which leave nothing of the total of "
                f"{total:,} for the sources with weights"
            )
        split = iter(shares(total - used, [p.weight for p in portions if p.weight]))
        fixed = [
            _rows_of(p, source, next(split), unit, seed) if count is None else count
            for (p, source), count in zip(together, fixed, strict=True)
        ]
    counts = [count or 0 for count in fixed]
    if not sum(counts):
        raise BactrianError("mix: the amounts take no row of any source")
    return counts


def _fixed_rows(portion: PortionOf, source: MeasuredSource, unit: Unit, seed: int) -> int:
    """Rows that a portion's amount stands for."""
    if isinstance(portion.amount, int):
        return _rows_of(portion, source, portion.amount, unit, seed)
    count = round((1.0 if portion.amount is None else portion.amount) * len(source.tokens))
    return min(count, portion.most or count)


def _rows_of(portion: PortionOf, source: MeasuredSource, amount: int, unit: Unit, seed: int) -> int:
    """Rows that a whole number of rows or tokens stands for."""
    count = rows_within(portion.label, source.tokens, amount, seed) if unit == "tokens" else amount
    return min(count, portion.most or count)


def _used(portion: PortionOf, source: MeasuredSource, count: int | None, unit: Unit, seed: int) -> int:
    """What so many rows come to, in the unit."""
    if unit == "rows" or not count:
        return count or 0
    return int(source.tokens[draw(portion.label, len(source.tokens), count, seed).rows].sum())


def mixture_summary(sources: Sequence[Mapping[str, Any]], seed: int, counted_by: str) -> dict[str, Any]:
    """mixture.json: rows and tokens of each source and each capability."""
    names = dict.fromkeys(each["capability"] for each in sources if each["capability"])
    groups = {name: [each for each in sources if each["capability"] == name] for name in names}
    return {
        "seed": seed,
        "rows": sum(each["rows"] for each in sources),
        "tokens": sum(each["tokens"] for each in sources),
        "tokens_counted_by": counted_by,
        "sources": list(sources),
        "capabilities": {
            name: {what: sum(each[what] for each in group) for what in ("rows", "tokens")}
            for name, group in groups.items()
        },
    }


def mixture_table(mixture: Mapping[str, Any]) -> str:
    """The mixture as a Markdown table."""
    lines = ["| source | capability | available | rows | tokens |", "|---|---|---|---|---|"]
    for each in mixture["sources"]:
        cells = (
            each["name"],
            each["capability"] or "",
            f"{each['available']:,}",
            f"{each['rows']:,}",
            f"{each['tokens']:,}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def measure(located: list[tuple[Row, str]], model: Path | None) -> list[int]:
    """Tokens of each row; without a model, a quarter of the bytes of its text.

    Of a conversation or problem the tokens that its template makes of the messages, of other rows those of their text,
    as of those with tools where the template has no place for these.
    """
    return [_tokens(row, where, model) for row, where in located]


def _tokens(row: Row, where: str, model: Path | None) -> int:
    if model is None:
        return estimated_tokens(token_text(row))
    template = _template(model)
    if "messages" in row:
        from bactrian.chat import render

        tools = row.get("tools")
        if not (template.without_tools and (tools or calls_within(row["messages"]))):
            return len(render(row["messages"], template, where, tools).ids)
    return len(template.tokenizer(token_text(row), add_special_tokens=False)["input_ids"])


@cache
def _template(model: Path) -> Any:
    from transformers import AutoTokenizer

    from bactrian.chat import ChatTemplate, template_for

    tokenizer = AutoTokenizer.from_pretrained(model)
    return ChatTemplate.load(tokenizer, template_for(tokenizer))
