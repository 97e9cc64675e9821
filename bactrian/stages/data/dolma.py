"""Stage `dolma`: documents and their attributes in the layout of the Dolma toolkit."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from bactrian.errors import BactrianError
from bactrian.stages.stage import DataRef, Facts, Forecast, Stage
from bactrian.store.manifest import Kind

if TYPE_CHECKING:
    from bactrian.store.artifact import Workspace


class DolmaFiles(Stage):
    """Documents as documents/*.jsonl.gz, and attributes beside them as attributes/NAME/*.jsonl.gz, for `dolma mix`.

    The other way, `source` reads such documents (`layout: dolma`), and `curate` such attributes.
    """

    name: ClassVar[str] = "dolma"
    makes: ClassVar[Kind] = Kind.DATA
    labels_inputs: ClassVar[bool] = True

    data: DataRef = Field(description="documents: rows with `text`")
    attributes: list[DataRef] = Field([], description="steps `tag` on these documents")
    packing: Literal["gz", "zst"] = Field("gz", description="how files are compressed")
    file_documents: int = Field(100_000, ge=1, description="documents of one file, at most")

    def run(self, workspace: "Workspace") -> None:
        from bactrian.data.corpus.attribute_files import AttributeStream, scan_documents
        from bactrian.data.corpus.dolma_layout import DolmaWriter
        from bactrian.data.io.formats import Fault
        from bactrian.data.io.rows import licence_of
        from bactrian.data.io.tally import Tally, write_account
        from bactrian.progress import progress, say

        streams = {
            re.sub(r"[^\w.-]+", "_", Path(ref).name): AttributeStream(workspace.input(ref).path, ref)
            for ref in self.attributes
        }
        if len(streams) < len(self.attributes):
            raise BactrianError("dolma, field 'attributes': two of them have the same name")
        tally = Tally()
        with (
            DolmaWriter(workspace.output, self.packing, self.file_documents) as writer,
            progress("dolma", unit="text") as bar,
        ):
            for row, where in scan_documents(workspace.input(self.data).path):
                bar.advance()
                if isinstance(row, Fault):
                    tally.drop(row.reason, where)
                    continue
                tally.keep()
                workspace.add_licence(licence_of(row))
                writer.write(row, {name: stream.of(row, where) for name, stream in streams.items()})
        if not tally.kept:
            raise BactrianError(f"dolma: found no document\n{tally}")
        workspace.metrics.update(tally.counts())
        write_account(workspace.output, tally)
        say(f"dolma: {tally}")

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        return Forecast(makes=inputs[self.data])
