"""Runs of recipes/synthesis-nano.yaml, which differ in their seed, as tables: filtering, amounts, voting.

    python benchmarks/synthetic_students.py runs/synthesis-nano runs/synthesis-nano-18 runs/synthesis-nano-19

First, of each run, what the filters kept and how much of it is right. Then each student, greedy and sampled: the rows
that it was trained on, its accuracy (mean over the runs, lowest and highest), and its difference from the table's first
student, paired by question. The pooled difference counts every run's questions, with an interval and the exact McNemar
test (with several samples a question, a bootstrap over questions); it says how much the choice of questions matters.
How much a run matters is in the runs' own differences, each with its p-value, and in the t interval over runs, which is
there from three runs on. Tables that a run has not got to are left out. Markdown, and a line of JSON at the end.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t

from bactrian.evaluate.comparison import difference
from bactrian.evaluate.records import by_question, read_records
from bactrian.evaluate.statistics import Comparison

ROWS = {
    "unfiltered": "rows_unfiltered",
    "verified": "rows_right",
    "quarter": "rows_quarter",
    "half": "rows_half",
    "all": "rows_right",
    "every problem": "one_each",
    "agreed": "voted",
}
"""Student → the step that made what it was trained on."""
TABLES = ("filtering", "amounts", "voting")
MODES = ("greedy", "sampled")
HEADER = "| student | rows | right, % | difference, points | p | by run |\n|---|---|---|---|---|---|"
Answered = dict[str, dict[str, float]]
"""Student → question → share of right answers."""


@dataclass(frozen=True)
class StudentsRun:
    """steps: name → artifact. right: (table, mode) → what was answered."""

    steps: dict[str, Path]
    right: dict[tuple[str, str], Answered]

    @classmethod
    def read(cls, folder: Path) -> "StudentsRun":
        if not (folder / "run.json").is_file():
            raise SystemExit(f"{folder}: found no run.json, expected the folder of a run")
        told = json.loads((folder / "run.json").read_text())["steps"]
        steps = {each["name"]: folder.parent / each["path"] for each in told if each["path"]}
        right: dict[tuple[str, str], Answered] = {}
        for table in (name for name in TABLES if name in steps):
            for (student, _, mode), records in read_records(steps[table] / "questions.parquet").items():
                shares = {
                    question: float(np.mean([each.outcome == "right" for each in mine]))
                    for question, mine in by_question(records).items()
                }
                right.setdefault((table, mode), {})[student] = shares
        return cls(steps, right)

    def rows(self, student: str) -> int:
        return int(self.account(ROWS[student])["rows_kept"]) if student in ROWS else 0

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


def gain(runs: Sequence[StudentsRun], place: tuple[str, str], before: str, after: str) -> Gain:
    pairs = []
    for run in runs:
        first, second = run.right[place][before], run.right[place][after]
        pairs.append(([first[question] for question in first], [second[question] for question in first]))
    each = [difference(*pair) for pair in pairs]
    pooled = difference([x for first, _ in pairs for x in first], [x for _, second in pairs for x in second])
    values = [found.difference for found in each]
    over = None
    if len(values) > 2:
        half = float(t.ppf(0.975, len(values) - 1)) * float(np.std(values, ddof=1)) / len(values) ** 0.5
        over = (float(np.mean(values)) - half, float(np.mean(values)) + half)
    return Gain(pooled, each, over)


def scores(runs: Sequence[StudentsRun], place: tuple[str, str], student: str) -> list[float]:
    return [float(np.mean(list(run.right[place][student].values()))) for run in runs]


def percent(values: Sequence[float]) -> str:
    spread = f" ({100 * min(values):.1f}–{100 * max(values):.1f})" if len(values) > 1 else ""
    return f"{100 * float(np.mean(values)):.1f}{spread}"


def interval(bounds: tuple[float, float]) -> str:
    return f"[{100 * bounds[0]:+.1f}, {100 * bounds[1]:+.1f}]"


def line(runs: Sequence[StudentsRun], place: tuple[str, str], before: str, student: str) -> str:
    rows = [run.rows(student) for run in runs]
    shown = f"{min(rows):,}" if len(set(rows)) == 1 else f"{min(rows):,}–{max(rows):,}"
    cells = [student, shown, percent(scores(runs, place, student)), "", "", ""]
    if student != before:
        found = gain(runs, place, before, student)
        cells[3] = f"{100 * found.pooled.difference:+.1f} {interval(found.pooled.interval)}"
        cells[4] = f"{found.pooled.p:.2g}"
        cells[5] = "; ".join(f"{100 * each.difference:+.1f} (p {each.p:.2g})" for each in found.runs)
        if found.over_runs:
            cells[5] += f"; t {interval(found.over_runs)}"
    return f"| {' | '.join(cells)} |"


def made(run: StudentsRun) -> dict[str, float]:
    """What was written and kept in one run, as shares."""
    right, voted = run.account("right"), run.account("voted")
    return {
        "right of all answers": right["rows_kept"] / right["requests"],
        "problems with a majority": voted["kept_share"],
        "right of the majorities": voted["truth_share"],
    }


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("runs", type=Path, nargs="+", help="folders of runs, with run.json")
    everything = [StudentsRun.read(folder) for folder in options.parse_args().runs]
    accounts = [made(run) for run in everything]
    for name in accounts[0]:
        print(f"{name}: {percent([account[name] for account in accounts])} %")
    told: dict[str, Any] = {"made": accounts}
    for place in ((table, mode) for table in TABLES for mode in MODES):
        runs = [run for run in everything if place in run.right]
        if not runs:
            continue
        students = list(runs[0].right[place])
        questions = len(runs[0].right[place][students[0]])
        print(f"\n{', '.join(place)}: {questions:,} questions a run, runs: {len(runs)}\n\n{HEADER}")
        for student in students:
            print(line(runs, place, students[0], student))
        told[" ".join(place)] = {
            student: {"scores": scores(runs, place, student), "gain": asdict(gain(runs, place, students[0], student))}
            for student in students
        }
    print(json.dumps(told))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
