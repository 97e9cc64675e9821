"""Stage `personas`: descriptions of people, made by rules, to write data for."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from bactrian.stages.stage import Facts, Forecast, Stage
from bactrian.store.manifest import Kind

if TYPE_CHECKING:
    from bactrian.store.artifact import Workspace


class Personas(Stage):
    """Personas that come with Bactrian, free of anybody's terms; `synthesise` fills templates with them.

    The published ones [PersonaHub, Ge et al. 2024] are read by `source`, and their marks (NC, SA) stay on all rows.
    """

    name: ClassVar[str] = "personas"
    makes: ClassVar[Kind] = Kind.DATA

    count: int = Field(1000, ge=1, le=100_000, description="how many, no two the same")

    def run(self, workspace: "Workspace") -> None:
        from bactrian.data.io.writer import RowWriter
        from bactrian.data.synth.personas import personas

        with RowWriter(workspace.output, "# Personas\n\nMade by rules.") as writer:
            for row in personas(workspace.seed, self.count):
                writer.write(row)
        for licence in writer.licences:
            workspace.add_licence(licence)
        workspace.metrics["rows_kept"] = float(self.count)

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        return Forecast(makes=Facts(rows=self.count, tokens_per_row=30))
