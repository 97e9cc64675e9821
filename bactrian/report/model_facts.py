"""What a store knows of a model: what it was made from, evaluations of it, looks at unseen tasks, its recipe."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bactrian.errors import BactrianError
from bactrian.report.load import load_results
from bactrian.report.run_record import ComparisonRecord, ResultsRecord, ScoreRecord
from bactrian.store.artifact import Store
from bactrian.store.manifest import MANIFEST, Kind, Licence, Manifest


@dataclass(frozen=True)
class Evaluated:
    """An evaluation that asked a model: what it calls it, its scores, and paired tests in which it is the later one."""

    artifact: str
    started: str
    label: str
    scores: tuple[ScoreRecord, ...]
    comparisons: tuple[ComparisonRecord, ...]


@dataclass(frozen=True)
class ModelFacts:
    """All that a card is made from. Of a model that bactrian did not make, `made` is None and `lineage` empty.

    bases: models from outside that it was made from, as the recipe names them; data: likewise.
    lineage: the manifests of all that it was made from, those made first at the beginning, itself at the end.
    gone: what it was made from and is not in the store any more.
    """

    name: str
    made: Manifest | None = None
    bases: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    lineage: tuple[Manifest, ...] = ()
    gone: tuple[str, ...] = ()
    evaluations: tuple[Evaluated, ...] = ()
    looks: tuple[Mapping[str, Any], ...] = ()
    recipe: str = ""
    licences: tuple[Licence, ...] = ()


def facts_of(name: str, folder: Path, licences: tuple[Licence, ...] = ()) -> ModelFacts:
    """What is known of a model folder.

    Args:
        name: what the card will call it.
        licences: of a model that bactrian did not make.

    Raises:
        BactrianError: a manifest is damaged.
    """
    if not (folder / MANIFEST).is_file():
        return ModelFacts(name, bases=(name,), licences=licences)
    made = Manifest.read(folder)
    store = store_of(folder)
    lineage, outside, gone = _lineage(made, folder)
    found = list(_evaluations(made, store))
    models = {kind: tuple(dict.fromkeys(ref for ref, each in outside if each is kind)) for kind in Kind}
    return ModelFacts(
        name,
        made,
        models[Kind.MODEL],
        models[Kind.DATA],
        tuple(lineage),
        tuple(gone),
        tuple(each for each, _ in found),
        tuple(look for _, manifest in found for look in _looks(made, manifest)),
        _recipe(made, store),
        made.licences,
    )


def store_of(folder: Path) -> Store:
    """The store in which an artifact lies."""
    return Store(folder.resolve().parent.parent)


def _lineage(made: Manifest, folder: Path) -> tuple[list[Manifest], list[tuple[str, Kind]], list[str]]:
    """Manifests of all that was in what it was made from, oldest first; what came from outside; what is gone."""
    order, outside, gone = list[Manifest](), list[tuple[str, Kind]](), list[str]()
    seen = set[str]()

    def visit(manifest: Manifest, place: Path) -> None:
        if manifest.key in seen:
            return
        seen.add(manifest.key)
        for ref, record in manifest.inputs.items():
            path = Path(record.path)
            if record.key is None:
                # a model's folder is a folder with a configuration; so is that of a Hub model or an embedded one
                model = ref.startswith("embedded:") or (path / "config.json").is_file() or path.name == "config.json"
                outside.append((ref, Kind.MODEL if model else Kind.DATA))
                continue
            places = (place.parent / path.name, path)
            there = next((each for each in places if (each / MANIFEST).is_file()), None)
            if there is None:
                gone.append(f"{ref} ({record.content_hash[:16]})")
            else:
                visit(Manifest.read(there), there)
        order.append(manifest)

    visit(made, folder)
    return order, outside, gone


def _evaluations(made: Manifest, store: Store) -> Iterator[tuple[Evaluated, Manifest]]:
    """Each evaluation in the store that asked these very weights; those that cannot be read are no evidence."""
    for folder in sorted(store.artifacts.glob("evaluate-*/")):
        try:
            manifest = Manifest.read(folder)
        except BactrianError:
            continue  # the run's report names it; a card may only quote what is whole
        refs = {ref for ref, record in manifest.inputs.items() if record.content_hash == made.content_hash}
        labels = {label for label, ref in _labels(manifest) if ref in refs}
        results = load_results(folder) if labels else None
        if results is not None:
            yield from ((_evaluated(folder, manifest, results, label), manifest) for label in sorted(labels))


def _labels(manifest: Manifest) -> list[tuple[str, str]]:
    """What an evaluation calls its models → their references."""
    models = manifest.settings.get("models") or {}
    pairs = models.items() if isinstance(models, Mapping) else zip(models, models, strict=True)
    return [(str(label), str(ref)) for label, ref in pairs]


def _evaluated(folder: Path, manifest: Manifest, results: ResultsRecord, label: str) -> Evaluated:
    return Evaluated(
        folder.name,
        manifest.started,
        label,
        tuple(score for score in results.scores if score.model == label),
        tuple(each for each in results.comparisons if each.after == label),
    )


def _looks(made: Manifest, manifest: Manifest) -> list[Mapping[str, Any]]:
    looks = manifest.ledger.looks if manifest.ledger else ()
    return [look for look in looks if look.get("model_hash") == made.content_hash]


def _recipe(made: Manifest, store: Store) -> str:
    """The text of the last recipe of the store that has this artifact as a step."""
    found = []
    for path in store.root.glob("*/run.json"):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            if any(step["key"] == made.key for step in record["steps"]):
                found.append((str(record["started"]), str(record["recipe"])))
        except (OSError, ValueError, KeyError, TypeError):
            continue  # no record of a run
    return max(found)[1] if found else ""
