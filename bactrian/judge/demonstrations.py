"""Pairs that people have labelled, shown to a judge so that it answers as one of them would (simulated annotators).

A pool is disjoint from what a calibration is made and tested on: `groups` are the prompts to look out for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any

from bactrian.data.io.files import stream_rows
from bactrian.errors import BactrianError
from bactrian.judge.opinions import FIRST, SECOND, AnswerPair
from bactrian.store.hashes import hash_json


@dataclass(frozen=True)
class Demonstration:
    """A pair and which answer its annotator prefers: FIRST or SECOND."""

    annotator: str
    pair: AnswerPair
    label: int


@dataclass(frozen=True)
class DemonstrationPool:
    """Labelled pairs; `name` is for messages to people."""

    name: str
    demonstrations: tuple[Demonstration, ...]

    @cached_property
    def by_annotator(self) -> Mapping[str, list[Demonstration]]:
        """Each annotator's, in the order of the pool."""
        found: dict[str, list[Demonstration]] = {}
        for each in self.demonstrations:
            found.setdefault(each.annotator, []).append(each)
        return found

    @cached_property
    def digest(self) -> str:
        """SHA-256 over annotators, texts and labels, in their order."""
        return hash_json(
            [
                [
                    each.annotator,
                    list(each.pair.prompt),
                    each.pair.first,
                    each.pair.second,
                    each.pair.reference,
                    each.label,
                ]
                for each in self.demonstrations
            ]
        )

    @property
    def groups(self) -> frozenset[str]:
        """Of its prompts, as `AnswerPair.group`."""
        return frozenset(each.pair.group for each in self.demonstrations)

    def own(self, annotators: int, count: int) -> list[tuple[Demonstration, ...]]:
        """The first `count` demonstrations of each of the first `annotators` that have as many.

        Raises:
            BactrianError: too few annotators have.
        """
        able = [mine[:count] for mine in self.by_annotator.values() if len(mine) >= count]
        if len(able) < annotators:
            numbers = ", ".join(f"{name}: {len(mine)}" for name, mine in list(self.by_annotator.items())[:8])
            raise BactrianError(
                f"{self.name}: expected {annotators} annotators with {count} demonstrations each, found {len(able)} "
                f"({numbers}); ask for fewer, or for demonstrations of all annotators mixed (randomised)"
            )
        return [tuple(mine) for mine in able[:annotators]]

    def mixed(self, annotators: int, count: int, seed: int) -> list[tuple[Demonstration, ...]]:
        """For each simulated annotator `count` demonstrations of random ones, none twice for the same.

        Raises:
            BactrianError: there are fewer than `count`.
        """
        if len(self.demonstrations) < count:
            raise BactrianError(
                f"{self.name}: expected at least {count} demonstrations, found {len(self.demonstrations)}"
            )
        random = Random(f"demonstrations/{seed}")
        return [tuple(random.sample(self.demonstrations, count)) for _ in range(annotators)]


def read_pool(path: Path) -> DemonstrationPool:
    """A pool from rows.

    A row is one demonstration: `annotator`, `prompt` (messages) or `instruction`, `outputs` (two texts) and `label`
    (1 or 2); or all of an annotator's: `annotator` and `evaluated_samples`, a list of such rows, whose label may stand
    in `preferences`, under one name [Jung et al. 2025].

    Raises:
        BactrianError: naming the row and the field that is of another form; no row.
    """
    found: list[Demonstration] = []
    for row, where in stream_rows(path):
        samples = row.get("evaluated_samples", [row])
        if not isinstance(samples, list):
            raise BactrianError(f"{where}, field 'evaluated_samples': found {samples!r:.40}, expected a list")
        for number, sample in enumerate(samples, 1):
            place = f"{where}, sample {number}" if "evaluated_samples" in row else where
            if not isinstance(sample, dict):
                raise BactrianError(f"{place}: found {sample!r:.40}, expected a row with two outputs and a label")
            annotator = str(sample.get("annotator") or row.get("annotator") or "")
            found.append(Demonstration(annotator, *labelled_pair(sample, place)))
    if not found:
        raise BactrianError(f"{path}: no demonstration")
    return DemonstrationPool(str(path), tuple(found))


def labelled_pair(row: Mapping[str, Any], where: str) -> tuple[AnswerPair, int]:
    """The pair in a row of a pool, and its label.

    Raises:
        BactrianError: a field is missing or of another form.
    """
    prompt = row.get("prompt", row.get("instruction"))
    if isinstance(prompt, str) and prompt.strip():
        prompt = [{"role": "user", "content": prompt}]
    if not isinstance(prompt, list) or not prompt:
        raise BactrianError(
            f"{where}, field 'instruction': found {prompt!r:.40}, expected a text, or 'prompt': messages"
        )
    outputs = row.get("outputs")
    if not isinstance(outputs, list) or len(outputs) != 2 or not all(isinstance(each, str) for each in outputs):
        raise BactrianError(f"{where}, field 'outputs': found {outputs!r:.40}, expected two texts")
    first, second = outputs
    return AnswerPair(where, tuple(prompt), first, second, str(row.get("reference") or "")), _label(row, where)


def _label(row: Mapping[str, Any], where: str) -> int:
    label, given = row.get("label"), row.get("preferences")
    if label is None and isinstance(given, dict) and len(given) == 1:
        label = next(iter(given.values()))
    if label not in (1, 2) or isinstance(label, bool):
        raise BactrianError(
            f"{where}, field 'label': found {json.dumps(label, default=str):.40}, expected 1 or 2, the output preferred"
        )
    return FIRST if label == 1 else SECOND


def shown(demonstrations: Sequence[Demonstration]) -> str:
    """Whose demonstrations, for messages."""
    return ", ".join(sorted({each.annotator or "?" for each in demonstrations}))
