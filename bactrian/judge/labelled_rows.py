"""Labelled pairs, demonstrations and verdicts as rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bactrian.judge.demonstrations import Demonstration
from bactrian.judge.labelled import LabelledPair
from bactrian.judge.opinions import Opinion

Row = dict[str, Any]


def opinion_row(each: LabelledPair, said: Mapping[str, Opinion]) -> Row:
    """A labelled pair and what judges said of it, as `read_labelled` reads it again; a fault leaves no opinion."""
    told = {name: opinion for name, opinion in said.items() if not opinion.fault}
    return {
        "id": each.pair.id,
        "prompt": [*each.pair.prompt],
        "first": each.pair.first,
        "second": each.pair.second,
        **({"reference": each.pair.reference} if each.pair.reference else {}),
        "label": each.label + 1,
        "judge_probs": {name: list(opinion.probabilities) for name, opinion in told.items()},
        "judge_tokens": {name: [opinion.tokens_in, opinion.tokens_out] for name, opinion in told.items()},
        "source": each.source,
        "license": each.license,
    }


def demonstration_row(each: Demonstration) -> Row:
    """A demonstration, as `read_pool` reads it again."""
    return {
        "annotator": each.annotator,
        "prompt": [*each.pair.prompt],
        "outputs": [each.pair.first, each.pair.second],
        "label": each.label + 1,
        **({"reference": each.pair.reference} if each.pair.reference else {}),
    }
