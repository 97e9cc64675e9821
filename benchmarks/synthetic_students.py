"""Runs of recipes/synthesis-nano.yaml, which differ in their seed, as two tables: filtering, and amounts.

    python benchmarks/synthetic_students.py runs/synthesis-nano runs/synthesis-nano-18 runs/synthesis-nano-19

First, of each run, what the filters kept and how much of it is right. Then each student: the rows that it was trained
on, its accuracy (greedy; mean over the runs, lowest and highest), and its difference from the table's first student,
paired by question. The pooled difference counts every run's questions, with Bonett & Price's interval and the exact
McNemar test; it says how much the choice of questions matters. How much a run matters is in the runs' own differences,
each with its own p-value, and in the t interval over runs, which is there from three runs on. Last the same for `all`
against `no vote`, the students with and without voting. Markdown, and a line of JSON at the end.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t

from bactrian.evaluate.records import read_records
from bactrian.evaluate.statistics import Comparison, mcnemar

ROWS = {
    "unfiltered": "rows_unfiltered",
    "voted": "rows_voted",
    "verified": "rows_right",
    "none": "demonstrations",
    "quarter": "rows_quarter",
    "half": "rows_half",
    "all": "rows_all",
    "no vote": "rows_no_vote",
}
"""Student → the step that made what it was trained on."""
TABLES = ("filtering", "amounts")
HEADER = "| student | rows | right, % | difference, points | p | by run |\n|---|---|---|---|---|---|"


@dataclass(frozen=True)
class StudentsRun:
    """steps: name → artifact. right: of each table, student → whether each question was answered right, by question."""

    steps: dict[str, Path]
    right: dict[str, dict[str, dict[str, bool]]]

    @classmethod
    def read(cls, folder: Path) -> "StudentsRun":
        if not (folder / "run.json").is_file():
            raise SystemExit(f"{folder}: found no run.json, expected the folder of a run")
        told = json.loads((folder / "run.json").read_text())["steps"]
        steps = {each["name"]: folder.parent / each["path"] for each in told if each["path"]}
        if lacking := [name for name in TABLES if name not in steps]:
            raise SystemExit(f"{folder}: no step {', '.join(lacking)} yet")
        right: dict[str, dict[str, dict[str, bool]]] = {name: {} for name in TABLES}
        for name in TABLES:
            for (student, _, mode), records in read_records(steps[name] / "questions.parquet").items():
                if mode == "greedy":
                    right[name][student] = {each.question: each.outcome == "right" for each in records}
        return cls(steps, right)

    def rows(self, student: str) -> int:
        return int(self.account(ROWS[student])["rows_kept"])

    def account(self, step: str) -> dict[str, Any]:
        """The numbers in a step's manifest."""
        found: dict[str, Any] = json.loads((self.steps[step] / "manifest.json").read_text())["metrics"]
        return found


@dataclass(frozen=True)
class Gain:
    """after − before: over all runs' questions, of each run, and the 95 % t interval over runs (None below three)."""

    pooled: Comparison
    runs: list[Comparison]
    over_runs: tuple[float, float] | None


def gain(runs: Sequence[StudentsRun], table: str, before: str, after: str) -> Gain:
    pairs = []
    for run in runs:
        first, second = run.right[table][before], run.right[table][after]
        pairs.append(([first[question] for question in first], [second[question] for question in first]))
    each = [mcnemar(*pair) for pair in pairs]
    pooled = mcnemar([x for first, _ in pairs for x in first], [x for _, second in pairs for x in second])
    values = [found.difference for found in each]
    over = None
    if len(values) > 2:
        half = float(t.ppf(0.975, len(values) - 1)) * float(np.std(values, ddof=1)) / len(values) ** 0.5
        over = (float(np.mean(values)) - half, float(np.mean(values)) + half)
    return Gain(pooled, each, over)


def scores(runs: Sequence[StudentsRun], table: str, student: str) -> list[float]:
    return [float(np.mean(list(run.right[table][student].values()))) for run in runs]


def percent(values: Sequence[float]) -> str:
    spread = f" ({100 * min(values):.1f}–{100 * max(values):.1f})" if len(values) > 1 else ""
    return f"{100 * float(np.mean(values)):.1f}{spread}"


def interval(bounds: tuple[float, float]) -> str:
    return f"[{100 * bounds[0]:+.1f}, {100 * bounds[1]:+.1f}]"


def line(runs: Sequence[StudentsRun], table: str, before: str, student: str) -> str:
    rows = [run.rows(student) for run in runs]
    shown = f"{min(rows):,}" if len(set(rows)) == 1 else f"{min(rows):,}–{max(rows):,}"
    cells = [student, shown, percent(scores(runs, table, student)), "", "", ""]
    if student != before:
        found = gain(runs, table, before, student)
        cells[3] = f"{100 * found.pooled.difference:+.1f} {interval(found.pooled.interval)}"
        cells[4] = f"{found.pooled.p:.2g}"
        cells[5] = "; ".join(f"{100 * each.difference:+.1f} (p {each.p:.2g})" for each in found.runs)
        if found.over_runs:
            cells[5] += f"; t {interval(found.over_runs)}"
    return f"| {' | '.join(cells)} |"


def made(run: StudentsRun) -> dict[str, float]:
    """What was written and kept in one run, as shares."""
    written, right, voted = (run.account(step) for step in ("written", "right", "voted"))
    return {
        "answers that ended": written["rows_kept"] / written["requests"],
        "right of all": right["rows_kept"] / right["requests"],
        "problems with a majority": voted["kept_share"],
        "right of these": voted["truth_share"],
    }


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("runs", type=Path, nargs="+", help="folders of runs, with run.json")
    runs = [StudentsRun.read(folder) for folder in options.parse_args().runs]
    accounts = [made(run) for run in runs]
    for name in accounts[0]:
        print(f"{name}: {percent([account[name] for account in accounts])} %")
    told: dict[str, Any] = {"made": accounts}
    for table in TABLES:
        students = list(runs[0].right[table])
        questions = len(runs[0].right[table][students[0]])
        print(f"\n{table}, {questions:,} questions a run, {len(runs)} runs\n\n{HEADER}")
        for student in students:
            print(line(runs, table, students[0], student))
        told[table] = {
            student: {"scores": scores(runs, table, student), "gain": asdict(gain(runs, table, students[0], student))}
            for student in students
        }
    voting = gain(runs, "amounts", "no vote", "all")
    told["voting"] = asdict(voting)
    print(
        f"\nall − no vote: {100 * voting.pooled.difference:+.1f} {interval(voting.pooled.interval)}, "
        f"p {voting.pooled.p:.2g}; by run {', '.join(f'{100 * each.difference:+.1f}' for each in voting.runs)}"
    )
    print(json.dumps(told))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
