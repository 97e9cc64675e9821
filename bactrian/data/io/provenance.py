"""The record of where the rows of a data artifact are from: provenance.json, one entry per source."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bactrian.errors import BactrianError

PROVENANCE = "provenance.json"


def write_provenance(folder: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Write the records: name, licences, origin, generator, terms, …, transformations, rows, and hash or commit."""
    (folder / PROVENANCE).write_text(json.dumps(list(records), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_provenance(folder: Path) -> list[dict[str, Any]]:
    """The records of an artifact; of files that have none, none.

    Raises:
        BactrianError: for a damaged one.
    """
    try:
        records = json.loads((folder / PROVENANCE).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except ValueError as error:
        raise BactrianError(f"{folder / PROVENANCE}: damaged: {error}") from None
    return list(records)
