"""A recipe file as plain data that remembers where each value stands, with the command line's overrides applied."""

import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bactrian.errors import BactrianError
from bactrian.errors.wording import nearest

Place = tuple[str | int, ...]
_MOST_VALUES = 100_000  # aliases of aliases can name more than a memory holds


@dataclass
class Document:
    """`data` is what is validated; `where(place)` says where the person wrote it."""

    label: str  # of the file, for messages
    text: str
    data: dict[str, Any]
    marks: Any = None  # the same data with ruamel's line numbers
    origins: dict[Place, str] = field(default_factory=dict)  # places that the command line set

    def where(self, place: Place) -> str:
        """ "--set sft.epochs=two" or "quickstart.yaml, line 7", for messages."""
        for end in range(len(place), 0, -1):
            if place[:end] in self.origins:
                return self.origins[place[:end]]
        if self.marks is None:
            return self.label
        line, found = self._line(place)
        below = next((origin for at, origin in self.origins.items() if at[: len(place)] == place), None)
        return below if below and not found else f"{self.label}, line {line}"

    def line(self, place: Place) -> int:
        """Line (from 1) of a value, or of the nearest thing around it that the file has."""
        return self._line(place)[0]

    def _line(self, place: Place) -> tuple[int, bool]:
        node, line = self.marks, 1
        for part in place:
            try:
                position = node.lc.item(part) if isinstance(part, int) else node.lc.key(part)
                node, line = node[part], position[0] + 1
            except (KeyError, IndexError, AttributeError, TypeError):
                return line, False
        return line, True


def read(path: Path) -> Document:
    """Read a recipe file.

    Raises:
        BactrianError: with the line for what is not YAML, or has a key twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BactrianError(f"{path}: the recipe cannot be read ({error})") from None
    marks = _parse(text, str(path))
    if not isinstance(marks, Mapping):
        raise BactrianError(
            f"{path}, line 1: found {'an empty file' if marks is None else 'no mapping'}, "
            f"expected a recipe: name, seed, hardware and steps"
        )
    return Document(str(path), text, _plain(marks, str(path)), marks)


def override(document: Document, settings: Iterable[str]) -> None:
    """Apply `step.field=value` texts, each value read as YAML.

    Raises:
        BactrianError: naming the --set at fault.
    """
    steps = document.data.get("steps")
    steps = steps if isinstance(steps, dict) else {}
    for setting in settings:
        origin = f"--set {setting}"
        target, equals, text = setting.partition("=")
        first, *rest = target.strip().split(".")
        if not equals or not first:
            raise BactrianError(f'{origin}: found no "=", expected step.field=value')
        top = ("name", "seed", "hardware", "licences", "track", "remote")
        if first not in steps and first not in top:
            meant = nearest(first, [*steps, *top])
            hint = f'; did you mean "{meant}"?' if meant else ""
            raise BactrianError(
                f'{origin}: step "{first}": found no such step, expected one of: {", ".join([*steps, *top])}{hint}'
            )
        if first in steps and not rest:
            raise BactrianError(f"{origin}: found a step without a field, expected step.field=value")
        if first == "hardware" and rest and isinstance(document.data.get(first), str):  # a preset's name alone
            document.data[first] = {"preset": document.data[first]}
        place = ("steps", first, *rest) if first in steps else (first, *rest)
        document.origins[_put(document.data, place, parse_value(text, origin), origin)] = origin


def parse_value(text: str, origin: str) -> Any:
    """A value as YAML reads it: 2 a number, "2" a text, [a, b] a list.

    Raises:
        BactrianError: naming `origin`.
    """
    return _plain(_parse(text, origin), origin)


def _put(data: Any, place: Place, value: Any, origin: str) -> Place:
    """Set data[a][b]… = value, making mappings on the way; returns the place with list positions as numbers."""
    real: list[str | int] = []
    for index, part in enumerate(place):
        key: str | int = part
        if isinstance(data, list):
            if not (str(part).isdigit() and int(part) < len(data)):
                raise BactrianError(f'{origin}: field "{part}": expected a position from 0 to {len(data) - 1}')
            key = int(part)
        elif not isinstance(data, dict):
            raise BactrianError(f'{origin}: field "{part}": what holds it is a single value, not a mapping or a list')
        real.append(key)
        if index == len(place) - 1:
            data[key] = value
        elif isinstance(data, dict) and data.get(str(key)) is None:
            data[key] = {}
            data = data[key]
        else:
            data = data[key]
    return tuple(real)


def _parse(text: str, label: str) -> Any:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        return YAML(typ="rt").load(io.StringIO(text))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark is not None and not label.startswith("--") else ""
        problem = re.sub(r"\s+", " ", f"{error.context or ''}: {error.problem or ''}".strip(": "))
        raise BactrianError(f"{label}{line}: not valid YAML: {problem}") from None
    except (YAMLError, RecursionError, ValueError) as error:
        raise BactrianError(f"{label}: not valid YAML: {next(iter(str(error).splitlines()), '')}") from None


def _plain(node: Any, label: str) -> Any:
    """ruamel's nodes as dict, list, str, int, float, bool and None."""
    from ruamel.yaml.scalarbool import ScalarBoolean

    left = _MOST_VALUES

    def convert(value: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise BactrianError(f"{label}: found more than {_MOST_VALUES:,} values, expected a recipe")
        if isinstance(value, Mapping):
            return {str(key): convert(item) for key, item in value.items()}
        if isinstance(value, list | tuple | set):
            return [convert(item) for item in value]
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, ScalarBoolean):
            return bool(value)
        return next((plain(value) for plain in (int, float, str) if isinstance(value, plain)), str(value))

    try:
        return convert(node)
    except RecursionError:
        raise BactrianError(f"{label}: found values nested without end, expected a recipe") from None
