"""Stage `head`: the first rows of a data set."""

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from bactrian.stages.stage import DataRef, Facts, Forecast, Stage
from bactrian.store.manifest import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bactrian.store.artifact import Workspace


class Head(Stage):
    """The first rows of a data set."""

    name: ClassVar[str] = "head"
    makes: ClassVar[Kind] = Kind.DATA

    data: DataRef = Field(description="rows of any kind")
    count: int = Field(100, ge=1, description="how many")

    def run(self, workspace: "Workspace") -> None:
        """Write the rows; all of them where there are fewer than `count`."""
        from bactrian.data.io.files import read_rows, write_rows

        write_rows(read_rows(workspace.input(self.data).path)[: self.count], workspace.output)

    def forecast(self, inputs: "Mapping[str, Facts]") -> Forecast:
        """As many rows as are asked for."""
        return Forecast(makes=Facts(rows=min(self.count, inputs[self.data].rows or self.count)))
