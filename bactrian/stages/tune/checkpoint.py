"""Stage `checkpoint`: a model as it was after one of the steps of its training."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from bactrian.errors import BactrianError
from bactrian.stages.stage import Facts, Forecast, ModelRef, Stage
from bactrian.stages.tune.training import TrainingStage
from bactrian.store.hashes import HISTORY, files_below
from bactrian.store.manifest import MANIFEST, Kind
from bactrian.train.options import CHECKPOINTS

if TYPE_CHECKING:
    from bactrian.store.artifact import Workspace

_HISTORY = (MANIFEST, *HISTORY, "looks.json", "choice.json")


class Checkpoint(Stage):
    """The model that a training step with `keep_every` left in its artifact after this many steps."""

    name: ClassVar[str] = "checkpoint"
    makes: ClassVar[Kind] = Kind.MODEL

    model: ModelRef = Field(description="a step that trained with keep_every")
    step: int = Field(ge=1, description="after how many steps of the training")

    def clashes(self, steps: Mapping[str, Stage]) -> list[tuple[tuple[str | int, ...], str, str]]:
        trained = steps.get(self.model)
        if trained is None or trained.makes is not Kind.MODEL:
            return []
        every = trained.checkpoints.keep_every if isinstance(trained, TrainingStage) else None
        if every is None:
            return [(("model",), f'"{self.model}", a step without keep_every', "one that trains with it")]
        # with keep: best the model may be an earlier one, so the last is left too
        steps_made = getattr(trained, "steps", None)
        best = getattr(getattr(trained, "watch", None), "keep", None) == "best"
        end = None if steps_made is None else steps_made + best
        if self.step % every or (end is not None and self.step >= end):
            until = "" if end is None else f", below {end}"
            return [(("step",), str(self.step), f"a multiple of {every}, the keep_every of {self.model}{until}")]
        return []

    def run(self, workspace: "Workspace") -> None:
        source = workspace.input(self.model)
        folder = source.path / CHECKPOINTS / str(self.step)
        if not folder.is_dir():
            raise BactrianError(
                f"checkpoint: step: found {self.step}, expected one that {source.name} has left: "
                f"{steps_of(source.path)}"
            )
        copy_model(folder, workspace.output, linked=source.key is not None)
        workspace.metrics["step"] = float(self.step)

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        return Forecast(makes=inputs[self.model])


def steps_of(model: Path) -> str:
    """The steps whose checkpoints a model folder holds, in words."""
    steps = sorted(int(path.name) for path in (model / CHECKPOINTS).glob("*") if path.name.isdecimal())
    return ", ".join(map(str, steps)) or "none; it was trained without keep_every, or for too few steps"


def copy_model(source: Path, output: Path, linked: bool) -> None:
    """A model folder's files, but for those on how it was made. `linked`: as second names, where the disk can."""
    for file in files_below(source):
        if file.relative_to(source).parts[0] in (CHECKPOINTS, *_HISTORY):
            continue
        target = output / file.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)  # what a kill left
        if linked:
            try:
                os.link(file, target)
                continue
            except OSError:
                pass  # another disk, or one without links: copied
        shutil.copyfile(file, target)
