"""Stage `ablation`: what each left-out part was worth, as a table of scores and paired differences."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, model_validator

from bactrian.errors import BactrianError
from bactrian.stages.stage import Facts, Forecast, ResultsRef, Stage
from bactrian.store.manifest import Kind

if TYPE_CHECKING:
    from bactrian.evaluate.scoring import Answer
    from bactrian.store.artifact import Input, Workspace

FULL = "full"
Place = tuple[str, str]
"""A task and a mode."""


class Ablation(Stage):
    """The last model of some evaluations against that of others on the same questions.

    `ablate:` of a recipe makes this step by itself. A `scaling` step gives a column for each of its methods: the last
    run, such as the largest budget. Differences are variant − full, with paired tests; the average is over evaluated
    tasks, each of the same weight, and over methods only where nothing is evaluated. Leaves table.md besides
    results.json and questions.parquet.
    """

    name: ClassVar[str] = "ablation"
    makes: ClassVar[Kind] = Kind.RESULTS
    labels_inputs: ClassVar[bool] = True

    full: list[ResultsRef] = Field(min_length=1, description="results (evaluate, scaling) of the model with all parts")
    variants: dict[str, list[ResultsRef]] = Field(min_length=1, description="name → the same evaluations of another")

    @model_validator(mode="after")
    def _as_many(self) -> Self:
        for name, refs in self.variants.items():
            if len(refs) != len(self.full):
                raise ValueError(f"variants.{name}: found {len(refs)} evaluations, full has {len(self.full)}")
        if FULL in self.variants:
            raise ValueError(f"variants: found one called {FULL!r}, expected another name")
        return self

    def run(self, workspace: "Workspace") -> None:
        from bactrian.evaluate.records import print_table, write_answers
        from bactrian.evaluate.scoring import compare, score

        answers = {label: self._answers(refs, workspace) for label, refs in [(FULL, self.full), *self.variants.items()]}
        scores, comparisons = [], []
        tasks = {name: task for ref in self.full for name, task in columns(workspace.input(ref))[1].items()}
        for label, places in answers.items():
            if places.keys() != answers[FULL].keys():
                raise BactrianError(
                    f"ablation: {label} was evaluated on other tasks than {FULL}: "
                    f"{sorted(places.keys() ^ answers[FULL].keys())}"
                )
            for (task, mode), given in places.items():
                settings = {key: tasks[task].get(key) for key in ("verifier", "max_new_tokens", "template_hash")}
                scores.append(asdict(score(label, task, mode, given)) | settings)  # type: ignore[arg-type]
                if label != FULL:
                    place = {"task": task, "mode": mode, "before": FULL, "after": label}
                    try:
                        found = compare(answers[FULL][task, mode], given, workspace.seed)
                    except ValueError as error:
                        raise BactrianError(f"ablation: {label}, task {task}: {error}") from None
                    comparisons.append(place | asdict(found))
        results = {
            "tasks": tasks,
            "models": list(answers),
            "scores": scores,
            "comparisons": comparisons,
            "averages": list(averages(answers, averaged(tasks))),
        }
        (workspace.output / "results.json").write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
        (workspace.output / "table.md").write_text(table(results) + "\n", encoding="utf-8")
        write_answers(
            workspace.output / "questions.parquet",
            (
                ({"model": label, "task": task, "mode": mode}, answer)
                for label, places in answers.items()
                for (task, mode), given in places.items()
                for answer in given
            ),
        )
        for each in comparisons:
            workspace.metrics[f"{each['task']}/{each['mode']}/{each['after']}"] = each["difference"]
        print_table(scores, comparisons)

    def _answers(self, refs: Sequence[str], workspace: "Workspace") -> "dict[Place, list[Answer]]":
        """The columns of all these results. Raises BactrianError for two of one task."""
        found: dict[Place, list[Answer]] = {}
        for ref in refs:
            for place, answers in columns(workspace.input(ref))[0].items():
                if place in found:
                    raise BactrianError(f"ablation: task {place[0]} is in two of the evaluations {', '.join(refs)}")
                found[place] = answers
        return found

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        return Forecast(peak_memory=1e9)


def columns(source: "Input") -> "tuple[dict[Place, list[Answer]], dict[str, Any]]":
    """(task, mode) → what was answered, and task → what is known of it.

    Of an evaluation the model evaluated last. Of a `scaling` step the last run of each method: "task, method · run".
    Raises BactrianError for what is neither.
    """
    import pyarrow.parquet as pq

    from bactrian.evaluate.scoring import Answer

    try:
        results = json.loads((source.path / "results.json").read_text())
        runs = last_runs(results["scaling"]) if "scaling" in results else None
        models = runs or results["models"][-1:]
        rows = pq.read_table(source.path / "questions.parquet", filters=[("model", "in", models)]).to_pylist()
    except (OSError, ValueError, LookupError) as error:
        raise BactrianError(
            f"{source.name}: {source.path} cannot be read as results of `evaluate` or `scaling`: {error}"
        ) from None
    found: dict[Place, list[Answer]] = {}
    tasks: dict[str, Any] = {}
    for row in rows:
        task, mode, model = row.pop("task"), row.pop("mode"), row.pop("model")
        name = f"{task}, {model}" if runs else task
        tasks[name] = results["tasks"][task] | ({"run": model} if runs else {})
        found.setdefault((name, mode), []).append(Answer(**row))
    return found, tasks


def last_runs(scaling: Mapping[str, Any]) -> list[str]:
    """What questions.parquet calls the last run of each method."""
    return [f"{method['name']} · {method['points'][-1]['label']}" for method in scaling["methods"]]


def averaged(tasks: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The tasks of the average: those that were evaluated, or else all."""
    return [name for name, task in tasks.items() if "run" not in task] or list(tasks)


