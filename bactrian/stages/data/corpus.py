"""Stage `corpus`: procedural text to pretrain on."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from bactrian.stages.stage import Facts, Forecast, Stage
from bactrian.store.manifest import Kind

if TYPE_CHECKING:
    from bactrian.store.artifact import Workspace


class Corpus(Stage):
    """Procedural text in the vocabulary of the word problems, to pretrain a tiny model on."""

    name: ClassVar[str] = "corpus"
    makes: ClassVar[Kind] = Kind.DATA

    count: int = Field(100_000, ge=1, description="texts, about 60 words each")
    largest: int = Field(20, ge=4, description="largest operand")
    spoiled: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of texts that is added with a defect of web pages (copies, echoes, signs, menus, addresses)",
    )

    def run(self, workspace: "Workspace") -> None:
        from bactrian.data.io.files import write_rows
        from bactrian.data.io.rows import licences
        from bactrian.data.synth.procedural import corpus
        from bactrian.data.synth.spoiled import SOURCE, spoiled
        from bactrian.progress import progress

        rows = []
        with progress("corpus", total=self.count, unit="text") as bar:
            clean = corpus(workspace.seed, self.count, largest=self.largest)
            for row in spoiled(clean, self.spoiled, workspace.seed):
                rows.append(row)
                bar.advance(not row["source"].startswith(SOURCE))
        for licence in licences(rows[:1]):
            workspace.add_licence(licence)
        workspace.metrics["rows_kept"] = float(len(rows))
        write_rows(rows, workspace.output, card="# Procedural text for pretraining")

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        return Forecast(makes=Facts(rows=round(self.count / (1 - self.spoiled)), tokens_per_row=62.0))
