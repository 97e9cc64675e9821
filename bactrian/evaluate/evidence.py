"""What a store knows of its ledger besides the ledger itself: its results, and the note of where the ledger last was.

The manifest of every results artifact holds the ledger's name, its newest seal and its length when the results were
made, and the looks behind them. `store.json` holds the same of the last look, whoever took it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bactrian.errors import BactrianError
from bactrian.evaluate.results import NAME, read_object, require
from bactrian.store.artifact import Store
from bactrian.store.disk import write_atomically
from bactrian.store.manifest import MANIFEST, LedgerRecord, Manifest

WITNESS = "store.json"


@dataclass(frozen=True)
class Evidence:
    """What one file of a store knows of a ledger. Results made before manifests held it know seals only: `id` is ""."""

    where: Path
    record: LedgerRecord
    seals: tuple[str, ...] = ()


def evidence(store: Store) -> list[Evidence]:
    """All there is.

    Raises:
        BactrianError: for what cannot be read, or results of unseen tasks that carry no look.
    """
    witness = read_witness(store)
    return [*([witness] if witness else []), *of_results(store)]


def of_results(store: Store) -> Iterator[Evidence]:
    """What results know: by their manifests, and those that are older by results.json."""
    for folder in sorted(store.artifacts.glob("*/")):
        raw = (folder / MANIFEST).read_bytes() if (folder / MANIFEST).is_file() else b""
        if b'"ledger": {' in raw:
            record = Manifest.read(folder).ledger
            if record is not None:
                yield Evidence(folder / MANIFEST, record)
        elif folder.name.startswith("suite-") and b'"format": 2' not in raw and (folder / NAME).is_file():
            yield Evidence(folder / NAME, LedgerRecord(id="", lines=0, seal=""), _seals(folder / NAME))


def _seals(path: Path) -> tuple[str, ...]:
    results = read_object(path)
    require(results, {"tasks": dict, "looks": list}, str(path))
    unseen = [name for name, about in results["tasks"].items() if isinstance(about, dict) and "looks" in about]
    if unseen and not results["looks"]:
        raise BactrianError(
            f"{path}: scores of {', '.join(unseen)}, which are unseen, without a look: the results were tampered with"
        )
    return tuple(str(seal) for seal in results["looks"])


def read_witness(store: Store) -> Evidence | None:
    """What `store.json` says.

    Raises:
        BactrianError: where it is damaged.
    """
    path = store.root / WITNESS
    if not path.is_file():
        return None
    try:
        return Evidence(path, LedgerRecord.model_validate(json.loads(path.read_text(encoding="utf-8"))))
    except ValueError as error:
        raise BactrianError(
            f"{path}: damaged ({str(error).splitlines()[0]}); restore it from a copy, or write it "
            f"anew: bactrian ledger --store {store.root} --rebuild"
        ) from None


def write_witness(store: Store, record: LedgerRecord) -> None:
    """Note how far the ledger is; after the ledger was written, so that a kill leaves a note that knows less."""
    write_atomically(store.root / WITNESS, record.model_dump_json(exclude={"looks"}) + "\n")
