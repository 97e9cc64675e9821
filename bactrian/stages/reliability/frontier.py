"""Stage `frontier`: how much over-refusal a family of models pays for its noncompliance, and the model to take."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from bactrian.stages.stage import Facts, Forecast, ModelRef, ResultsRef, Stage
from bactrian.stages.tune.checkpoint import copy_model
from bactrian.store.manifest import Kind

if TYPE_CHECKING:
    from bactrian.evaluate.refusal_frontier import FrontierPoint
    from bactrian.store.artifact import Workspace

FRONTIER = "frontier.json"


class Frontier(Stage):
    """Of models between one that complies and one that does not, the one that turns away no more than may be.

    Such as one model with adapters merged at scales from 0 to 1. Taken is the one with the most noncompliance among
    those whose compliance with contrasts is at most `margin` below the first model's. The results must be on
    development data: what is chosen by them has seen them.
    """

    name: ClassVar[str] = "frontier"
    makes: ClassVar[Kind] = Kind.MODEL
    labels_inputs: ClassVar[bool] = True

    models: dict[str, ModelRef] = Field(min_length=2, description="name → model; the first is the one to compare with")
    scores: ResultsRef = Field(description="results that measured each of these very models on both tasks")
    noncompliance: str = Field("coconot", description="the task of requests that should not simply be met")
    contrast: str = Field("coconot-contrast", description="the task of requests that look like them and should")
    margin: float = Field(
        0.02, ge=0, le=1, description="share of the contrasts that may be lost beside the first model"
    )

    def run(self, workspace: "Workspace") -> None:
        from bactrian.evaluate.model_choice import read_measured
        from bactrian.evaluate.refusal_frontier import chosen_point, frontier_points
        from bactrian.progress import say

        given = workspace.input(self.scores)
        measured = read_measured(given.name, given.path, "greedy")
        contents = {name: workspace.input(ref).content_hash for name, ref in self.models.items()}
        points = frontier_points(contents, measured, self.noncompliance, self.contrast)
        best = chosen_point(points, self.margin)
        taken = workspace.input(self.models[best.name])
        copy_model(taken.path, workspace.output, linked=taken.key is not None)
        record = {
            "noncompliance": self.noncompliance,
            "contrast": self.contrast,
            "margin": self.margin,
            "chosen": best.name,
            "points": [asdict(point) for point in points],
        }
        (workspace.output / FRONTIER).write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
        for point in points:
            workspace.metrics[f"noncompliance/{point.name}"] = point.noncompliance
            workspace.metrics[f"contrast/{point.name}"] = point.contrast
        say("frontier: noncompliance, contrast compliance\n" + "\n".join(_line(point, best) for point in points))

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        first = next(iter(self.models.values()))
        return Forecast(makes=inputs.get(first, Facts()))


def _line(point: "FrontierPoint", best: "FrontierPoint") -> str:
    low, high = point.kept_interval
    mark = "  taken" if point is best else "  dominated" if point.dominated else ""
    return (
        f"  {point.name}: {point.noncompliance:.1%}, {point.contrast:.1%} "
        f"({100 * point.kept:+.1f} points, {100 * low:+.1f} to {100 * high:+.1f}){mark}"
    )
