"""Parts that other installed packages add: Python's entry points, with one group for each kind of part.

A package lists its parts in pyproject.toml, and they are there as soon as it is installed:

    [project.entry-points."bactrian.templates"]
    radio = "their_package:RADIO"

Listing names imports nothing. A part that is used in a step counts for that step's artifact, with its code and the
version of its package (parts.py).
"""

from collections.abc import Callable, Collection
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from bactrian.errors import BactrianError
from bactrian.store.parts import note

Part = TypeVar("Part")


class Plugins(Generic[Part]):
    """The parts of one kind, each loaded when it is first asked for.

    group     of entry points: "bactrian.templates"
    kind      one of them, as messages have it: "template"
    expected  what an entry point must lead to, in words; `fits` tells it
    """

    def __init__(self, group: str, kind: str, expected: str, fits: Callable[[Any], bool]) -> None:
        self.group, self.kind, self.expected, self.fits = group, kind, expected, fits

    def names(self, own: Collection[str] = ()) -> list[str]:
        """The names that installed packages give, sorted; imports nothing.

        Args:
            own: names of Bactrian's own parts, which no other package may take.

        Raises:
            BactrianError: a name of Bactrian's own is taken, or two packages give the same name.
        """
        found = _entry_points(self.group)
        for name, points in found.items():
            packages = " and ".join(package_of(point) for point in points)
            if name in own:
                raise BactrianError(
                    f"the {self.kind} {name!r} of the package {packages}: Bactrian has one of that name; "
                    "the package must give it another name"
                )
            if len(points) > 1:
                raise BactrianError(
                    f"{self.kind} {name!r}: two packages have one of that name, {packages}; uninstall one"
                )
        return sorted(found)

    def get(self, name: str) -> Part:
        """The part that a package gives this name, which must be among `names`.

        Raises:
            BactrianError: importing it fails, or it is not what is expected; the message names the package.
        """
        part: Part = self._load(name)
        if not self.fits(part):
            found = part.__name__ if isinstance(part, type) else type(part).__name__
            raise BactrianError(f"{self._called(name)}: found {found}, expected {self.expected}")
        return part

    def use(self, name: str) -> Part:
        """As `get`, for the step at hand: what it makes depends on the part's code and its package's version."""
        part = self.get(name)
        note(f"{self.kind} {name}", _entry_points(self.group)[name][0].module)
        return part

    def _load(self, name: str) -> Any:
        try:
            return _entry_points(self.group)[name][0].load()
        except Exception as error:  # a package's import may fail in any way
            raise BactrianError(f"{self._called(name)}: it cannot be loaded: {error!r}") from error

    def _called(self, name: str) -> str:
        point = _entry_points(self.group)[name][0]
        return f"the {self.kind} {name!r} of the package {package_of(point)} ({point.value})"


@cache
def _entry_points(group: str) -> dict[str, list[EntryPoint]]:
    """The entry points of a group by name; more than one to a name where packages disagree."""
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=group):
        found.setdefault(point.name, []).append(point)
    return found


def package_of(point: EntryPoint) -> str:
    """The name of the package that an entry point comes from."""
    return point.dist.name if point.dist else "?"
