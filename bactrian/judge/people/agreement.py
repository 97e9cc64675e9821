"""How far annotators agree beyond chance, with intervals that take pairs of one prompt together."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Interval = tuple[float, float]
Ratings = Mapping[str, Mapping[str, str]]
"""Annotator → item → label; what an annotator did not label is not there."""
Array = np.ndarray[Any, np.dtype[np.float64]]
LEAST_GROUPS = 10
"""Of fewer there is no interval: a bootstrap of three items that agree would say that all others do."""
RESAMPLES = 1000


@dataclass(frozen=True)
class AgreementBeyondChance:
    """A coefficient: 1 is full agreement, 0 what chance gives.

    value: None where it is not defined: nothing labelled twice, or one label only.
    interval: 95 %; None for fewer than 10 prompts. items: labelled by at least two.
    observed: the share of pairs of labels that are equal, in [0, 1].
    """

    value: float | None
    interval: Interval | None
    items: int
    observed: float | None


def cohen_kappa(
    first: Mapping[str, str], second: Mapping[str, str], groups: Mapping[str, Hashable] | None = None, seed: int = 0
) -> AgreementBeyondChance:
    """Cohen's kappa of two annotators, over the items that both labelled (Cohen 1960): (p_o − p_e) / (1 − p_e).

    Args:
        groups: item → what its items share (their prompt); whole groups are resampled. Each its own if not given.
    """
    items = [item for item in first if item in second]
    labels = sorted({side[item] for side in (first, second) for item in items})
    cells = np.zeros((len(items), len(labels), len(labels)))
    for row, item in enumerate(items):
        cells[row, labels.index(first[item]), labels.index(second[item])] = 1
    parts = _by_group(cells.reshape(len(items), len(labels) ** 2), items, groups)

    def coefficient(sums: Array) -> Array:
        tables = sums.reshape(-1, len(labels), len(labels))
        n = tables.sum((1, 2))
        expected = (tables.sum(1) * tables.sum(2)).sum(1) / n**2
        return np.asarray((tables.trace(axis1=1, axis2=2) / n - expected) / (1 - expected))

    agreed = float(cells.trace(axis1=1, axis2=2).sum())
    return _with_interval(coefficient, parts, len(items), agreed / len(items) if items else None, seed)


def krippendorff_alpha(
    ratings: Ratings, groups: Mapping[str, Hashable] | None = None, seed: int = 0
) -> AgreementBeyondChance:
    """Krippendorff's alpha for labels without an order, any number of annotators, gaps allowed (Krippendorff 2011).

    1 − D_o / D_e: of the pairs of labels within an item, each item weighing as many as it has labels, the share that
    differ, over the share expected of all labels mixed. Items labelled once say nothing.

    Args:
        groups: as in `cohen_kappa`.
    """
    items = sorted({item for labelled in ratings.values() for item in labelled})
    labels = sorted({label for labelled in ratings.values() for label in labelled.values()})
    place = {item: row for row, item in enumerate(items)}
    counts = np.zeros((len(items), len(labels)))
    for labelled in ratings.values():
        for item, label in labelled.items():
            counts[place[item], labels.index(label)] += 1
    twice = counts.sum(1) >= 2
    counts, items = counts[twice], [item for item, kept in zip(items, twice, strict=True) if kept]
    each = counts.sum(1)
    agreed = (counts * (counts - 1)).sum(1) / (each - 1)
    parts = _by_group(np.column_stack([agreed, counts]), items, groups)

    def coefficient(sums: Array) -> Array:
        same, of_label = sums[:, 0], sums[:, 1:]
        n = of_label.sum(1)
        return np.asarray(1 - (n - 1) * (n - same) / (n**2 - (of_label**2).sum(1)))

    observed = float(agreed.sum() / each.sum()) if items else None
    return _with_interval(coefficient, parts, len(items), observed, seed)


def _by_group(parts: Array, items: Sequence[str], groups: Mapping[str, Hashable] | None) -> Array:
    """Rows of items added up by group."""
    names = [item if groups is None else groups[item] for item in items]
    places = {name: row for row, name in enumerate(dict.fromkeys(names))}
    sums = np.zeros((len(places), parts.shape[1]))
    np.add.at(sums, np.array([places[name] for name in names], dtype=int), parts)
    return sums


def _with_interval(
    coefficient: Callable[[Array], Array], parts: Array, items: int, observed: float | None, seed: int
) -> AgreementBeyondChance:
    """The coefficient of the sums of `parts`, and its percentile bootstrap over their rows; resamples in which it is
    not defined, as they hold one label only, are left out."""
    if not items:
        return AgreementBeyondChance(None, None, 0, None)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(coefficient(parts.sum(0, keepdims=True))[0])
        if not np.isfinite(value):
            return AgreementBeyondChance(None, None, items, observed)
        if len(parts) < LEAST_GROUPS:
            return AgreementBeyondChance(value, None, items, observed)
        draws = np.random.default_rng(seed).multinomial(len(parts), np.full(len(parts), 1 / len(parts)), RESAMPLES)
        resampled = coefficient(draws @ parts)
    low, high = np.percentile(resampled[np.isfinite(resampled)], [2.5, 97.5])
    return AgreementBeyondChance(value, (float(low), float(high)), items, observed)
