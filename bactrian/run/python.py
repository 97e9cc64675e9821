"""The toolkit from Python: recipes built in code, each stage as a function, and handles to what they made.

What is made has the same keys and lies in the same store as what the command line makes.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bactrian.errors import BactrianError
from bactrian.recipe import recipe as recipes
from bactrian.recipe.document import Document, override
from bactrian.run.functions import reference_to
from bactrian.run.handles import Run, handle
from bactrian.run.made import Made
from bactrian.stages import all_stages
from bactrian.stages.stage import Stage, reference_mark
from bactrian.store.artifact import Store
from bactrian.store.disk import write_atomically
from bactrian.store.manifest import Kind

if TYPE_CHECKING:
    from bactrian.run.plan import Plan

STORE = "runs"
Rows = Iterable[Mapping[str, Any]]
Where = str | os.PathLike[str]


class RecipeInCode:
    """A recipe in code: `bt.Recipe("mine", seed=17).step("tuned", "sft", model="my-model", data="rows.jsonl")`.

    It is what its YAML says, `to_yaml()`, and makes the same artifacts.
    """

    def __init__(
        self,
        name: str = "run",
        *,
        seed: int = 0,
        hardware: Mapping[str, Any] | None = None,
        track: str | Sequence[str] = (),
        store: Where = STORE,
    ) -> None:
        """
        Args:
            name: of the run's folder in the store.
            hardware: as in a recipe: {dtype: …, threads: …, device: …}.
            track: experiment trackers: trackio, wandb, tensorboard, mlflow, prometheus.
            store: where artifacts lie, and rows that are given as Python objects.
        """
        self.store = Path(store)
        self._data: dict[str, Any] = {"name": name, "seed": seed, "steps": {}}
        if hardware:
            self._data["hardware"] = dict(hardware)
        if track:
            self._data["track"] = track if isinstance(track, str) else list(track)

    def step(self, step: str, stage: str, **settings: Any) -> RecipeInCode:
        """Add a step; returns the recipe. A setting that names a model or data also takes a handle, or rows; one
        that names a function of yours takes the function.

        Raises:
            BactrianError: the recipe has a step of this name.
        """
        if step in self._data["steps"]:
            raise BactrianError(f"recipe {self._data['name']}: two steps are called {step!r}")
        found = all_stages().get(stage)
        self._data["steps"][step] = {"stage": stage} | {
            name: self._plain(value, _is_data(found, name)) for name, value in settings.items()
        }
        return self

    def to_yaml(self) -> str:
        """The recipe as a file would hold it."""
        import io

        from ruamel.yaml import YAML

        out = io.StringIO()
        YAML(typ="safe", pure=True).dump(self._data, out)
        return out.getvalue()

    def check(self, overrides: Iterable[str] = ()) -> recipes.Recipe:
        """The recipe, checked.

        Raises:
            BactrianError: with every problem found, one per line.
        """
        document = Document(f"recipe {self._data['name']}", self.to_yaml(), json.loads(json.dumps(self._data)))
        override(document, overrides)
        return recipes.check(document, Path())

    def plan(self) -> Plan:
        """What exists, what would be made, and what that takes."""
        from bactrian.run.plan import plan

        return plan(self.check(), Store(self.store))

    def run(self, *, only: str | None = None, from_step: str | None = None, report: bool = True) -> Run:
        """Make what is missing, resuming what was cut (as `bactrian run`)."""
        return _run(self.check(), self.store, only, from_step, report)

    def _plain(self, value: Any, rows: bool) -> Any:
        """A setting as YAML would hold it."""
        if isinstance(value, Made):
            return value.ref
        if isinstance(value, os.PathLike):
            return os.fspath(value)
        if inspect.isroutine(value):
            return reference_to(value, self.store)
        if isinstance(value, Mapping):
            return {str(name): self._plain(each, rows) for name, each in value.items()}
        if isinstance(value, str | int | float | bool | None):
            return value
        if hasattr(value, "to_dict") and hasattr(value, "columns"):  # a pandas table
            value = value.to_dict("records")
        if not isinstance(value, Iterable):
            return value  # the check says what is wrong with it
        items = list(value)
        if rows and not items:
            raise BactrianError(f"recipe {self._data['name']}: found no rows, expected at least one")
        if rows and items and all(isinstance(each, Mapping) for each in items):
            return str(rows_file(items, self.store))
        return [self._plain(each, rows) for each in items]


def rows_file(rows: Rows, store: Path) -> Path:
    """Rows as a file of the store, named by what is in it: the same rows are the same input.

    Raises:
        BactrianError: a row holds something that JSON cannot.
    """
    lines = []
    for number, row in enumerate(rows, 1):
        try:
            lines.append(json.dumps(dict(row), ensure_ascii=False, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise BactrianError(f"row {number} of the rows given: {error}; expected what JSON can hold") from None
    text = "\n".join(lines) + "\n"
    path = store / "given" / f"{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:16]}.jsonl"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text)
    return path


def run(
    recipe: Where | RecipeInCode,
    *,
    store: Where = STORE,
    overrides: Mapping[str, Any] | None = None,
    only: str | None = None,
    from_step: str | None = None,
    report: bool = True,
    track: str | Sequence[str] = (),
) -> Run:
    """Make what is missing of a recipe, from a YAML file or built in code.

    Args:
        overrides: settings to change, by "step.field".
        track: experiment trackers (trackio, wandb, tensorboard, mlflow, prometheus), in place of the recipe's own.

    Raises:
        BactrianError: bad input, naming file, line, step and field; a limit of the machine.
    """
    changes = [f"{field}={json.dumps(value)}" for field, value in (overrides or {}).items()]
    if track:
        changes.append(f"track={json.dumps(track if isinstance(track, str) else list(track))}")
    if isinstance(recipe, RecipeInCode):
        return _run(recipe.check(changes), recipe.store, only, from_step, report)
    return _run(recipes.load(Path(recipe), changes), Path(store), only, from_step, report)


def load(ref: Where, *, run: str | None = None, store: Where = STORE) -> Made:
    """A handle to something that is there: an artifact (its folder, or the beginning of its key), a step of a run,
    embedded:NAME, a folder, a file of rows, or a Hub id.

    Raises:
        BactrianError: nothing of this name, or more than one.
    """
    from bactrian.recipe.references import find_path, problem_with, resolve

    text = os.fspath(ref)
    if run is None:
        path = find_path(text, Path())
        if path is not None:
            return handle(text, path)
        if problem_with(text, Kind.MODEL, Path(), ()) is None:
            return handle(text, resolve(text, Kind.MODEL, Path()).input().path, Kind.MODEL)
    path = Store(Path(store)).locate(text, run)
    return handle(str(path), path)


def stage_function(stage: type[Stage]) -> Callable[..., Made]:
    """A stage as a function of its settings; it makes the artifact, or finds it, and returns a handle."""

    def call(
        *,
        store: Where = STORE,
        name: str | None = None,
        hardware: Mapping[str, Any] | None = None,
        track: str | Sequence[str] = (),
        **settings: Any,
    ) -> Made:
        seed = settings.pop("seed", 0)
        built = RecipeInCode(name or stage.name, seed=seed, hardware=hardware, track=track, store=store)
        return built.step(stage.name, stage.name, **settings).run()[stage.name]

    call.__name__ = call.__qualname__ = stage.name
    call.__doc__ = stage.__doc__
    return call


def _run(recipe: recipes.Recipe, store: Path, only: str | None, from_step: str | None, report: bool) -> Run:
    from bactrian.run.runner import run as run_recipe

    records = run_recipe(recipe, Store(store), only, from_step, "python", report)
    steps = {}
    for record in records:
        path = store / str(record.path)
        steps[record.name] = handle(str(path), path)
    return Run(recipe.name, store / recipe.name, steps)


def _is_data(stage: type[Stage] | None, name: str) -> bool:
    """Whether rows may be given for this setting."""
    field = stage.model_fields.get(name) if stage else None
    mark = reference_mark(field.rebuild_annotation()) if field else None
    return mark is not None and mark.kind is Kind.DATA
