"""What names a step's artifact: a key over its stage, its settings, what it reads and the code that makes it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bactrian.errors import BactrianError
from bactrian.recipe.recipe import Recipe, Step
from bactrian.recipe.references import ExternalSource, resolve
from bactrian.stages.stage import ReferenceUse
from bactrian.store.artifact import Store
from bactrian.store.fingerprint import fingerprint_of
from bactrian.store.hardware import Hardware
from bactrian.store.hashes import hash_json
from bactrian.store.manifest import Kind
from bactrian.store.own_files import code_of


@dataclass(frozen=True)
class KeyedStep:
    """A step, its settings resolved, with all that names its artifact: its key, and what is behind each reference."""

    step: Step
    key: str
    code: str
    sources: Mapping[str, ExternalSource]  # references that are no steps


def tasks(
    recipe: Recipe, hardware: Hardware, find: Callable[[str, Kind, Path], ExternalSource] = resolve
) -> list[KeyedStep]:
    """Every step with its key, in the order of making. Makes nothing. `find` says what is behind a
    reference.

    Raises:
        BactrianError: if a source cannot be had or does not match its hashes, and for what a
            stage does not find.
    """
    keys: dict[str, str] = {}
    sources: dict[tuple[str, str], ExternalSource] = {}
    made: list[KeyedStep] = []
    for given in recipe.steps:
        step = _resolved(given)
        found = step.stage.references()
        for reference in found:
            if reference.ref not in keys and (reference.ref, reference.kind) not in sources:
                sources[reference.ref, reference.kind] = find(reference.ref, reference.kind, recipe.folder)
        own = {item.ref: sources[item.ref, item.kind] for item in found if item.ref not in keys}
        code = fingerprint_of(type(step.stage).__module__)
        hashes = {ref: source.content_hash for ref, source in own.items()}
        hashes |= {ref: keys[ref] for ref in step.reads}
        settings = _with_hashes(step, found, hashes)
        keys[step.name] = hash_json(
            {
                "stage": step.stage.name,
                "settings": settings,
                "seed": step.seed,
                "dtype": hardware.dtype,
                "engine": hardware.engine,
                "code": code,
            }
        )
        made.append(KeyedStep(step, keys[step.name], code, own))
    return made


def to_make(todo: list[KeyedStep], store: Store) -> list[Step]:
    """The steps whose artifacts are not there."""
    return [task.step for task in todo if store.find(task.step.stage.name, task.key) is None]


def _resolved(step: Step) -> Step:
    try:
        return replace(step, stage=step.stage.resolved())
    except BactrianError as error:
        raise BactrianError(f'step "{step.name}" (stage {step.stage.name}): {error}') from error


def _with_hashes(step: Step, found: list[ReferenceUse], hashes: Mapping[str, str]) -> dict[str, Any]:
    """The settings with each reference replaced by its input's key or content hash, a part of a user's own file by its
    name there and the file's code."""
    settings: dict[str, Any] = step.stage.model_dump(mode="json", exclude={"seed"})
    for reference in found:
        label = [reference.ref] if step.stage.labels_inputs else []
        put(settings, reference.path, [hashes[reference.ref], *label])
    for part in step.stage.own_parts():
        put(settings, part.path, code_of(part.ref))
    return settings


def put(settings: Any, path: tuple[str | int, ...], value: Any) -> None:
    """Put a value at a place in settings, which is there already."""
    for part in path[:-1]:
        settings = settings[part]
    settings[path[-1]] = value
