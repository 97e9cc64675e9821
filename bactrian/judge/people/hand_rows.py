"""What people said as rows that calibrate a judge: one label a pair, and each annotator's own beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bactrian.data.io.files import stream_rows
from bactrian.errors import BactrianError
from bactrian.judge.labelled import TIE, WORDS, majority
from bactrian.judge.opinions import FIRST, SECOND
from bactrian.judge.people.pairs_by_hand import LABELS, Label, PairByHand
from bactrian.judge.people.record import HandVerdict, labels_of

Row = dict[str, Any]
VERDICT = ("label", "verdict")
"""Where a judge's file has what it says; `verdict` in the rows that the stage `judge` leaves."""


def label_or_why(labels: Iterable[Label]) -> tuple[Label | None, str]:
    """("first" or "second", as the majority says; why there is none).

    Neither is "tie" and "both_bad" together. Where as many say one as another, nobody's label is taken.

    >>> label_or_why(["first", "second", "first"]), label_or_why(["first", "second"]), label_or_why(["first", "tie"])
    (('first', ''), (None, 'split'), (None, 'tie'))
    """
    counts = Counter(WORDS[label] for label in labels)
    votes = counts[FIRST], counts[SECOND], counts[TIE]
    preferred = majority(votes)
    if preferred is None:
        return None, "tie" if votes[TIE] == max(votes) else "split"
    return ("first" if preferred == FIRST else "second"), ""


def labelled_rows(pairs: Sequence[PairByHand], verdicts: Sequence[HandVerdict]) -> tuple[list[Row], Mapping[str, int]]:
    """The rows, and how many pairs there were of each kind: labelled, tie, split, unlabelled, attention.

    Pairs without a majority are rows too, with `label` null: whoever reads them drops and counts them. Pairs that
    nobody labelled, and attention items, are no rows.
    """
    by_annotator = labels_of(verdicts)
    comments: dict[str, dict[str, str]] = {}
    for said in verdicts:
        if said.comment:
            comments.setdefault(said.pair, {})[said.annotator] = said.comment
    rows, counts = [], Counter(dict.fromkeys(("labelled", "tie", "split", "unlabelled", "attention"), 0))
    for each in pairs:
        labels = {name: found[each.pair.id] for name, found in by_annotator.items() if each.pair.id in found}
        if each.attention or not labels:
            counts["attention" if each.attention else "unlabelled"] += 1
            continue
        label, why = label_or_why(labels.values())
        counts[why or "labelled"] += 1
        rows.append(_row(each, labels, label, comments.get(each.pair.id, {})))
    return rows, counts


def _row(each: PairByHand, labels: Mapping[str, Label], label: Label | None, comments: Mapping[str, str]) -> Row:
    return {
        "id": each.pair.id,
        "prompt": list(each.pair.prompt),
        "first": each.pair.first,
        "second": each.pair.second,
        "labels": dict(labels),
        "label": label,
        "comments": dict(comments),
        "source": each.source,
        "license": each.license,
    }


def read_judge(path: Path, pairs: Sequence[PairByHand]) -> dict[str, Label]:
    """Pair → what a judge said, from rows of `id` and `label` or `verdict`: "first", "second", "tie" or "both_bad".

    A row without is one on which it abstained. Numbers are refused: files count from 0, or from 1. Attention items are
    left out.

    Raises:
        BactrianError: a row is none of these, or names a pair twice, or one that is not among `pairs`.
    """
    known, found, seen = {each.pair.id: each for each in pairs}, dict[str, Label](), set[str]()
    for row, where in stream_rows(path):
        name = str(row.get("id"))
        if name not in known or name in seen:
            expected = "each pair once" if name in seen else "the id of a pair"
            raise BactrianError(f"{where}, field 'id': found {name!r:.60}, expected {expected}")
        seen.add(name)
        label = next((row[field] for field in VERDICT if field in row), None)
        if label is not None and label not in LABELS:
            raise BactrianError(f"{where}, field 'label': found {label!r:.40}, expected one of {', '.join(LABELS)}")
        if label is not None and not known[name].attention:
            found[name] = label
    return found
