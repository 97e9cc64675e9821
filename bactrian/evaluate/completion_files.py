"""Files of completions that somebody has sampled: read, verified, written back with their verdicts."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bactrian.errors import BactrianError
from bactrian.evaluate.statistics import Interval, clustered_wilson
from bactrian.store.own_files import is_own
from bactrian.verify import OUTCOMES, Item, Pool, Verdict, at_limit, check_verifiers

TEXTS = ("completion", "response", "output")
"""Columns that may hold the completion; the first that a row has is taken."""


@dataclass(frozen=True)
class Summary:
    """What a file of completions scores: share right with its interval (questions as clusters), and all outcomes.

    `parts` is the mean over single instructions where verdicts list them (IFEval), else None.
    """

    n: int
    questions: int
    score: float
    interval: Interval
    mean_score: float
    parts: float | None
    counts: dict[str, int]


def read_completions(path: Path, name: str | None) -> list[dict[str, Any]]:
    """Rows with `completion`, `ground_truth`, `dataset`; `name` is the verifier of all of them, if
    given.

    Raises:
        BactrianError: naming the row and the field that it lacks, or what a verifier cannot
            judge.
    """
    from bactrian.data.io.files import read_rows
    from bactrian.data.io.rows import judged_by

    rows = []
    for number, row in enumerate(read_rows(path), 1):
        text = next((row[field] for field in TEXTS if isinstance(row.get(field), str)), None)
        where = f"{path}, row {number}"
        if text is None:
            raise BactrianError(f"{where}: no completion; expected a text in one of the fields {', '.join(TEXTS)}")
        if name is not None and is_own(name):
            rows.append({**judged_by(row, name), "completion": text})
            continue
        dataset = name or row.get("dataset")
        if not isinstance(dataset, str):
            raise BactrianError(f"{where}: no field 'dataset' names its verifier; name one for all with --verifier")
        rows.append({**row, "completion": text, "dataset": dataset, "ground_truth": truth_of(row, where)})
    if not rows:
        raise BactrianError(f"{path}: no rows")
    check_verifiers(rows, str(path))
    return rows


def truth_of(row: Mapping[str, Any], where: str) -> str:
    """The row's `ground_truth`; of a row in IFEval's own layout its instructions."""
    if isinstance(row.get("ground_truth"), str):
        return str(row["ground_truth"])
    if "instruction_id_list" in row and "kwargs" in row:
        return json.dumps({key: row[key] for key in ("instruction_id_list", "kwargs")})
    raise BactrianError(f"{where}, field 'ground_truth': found {row.get('ground_truth')!r:.60}, expected a text")


def score_rows(rows: Sequence[Mapping[str, Any]], pool: Pool) -> list[Verdict]:
    """A verdict for each row; "truncated" where its `finish` is "length" and it is not right."""
    from dataclasses import replace

    said = pool.verify_all([Item.of(row, row["completion"]) for row in rows])
    return [
        replace(verdict, outcome=at_limit(verdict.outcome, str(row.get("finish", ""))))
        for row, verdict in zip(rows, said, strict=True)
    ]


def summary(rows: Sequence[Mapping[str, Any]], verdicts: Sequence[Verdict]) -> Summary:
    """Rows of one `question` (else `prompt`, else `id`) are samples of one question."""
    groups: dict[Any, list[bool]] = {}
    for number, (row, verdict) in enumerate(zip(rows, verdicts, strict=True)):
        key = row.get("question") or row.get("prompt") or number
        groups.setdefault(json.dumps(key, sort_keys=True), []).append(verdict.outcome == "right")
    means = [sum(group) / len(group) for group in groups.values()]
    listed = [kept for verdict in verdicts for kept in kept_of(verdict)]
    counted = Counter(verdict.outcome for verdict in verdicts)
    return Summary(
        n=len(rows),
        questions=len(groups),
        score=sum(means) / len(means),
        interval=clustered_wilson(means, max(len(group) for group in groups.values())),
        mean_score=sum(verdict.score for verdict in verdicts) / len(verdicts),
        parts=sum(listed) / len(listed) if listed else None,
        counts={name: counted[name] for name in OUTCOMES},
    )


def kept_of(verdict: Verdict) -> list[bool]:
    """Which instructions a text keeps to, where the verdict lists that."""
    try:
        listed = json.loads(verdict.extracted or "")
    except ValueError:
        return []
    return listed if isinstance(listed, list) and all(isinstance(each, bool) for each in listed) else []


def write_verdicts(path: Path, rows: Sequence[Mapping[str, Any]], verdicts: Sequence[Verdict]) -> None:
    """The rows with `score`, `outcome`, `extracted`, `reason`, one JSON object a line; whole or not at all."""
    draft = path.with_name(path.name + ".partial")
    with draft.open("w", encoding="utf-8", errors="backslashreplace") as file:
        for row, verdict in zip(rows, verdicts, strict=True):
            file.write(json.dumps({**row, **asdict(verdict)}, ensure_ascii=False, default=str) + "\n")
    draft.replace(path)
