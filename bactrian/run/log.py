"""The record of a run, `<store>/<recipe>/run.json`: each step, its artifact, and whether it was made or reused."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from bactrian.errors import BactrianError
from bactrian.progress import duration, say
from bactrian.recipe.recipe import Recipe
from bactrian.run.keys import KeyedStep
from bactrian.store.artifact import Artifact, Store
from bactrian.store.disk import link, now, write_atomically


@dataclass(frozen=True)
class StepEntry:
    """A step's entry in run.json. `path` is relative to the store; `inputs`: {reference: step or source}."""

    name: str
    stage: str
    kind: str
    key: str
    path: str | None
    status: str  # "made", "reused" or "waiting" (then path and seconds are None)
    seconds: float | None
    inputs: dict[str, str]


class RunLog:
    """`<store>/<recipe>/run.json`: every step, made or not. A run that makes nothing leaves the last one be."""

    def __init__(self, recipe: Recipe, todo: Sequence[KeyedStep], store: Store, command: str) -> None:
        self.recipe, self.todo, self.store, self.command = recipe, todo, store, command
        self.started, self.before = now(), time.monotonic()
        self.folder = store.root / recipe.name
        self.done: dict[str, StepEntry] = {}

    def add(self, task: KeyedStep, artifact: Artifact, status: str) -> None:
        """Note a step's artifact, and write run.json if it was just made."""
        seconds, path = artifact.manifest.seconds, str(artifact.path.relative_to(self.store.root))
        self.done[task.step.name] = replace(_waiting(task), path=path, status=status, seconds=seconds)
        link(self.folder / task.step.name, artifact.path)
        if status == "made":
            say(f"{task.step.name}: done in {duration(seconds)} → {artifact.path}")
            self.write()

    def finish(self, report: bool) -> None:
        """The closing lines; run.json and the report, if this run differs from the one on record."""
        made = sum(record.status == "made" for record in self.done.values())
        if made:
            say(f"{self.recipe.name}: {made} made, {len(self.done) - made} reused")
        else:
            say(f"{self.recipe.name}: nothing to make, {len(self.done)} of {len(self.todo)} steps exist")
        if made or self._recorded() != [(record.key, record.path) for record in self._records()]:
            self.write()
            if report:
                from bactrian.report import write_report

                say(f"report: {write_report(self.folder)}")

    def _records(self) -> list[StepEntry]:
        return [self.done.get(task.step.name) or _waiting(task) for task in self.todo]

    def _recorded(self) -> list[tuple[str, str | None]]:
        try:
            steps = json.loads((self.folder / "run.json").read_text())["steps"]
            return [(step["key"], step["path"]) for step in steps]
        except (OSError, ValueError, KeyError, TypeError):  # not there, or not ours: it is written anew
            return []

    def write(self) -> None:
        """Replace run.json.

        Raises:
            BactrianError: if the store cannot be written to.
        """
        recipe = self.recipe
        record = {
            "name": recipe.name,
            "recipe": recipe.text,
            "recipe_path": str(recipe.path) if recipe.path else None,
            "command": self.command,
            "started": self.started,
            "seconds": round(time.monotonic() - self.before, 3),
            "steps": [asdict(step) for step in self._records()],
        }
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(self.folder / "run.json", json.dumps(record, indent=1, ensure_ascii=False) + "\n")
        except OSError as error:
            raise BactrianError(f"{self.folder}: cannot be written to ({error.strerror})") from None


def _waiting(task: KeyedStep) -> StepEntry:
    stage = task.step.stage
    inputs = {ref: ref for ref in (*task.step.reads, *task.sources)}
    return StepEntry(task.step.name, stage.name, stage.makes, task.key, None, "waiting", None, inputs)
