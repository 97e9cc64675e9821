"""Stage `mix`: a training mixture of several sources, by counts, fractions, weights or tokens."""

import json
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from bactrian.errors import BactrianError
from bactrian.stages.stage import DataRef, Divisible, Facts, Forecast, ModelRef, Settings
from bactrian.store.manifest import Kind

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bactrian.data.curate.mixture import Drawn
    from bactrian.store.artifact import Workspace

Row = dict[str, Any]


class Portion(Settings):
    """What a mixture takes of one source: `amount`, or a share of `total` by `weight`; neither means all of it."""

    data: DataRef
    name: str | None = Field(None, description="what it is called here and in `ablate`; by default as in `data`")
    capability: str | None = Field(None, description="the skill it is for; becomes a column of its rows")
    amount: int | float | None = Field(
        None, ge=0, description="with a decimal point a share of the source (1.0: all, 2.5: up-sampled), else rows"
    )
    weight: float | None = Field(None, gt=0, description="share, by weight, of what other amounts leave of `total`")
    most: int | None = Field(None, ge=1, description="cap: at most so many rows, whatever amount or weight say")

    @property
    def label(self) -> str:
        return self.name or self.data


@dataclass(frozen=True)
class Measured:
    """A source as it is: tokens of each row [rows], and how many rows have no known licence."""

    tokens: "NDArray[np.int64]"
    unclear: int


