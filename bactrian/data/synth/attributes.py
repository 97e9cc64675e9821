"""Attributes of a text as data: what each means, its five levels, and how a text has more of it or less.

Any list will do: sets are shipped by name (`attribute_sets/`), and others stand in the recipe [ALFA, Li et al. 2025].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from bactrian.errors import BactrianError
from bactrian.errors.wording import nearest

SHIPPED = Path(__file__).with_name("attribute_sets")
LEVELS = 5
FIELDS = ("name", "group", "definition", "levels", "enhanced", "corrupted")


@dataclass(frozen=True)
class Attribute:
    """levels: what 1 to 5 stand for. enhanced, corrupted: what a text with more of it, or less, is like.

    group: several attributes may be kept or left out together by its name.
    """

    name: str
    group: str
    definition: str
    levels: tuple[str, ...]
    enhanced: str
    corrupted: str


@dataclass(frozen=True)
class AttributeSet:
    """text: what the attributes are of ("question"); wording: how a rewrite of it is to be worded."""

    text: str
    wording: str
    attributes: tuple[Attribute, ...]


def shipped_sets() -> dict[str, Path]:
    """Name → file of the sets that come with Bactrian, in order of name."""
    return {path.stem: path for path in sorted(SHIPPED.glob("*.yaml"))}


@cache
def attribute_set(name: str) -> AttributeSet:
    """A shipped set.

    Raises:
        BactrianError: there is none of that name, with the nearest.
    """
    from ruamel.yaml import YAML

    known = shipped_sets()
    if name not in known:
        near = nearest(name, list(known))
        hint = f'; did you mean "{near}"?' if near else ""
        raise BactrianError(f"attributes: found {name!r}, expected a list or one of {', '.join(known)}{hint}")
    data = YAML(typ="safe").load(known[name])
    return AttributeSet(data["text"], data["wording"], attributes(data["attributes"]))


def attributes(given: Sequence[Mapping[str, Any]]) -> tuple[Attribute, ...]:
    """Attributes from records with FIELDS; `group` may be left out.

    Raises:
        BactrianError: naming the attribute and what it lacks, or two of one name.
    """
    found = []
    for number, record in enumerate(given, 1):
        where = f"attribute {number} ({record.get('name', 'no name')})"
        if missing := [field for field in FIELDS if field != "group" and not record.get(field)]:
            raise BactrianError(f"attributes: {where}: no {', '.join(missing)}")
        levels = tuple(str(level) for level in record["levels"])
        if len(levels) != LEVELS:
            raise BactrianError(
                f"attributes: {where}: levels: found {len(levels)}, expected {LEVELS}, from least to most"
            )
        texts = [str(record[field]) for field in ("definition", "enhanced", "corrupted")]
        found.append(Attribute(str(record["name"]), str(record.get("group") or ""), texts[0], levels, *texts[1:]))
    names = [each.name for each in found]
    if twice := [name for name in names if names.count(name) > 1]:
        raise BactrianError(f"attributes: found two called {twice[0]!r}, expected each name once")
    return tuple(found)
