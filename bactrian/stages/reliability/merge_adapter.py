"""Stage `merge_adapter`: what a step taught by adapters, merged into a model with a scale."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from bactrian.errors import BactrianError
from bactrian.stages.stage import Facts, Forecast, ModelRef, Stage
from bactrian.stages.tune.training import TrainingStage, adapter_of
from bactrian.store.manifest import Kind

if TYPE_CHECKING:
    from bactrian.store.artifact import Workspace

ADAPTER = "adapter"
"""Folder of a trained model's artifact with its adapters."""


class MergeAdapter(Stage):
    """A model plus a share of what adapters were taught: W + scale·(alpha / rank)·B·A.

    Scale 0 is the model itself, 1 the trained one; what lies between trades what was learnt against what was there.
    The model may be another than the one that the adapters were trained on, of the same shape.
    """

    name: ClassVar[str] = "merge_adapter"
    makes: ClassVar[Kind] = Kind.MODEL

    model: ModelRef = Field(description="the model that is changed: what the adapters were trained on, or its like")
    adapter: ModelRef = Field(description="a step that trained adapters, or a folder with such a folder `adapter`")
    scale: float = Field(1.0, ge=0, le=2, description="share of the change that is merged")

    def clashes(self, steps: Mapping[str, Stage]) -> list[tuple[tuple[str | int, ...], str, str]]:
        trained = steps.get(self.adapter)
        if isinstance(trained, TrainingStage) and adapter_of(trained) is None:
            return [(("adapter",), f'"{self.adapter}", a step that trains the weights', "one with `adapter:`")]
        return []

    def run(self, workspace: "Workspace") -> None:
        from bactrian.model.scaled_adapters import merge_scaled

        source = workspace.input(self.adapter)
        if not (source.path / ADAPTER).is_dir():
            raise BactrianError(
                f"merge_adapter: {source.name} has no folder {ADAPTER}; expected a step with `adapter:`"
            )
        moved = merge_scaled(source.path / ADAPTER, workspace.input(self.model).path, workspace.output, self.scale)
        workspace.metrics.update(scale=self.scale, moved=moved)

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        model = inputs.get(self.model, Facts())
        return Forecast(peak_memory=8.0 * model.parameters, makes=model)
