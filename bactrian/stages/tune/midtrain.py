"""Stage `midtrain`: a pretrained model goes on with better data while its learning rate falls to nothing."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from bactrian.errors import BactrianError
from bactrian.stages.stage import Facts, Forecast, ModelRef
from bactrian.stages.tune.decoder_size import usual_attended
from bactrian.stages.tune.text_training import OPTIMISER, PlainTextStage, text_pass, train_on_text
from bactrian.stages.tune.training import forecast, load_model, looks_of
from bactrian.store.manifest import MANIFEST, Manifest
from bactrian.train.base_options import MidtrainOptimiser
from bactrian.train.options import LearningRate, ScheduleName, Warmup

if TYPE_CHECKING:
    import torch

    from bactrian.model.language_model import LanguageModel
    from bactrian.store.artifact import Workspace


USUAL_CONTEXT = 4096  # for a plan, where the recipe does not say it


class Midtrain(PlainTextStage):
    """Next-token training that goes on from a model: linear to 0 from the rate at which its training ended.

    The second stage of OLMo 2 [Walsh et al. 2025], which is run several times in other orders of the data (`seed`) and
    averaged by `soup`.
    """

    name: ClassVar[str] = "midtrain"

    model: ModelRef = Field(description="the model to go on from")
    context: int | None = Field(None, ge=16, description="longest sequence, tokens; by default the model's own")
    learning_rate: LearningRate | None = Field(  # type: ignore[assignment]  # read from the model where not given
        None, description="at the start; by default that at which the model's training ended, by its manifest"
    )
    schedule: ScheduleName = "anneal"
    warmup: Warmup = 0.0
    floor: float = Field(0.0, ge=0, le=1, description="where cosine or wsd ends, as a share of the start")
    optimiser: MidtrainOptimiser = Field(default_factory=MidtrainOptimiser, description="AdamW, and what it moves")

    def run(self, workspace: "Workspace") -> None:
        from bactrian.model.language_model import context_of
        from bactrian.progress import say

        folder = workspace.input(self.model).path
        context = self.context or context_of(folder)
        if context is None:
            raise BactrianError(f"midtrain: {self.model}: its config says no longest sequence; give context: …")
        rate = self.learning_rate or last_rate(folder, self.model)
        say(f"midtrain: from a learning rate of {rate:g}")
        stage = self.model_copy(update={"learning_rate": rate})
        model = load_model(workspace, stage, self.model)
        moments = self._moments(folder, model) if self.optimiser.start == "keep" else None
        train_on_text(workspace, stage, model, context, floor=self.floor, moments=moments)

    def _moments(self, folder: Path, model: "LanguageModel") -> "dict[str, torch.Tensor]":
        """What AdamW remembered of the weights that are trained now.

        Raises:
            BactrianError: the model was left without it, or it is of other weights or another kind of states.
        """
        from safetensors.torch import load_file

        file = folder / OPTIMISER
        if not file.is_file():
            raise BactrianError(
                f"midtrain: optimiser.start: found keep, but {self.model} has no {OPTIMISER}; expected "
                "checkpoints: {keep_optimiser: true} in the step that trained it, or start: fresh"
            )
        found = load_file(file)
        weights = {name: weight for name, weight in model.network.named_parameters() if weight.requires_grad}
        kept = {full: tensor for full, tensor in found.items() if full.partition("#")[0] in weights}
        exact = self.optimiser.states == "float32"
        fits = all(
            full.endswith("#step") or tensor.shape == weights[full.partition("#")[0]].shape
            for full, tensor in kept.items()
            if exact
        )
        kinds = {full.partition("#")[2] in ("mean", "square", "step") for full in kept}
        if not kept or not fits or kinds != {exact}:
            raise BactrianError(
                f"{file}: expected the moments of this model's weights, states: {self.optimiser.states}; found others"
            )
        return kept

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        model, data = inputs[self.model], inputs[self.data]
        each = text_pass(self, model, usual_attended(model.multiplied), data, self.context or USUAL_CONTEXT)
        return forecast(self, model, [each], sampling=looks_of(self, each, inputs))


def last_rate(folder: Path, ref: str) -> float:
    """The learning rate of the last update of a model's training, by its manifest.

    Raises:
        BactrianError: it has no manifest, or that does not say, or the rate had fallen to 0.
    """
    found = Manifest.read(folder).metrics.get("learning_rate") if (folder / MANIFEST).is_file() else None
    if found is None:
        raise BactrianError(
            f"midtrain: {ref}: no manifest says at which learning rate its training ended; expected learning_rate: … "
            "in this step"
        )
    if found <= 0:
        raise BactrianError(f"midtrain: {ref}: its training ended at a learning rate of 0; expected learning_rate: …")
    return found
