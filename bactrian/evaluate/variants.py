"""A model and its variants on the same questions: scores, paired differences, averages, and the table of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bactrian.errors import BactrianError
from bactrian.evaluate.comparison import TaskDifference, average, compare_task
from bactrian.evaluate.records import Record, read_records
from bactrian.evaluate.results import NAME, about_of, read_object
from bactrian.evaluate.score_tables import shown
from bactrian.evaluate.scoring import BITS, Averaging, Score, score

FULL = "full"
"""What the model with all parts is called."""
Asked = tuple[str, str]
"""A task and a mode."""


@dataclass(frozen=True)
class Column:
    """What one model answered to a task in one mode, and what results.json says of the task."""

    records: Sequence[Record]
    about: Mapping[str, Any]

    @property
    def how(self) -> Averaging:
        return Averaging.of_results(self.about)


def columns(name: str, folder: Path) -> dict[Asked, Column]:
    """(task, mode) → what was answered.

    Of an evaluation by the model evaluated last. Of a `scaling` step by the last run of each
    method: "task, method · run".

    Raises:
        BactrianError: for what is neither.
    """
    try:
        results = read_object(folder / NAME)
        runs = last_runs(results["scaling"]) if "scaling" in results else None
        models, tasks = runs or results["models"][-1:], results["tasks"]
        records = read_records(folder / "questions.parquet")
    except (BactrianError, LookupError, TypeError) as error:
        raise BactrianError(f"{name}: {folder} cannot be read as results of `evaluate` or `scaling`: {error}") from None
    found = {}
    for (model, task, mode), mine in records.items():
        if model in models:
            run = {"run": model} if runs else {}
            found[f"{task}, {model}" if runs else task, mode] = Column(mine, about_of(tasks, task, mode) | run)
    return found


def last_runs(scaling: Mapping[str, Any]) -> list[str]:
    """What questions.parquet calls the last run of each method."""
    return [f"{method['name']} · {method['points'][-1]['label']}" for method in scaling["methods"]]


@dataclass(frozen=True)
class Variants:
    """By label, FULL first, what was answered to the same tasks."""

    columns: Mapping[str, Mapping[Asked, Column]]
    seed: int = 0

    def check(self) -> None:
        """
        Raises:
            BactrianError: for a variant that was evaluated on other tasks, or on other
                questions of one.
        """
        for label, mine in self.columns.items():
            if mine.keys() != self.full.keys():
                odd = sorted(mine.keys() ^ self.full.keys())
                raise BactrianError(f"ablation: {label} was evaluated on other tasks than {FULL}: {odd}")
            for place, column in mine.items():
                asked, before = ({each.question for each in side.records} for side in (column, self.full[place]))
                if asked != before:
                    raise BactrianError(
                        f"ablation: {label}, task {place[0]}: the two models did not answer the same questions"
                    )

    @property
    def full(self) -> Mapping[Asked, Column]:
        return self.columns[FULL]

    def results(self) -> dict[str, Any]:
        """results.json: scores, comparisons with FULL, and `averages`."""
        scores, comparisons, tasks = [], [], dict[str, Any]()
        for (task, _), column in self.full.items():
            tasks.setdefault(task, dict(column.about))
        for label, mine in self.columns.items():
            for (task, mode), column in mine.items():
                settings = {key: column.about.get(key) for key in ("verifier", "max_new_tokens", "template_hash")}
                scores.append(asdict(self._score(label, (task, mode))) | settings)
                if label != FULL and column.how.name != BITS:
                    place = {"task": task, "mode": mode, "before": FULL, "after": label}
                    comparisons.append(place | asdict(self._difference(label, (task, mode)).comparison))
        return {
            "tasks": tasks,
            "models": list(self.columns),
            "scores": scores,
            "comparisons": comparisons,
            "averages": list(self._averages()),
        }

    def _score(self, label: str, place: Asked) -> Score:
        column = self.columns[label][place]
        return score(label, *place, column.records, column.how)

    def _difference(self, label: str, place: Asked) -> TaskDifference:
        before, after = self.full[place], self.columns[label][place]
        return compare_task(place[0], before.how, before.records, after.records, self.seed)

    def averaged(self) -> list[Asked]:
        """What is averaged: the tasks that were evaluated, or else all methods; bits per byte are no share."""
        shares = [place for place, column in self.full.items() if column.how.name != BITS]
        return [place for place in shares if "run" not in self.full[place].about] or shares

    def _averages(self) -> Iterator[dict[str, Any]]:
        """The mean score over tasks of each variant in each mode, and its difference to the full one's."""
        chosen = self.averaged()
        for mode in dict.fromkeys(mode for _, mode in chosen):
            places = [place for place in chosen if place[1] == mode]
            for label in self.columns:
                mean = sum(self._score(label, place).score for place in places) / len(places)
                line: dict[str, Any] = {"model": label, "mode": mode, "tasks": len(places), "score": mean}
                if label != FULL:
                    line |= asdict(average([self._difference(label, place) for place in places]))
                yield line


def table(results: Mapping[str, Any]) -> str:
    """Models × tasks in percent, one table a mode: of the full model scores, of the others the difference too."""
    parts = []
    for mode in dict.fromkeys(each["mode"] for each in results["scores"]):
        tasks = list(dict.fromkeys(each["task"] for each in results["scores"] if each["mode"] == mode))
        lines = [
            f"{mode}, in %: score [95 % interval]; below the first line Δ to it [paired 95 % interval]",
            "",
            f"| | average | {' | '.join(tasks)} |",
            f"|---|{'---|' * (len(tasks) + 1)}",
        ]
        for label in results["models"]:
            cells = [_average(results, label, mode), *(_cell(results, label, task, mode) for task in tasks)]
            lines.append(f"| {label} | {' | '.join(cells)} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _average(results: Mapping[str, Any], label: str, mode: str) -> str:
    line = next((each for each in results["averages"] if (each["model"], each["mode"]) == (label, mode)), None)
    if line is None:
        return "–"  # nothing was evaluated in this mode, only methods were run
    return f"{100 * line['score']:.1f}{_delta(line)}"


def _cell(results: Mapping[str, Any], label: str, task: str, mode: str) -> str:
    def of(each: Mapping[str, Any]) -> bool:
        return bool(each["task"] == task and each["mode"] == mode and each.get("model", each.get("after")) == label)

    found = next(filter(of, results["scores"]))
    low, high = (shown(found["metric"], bound) for bound in found["interval"])
    delta: Mapping[str, Any] = next(filter(of, results["comparisons"]), {})
    return f"{shown(found['metric'], found['score'])}{_delta(delta) or f' [{low}, {high}]'}"


def _delta(line: Mapping[str, Any]) -> str:
    if "difference" not in line:
        return ""
    low, high = line["interval"]
    return f" (Δ {100 * line['difference']:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}], p {line['p']:.2g})"
