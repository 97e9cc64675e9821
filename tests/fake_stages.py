"""Small stages that only write files, for tests of recipes, the runner and the command line.

`python -c "import fake_stages; fake_stages.main()" run recipe.yaml` is the command line with these stages and no torch.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from bactrian.errors import BactrianError
from bactrian.stages.stage import DataRef, Facts, Forecast, ModelRef, Settings, Stage
from bactrian.store.artifact import Workspace
from bactrian.store.manifest import Kind, Licence
from bactrian.store.parts import note

MADE: list[str] = []  # stages run in this process, in order


class Letters(Stage):
    """Data: some letters."""

    name: ClassVar[str] = "letters"
    makes: ClassVar[Kind] = Kind.DATA

    count: int = Field(3, ge=1, description="how many letters")
    letter: str = Field("a", description="which letter")
    trouble: Literal["", "bug", "input", "full"] = ""
    licence: str = "CC-BY-4.0"
    part: str = Field("", description="a module that is looked up by name")

    trouble_now: ClassVar[str] = ""  # as `trouble`, but no setting: the key stays the same
    saw: ClassVar[Callable[[Path], None]] = staticmethod(lambda scratch: None)

    def run(self, workspace: Workspace) -> None:
        """Write data.jsonl."""
        MADE.append(self.name)
        type(self).saw(workspace.scratch)
        if self.part:
            note("part", self.part)
        if self.trouble == "bug":
            raise ZeroDivisionError("a bug")
        if "input" in (self.trouble, self.trouble_now):
            raise BactrianError("row 3, field messages: found nothing, expected a list \x1b[31m[red]")
        (workspace.output / "data.jsonl").write_text(f'{{"text": "{self.letter}"}}\n' * self.count)
        if self.trouble == "full":
            with Path("/dev/full").open("w") as full:
                full.write("x")
        workspace.add_licence(Licence.of("the alphabet", self.licence))
        workspace.metrics["letters"] = float(self.count)

    def forecast(self, inputs: object) -> Forecast:
        """As many rows as letters."""
        return Forecast(makes=Facts(rows=self.count, tokens_per_row=1))


class Source(Settings):
    """A part of a blend."""

    data: DataRef
    weight: float = 1.0


class Up(Settings):
    """One kind of turn."""

    turn: Literal["up"]
    by: int = 1


class Down(Settings):
    """Another."""

    turn: Literal["down"]


class FakeBlend(Stage):
    """A model, of data and perhaps another model."""

    name: ClassVar[str] = "blend"
    makes: ClassVar[Kind] = Kind.MODEL

    data: DataRef
    model: ModelRef | None = None
    more: list[Source] = Field(default_factory=list)
    learning_rate: float = Field(0.5, gt=0, description="how fast")
    loss: Literal["dpo", "simpo"] = "dpo"
    shuffle: bool = True
    turns: list[Annotated[Up | Down, Field(discriminator="turn")]] = Field(default_factory=list)
    steps: int = Field(0, ge=0, description="each takes a moment and leaves a checkpoint")
    seconds: float | None = None

    def seconds_limit(self) -> float | None:
        """As set."""
        return self.seconds

    def run(self, workspace: Workspace) -> None:
        """Write model.safetensors: the data's bytes, the seed, and a line per step."""
        MADE.append(self.name)
        done = workspace.scratch / "done"
        start = int(done.read_text()) if done.exists() else 0
        workspace.rewind(start)
        for step in range(start + 1, self.steps + 1):
            workspace.log(step, loss=1 / step)
            time.sleep(0.02)
            done.with_suffix(".new").write_text(str(step))
            done.with_suffix(".new").replace(done)
        content = (workspace.input(self.data).path / "data.jsonl").read_bytes()
        header = b'{"w": {"shape": [2, 3]}}'
        weights = content + f"{workspace.seed} {self.steps}".encode()
        (workspace.output / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + weights)

    def forecast(self, inputs: object) -> Forecast:
        """Something above zero."""
        return Forecast(tokens=1e3, flops=2e9, peak_memory=1e9, makes=Facts(parameters=7))


class Compare(Stage):
    """Results, which show the models' names."""

    name: ClassVar[str] = "compare"
    makes: ClassVar[Kind] = Kind.RESULTS
    labels_inputs: ClassVar[bool] = True

    models: list[ModelRef] = Field(min_length=1)
    tasks: dict[str, DataRef] = Field(default_factory=dict)

    def run(self, workspace: Workspace) -> None:
        """Write the names."""
        MADE.append(self.name)
        (workspace.output / "names.txt").write_text("\n".join(self.models))


FAKES: dict[str, type[Stage]] = {stage.name: stage for stage in (Letters, FakeBlend, Compare)}


def main() -> None:
    """The command line with the fake stages in place of the real ones, without torch."""
    from bactrian import stages
    from bactrian.cli import main as cli
    from bactrian.recipe import recipe
    from bactrian.run import make

    for module, name, fake in (
        (stages, "all_stages", lambda: FAKES),
        (recipe, "all_stages", lambda: FAKES),
        (make, "prepare", lambda hardware, seed: None),
    ):
        setattr(module, name, fake)
    sys.exit(cli.invoke(sys.argv[1:]))
