"""pydantic's complaints in plain words: where, what was found, what was expected, what was probably meant."""

import difflib
import json
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

Path = tuple[str | int, ...]

_EXPECTED = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "dict_type": "a mapping (name: value)",
    "model_type": "a mapping (setting: value)",
    "none_required": "nothing (null)",
    "greater_than": "a number > {gt}",
    "greater_than_equal": "a number >= {ge}",
    "less_than": "a number < {lt}",
    "less_than_equal": "a number <= {le}",
    "multiple_of": "a multiple of {multiple_of}",
    "too_short": "at least {min_length} of them",
    "too_long": "at most {max_length} of them",
    "string_too_short": "at least {min_length} characters",
    "string_too_long": "at most {max_length} characters",
    "string_pattern_mismatch": "text like {pattern}",
    "literal_error": "{expected}",
    "enum": "{expected}",
}


@dataclass(frozen=True)
class InvalidValue:
    """One value that does not fit its record: its path in the data, what was found there and what was expected.

    `found` is empty where a record's own check has spoken: then `expected` is all that it said.
    """

    path: Path
    found: str
    expected: str
    missing: bool = False  # then `path` ends with the name of what is not there
    unknown: bool = False  # then `path` ends with a name that the record has not


def misfits(error: ValidationError, record: type[BaseModel], data: object) -> list[InvalidValue]:
    """pydantic's errors about `data`, one per place, in plain words."""
    by_path: dict[Path, InvalidValue] = {}
    for details in error.errors():
        misfit = _misfit(typing.cast("dict[str, Any]", details), record, data)
        before = by_path.get(misfit.path)
        if before is None:
            by_path[misfit.path] = misfit
        elif misfit.expected not in before.expected:  # the branches of a union
            by_path[misfit.path] = InvalidValue(misfit.path, before.found, f"{before.expected} or {misfit.expected}")
    return list(by_path.values())


def show(value: object) -> str:
    """A value for a message: as JSON, short, with its type where text could be taken for something else."""
    value = value.model_dump() if isinstance(value, BaseModel) else value
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def nearest(word: str, words: Iterable[str]) -> str | None:
    """The word that was probably meant: close in spelling, or spelt by its initials (lr → learning_rate)."""
    words = list(words)
    close = difflib.get_close_matches(word, words, n=1)
    initials = [other for other in words if len(word) > 1 and "".join(part[:1] for part in other.split("_")) == word]
    return next(iter(close + initials), None)


def type_in_words(annotation: Any) -> str:
    """A field's type for help texts: "a whole number", "'a' or 'b'", "a list"; "" where it has no plain name."""
    plain = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return " or ".join(map(show, parts))
    if origin is typing.Annotated:
        return type_in_words(parts[0])
    if origin in (list, tuple):
        return "a list"
    if origin is dict or (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        return "a mapping"
    if parts:
        return " or ".join(filter(None, (type_in_words(part) for part in parts if part is not type(None))))
    return plain.get(annotation, "")


def _misfit(details: dict[str, Any], record: type[BaseModel], data: object) -> InvalidValue:
    kind, location = details["type"], details["loc"]
    path, value = _walk(data, location)
    if kind == "missing":
        field = _field(record, location)
        words = ", ".join(filter(None, [type_in_words(field.annotation), field.description])) if field else ""
        return InvalidValue((*path, location[-1]), "nothing", words or "a value", missing=True)
    if kind == "extra_forbidden":
        names = sorted(_field_names(record, location[:-1]))
        meant = nearest(str(location[-1]), names)
        hint = f'; did you mean "{meant}"?' if meant else ""
        return InvalidValue(path, "an unknown setting", f"one of: {', '.join(names)}{hint}", unknown=True)
    context = details.get("ctx", {})
    if kind == "union_tag_invalid":
        choices = context["expected_tags"].replace("'", "").split(", ")
        meant = nearest(context["tag"], choices)
        hint = f'; did you mean "{meant}"?' if meant else ""
        return InvalidValue((*path, _tag(context)), show(context["tag"]), f"one of: {', '.join(choices)}{hint}")
    if kind == "union_tag_not_found":
        return InvalidValue((*path, _tag(context)), "nothing", "the name of one of its kinds", missing=True)
    if kind in ("value_error", "assertion_error"):
        return InvalidValue(path, "", str(context["error"]))
    expected = _EXPECTED[kind].format(**context) if kind in _EXPECTED else details["msg"]
    return InvalidValue(path, show(value), expected)


def _tag(context: Mapping[str, Any]) -> str:
    """The field that says which record of a union is meant."""
    return str(context["discriminator"]).strip("'")


def _walk(data: object, location: Path) -> tuple[Path, object]:
    """As far as a location leads through the data; pydantic adds the names of union branches, which are passed over."""
    path: list[str | int] = []
    for part in location:
        inside = part < len(data) if isinstance(data, list) and isinstance(part, int) else False
        if not inside and not (isinstance(data, Mapping) and part in data):
            continue
        data = data[part]  # type: ignore[index]
        path.append(part)
    return tuple(path), data


def _field(record: type[BaseModel], location: Path) -> Any:
    """The pydantic field at a location, or None."""
    models = list(_models_at(record, location[:-1]))
    return next((model.model_fields[str(location[-1])] for model in models if location[-1] in model.model_fields), None)


def _field_names(record: type[BaseModel], location: Path) -> set[str]:
    return {name for model in _models_at(record, location) for name in model.model_fields}


def _models_at(annotation: Any, location: Path) -> Iterator[type[BaseModel]]:
    for part in location:
        fields = (model.model_fields.get(str(part)) for model in _models_in(annotation))
        annotation = next((field.annotation for field in fields if field is not None), annotation)
    return _models_in(annotation)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in typing.get_args(annotation):
        yield from _models_in(part)


def field_names(row: Mapping[str, Any]) -> str:
    """The names of a row's fields, for messages.

    >>> field_names({}), field_names({"a": 1, "b": 2})
    ('none', 'a, b')
    """
    return ", ".join(map(str, row)) or "none"
