"""What people said as rows that calibrate a judge: one label a pair, and each annotator's own beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bactrian.data.io.files import stream_rows
from bactrian.errors import BactrianError
from bactrian.judge.opinions import FIRST, SECOND
from bactrian.judge.people.pairs_by_hand import LABELS, Label, PairByHand
from bactrian.judge.people.record import HandVerdict, labels_of

Row = dict[str, Any]
PREFERENCES = {"first": FIRST, "second": SECOND}
MEANINGS: Mapping[Any, Label] = {FIRST: "first", SECOND: "second", **{label: label for label in LABELS}}
"""How a judge's file may write a label."""


def majority(labels: Iterable[Label]) -> tuple[int | None, str]:
    """(the label that more annotators gave than any other, why there is none).

    FIRST or SECOND; None where most said "tie" or "both_bad" ("tie"), or no label has most ("split"): then it is
    nobody's verdict, whichever label came first.

    >>> majority(["first", "second", "first"]), majority(["first", "second"]), majority(["both_bad"])
    ((0, ''), (None, 'split'), (None, 'tie'))
    """
    most = Counter(labels).most_common(2)
    if len(most) == 2 and most[0][1] == most[1][1]:
        return None, "split"
    return (PREFERENCES[most[0][0]], "") if most[0][0] in PREFERENCES else (None, "tie")


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
    rows, counts = [], Counter({name: 0 for name in ("labelled", "tie", "split", "unlabelled", "attention")})
    for each in pairs:
        labels = {name: found[each.pair.id] for name, found in by_annotator.items() if each.pair.id in found}
        if each.attention or not labels:
            counts["attention" if each.attention else "unlabelled"] += 1
            continue
        label, why = majority(labels.values())
        counts[why or "labelled"] += 1
        rows.append(_row(each, labels, label, comments.get(each.pair.id, {})))
    return rows, counts


def _row(each: PairByHand, labels: Mapping[str, Label], label: int | None, comments: Mapping[str, str]) -> Row:
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
    """Pair → the label that a judge gave, from rows of `id` and `label` (0 or "first", 1 or "second", "tie",
    "both_bad"; missing or null where it abstained). Attention items are left out.

    Raises:
        BactrianError: a row is none of these, or names a pair twice, or one that is not among `pairs`.
    """
    known, found = {each.pair.id: each for each in pairs}, dict[str, Label]()
    seen: set[str] = set()
    for row, where in stream_rows(path):
        name, label = str(row.get("id")), row.get("label")
        if name not in known or name in seen:
            expected = "each pair once" if name in seen else "the id of a pair"
            raise BactrianError(f"{where}, field 'id': found {name!r:.60}, expected {expected}")
        seen.add(name)
        if label is None or known[name].attention:
            continue
        if isinstance(label, bool) or label not in MEANINGS:
            raise BactrianError(
                f"{where}, field 'label': found {label!r:.40}, expected 0, 1, {', '.join(LABELS)}, or none"
            )
        found[name] = MEANINGS[label]
    return found