class Mix(Divisible):
    """A mixture of sources, shuffled [Tülu 3, Lambert et al. 2024]. The seed and the sources decide it, nothing else.

    Each source is shuffled by itself and its first rows taken; more rows than it has are whole repeats and then a
    random remainder. Leaves mixture.json: rows and tokens per source and capability.
    """

    name: ClassVar[str] = "mix"
    makes: ClassVar[Kind] = Kind.DATA
    labels_inputs: ClassVar[bool] = True

    sources: list[Portion] = Field(min_length=1, description="what is mixed")
    total: int | None = Field(None, ge=1, description="rows (or tokens) of the mixture, shared out by weight")
    unit: Literal["rows", "tokens"] = Field("rows", description="what whole amounts and `total` count")
    tokenizer: ModelRef | None = Field(
        None, description="counts tokens with this model's template; by default 4 bytes are taken for a token"
    )
    allow_unclear: bool = Field(False, description="mix rows whose licence is not known, too")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        labels = [portion.label for portion in self.sources]
        if twice := [label for label, count in Counter(labels).items() if count > 1]:
            raise ValueError(f"sources: found two called {twice[0]!r}; tell them apart by `name`")
        if both := [portion.label for portion in self.sources if portion.weight and portion.amount is not None]:
            raise ValueError(f"sources: found amount and weight for {both[0]!r}, expected one of them")
        if any(portion.weight for portion in self.sources) != (self.total is not None):
            raise ValueError("expected `total` and sources with a `weight` together, or neither")
        return self

    def run(self, workspace: "Workspace") -> None:
        from bactrian.data.curate.mixture import draw, shuffled
        from bactrian.data.io.shuffle import Shuffle
        from bactrian.data.io.tally import MIXTURE, Tally, write_account
        from bactrian.data.io.writer import RowWriter
        from bactrian.progress import progress, say

        measured = [self._measure(portion, workspace) for portion in self.sources]
        counts = self._counts(measured, workspace.seed)
        drawn = [
            draw(portion.label, len(source.tokens), count, workspace.seed)
            for portion, source, count in zip(self.sources, measured, counts, strict=True)
        ]
        order = shuffled(drawn)
        total = sum(counts)
        with Shuffle(workspace.scratch, total) as shuffle, progress("mix", 2 * total, "row") as bar:
            for number, portion in enumerate(self.sources):
                for row, place in self._taken(number, portion, order, workspace):
                    shuffle.put(row, place)
                    bar.advance()
            with RowWriter(workspace.output) as writer:
                for row in shuffle:
                    writer.write(row)
                    bar.advance()
                mixture = self._mixture(measured, drawn, workspace)
                writer.card = f"# A mixture\n\n{table(mixture)}"
        for licence in writer.licences:
            workspace.add_licence(licence)
        (workspace.output / MIXTURE).write_text(json.dumps(mixture, indent=1, ensure_ascii=False) + "\n")
        tally = Tally(kept=total)
        write_account(workspace.output, tally)
        workspace.metrics.update(tally.counts(), tokens=float(mixture["tokens"]))
        say(f"mix: {total:,} rows, {mixture['tokens']:,} tokens\n{table(mixture)}")

    def _measure(self, portion: Portion, workspace: "Workspace") -> Measured:
        """Reads a source once. Raises BactrianError for rows without a licence, unless they are allowed."""
        import numpy as np

        from bactrian.data.io.parallel import map_rows
        from bactrian.data.io.token_counts import measure
        from bactrian.progress import progress

        path = workspace.input(portion.data).path
        model = workspace.input(self.tokenizer).path if self.tokenizer else None
        with progress(f"mix · measure {portion.label}", unit="row") as bar:
            tokens, unclear = array("q"), 0
            # an estimate is made in less time than it takes to send a row to another process
            hardware = workspace.hardware if model else replace(workspace.hardware, threads=1)
            for count, has_no_licence in map_rows(partial(measure, model=model), path, hardware):
                tokens.append(count)
                unclear += has_no_licence
                bar.advance()
        if unclear and not self.allow_unclear:
            raise BactrianError(
                f"mix: source {portion.label}: {unclear:,} of {len(tokens):,} rows have no known "
                f"licence; state it where the rows come from, or set allow_unclear: true"
            )
        return Measured(np.frombuffer(tokens, dtype=np.int64), unclear)

    def _counts(self, measured: Sequence[Measured], seed: int) -> list[int]:
        """Rows to take of each source. Raises BactrianError if the fixed amounts leave nothing of `total`."""
        from bactrian.data.curate.mixture import shares

        together = list(zip(self.sources, measured, strict=True))
        fixed = [None if p.weight else self._fixed(p, source, seed) for p, source in together]
        if self.total is not None:
            used = sum(self._used(p, source, count, seed) for (p, source), count in zip(together, fixed, strict=True))
            if self.total <= used:
                raise BactrianError(
                    f"mix: found amounts of {used:,} {self.unit}, which leave nothing of the total of "
                    f"{self.total:,} for the sources with weights"
                )
            split = iter(shares(self.total - used, [p.weight for p in self.sources if p.weight]))
            fixed = [
                self._rows_of(p, source, next(split), seed) if count is None else count
                for (p, source), count in zip(together, fixed, strict=True)
            ]
        counts = [count or 0 for count in fixed]
        if not sum(counts):
            raise BactrianError("mix: the amounts take no row of any source")
        return counts

    def _fixed(self, portion: Portion, source: Measured, seed: int) -> int:
        """Rows that a portion's amount stands for."""
        if isinstance(portion.amount, int):
            return self._rows_of(portion, source, portion.amount, seed)
        count = round((1.0 if portion.amount is None else portion.amount) * len(source.tokens))
        return min(count, portion.most or count)

    def _rows_of(self, portion: Portion, source: Measured, amount: int, seed: int) -> int:
        """Rows that a whole number of rows or tokens stands for."""
        from bactrian.data.curate.mixture import rows_within

        count = rows_within(portion.label, source.tokens, amount, seed) if self.unit == "tokens" else amount
        return min(count, portion.most or count)

    def _used(self, portion: Portion, source: Measured, count: int | None, seed: int) -> int:
        """What so many rows come to, in the unit."""
        from bactrian.data.curate.mixture import draw

        if self.unit == "rows" or not count:
            return count or 0
        return int(source.tokens[draw(portion.label, len(source.tokens), count, seed).rows].sum())

    def _taken(self, number: int, portion: Portion, order: Any, workspace: "Workspace") -> Iterator[tuple[Row, int]]:
        """Each row taken of a source, with its place in the mixture; a repeat has "#2", "#3" … after its id."""
        from bactrian.data.curate.mixture import places
        from bactrian.data.io.files import stream_rows
        from bactrian.data.io.rows import complete_row

        path = workspace.input(portion.data).path
        tag = {"capability": portion.capability} if portion.capability else {}
        stream, at = stream_rows(path), 0
        for index, where in places(number, *order):
            row = complete_row(next(islice(stream, index - at, None))[0], path.name) | tag
            at = index + 1
            for copy, place in enumerate(where, 1):
                yield (row if copy == 1 else {**row, "id": f"{row['id']}#{copy}"}), place

    def _mixture(
        self, measured: Sequence[Measured], drawn: "Sequence[Drawn]", workspace: "Workspace"
    ) -> dict[str, Any]:
        """mixture.json."""
        sources: list[dict[str, Any]] = []
        for portion, source, taken in zip(self.sources, measured, drawn, strict=True):
            tokens = int(source.tokens[taken.rows].sum())
            sources.append(
                {
                    "name": portion.label,
                    "capability": portion.capability,
                    "available": len(source.tokens),
                    "rows": len(taken.rows),
                    "tokens": tokens,
                    "content_hash": workspace.input(portion.data).content_hash,
                }
            )
        names = dict.fromkeys(each["capability"] for each in sources if each["capability"])
        groups = {name: [each for each in sources if each["capability"] == name] for name in names}
        return {
            "seed": workspace.seed,
            "rows": sum(each["rows"] for each in sources),
            "tokens": sum(each["tokens"] for each in sources),
            "tokens_counted_by": self.tokenizer or "estimate: 4 bytes a token",
            "sources": sources,
            "capabilities": {
                name: {what: sum(each[what] for each in group) for what in ("rows", "tokens")}
                for name, group in groups.items()
            },
        }

    def parts(self) -> list[tuple[str, ...]]:
        return [tuple(filter(None, (portion.label, portion.capability))) for portion in self.sources]

    def keeping(self, kept: Sequence[int]) -> Self:
        return self.model_copy(update={"sources": [self.sources[number] for number in kept]})

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        facts = [inputs[portion.data] for portion in self.sources]
        rows = [self._rows(portion, known) for portion, known in zip(self.sources, facts, strict=True)]
        tokens = [n * (known.tokens_per_row or 100.0) for n, known in zip(rows, facts, strict=True)]
        weight = sum(portion.weight or 0.0 for portion in self.sources)
        if self.total is not None and weight:
            mean = sum(known.tokens_per_row or 100.0 for known in facts) / len(facts)
            left = max(0.0, self.total - (sum(tokens) if self.unit == "tokens" else sum(rows)))
            rows.append(int(left / mean if self.unit == "tokens" else left))
            tokens.append(rows[-1] * mean)
        made = Facts(rows=sum(rows), tokens_per_row=sum(tokens) / sum(rows) if sum(rows) else 0.0)
        return Forecast(peak_memory=1e9 + 60 * (made.rows + sum(known.rows for known in facts)), makes=made)

    def _rows(self, portion: Portion, known: Facts) -> int:
        """About how many rows a portion takes, for forecasts; 0 where the weight decides."""
        if portion.weight:
            return 0
        if _all(portion):
            return min(known.rows, portion.most or known.rows)
        amount = portion.amount or 0
        per_unit = 1 / (known.tokens_per_row or 100.0) if self.unit == "tokens" else 1.0
        count = round(amount * (known.rows if isinstance(amount, float) else per_unit))
        return min(count, portion.most or count)


def _all(portion: Portion) -> bool:
    return portion.amount is None and not portion.weight


def table(mixture: Mapping[str, Any]) -> str:
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
