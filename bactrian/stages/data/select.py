"""Stage `select`: a few rows out of many, at random, the longest, the most diverse, or as s1 chose its thousand."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from bactrian.errors import BactrianError
from bactrian.stages.data.rules import AnyRule
from bactrian.stages.stage import DataRef, Facts, Forecast, Need, Stage
from bactrian.store.manifest import Kind

if TYPE_CHECKING:
    from bactrian.data.curate.selection import CandidatePool
    from bactrian.store.artifact import Workspace

Row = dict[str, Any]


class Select(Stage):
    """`count` rows of a pool. With s1's settings: difficulty from the stage before, quality by rules, diversity here.

    `s1` and `diverse` draw a domain uniformly, then a row of it: s1 the k-th longest reasoning with probability ∝ 2^−k,
    diverse any. Rows that pass every rule of `first` are taken before that. Rows stay in the order of the pool.
    """

    name: ClassVar[str] = "select"
    passes_rows: ClassVar[bool] = True
    makes: ClassVar[Kind] = Kind.DATA

    data: DataRef = Field(description="the pool")
    count: int = Field(ge=1, description="rows to take; all, if there are fewer")
    by: Literal["random", "longest", "diverse", "s1"] = "s1"
    domain: str | None = Field(None, description="column that holds a row's domain")
    clusters: int | None = Field(None, ge=2, description="make so many domains from the questions' words instead")
    first: list[AnyRule] = Field([], description="rows that pass all of these rules are taken in any case")
    uniform: int | None = Field(None, ge=0, description="draw domains uniformly for so many rows, then by `weights`")
    weights: dict[str, float] = Field({}, description="domain → weight [s1's code: its questions in the benchmarks]")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.by in ("diverse", "s1") and (self.domain is None) == (self.clusters is None):
            raise ValueError(f"by {self.by} expected either domain or clusters")
        if (self.uniform is None) != (not self.weights):
            raise ValueError("expected uniform and weights together, or neither")
        return self

    def needs(self) -> Iterable[Need]:
        """By scikit-learn."""
        return [Need("clusters", "data")] if self.clusters is not None else []

    def run(self, workspace: "Workspace") -> None:
        from bactrian.data.io.files import stream_rows
        from bactrian.data.io.rows import complete_row
        from bactrian.data.io.tally import Tally, write_account
        from bactrian.data.io.writer import RowWriter
        from bactrian.progress import progress, say

        path = workspace.input(self.data).path
        pool, has_domains = self._pool(workspace), bool(self.domain or self.clusters)
        taken = set(self._taken(pool, workspace.seed))
        tally = Tally()
        with RowWriter(workspace.output) as writer, progress("select", len(pool), "row") as bar:
            for number, (row, where) in enumerate(stream_rows(path)):
                bar.advance()
                if number in taken:
                    tally.keep()
                    domain = {"domain": pool.domains[number]} if has_domains else {}
                    writer.write(complete_row(row, path.name) | domain)
                else:
                    tally.drop("not selected", f"{where} ({pool.domains[number]}, length {pool.lengths[number]:,})")
            writer.card = f"# Selected rows\n\n```\n{tally}\n```"
        for licence in writer.licences:
            workspace.add_licence(licence)
        domains = Counter(pool.domains), Counter(pool.domains[number] for number in taken)
        table = [{"domain": name, "available": n, "taken": domains[1][name]} for name, n in sorted(domains[0].items())]
        lengths = [pool.lengths[number] for number in taken]
        workspace.metrics.update(
            tally.counts(),
            mean_length=sum(lengths) / len(lengths),
            domains=float(len(domains[1])),
            first=float(len(pool.first)),
        )
        write_account(workspace.output, tally, domains=table)
        say(f"select: {len(taken):,} of {len(pool):,} rows, {len(domains[1])} of {len(table)} domains")

    def _pool(self, workspace: "Workspace") -> "CandidatePool":
        from bactrian.data.curate.selection import CandidatePool, clusters
        from bactrian.data.io.parallel import map_rows

        path = workspace.input(self.data).path
        paths = {found.ref: workspace.input(found.ref).path for found in self.references() if found.kind is Kind.MODEL}
        look = partial(look_at, domain=self.domain, first=tuple(self.first), inputs=paths, texts=bool(self.clusters))
        seen = list(map_rows(look, path, workspace.hardware))
        if not seen:
            raise BactrianError(f"{path}: found no rows")
        lengths, domains, texts, passed = (list(column) for column in zip(*seen, strict=True))
        if self.clusters:
            domains = clusters(texts, self.clusters, workspace.seed)
        return CandidatePool(domains, lengths, [number for number, each in enumerate(passed) if each])

    def _taken(self, pool: "CandidatePool", seed: int) -> list[int]:
        from bactrian.data.curate.selection import any_of, at_random, by_domain, halving, longest

        if self.by == "random":
            return at_random(pool, self.count, seed)
        if self.by == "longest":
            return longest(pool, self.count, seed)
        pick = halving if self.by == "s1" else any_of
        return by_domain(pool, self.count, seed, pick, self.uniform or 0, self.weights)

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        known = inputs[self.data]
        made = Facts(rows=min(self.count, known.rows) or self.count, tokens_per_row=known.tokens_per_row)
        return Forecast(peak_memory=1e9 + 2000 * known.rows, makes=made)


def look_at(
    located: list[tuple[Row, str]], domain: str | None, first: Sequence[Any], inputs: Mapping[str, Path], texts: bool
) -> list[tuple[int, str, str, bool]]:
    """(tokens of reasoning, about; domain; question, if `texts`; whether it is taken in any case)
    of each row.

    Raises:
        BactrianError: for a row without a domain.
    """
    from bactrian.data.curate.quality import Flaw
    from bactrian.data.io.texts import estimated_tokens, prompt_text, trace_text

    passed = [bool(first)] * len(located)
    for rule in first:
        judged = rule.judge([row for row, _ in located], inputs)
        passed = [before and not isinstance(now, Flaw) for before, now in zip(passed, judged, strict=True)]
    for row, where in located:
        if domain is not None and not str(row.get(domain) or ""):
            raise BactrianError(f"{where}, field {domain!r}: found nothing, expected the row's domain")
    return [
        (
            estimated_tokens(trace_text(row)),
            str(row[domain]) if domain else "all",
            prompt_text(row) if texts else "",
            taken,
        )
        for (row, _), taken in zip(located, passed, strict=True)
    ]
