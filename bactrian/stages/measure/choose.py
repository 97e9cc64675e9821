"""Stage `choose`: of several models, the one with the best average over development tasks."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from bactrian.errors import BactrianError
from bactrian.stages.stage import Facts, Forecast, ModelRef, ResultsRef, Stage
from bactrian.stages.tune.checkpoint import copy_model
from bactrian.store.manifest import Kind

if TYPE_CHECKING:
    from bactrian.evaluate.model_choice import Candidate
    from bactrian.store.artifact import Workspace

CHOICE = "choice.json"


class Choose(Stage):
    """The best of several models, or of several checkpoints of one, by the mean of its scores over tasks.

    The scores are those of steps `evaluate` on development tasks; unseen ones are refused. The best of many
    looks better than it is: choice.json has what it has over each of the others, with 95 % intervals.
    """

    name: ClassVar[str] = "choose"
    makes: ClassVar[Kind] = Kind.MODEL
    labels_inputs: ClassVar[bool] = True

    models: dict[str, ModelRef] | list[ModelRef] = Field(min_length=1, description="candidates; of equals the earlier")
    scores: list[ResultsRef] = Field(min_length=1, description="results that measured each of these very models")
    mode: Literal["greedy", "sampled"] = Field("greedy", description="whose scores count, where there are both")

    def run(self, workspace: "Workspace") -> None:
        from bactrian.evaluate.model_choice import choose, read_measured
        from bactrian.progress import say

        named = self._named(workspace)
        measured = [
            read_measured(workspace.input(ref).name, workspace.input(ref).path, self.mode)
            for ref in dict.fromkeys(self.scores)
        ]
        found = choose({name: workspace.input(ref).content_hash for name, ref in named.items()}, measured)
        best = workspace.input(named[found[0].model])
        copy_model(best.path, workspace.output, linked=best.key is not None)
        record = {"mode": self.mode, "chosen": found[0].model, "candidates": [asdict(each) for each in found]}
        (workspace.output / CHOICE).write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
        workspace.metrics.update({f"average/{each.model}": each.average for each in found})
        say("choose: " + "\n".join(lines(found)))

    def _named(self, workspace: "Workspace") -> dict[str, str]:
        """Name → reference of each candidate."""
        if isinstance(self.models, dict):
            return dict(self.models)
        names = [workspace.input(ref).name for ref in self.models]
        if len(set(names)) < len(names):
            raise BactrianError(f"choose: models: {max(names, key=names.count)!r} is named twice; expected each once")
        return dict(zip(names, self.models, strict=True))

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        first = next(iter(self.models.values() if isinstance(self.models, dict) else self.models))
        return Forecast(makes=inputs.get(first, Facts()))


def lines(found: "Sequence[Candidate]") -> list[str]:
    """What a person is told: the chosen one, and what it has over each of the others."""
    best, others, count = found[0], found[1:], len(found[0].scores)
    told = [f"{best.model}, {best.average:.1%} on average over {count} task{'' if count == 1 else 's'}"]
    for each in others:
        low, high = each.interval
        doubt = "" if each.surely_worse else ", not surely"
        told.append(
            f"  {each.difference * 100:+.1f} points over {each.model} ({100 * low:+.1f} to {100 * high:+.1f}{doubt})"
        )
    return told
