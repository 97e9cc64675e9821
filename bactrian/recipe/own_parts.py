"""Settings that name a part of a user's own file, before they are checked: where the file is, seen from here."""

import copy
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from bactrian.stages.stage import mark_in
from bactrian.store.own_files import OwnCode, OwnUse, located, names_file


def located_parts(record: type[BaseModel], settings: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Settings as a recipe has them, with every reference to a user's file as seen from the working directory.

    Args:
        folder: of the recipe.
    """
    found = copy.deepcopy(dict(settings))
    for use in own_uses(record, settings):
        holder: Any = found
        for part in use.path[:-1]:
            holder = holder[part]
        holder[use.path[-1]] = located(use.ref, folder)
    return found


def own_uses(record: type[BaseModel], settings: Mapping[str, Any]) -> list[OwnUse]:
    """The references in settings as a recipe has them, whatever else is wrong with them."""
    return [use for use in marked_texts(record, settings) if names_file(use.ref, use.kind)]


def marked_texts(record: type[BaseModel], settings: Mapping[str, Any]) -> list[OwnUse]:
    """All texts where such a reference may stand, names of Bactrian's own parts among them."""
    return list(_in_record(record, settings, ()))


def _in_record(record: type[BaseModel], settings: Mapping[str, Any], at: tuple[str | int, ...]) -> Iterator[OwnUse]:
    for name, value in settings.items():
        if name in record.model_fields:
            yield from _in_value(record.model_fields[name].rebuild_annotation(), value, (*at, name))


def _in_value(annotation: Any, value: Any, at: tuple[str | int, ...]) -> Iterator[OwnUse]:
    if isinstance(value, Mapping):
        for record in _records(annotation):
            yield from _in_record(record, value, at)
    elif isinstance(value, list):
        for place, each in enumerate(value):
            yield from _in_value(annotation, each, (*at, place))
    elif isinstance(value, str) and (mark := mark_in(annotation, OwnCode)) is not None:
        yield OwnUse(at, value, mark.kind)


def _records(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for part in typing.get_args(annotation) for found in _records(part)]
