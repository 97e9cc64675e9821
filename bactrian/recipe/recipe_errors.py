"""What is wrong with a recipe, collected in words, each with the place where the person wrote it."""

import json
from dataclasses import dataclass, field
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from bactrian.errors import BactrianError
from bactrian.errors.wording import misfits
from bactrian.recipe.document import Document, Place
from bactrian.recipe.foreign.counterparts import here


@dataclass
class RecipeErrors:
    """What is wrong with a document, in words."""

    document: Document
    lines: list[str] = field(default_factory=list)

    def add(self, place: Place, found: str, expected: str, missing: bool = False) -> None:
        """Note a problem at a place of the document; `missing`: the last part of the place is not there.

        Without `found`, `expected` is the whole complaint.
        """
        where = [self.document.where(place[:-1] if missing else place)]
        inside, rest = (place[1:2], place[2:]) if place[:1] == ("steps",) else ((), place)
        where += [f'step "{part}"' for part in inside]
        where += [f'field "{".".join(map(str, rest))}"'] if rest else []
        self.lines.append(f"{', '.join(where)}: " + (f"found {found}, expected {expected}" if found else expected))

    def error(self) -> BactrianError:
        """All of them, one per line."""
        return BactrianError("\n".join(self.lines))


Record = TypeVar("Record", bound=BaseModel)


def validated(record: type[Record], data: object, place: Place, problems: RecipeErrors) -> Record | None:
    """The data as a record, strictly (no "2" for 2, no true for 1), or None and the reasons in `problems`."""
    try:
        return record.model_validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        for misfit in misfits(error, record, data):
            there = here(str(misfit.path[-1]), record.model_fields) if misfit.unknown else None
            expected = f"{there}, as it is here" if there else misfit.expected
            problems.add((*place, *misfit.path), misfit.found, expected, misfit.missing)
        return None
