"""Which settings would make a step fit into memory: each is tried in a forecast, the cheapest first."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from bactrian.stages.stage import Facts, Stage
from bactrian.store.hardware import Hardware

_Changes = dict[str, dict[str, Any]]

RECOMPUTED: _Changes = {"memory": {"recompute": "layer"}}
SMALLER: _Changes = {"memory": {"micro_tokens": 1024}}
EIGHT_BITS: _Changes = {"optimiser": {"states": "8bit"}}
OFFLOADED: _Changes = {"optimiser": {"offload": True}}
ADAPTER: _Changes = {"adapter": {"rank": 64}}
FOUR_BITS: _Changes = {"adapter": {"rank": 64, "weights": "nf4"}}


@dataclass(frozen=True)
class Remedy:
    """Settings, as they stand in a recipe, and what the step would need with them (bytes); whether that fits."""

    settings: str
    peak_memory: float
    fits: bool


def remedy(stage: Stage, known: Mapping[str, Facts], hardware: Hardware, memory: float) -> Remedy | None:
    """The first settings with which a step needs no more than `memory` bytes, or else those with which it needs least.

    None where the stage has no setting that would make it need less.
    """
    tried = [
        Remedy(_written(changes), needed, needed <= memory)
        for changes in _candidates(hardware)
        if (needed := _forecast(stage, changes, known)) is not None
    ]
    least = min(tried, key=lambda each: each.peak_memory, default=None)
    return next((each for each in tried if each.fits), least)


def _candidates(hardware: Hardware) -> Iterator[_Changes]:
    """From those that cost time alone to those that train something else."""
    yield RECOMPUTED
    yield SMALLER
    both = _together(RECOMPUTED, SMALLER)
    yield both
    yield _together(both, EIGHT_BITS)
    if hardware.device == "cuda":
        yield _together(both, OFFLOADED)
    yield _together(both, ADAPTER)
    yield _together(both, FOUR_BITS)


def _together(*changes: _Changes) -> _Changes:
    groups = dict.fromkeys(group for each in changes for group in each)
    return {group: {name: value for each in changes for name, value in each.get(group, {}).items()} for group in groups}


def _forecast(stage: Stage, changes: _Changes, known: Mapping[str, Facts]) -> float | None:
    """Bytes that the step would need, or None where it has no such settings or they do not go with its others."""
    settings: dict[str, Any] = {name: getattr(stage, name) for name in type(stage).model_fields}
    for group, values in changes.items():
        if group not in settings:
            return None
        before = settings[group]
        settings[group] = {**(before.model_dump() if before is not None else {}), **values}
    try:
        return type(stage).model_validate(settings).forecast(known).peak_memory
    except ValidationError:
        return None


def _written(changes: _Changes) -> str:
    return ", ".join(
        f"{group}: {{{', '.join(f'{name}: {str(value).lower()}' for name, value in values.items())}}}"
        for group, values in changes.items()
    )