def averages(answers: "Mapping[str, Mapping[Place, list[Answer]]]", chosen: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The mean score over the chosen tasks of each model in each mode, and its difference to the full one's."""
    from bactrian.evaluate.scoring import right_by_question
    from bactrian.evaluate.statistics import average_difference

    for mode in dict.fromkeys(mode for task, mode in answers[FULL] if task in chosen):
        means: dict[str, list[dict[str, float]]] = {}
        for label, places in answers.items():
            groups = [
                right_by_question(given) for (task, each), given in places.items() if each == mode and task in chosen
            ]
            means[label] = [{q: sum(right) / len(right) for q, right in group.items()} for group in groups]
        for label, shares in means.items():
            mean = sum(sum(task.values()) / len(task) for task in shares) / len(shares)
            line: dict[str, Any] = {"model": label, "mode": mode, "tasks": len(shares), "score": mean}
            if label != FULL:
                before = [list(task.values()) for task in means[FULL]]
                after = [[task[q] for q in full] for task, full in zip(shares, means[FULL], strict=True)]
                line |= asdict(average_difference(before, after))
            yield line


def table(results: Mapping[str, Any]) -> str:
    """Models × tasks in percent, one table a mode: of the full model scores, of the others the difference too."""
    parts = []
    for mode in dict.fromkeys(each["mode"] for each in results["scores"]):
        tasks = [
            task for task in results["tasks"] if any((e["task"], e["mode"]) == (task, mode) for e in results["scores"])
        ]
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
    low, high = found["interval"]
    delta: Mapping[str, Any] = next(filter(of, results["comparisons"]), {})
    return f"{100 * found['score']:.1f}{_delta(delta) or f' [{100 * low:.1f}, {100 * high:.1f}]'}"


def _delta(line: Mapping[str, Any]) -> str:
    if "difference" not in line:
        return ""
    low, high = line["interval"]
    return f" (Δ {100 * line['difference']:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}], p {line['p']:.2g})"
