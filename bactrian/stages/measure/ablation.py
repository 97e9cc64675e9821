"""Stage `ablation`: what each left-out part was worth, as a table of scores and paired differences."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field, model_validator

from bactrian.errors import BactrianError
from bactrian.stages.stage import Facts, Forecast, ResultsRef, Stage
from bactrian.store.manifest import Kind

if TYPE_CHECKING:
    from bactrian.evaluate.variants import Asked, Column
    from bactrian.store.artifact import Workspace

FULL = "full"


class Ablation(Stage):
    """The last model of some evaluations against that of others on the same questions.

    `ablate:` of a recipe makes this step by itself. A `scaling` step gives a column for each of its methods: the last
    run, such as the largest budget. Differences are variant − full, with paired tests; the average is over evaluated
    tasks, each of the same weight, and over methods only where nothing is evaluated. Leaves table.md besides
    results.json and questions.parquet.
    """

    name: ClassVar[str] = "ablation"
    makes: ClassVar[Kind] = Kind.RESULTS
    labels_inputs: ClassVar[bool] = True

    full: list[ResultsRef] = Field(min_length=1, description="results (evaluate, scaling) of the model with all parts")
    variants: dict[str, list[ResultsRef]] = Field(min_length=1, description="name → the same evaluations of another")

    @model_validator(mode="after")
    def _as_many(self) -> Self:
        for name, refs in self.variants.items():
            if len(refs) != len(self.full):
                raise ValueError(f"variants.{name}: found {len(refs)} evaluations, full has {len(self.full)}")
        if FULL in self.variants:
            raise ValueError(f"variants: found one called {FULL!r}, expected another name")
        return self

    def run(self, workspace: "Workspace") -> None:
        from bactrian.evaluate.records import write_records
        from bactrian.evaluate.score_tables import print_results
        from bactrian.evaluate.variants import Variants, table

        found = Variants(
            {label: self._columns(refs, workspace) for label, refs in [(FULL, self.full), *self.variants.items()]},
            workspace.seed,
        )
        found.check()
        results = found.results()
        (workspace.output / "results.json").write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
        (workspace.output / "table.md").write_text(table(results) + "\n", encoding="utf-8")
        write_records(
            workspace.output / "questions.parquet",
            (
                ({"model": label, "task": task, "mode": mode}, record)
                for label, mine in found.columns.items()
                for (task, mode), column in mine.items()
                for record in column.records
            ),
        )
        for each in results["comparisons"]:
            workspace.metrics[f"{each['task']}/{each['mode']}/{each['after']}"] = each["difference"]
        print_results(results)

    def _columns(self, refs: Sequence[str], workspace: "Workspace") -> "dict[Asked, Column]":
        """The columns of all these results.

        Raises:
            BactrianError: for two of one task.
        """
        from bactrian.evaluate.variants import columns

        found: dict[Asked, Column] = {}
        for ref in refs:
            source = workspace.input(ref)
            for place, column in columns(source.name, source.path).items():
                if place in found:
                    raise BactrianError(f"ablation: task {place[0]} is in two of the evaluations {', '.join(refs)}")
                found[place] = column
        return found

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        return Forecast(peak_memory=1e9)
