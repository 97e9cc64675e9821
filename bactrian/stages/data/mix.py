"""Stage `mix`: a training mixture of several sources, by counts, fractions, weights or tokens."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from bactrian.errors import BactrianError
from bactrian.stages.stage import DataRef, Divisible, Facts, Forecast, ModelRef, ResultsRef, Settings
from bactrian.store.manifest import Kind

if TYPE_CHECKING:
    from bactrian.data.curate.mixture import SourceRows
    from bactrian.data.curate.portions import MeasuredSource
    from bactrian.store.artifact import Workspace

Row = dict[str, Any]
SHARES = "shares.json"
"""In what a `swarm` leaves: source → its share."""


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


class Mix(Divisible):
    """A mixture of sources, shuffled [Tülu 3, Lambert et al. 2024]. The seed and the sources decide it, nothing else.

    Each source is shuffled by itself and its first rows taken; more rows than it has are whole repeats and then a
    random remainder. Leaves mixture.json: rows and tokens per source and capability.
    """

    name: ClassVar[str] = "mix"
    passes_rows: ClassVar[bool] = True
    makes: ClassVar[Kind] = Kind.DATA
    labels_inputs: ClassVar[bool] = True

    sources: list[Portion] = Field(min_length=1, description="what is mixed")
    total: int | None = Field(None, ge=1, description="rows (or tokens) of the mixture, shared out by weight")
    unit: Literal["rows", "tokens"] = Field("rows", description="what whole amounts and `total` count")
    tokenizer: ModelRef | None = Field(
        None, description="counts tokens with this model's template; by default 4 bytes are taken for a token"
    )

    shares: ResultsRef | None = Field(
        None, description="a `swarm` of sources of the same names, whose shares are the weights of those without any"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        labels = [portion.label for portion in self.sources]
        if twice := [label for label, count in Counter(labels).items() if count > 1]:
            raise ValueError(f"sources: found two called {twice[0]!r}; tell them apart by `name`")
        if both := [portion.label for portion in self.sources if portion.weight and portion.amount is not None]:
            raise ValueError(f"sources: found amount and weight for {both[0]!r}, expected one of them")
        if self.shares is not None and (self.total is None or any(portion.weight for portion in self.sources)):
            raise ValueError("shares: expected `total` beside it, and no source with a `weight`")
        if self.shares is None and any(portion.weight for portion in self.sources) != (self.total is not None):
            raise ValueError("expected `total` and sources with a `weight` together, or neither")
        return self

    def run(self, workspace: "Workspace") -> None:
        (self if self.shares is None else self._weighted(workspace, self.shares))._make(workspace)

    def _weighted(self, workspace: "Workspace", ref: str) -> Self:
        """With the shares that a swarm chose; a source of none is left out.

        Raises:
            BactrianError: the swarm had other sources.
        """
        path = workspace.input(ref).path / SHARES
        found: dict[str, float] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        free = {portion.label for portion in self.sources if portion.amount is None}
        if free != set(found):
            raise BactrianError(
                f"mix: shares: {ref} has shares of {', '.join(sorted(found)) or 'nothing'}, the sources without an "
                f"amount are {', '.join(sorted(free)) or 'none'}; expected the same"
            )
        portions = [
            portion.model_copy(update={"weight": found[portion.label]}) if portion.amount is None else portion
            for portion in self.sources
            if portion.amount is not None or found[portion.label] >= 1e-4
        ]
        return self.model_copy(update={"sources": portions, "shares": None})

    def _make(self, workspace: "Workspace") -> None:
        from bactrian.data.curate.mixture import draw, shuffled
        from bactrian.data.curate.portions import mixture_table, row_counts
        from bactrian.data.io.shuffle import Shuffle
        from bactrian.data.io.tally import MIXTURE, Tally, write_account
        from bactrian.data.io.writer import RowWriter
        from bactrian.progress import progress, say

        measured = [self._measure(portion, workspace) for portion in self.sources]
        counts = row_counts(measured, self.sources, self.unit, self.total, workspace.seed)
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
                writer.card = f"# A mixture\n\n{mixture_table(mixture)}"
        for licence in writer.licences:
            workspace.add_licence(licence)
        (workspace.output / MIXTURE).write_text(json.dumps(mixture, indent=1, ensure_ascii=False) + "\n")
        tally = Tally(kept=total)
        write_account(workspace.output, tally)
        workspace.metrics.update(tally.counts(), tokens=float(mixture["tokens"]))
        say(f"mix: {total:,} rows, {mixture['tokens']:,} tokens\n{mixture_table(mixture)}")

    def _measure(self, portion: Portion, workspace: "Workspace") -> "MeasuredSource":
        """Reads a source once."""
        from bactrian.data.curate.portions import measured_source

        path = workspace.input(portion.data).path
        model = workspace.input(self.tokenizer).path if self.tokenizer else None
        return measured_source(portion.label, path, model, workspace.hardware)

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
        self, measured: "Sequence[MeasuredSource]", drawn: "Sequence[SourceRows]", workspace: "Workspace"
    ) -> dict[str, Any]:
        """mixture.json."""
        from bactrian.data.curate.portions import mixture_summary

        sources: list[dict[str, Any]] = []
        for portion, source, taken in zip(self.sources, measured, drawn, strict=True):
            sources.append(
                {
                    "name": portion.label,
                    "capability": portion.capability,
                    "available": len(source.tokens),
                    "rows": len(taken.rows),
                    "tokens": int(source.tokens[taken.rows].sum()),
                    "content_hash": workspace.input(portion.data).content_hash,
                }
            )
        return mixture_summary(sources, workspace.seed, self.tokenizer or "estimate: 4 bytes a token")

    def parts(self) -> list[tuple[str, ...]]:
        return [tuple(filter(None, (portion.label, portion.capability))) for portion in self.sources]

    def keeping(self, kept: Sequence[int]) -> Self:
        return self.model_copy(update={"sources": [self.sources[number] for number in kept]})

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        if self.shares is not None:  # not known yet
            alike = [portion.model_copy(update={"weight": portion.weight or 1.0}) for portion in self.sources]
            return self.model_copy(update={"sources": alike, "shares": None}).forecast(inputs)
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
