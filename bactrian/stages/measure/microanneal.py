"""Stage `microanneal`: what each of several sources is worth, by short mid-trainings from one model."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, model_validator

from bactrian.errors import BactrianError
from bactrian.errors.wording import show
from bactrian.stages.data.mix import Mix
from bactrian.stages.measure.evaluate import Evaluate
from bactrian.stages.stage import (
    CannotExpand,
    DataRef,
    Expanding,
    Facts,
    Forecast,
    ModelRef,
    ResultsRef,
    Stage,
    changed_stage,
)
from bactrian.stages.tune.midtrain import Midtrain
from bactrian.store.manifest import Kind

if TYPE_CHECKING:
    from bactrian.evaluate.paired_change import Change
    from bactrian.store.artifact import Workspace

DECISIONS = "microanneal.json"
GENERAL = "general"
"""What the anneal without a candidate is called."""


class MicroAnneal(Expanding):
    """Each candidate source, half and half with general text, in a short anneal of one model; a decision for each.

    Adds for each candidate a mixture and a `midtrain`, one of general text alone with as many tokens, and an
    evaluation of them all [OLMo 2, Walsh et al. 2025]. A candidate is accepted where the target is better than after
    general text by `least_errors` standard errors of the paired difference, and the guard is not worse by more than
    `tolerance`. Leaves microanneal.json and table.md.
    """

    name: ClassVar[str] = "microanneal"
    makes: ClassVar[Kind] = Kind.RESULTS
    labels_inputs: ClassVar[bool] = True

    model: ModelRef | None = Field(None, description="the model that every anneal starts from")
    general: DataRef | None = Field(None, description="the text that candidates are mixed with")
    candidates: dict[str, DataRef] = Field({}, description="name → the source that is judged")
    share: float = Field(0.5, gt=0, lt=1, description="of the candidate in its mixture")
    tokens: int | None = Field(None, ge=1, description="of each anneal; a smaller source is repeated")
    midtrain: dict[str, Any] = Field({}, description="settings of the anneals: batch_size, learning_rate, …")
    measure: dict[str, Any] = Field({}, description="settings of the evaluation: texts, problems, tasks, …")
    target: str = Field(description="the task that a candidate is to better")
    guard: str | None = Field(None, description="the task that it must not harm")
    least_errors: float = Field(1.0, ge=0, description="standard errors by which the target must be better")
    tolerance: float = Field(0.005, ge=0, description="of the guard: lost score, or bits per byte over themselves")
    scores: ResultsRef | None = Field(None, description="the evaluation; filled by the settings above, or given")

    @model_validator(mode="after")
    def _has_something_to_judge(self) -> Self:
        if self.scores is None:
            for name in ("model", "general", "candidates", "tokens"):
                if not getattr(self, name):
                    raise ValueError(f"{name}: found none, expected one")
        if GENERAL in self.candidates:
            raise ValueError(f"candidates: found one called {GENERAL!r}, expected another name")
        return self

    def expanded(self, name: str, steps: Mapping[str, Stage]) -> dict[str, Stage]:
        if self.scores is not None:
            return {name: self}
        general = {"data": self.general, "name": GENERAL}
        sources: dict[str, list[dict[str, Any]]] = {GENERAL: [{**general, "weight": 1.0}]}
        for candidate, ref in self.candidates.items():
            portion = {"data": ref, "name": candidate, "weight": self.share}
            sources[candidate] = [portion, {**general, "weight": 1.0 - self.share}]
        added: dict[str, Stage] = {}
        for label, portions in sources.items():
            mixed, trained = f"{name}~{label}-data", f"{name}~{label}"
            added[mixed] = Mix.model_validate({"sources": portions, "total": self.tokens, "unit": "tokens"})
            settings = {"model": self.model, "data": mixed, **self.midtrain}
            added[trained] = _made(Midtrain, settings, ("midtrain",))
        models = {label: f"{name}~{label}" for label in sources}
        added[f"{name}~scores"] = _made(Evaluate, {**self.measure, "models": models, "baseline": GENERAL}, ("measure",))
        return {**added, name: changed_stage(self, {"scores": f"{name}~scores"})}

    def run(self, workspace: "Workspace") -> None:
        from bactrian.progress import say

        assert self.scores is not None
        found = self._changes(workspace, self.scores)
        rows = [self._decided(label, tasks) for label, tasks in found.items()]
        told = {
            "target": self.target,
            "guard": self.guard,
            "least_errors": self.least_errors,
            "tolerance": self.tolerance,
            "candidates": rows,
        }
        (workspace.output / DECISIONS).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
        text = table(told)
        (workspace.output / "table.md").write_text(text + "\n", encoding="utf-8")
        for row in rows:
            workspace.metrics[f"gain/{row['candidate']}"] = row["target"]["gain"]
            workspace.metrics[f"accepted/{row['candidate']}"] = float(row["accepted"])
        say(f"microanneal:\n{text}")

    def _changes(self, workspace: "Workspace", ref: str) -> "dict[str, dict[str, Change]]":
        """Candidate → task → the change from general text to it.

        Raises:
            BactrianError: the evaluation has no such task, or no model of general text.
        """
        from bactrian.evaluate.paired_change import change
        from bactrian.evaluate.records import read_records
        from bactrian.evaluate.results import NAME, about_of, read_object
        from bactrian.evaluate.scoring import Averaging

        folder = workspace.input(ref).path
        results, records = read_object(folder / NAME), read_records(folder / "questions.parquet")
        tasks = list(filter(None, [self.target, self.guard]))
        mode = {task: about["mode"] for task, about in results["tasks"].items()}
        for task in tasks:
            if task not in mode:
                raise BactrianError(f"microanneal: found no task {task!r} in {ref}, expected one of {', '.join(mode)}")
        if GENERAL not in results["models"]:
            raise BactrianError(f"microanneal: {ref}: found no model called {GENERAL!r}")
        found: dict[str, dict[str, Change]] = {}
        for label in results["models"]:
            if label != GENERAL:
                found[label] = {
                    task: change(
                        task,
                        Averaging.of_results(about_of(results["tasks"], task, mode[task])),
                        records[GENERAL, task, mode[task]],
                        records[label, task, mode[task]],
                    )
                    for task in tasks
                }
        return found

    def _decided(self, label: str, tasks: "Mapping[str, Change]") -> dict[str, Any]:
        target = tasks[self.target]
        better = target.gain > 0 and target.gain >= self.least_errors * target.error
        row: dict[str, Any] = {"candidate": label, "target": _told(target)}
        safe = True
        if self.guard is not None:
            guard = tasks[self.guard]
            allowed = self.tolerance * (guard.before if guard.lower_is_better else 1.0)
            safe = guard.gain >= -allowed
            row["guard"] = _told(guard)
        why = "" if better and safe else "the target is not surely better" if not better else "the guard is worse"
        return {**row, "accepted": better and safe, "why": why}

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        return Forecast(peak_memory=1e9)


def _made(stage: type[Stage], settings: Mapping[str, Any], place: tuple[str, ...]) -> Stage:
    from pydantic import ValidationError

    try:
        return stage.model_validate(dict(settings))
    except ValidationError as error:
        first = error.errors()[0]
        told = f"settings of {stage.name}: {'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise CannotExpand(place, show(dict(settings)), told) from None


def _told(found: "Change") -> dict[str, float]:
    return {"before": found.before, "after": found.after, "gain": found.gain, "error": found.error}


def table(told: Mapping[str, Any]) -> str:
    """The decisions, in Markdown."""
    names = [name for name in (told["target"], told["guard"]) if name]
    lines = ["| candidate | " + " | ".join(f"{name}: general → with it | gain" for name in names) + " | decision |"]
    lines += ["|---|" + "---|---|" * len(names) + "---|"]
    for row in told["candidates"]:
        cells = [
            f"{each['before']:.4f} → {each['after']:.4f} | {each['gain']:+.4f} ± {each['error']:.4f}"
            for each in (row["target"], row.get("guard"))
            if each
        ]
        decision = "accepted" if row["accepted"] else f"not accepted: {row['why']}"
        lines.append(f"| {row['candidate']} | {' | '.join(cells)} | {decision} |")
    return "\n".join(lines)
