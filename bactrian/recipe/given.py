"""References in settings as they are written, before anything is checked; and which settings say how files are read."""

import typing
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from bactrian.recipe.document import Place
from bactrian.stages.data.source import DataSource, ReadingSettings
from bactrian.stages.stage import Reference, Stage


def reading_settings(stage: type[Stage]) -> dict[str, FieldInfo]:
    """Fields of ReadingSettings that a step of this stage may have: those that say how files of others are read."""
    if stage is DataSource or not takes_files(stage):
        return {}
    return {name: field for name, field in ReadingSettings.model_fields.items() if name not in stage.model_fields}


def takes_files(stage: type[Stage]) -> bool:
    """Whether a step of this stage may read files of others."""
    return any(mark.rows for mark in _marks(stage))


def takes_several(annotation: Any) -> bool:
    """Whether a setting that names one data set may also be a list of files, which are read as one."""
    mark = _direct_mark(annotation)
    return mark is not None and bool(mark.rows)


def _marks(stage: type[Stage]) -> Iterator[Reference]:
    """The marks of all references that a stage's settings may have."""
    return (mark for each in stage.model_fields.values() for mark in _marks_in(each.rebuild_annotation()))


def _marks_in(annotation: Any) -> Iterator[Reference]:
    yield from (mark for mark in getattr(annotation, "__metadata__", ()) if isinstance(mark, Reference))
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for each in annotation.model_fields.values():
            yield from _marks_in(each.rebuild_annotation())
    for part in typing.get_args(annotation):
        yield from _marks_in(part)


def _direct_mark(annotation: Any) -> Reference | None:
    """The mark of a setting that is one reference, or none."""
    for mark in getattr(annotation, "__metadata__", ()):
        if isinstance(mark, Reference):
            return mark
    if typing.get_origin(annotation) in (list, tuple, dict):
        return None
    return next((mark for part in typing.get_args(annotation) if (mark := _direct_mark(part)) is not None), None)


def given_references(record: type[BaseModel], settings: Any) -> Iterator[tuple[Place, Any, Reference]]:
    """Every reference in settings that are not checked yet: its place, its value (or a list of them), its mark."""
    for name, each in record.model_fields.items():
        if isinstance(settings, Mapping) and name in settings:
            for at, value, mark in _given_in(each.rebuild_annotation(), settings[name]):
                yield (name, *at), value, mark


def _given_in(annotation: Any, value: Any) -> Iterator[tuple[Place, Any, Reference]]:
    mark = _direct_mark(annotation)
    if mark is not None:
        if isinstance(value, str | list):
            yield (), value, mark
        return
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield from given_references(annotation, value)
        return
    parts, origin = typing.get_args(annotation), typing.get_origin(annotation)
    if origin in (list, tuple) and isinstance(value, list):
        for index, item in enumerate(value):
            yield from (((index, *at), found, mark) for at, found, mark in _given_in(parts[0], item))
    elif origin is dict and isinstance(value, Mapping):
        for key, item in value.items():
            yield from (((str(key), *at), found, mark) for at, found, mark in _given_in(parts[1], item))
    elif origin not in (list, tuple, dict):
        for part in parts:
            yield from _given_in(part, value)


def put(settings: Any, path: Place, value: Any) -> None:
    for part in path[:-1]:
        settings = settings[part]
    settings[path[-1]] = value
